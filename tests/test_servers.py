"""The servers of the tests do what they say; told by the standard library's client, which has no part in the others."""

import base64
import gzip
import hashlib
import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers import process
from tests.servers.aiohttp_server import aiohttp_server
from tests.servers.certificates import Certificates
from tests.servers.contract import pattern
from tests.servers.endpoint import EchoServer, Endpoint, endpoint, listening_socket
from tests.servers.nginx import PASSWORD, REDIRECTS, STATIC_FILES, STATUSES, USERNAME, Nginx, nginx_server
from tests.servers.node_server import node_server
from tests.servers.process import ServerError, server_process
from tests.servers.requirements import require, require_node_module
from tests.servers.uvicorn_server import uvicorn_server

MIB = 1024 * 1024


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def connected(to: Endpoint, context: ssl.SSLContext | None = None) -> Iterator[http.client.HTTPConnection]:
    connection = to.connect(context=context)
    try:
        yield connection
    finally:
        connection.close()


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One exchange; an iterator as body is sent in chunks."""
    connection.request(method, path, body, headers or {}, encode_chunked=True)
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


def exchange(to: Endpoint, *arguments: Any, context: ssl.SSLContext | None = None) -> Answer:
    """`ask` on a connection of its own."""
    with connected(to, context) as connection:
        return ask(connection, *arguments)


class TestEchoContract:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    def test_echo_tells_the_request(self, echo: Endpoint, method: str):
        """/echo tells the method, the raw path and query, the headers in order, and the body."""
        body = None if method == "GET" else bytes(range(256))
        told = exchange(echo, method, "/echo/a%2Fb%20c?x=1&y=%C3%A9&z=?", body, {"X-One": "1", "X-Two": "é"}).json()
        assert told["method"] == method
        assert told["path"] == "/echo/a%2Fb%20c"
        assert told["query"] == "x=1&y=%C3%A9&z=?"
        assert [pair for pair in told["headers"] if pair[0].startswith("x-")] == [["x-one", "1"], ["x-two", "é"]]
        assert told["length"] == len(body or b"")
        assert told["sha256"] == hashlib.sha256(body or b"").hexdigest()
        assert told["body_latin1"].encode("latin-1") == (body or b"")

    def test_echo_of_a_large_body(self, echo: Endpoint):
        """A body of 4 KiB and more is told by its length and hash."""
        body = pattern(3 * MIB)
        told = exchange(echo, "PUT", "/echo", body).json()
        assert (told["length"], told["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert "body_latin1" not in told

    @pytest.mark.parametrize(("length", "shown"), [(4095, True), (4096, False)])
    def test_echo_shows_less_than_4_kib(self, echo: Endpoint, length: int, shown: bool):
        """The first body too long to be shown has 4,096 bytes."""
        assert ("body_latin1" in exchange(echo, "POST", "/echo", b"x" * length).json()) is shown

    def test_echo_of_a_chunked_body(self, echo: Endpoint):
        """A body in chunks is told like any other."""
        told = exchange(echo, "POST", "/echo", iter([b"one", b"two"]), {"Transfer-Encoding": "chunked"}).json()
        assert told["body_latin1"] == "onetwo"

    def test_echo_of_a_compressed_body(self, echo: Endpoint):
        """A body with a Content-Encoding is told as it came, not decoded."""
        body = gzip.compress(b"text")
        told = exchange(echo, "POST", "/echo", body, {"Content-Encoding": "gzip"}).json()
        assert told["body_latin1"].encode("latin-1") == body

    def test_form_tells_the_parts(self, echo: Endpoint):
        """/form tells each part's name, filename, length, hash and, if it is short, its bytes."""
        large = pattern(MIB)
        body = (
            b'--b\r\nContent-Disposition: form-data; name="f\xc3\xa9"\r\n\r\nvalue\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a \xf0\x9f\x98\x80.bin"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n" + large + b"\r\n--b--\r\n"
        )
        answer = exchange(echo, "POST", "/form", body, {"Content-Type": "multipart/form-data; boundary=b"})
        field, file = answer.json()["parts"]
        assert (field["name"], field["filename"], field["body_latin1"]) == ("fé", None, "value")
        assert (file["name"], file["filename"]) == ("file", "a 😀.bin")
        assert file["content_type"] == "application/octet-stream"
        assert (file["length"], file["sha256"]) == (len(large), hashlib.sha256(large).hexdigest())
        assert "body_latin1" not in file

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("text/plain", b"no form"),
            ("application/x-www-form-urlencoded", b"a=b"),
            ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="cut off"\r\n\r\nva'),
        ],
    )
    def test_form_refuses_what_is_none(self, echo: Endpoint, content_type: str, body: bytes):
        """/form answers 400 for another type, and for a form without an end."""
        answer = exchange(echo, "POST", "/form", body, {"Content-Type": content_type})
        assert answer.status == 400
        assert answer.json()["error"]

    @pytest.mark.parametrize("code", [200, 204, 304, 404, 413, 500])
    def test_status(self, echo: Endpoint, code: int):
        """/status/{code} answers with that status and no body, and the connection goes on."""
        with connected(echo) as connection:
            answer = ask(connection, "PUT", f"/status/{code}", b"body")
            assert (answer.status, answer.body) == (code, b"")
            assert ask(connection, "PUT", "/echo", b"next").json()["body_latin1"] == "next"

    def test_early_answers_before_the_body(self, echo: Endpoint):
        """/early/{code} answers while the body is still owed."""
        with connected(echo) as connection:
            connection.putrequest("PUT", "/early/413")
            connection.putheader("Content-Length", "1000000")
            connection.endheaders()
            assert connection.getresponse().status == 413

    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_redirect(self, echo: Endpoint, code: int):
        """/redirect/{code}?to= sends to the decoded address, after the body."""
        answer = exchange(echo, "POST", f"/redirect/{code}?to=%2Fecho%3Fa%3Db", b"body")
        assert (answer.status, answer.headers["Location"]) == (code, "/echo?a=b")

    @pytest.mark.parametrize("count", [0, 1, 1000, 2500])
    def test_chunked(self, echo: Endpoint, count: int):
        """/chunked?n= answers n bytes of the pattern without saying how many."""
        answer = exchange(echo, "GET", f"/chunked?n={count}")
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert answer.headers["Content-Length"] is None
        assert answer.body == pattern(count)

    def test_what_is_not_there(self, echo: Endpoint):
        """Any other path is 404."""
        assert exchange(echo, "GET", "/nothing").status == 404


class TestCertificates:
    def test_the_servers_prove_who_they_are(self, echo_server: EchoServer, certificates: Certificates):
        """Who trusts the authority accepts each server."""
        assert exchange(echo_server.tls, "GET", "/echo", context=certificates.client_context()).status == 200

    def test_another_authority_does_not_know_the_servers(self, echo_server: EchoServer, certificates: Certificates):
        """Who trusts another authority refuses each server."""
        context = certificates.client_context(certificates.other_authority)
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            exchange(echo_server.tls, "GET", "/echo", context=context)

    def test_expired(self, nginx: Nginx, certificates: Certificates):
        """The expired certificate is refused for its date alone."""
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            exchange(nginx.expired, "GET", "/", context=certificates.client_context())
        assert exchange(nginx.expired, "GET", "/").status == 204

    def test_other_host(self, nginx: Nginx, certificates: Certificates):
        """The other host's certificate is refused for its name alone."""
        context = certificates.client_context()
        with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
            exchange(nginx.other_host, "GET", "/", context=context)
        context.check_hostname = False
        assert exchange(nginx.other_host, "GET", "/", context=context).status == 204

    def test_a_client_shows_its_certificate(self, nginx: Nginx, certificates: Certificates):
        """nginx tells whether a client proved who it is."""
        context = certificates.client_context()
        assert exchange(nginx.tls, "GET", "/client-certificate", context=context).body == b"NONE \n"
        context.load_cert_chain(certificates.client)
        assert exchange(nginx.tls, "GET", "/client-certificate", context=context).body.startswith(b"SUCCESS ")


@pytest.fixture(params=["plain", "tls"])
def nginx_endpoint(request: pytest.FixtureRequest, nginx: Nginx) -> Endpoint:
    endpoint: Endpoint = getattr(nginx, request.param)
    return endpoint


class TestNginx:
    def test_put_stores_the_body(self, nginx: Nginx, nginx_endpoint: Endpoint):
        """PUT /dav/ stores the exact bytes, makes folders on the way, and GET gives them back."""
        path = f"put/{nginx_endpoint.scheme}.bin"
        body = pattern(2 * MIB)
        assert exchange(nginx_endpoint, "PUT", f"/dav/{path}", body).status == 201
        assert nginx.stored(path).read_bytes() == body
        assert exchange(nginx_endpoint, "GET", f"/dav/{path}").body == body

    def test_put_of_chunks(self, nginx: Nginx):
        """PUT /dav/ stores a body that comes in chunks."""
        headers = {"Transfer-Encoding": "chunked"}
        assert exchange(nginx.plain, "PUT", "/dav/chunks.bin", iter([b"one", b"two"]), headers).status == 201
        assert nginx.stored("chunks.bin").read_bytes() == b"onetwo"

    @pytest.mark.parametrize("name", STATIC_FILES)
    def test_static(self, nginx_endpoint: Endpoint, name: str):
        """/static/ serves files, and a HEAD tells their length without a body."""
        assert exchange(nginx_endpoint, "GET", f"/static/{name}").body == STATIC_FILES[name]
        head = exchange(nginx_endpoint, "HEAD", f"/static/{name}")
        assert head.headers["Content-Length"] == str(len(STATIC_FILES[name]))
        assert head.body == b""

    def test_gzip(self, nginx: Nginx):
        """/gzip/ compresses the static files for who accepts gzip, and for no other."""
        answer = exchange(nginx.plain, "GET", "/gzip/pattern.bin", None, {"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.body) == STATIC_FILES["pattern.bin"]
        assert exchange(nginx.plain, "GET", "/gzip/pattern.bin").body == STATIC_FILES["pattern.bin"]

    @pytest.mark.parametrize("length", [0, 1, 5 * MIB])
    def test_echo_length(self, nginx_endpoint: Endpoint, length: int):
        """/echo-length tells the method and the length of the body."""
        assert exchange(nginx_endpoint, "POST", "/echo-length", bytes(length)).body == b"POST %d\n" % length

    def test_echo_length_counts(self, nginx: Nginx):
        """The length is counted, not believed: chunks, which declare none, have one too."""
        chunks = iter([b"one", b"two"])
        answer = exchange(nginx.plain, "PUT", "/echo-length", chunks, {"Transfer-Encoding": "chunked"})
        assert answer.body == b"PUT 6\n"

    def test_echo_length_waits_for_the_body(self, nginx: Nginx):
        """There is no answer before the last byte has come: the server gives up on a body that ends short."""
        with socket.create_connection((nginx.plain.host, nginx.plain.port), 10) as client:
            client.sendall(b"PUT /echo-length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123456789")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100) == b""

    @pytest.mark.parametrize("path", ["/limited", "/limited/abrupt"])
    def test_limited(self, nginx: Nginx, path: str):
        """A body of 1 MiB is taken, and one byte more is refused on the strength of the head."""
        assert exchange(nginx.plain, "POST", path, bytes(MIB)).body == b"POST %d\n" % MIB
        with connected(nginx.plain) as connection:
            connection.putrequest("POST", path)
            connection.putheader("Content-Length", str(MIB + 1))
            connection.endheaders()
            assert connection.getresponse().status == 413

    @pytest.mark.parametrize("code", REDIRECTS)
    def test_redirect(self, nginx_endpoint: Endpoint, code: int):
        """/redirect{code}/ sends to the same name under /dav/ of the same server."""
        answer = exchange(nginx_endpoint, "PUT", f"/redirect{code}/a/b.bin", b"body")
        assert (answer.status, answer.headers["Location"]) == (code, nginx_endpoint.url("/dav/a/b.bin"))

    @pytest.mark.parametrize("code", STATUSES)
    def test_status(self, nginx: Nginx, code: int):
        """/status/{code} answers with that status."""
        assert exchange(nginx.plain, "GET", f"/status/{code}").status == code

    def test_private(self, nginx: Nginx):
        """/private/ is for who knows the password."""
        refused = exchange(nginx.plain, "PUT", "/private/secret.txt", b"body")
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="private"')
        credentials = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"}
        assert exchange(nginx.plain, "PUT", "/private/secret.txt", b"body", headers).status == 201
        assert (nginx.data / "private/secret.txt").read_bytes() == b"body"

    def test_connection(self, nginx_endpoint: Endpoint):
        """/connection tells which connection a request came on, and as which request on it."""
        with connected(nginx_endpoint) as connection:
            first, second = (ask(connection, "GET", "/connection").body.split() for _ in range(2))
        other = exchange(nginx_endpoint, "GET", "/connection").body.split()
        assert first[0] == second[0] != other[0]
        assert [first[1], second[1], other[1]] == [b"1", b"2", b"1"]

    def test_unix_socket(self, nginx: Nginx):
        """The same is served on a Unix socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(nginx.unix_socket))
            client.sendall(b"GET /status/204 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 204 ")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list["subprocess.Popen[bytes]"]:
    """The processes that servers start in the test."""
    processes: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            processes.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    return processes


def open_descriptors() -> dict[str, str]:
    """What each descriptor of this process is."""
    return {entry.name: str(entry.readlink()) for entry in Path("/dev/fd").iterdir() if entry.is_symlink()}


def endpoints(server: EchoServer | Nginx) -> list[Endpoint]:
    return [value for value in vars(server).values() if isinstance(value, Endpoint)]


class TestLifetime:
    @pytest.mark.parametrize(
        ("run", "processes"), [(nginx_server, 1), (uvicorn_server, 2), (aiohttp_server, 1), (node_server, 1)]
    )
    def test_nothing_is_left_of_a_server(
        self,
        run: Any,
        processes: int,
        certificates: Certificates,
        started: list["subprocess.Popen[bytes]"],
    ):
        """A server's processes, threads, ports and descriptors end with it, even with a connection still open."""
        threads, descriptors = threading.active_count(), open_descriptors()
        with run(certificates) as server, connected(server.plain) as connection:
            assert ask(connection, "GET", "/status/204").status == 204
            # Whoever is still there when the server ends is hung up on.
            idle = socket.create_connection((server.plain.host, server.plain.port), 10)
            assert len(started) == processes
        idle.close()
        assert all(child.returncode is not None for child in started)
        # Fewer is fine: what other tests dropped may be collected meanwhile.
        assert threading.active_count() <= threads
        assert open_descriptors().items() <= descriptors.items()
        for left in endpoints(server):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((left.host, left.port), 10)

    def test_two_servers_at_once(self, nginx: Nginx, certificates: Certificates):
        """Servers of one kind do not share a port or a folder."""
        with nginx_server(certificates) as other:
            assert exchange(other.plain, "PUT", "/dav/own.txt", b"body").status == 201
            assert other.stored("own.txt").exists()
            assert not nginx.stored("own.txt").exists()

    def test_a_server_that_does_not_start_says_why(self):
        """A process that ends before it answers raises what it wrote, and no process is left."""
        with listening_socket() as listener:
            command = [sys.executable, "-c", "raise SystemExit('no such directive')"]
            context = server_process(command, listeners=[listener], awaited=[endpoint("http", listener)])
            with pytest.raises(ServerError, match="no such directive"), context:
                pytest.fail("entered")

    def test_a_server_that_dies_says_so(self, started: list["subprocess.Popen[bytes]"]):
        """A process that ends while its server is in use is an error when the context is left."""
        command = [sys.executable, "-c", "raise SystemExit('out of sorts')"]
        with (
            pytest.raises(ServerError, match="out of sorts"),
            server_process(command, listeners=[], awaited=[]),
        ):
            started[0].wait(10)

    def test_a_server_that_does_not_listen_to_reason(
        self, started: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
    ):
        """A process that ignores SIGTERM is killed."""
        monkeypatch.setattr(process, "_SECONDS_TO_END", 0.1)
        stubborn = (
            "import http.server, signal, socket, sys\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "server = http.server.HTTPServer(None, http.server.BaseHTTPRequestHandler, bind_and_activate=False)\n"
            "server.socket = socket.socket(fileno=int(sys.argv[1]))\n"
            "server.serve_forever()\n"
        )
        with listening_socket() as listener:
            command = [sys.executable, "-c", stubborn, str(listener.fileno())]
            with server_process(command, listeners=[listener], awaited=[endpoint("http", listener)]):
                assert started[0].poll() is None
        assert started[0].returncode == -signal.SIGKILL

    def test_a_program_that_is_not_there(self):
        """A command that cannot be run is an error of its own."""
        with pytest.raises(FileNotFoundError), server_process(["/nonexistent"], listeners=[], awaited=[]):
            pytest.fail("entered")


class TestRequire:
    def test_what_is_there(self):
        """`require` gives the program's path."""
        assert require("sh") == shutil.which("sh")

    @pytest.mark.parametrize("ci", [None, "", "0", "false"])
    def test_missing_on_a_desk(self, monkeypatch: pytest.MonkeyPatch, ci: str | None):
        """What is missing on a desk skips the test."""
        monkeypatch.delenv("CI", raising=False)
        if ci is not None:
            monkeypatch.setenv("CI", ci)
        with pytest.raises(pytest.skip.Exception, match="no-such-program"):
            require("no-such-program")
        with pytest.raises(pytest.skip.Exception, match="no-such-module"):
            require_node_module("no-such-module")

    @pytest.mark.parametrize("ci", ["true", "1", "yes"])
    def test_missing_in_ci(self, monkeypatch: pytest.MonkeyPatch, ci: str):
        """What is missing under CI fails the test."""
        monkeypatch.setenv("CI", ci)
        with pytest.raises(pytest.fail.Exception, match="no-such-program"):
            require("no-such-program")
        with pytest.raises(pytest.fail.Exception, match="no-such-module"):
            require_node_module("no-such-module")


def test_pattern_goes_on_where_it_stopped():
    """Pieces of the pattern make the pattern."""
    assert pattern(1000) + pattern(500, 1000) == pattern(1500)
