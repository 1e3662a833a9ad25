"""The fault server, observed through plain sockets: what each script says is what a client sees on the wire."""

import asyncio
import contextlib
import gc
import hashlib
import inspect
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aioreq.testing import Exchange, FaultServer, faults, script

pytest_plugins = ["aioreq.testing.pytest_plugin"]

StartServer = Callable[..., FaultServer]

BOUND = 10.0  # seconds after which a blocked client is a failed test; nothing waits for it


class TLSSocket:
    """TLS over a blocking socket. Unlike `ssl.SSLSocket` it can tell a reset from an end."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext):
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")
        self._with_records(self._tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def recv(self, size: int) -> bytes:
        # Behind TLS's goodbye there is nothing, unless it is RST.
        return self._with_records(lambda: self._tls.read(size)) or self._socket.recv(1)

    def say_goodbye(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # the server's own goodbye may have come, or not
            self._tls.unwrap()
        self._flush()

    def close(self) -> None:
        self._socket.close()

    def _with_records(self, operation):
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                self._flush()
                if piece := self._socket.recv(65_536):
                    self._incoming.write(piece)
                else:
                    self._incoming.write_eof()
            finally:
                self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._socket.sendall(self._outgoing.read())


class Client:
    """A blocking connection that speaks in bytes."""

    def __init__(self, server: FaultServer, context: ssl.SSLContext | None = None):
        family = socket.AF_UNIX if isinstance(server.address, str) else socket.AF_INET
        raw = socket.socket(family, socket.SOCK_STREAM)
        raw.settimeout(BOUND)
        try:
            raw.connect(server.address)
            self.socket = TLSSocket(raw, context) if context else raw
        except BaseException:
            raw.close()
            raise
        self.received = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_until(self, mark: bytes) -> bytes:
        """Takes what has been received up to and with `mark`."""
        while mark not in self.received:
            piece = self.socket.recv(65_536)
            assert piece, f"the server closed before {mark!r}: {self.received!r}"
            self.received += piece
        found, _, self.received = self.received.partition(mark)
        return found + mark

    def read_answer(self) -> tuple[bytes, bytes]:
        """Takes an answer with a Content-Length: its head and its body."""
        head = self.read_until(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
        while len(self.received) < length:
            piece = self.socket.recv(65_536)
            assert piece, f"the server closed in the answer: {self.received!r}"
            self.received += piece
        body, self.received = self.received[:length], self.received[length:]
        return head, body

    def read_report(self) -> dict[str, object]:
        """Takes an answer and decodes the report that is its body."""
        report: dict[str, object] = json.loads(self.read_answer()[1])
        return report

    def send_and_read_to_end(self, data: bytes) -> tuple[bytes, str]:
        """All that came until the connection ended, and how it did: `closed`, `cut` (TLS without goodbye), `reset`."""
        reset = False
        try:
            self.send(data)
        except ConnectionError:  # the answer may have come all the same
            reset = True
        received = self.received
        try:
            while piece := self.socket.recv(65_536):
                received += piece
        except ConnectionResetError:
            reset = True
        except ssl.SSLEOFError:
            return received, "reset" if reset else "cut"
        return received, "reset" if reset else "closed"

    def close(self) -> None:
        self.socket.close()


Connect = Callable[[FaultServer], Client]


def post(body: bytes = b"", *, length: int | None = None, path: str = "/", headers: str = "") -> bytes:
    """A POST with as much of its body as is given."""
    declared = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {declared}\r\n{headers}\r\n"
    return head.encode() + body


EXPECT = "Expect: 100-continue\r\n"


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects clients over TCP or a Unix socket and closes them."""
    with contextlib.ExitStack() as clients:

        def start(server: FaultServer, context: ssl.SSLContext | None = None) -> Client:
            return clients.enter_context(contextlib.closing(Client(server, context)))

        yield start


@pytest.fixture(params=["tcp", "tls"])
def transport(request, connect, fault_server, certificates) -> tuple[StartServer, Connect]:
    """A way to start servers and a way to connect to them, over plain TCP and over TLS."""
    if request.param == "tcp":
        return fault_server, connect
    server_side, client_side = certificates.server_context(), certificates.client_context()
    return (
        lambda *args, **options: fault_server(*args, tls=server_side, **options),
        lambda server: connect(server, client_side),
    )


# -- Counting ----------------------------------------------------------------------------------------------------------


def test_a_request_is_counted_hashed_and_reported(transport):
    """Without a script a request is read to its end and answered with what was really received."""
    start, connect = transport
    server, body = start(), os.urandom(300_000)
    client = connect(server)
    client.send(post(body, path="/a?b=c", headers="X-Token: t-1\r\n"))
    assert client.read_report() == {
        "method": "POST",
        "target": "/a?b=c",
        "received": 300_000,
        "sha256": hashlib.sha256(body).hexdigest(),
        "complete": True,
        "token": "t-1",
    }
    [request] = server.requests
    assert (request.path, request.declared, request.body) == ("/a", 300_000, body)
    assert server.violations == []


def test_chunks_are_decoded_and_trailers_kept(transport):
    """A chunked body is counted without its framing, and its trailers are logged."""
    start, connect = transport
    server = start()
    client = connect(server)
    client.send(b"PUT / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n")
    assert client.read_report()["received"] == 11
    [request] = server.requests
    assert (request.body, request.declared, request.trailers) == (b"hello world", None, (("X-Sum", "11"),))


def test_bytes_arriving_one_by_one_make_the_same_request(connect, fault_server):
    """Where the client's writes end makes no difference."""
    server = fault_server()
    client = connect(server)
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in (
        post(b"body") + b"PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    ):
        client.send(bytes([byte]))
    assert [client.read_report()["received"] for _ in range(2)] == [4, 4]
    assert server.violations == []


def test_a_connection_serves_request_after_request(transport):
    """A script that does not close leaves the connection to the next request, pipelined or not."""
    start, connect = transport
    server = start()
    client = connect(server)
    client.send(post(b"one") + post(b"two!"))
    assert [client.read_report()["received"] for _ in range(2)] == [3, 4]
    client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    assert client.read_report()["method"] == "GET"
    assert [request.connection for request in server.requests] == [0, 0, 0]
    assert [log.requests for log in server.connections] == [3]


def test_a_client_that_asks_to_close_is_closed(transport):
    """`Connection: close` is echoed and obeyed, over TLS with close_notify."""
    start, connect = transport
    received, end = connect(start()).send_and_read_to_end(post(b"x", headers="Connection: close\r\n"))
    assert b"\r\nConnection: close\r\n" in received
    assert end == "closed"


def test_head_204_and_304_have_no_body(connect, fault_server):
    """Answers that have no body by their nature are sent without one."""
    server = fault_server({"/head": faults.ok(), "/204": faults.ok(204), "/304": faults.ok(304), "/": faults.ok()})
    client = connect(server)
    client.send(b"HEAD /head HTTP/1.1\r\nHost: test\r\n\r\n" + post(path="/204") + post(path="/304") + post())
    assert b"\r\nContent-Length: " in client.read_until(b"\r\n\r\n")
    assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 204 ")
    assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 304 ")
    assert client.read_report()["target"] == "/"


def test_a_body_beyond_what_is_kept_is_not_given_back_in_part(connect, fault_server):
    """`body` is the whole body or an error; the count and the hash are right in both cases."""
    server = fault_server(keep_body=3)
    client = connect(server)
    client.send(post(b"abcd"))
    assert client.read_report()["sha256"] == hashlib.sha256(b"abcd").hexdigest()
    with pytest.raises(ValueError, match="raise keep_body"):
        _ = server.requests[0].body


# -- Answers before the body is out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["close", "reset"])
def test_an_early_answer_is_followed_by_rst(transport, then):
    """The answer is there for a client that reads, and behind it ECONNRESET, as bytes were left unread."""
    start, connect = transport
    server = start(faults.early_answer(413, after=1000, then=then, body=b"too large"))
    received, end = connect(server).send_and_read_to_end(post(bytes(60_000), length=10_000_000))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.endswith(b"\r\n\r\ntoo large")
    assert end == "reset"
    server.reached("closed").wait()
    [request], [log] = server.requests, server.connections
    assert (request.received, request.complete) == (1000, False)
    assert log.ended == ("server reset" if then == "reset" else "server closed")


def test_an_early_answer_waits_for_bytes_to_leave_unread(connect, fault_server):
    """A client slower than the server still gets its RST: the answer comes once more of the body has."""
    server = fault_server(faults.early_answer(after=10))
    client = connect(server)
    client.send(post(bytes(10), length=20))
    server.reached("request").wait()
    received, end = client.send_and_read_to_end(bytes(10))
    assert (received[:12], end) == (b"HTTP/1.1 413", "reset")


def test_an_early_answer_to_a_chunked_body(transport):
    """The rest of a chunked body is left unread just so, and what is read is counted exactly."""
    start, connect = transport
    server = start(faults.early_answer(after=1000))
    head = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    received, end = connect(server).send_and_read_to_end(
        head + b"2000\r\n" + bytes(0x2000) + b"\r\n4000\r\n" + bytes(16384)
    )
    assert (received[:12], end) == (b"HTTP/1.1 413", "reset")
    assert server.requests[0].received == 1000


def test_an_early_answer_to_a_client_that_waits_for_100(transport):
    """A client that holds its body back gets the answer and a plain end: there is nothing to leave unread."""
    start, connect = transport
    received, end = connect(start(faults.early_answer(413))).send_and_read_to_end(post(length=1000, headers=EXPECT))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert end in ("closed", "cut")


def test_an_early_answer_and_a_server_that_holds(transport):
    """The server answers, reads no more, and keeps the connection until it is released."""
    start, connect = transport
    server = start(faults.early_answer(413, after=1000, then="hold"))
    client = connect(server)
    client.send(post(bytes(60_000), length=10_000_000))
    assert client.read_report()["received"] == 1000
    server.reached("held").wait()
    assert server.connections[0].ended is None
    server.release("held")
    assert client.send_and_read_to_end(b"")[1] == "reset"
    assert server.requests[0].received == 1000


def test_an_early_answer_and_a_careful_end(transport):
    """With `linger` the client sees the end at once, and what it still sends is read."""
    start, connect = transport
    server = start(faults.early_answer(413, then="linger"))
    client = connect(server)
    client.send(post(length=1_000_000))
    assert client.read_answer()[0].startswith(b"HTTP/1.1 413 ")
    assert client.socket.recv(1) == b""
    client.send(bytes(1_000_000))
    server.reached("body").wait()
    assert server.requests[0].complete


def test_a_careful_end_is_over_when_the_client_has_said_goodbye(connect, fault_server, certificates):
    """Goodbyes from both sides of a TLS connection, in mid-body, are an ordinary end, and the body is incomplete."""
    server = fault_server(faults.early_answer(413, then="linger"), tls=certificates.server_context())
    client = connect(server, certificates.client_context())
    client.send(post(length=1_000_000))
    client.read_answer()
    client.socket.say_goodbye()
    server.reached("closed").wait()
    assert [log.ended for log in server.connections] == ["client closed"]
    assert not server.requests[0].complete


def test_an_early_answer_and_a_server_that_reads_on(transport):
    """With `go_on` the rest of the body is read after the answer, and the connection lives."""
    start, connect = transport
    server = start(faults.early_answer(200, then="go_on"))
    client = connect(server)
    client.send(post(length=200_000))
    assert client.read_report()["received"] == 0
    client.send(bytes(200_000) + post(b"next"))
    assert client.read_report()["complete"] is False
    server.reached("body", 2).wait()
    assert [request.complete for request in server.requests] == [True, True]


@pytest.mark.parametrize("before_body", [True, False])
def test_a_redirect_comes_before_or_after_the_body(transport, before_body):
    """A redirect is sent at once or when all of the body has come; the connection lives in both cases."""
    start, connect = transport
    server = start({"/": faults.redirect("/there", 308, before_body=before_body), "/there": faults.ok()})
    client = connect(server)
    client.send(post(length=5))
    if not before_body:
        client.send(b"12345")
    head, report = client.read_answer()
    assert head.startswith(b"HTTP/1.1 308 Permanent Redirect\r\nLocation: /there\r\n")
    assert json.loads(report)["received"] == (0 if before_body else 5)
    client.send((b"12345" if before_body else b"") + post(b"12345", path="/there"))
    assert client.read_report()["target"] == "/there"


# -- Reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1000])
def test_a_reset_comes_after_so_many_bytes(transport, after):
    """The client sees ECONNRESET and not a byte; the server has read what it said."""
    start, connect = transport
    server = start(faults.reset_after(after))
    received, end = connect(server).send_and_read_to_end(post(bytes(60_000), length=10_000_000))
    assert (received, end) == (b"", "reset")
    assert server.requests[0].received == after


def test_a_body_is_read_as_slowly_as_the_test_says(transport):
    """Each release lets one more chunk in, exactly, however many bytes are waiting."""
    start, connect = transport
    server = start(faults.read_slowly(chunk=1000))
    client = connect(server)
    client.send(post(bytes(3500)))
    for turn in range(1, 4):
        server.reached("slow", turn).wait()
        assert server.requests[0].received == 1000 * turn
        server.release("slow", times=1)
    assert client.read_report()["received"] == 3500


def test_a_slow_reader_can_go_by_the_clock(connect, fault_server):
    """A number as pace is a wait in seconds between chunks, for those who want to watch."""
    server = fault_server(faults.read_slowly(chunk=1, pace=0.001))
    client = connect(server)
    client.send(post(b"abc"))
    assert client.read_report()["received"] == 3


def test_a_stalled_server_takes_no_more(transport):
    """While it stalls the client can fill the buffers and no more; released, the upload goes on to its end."""
    start, connect = transport
    server, size = start(faults.stall(after=1000)), 30_000_000
    client = connect(server)
    sending = threading.Thread(target=client.send, args=(post(bytes(size)),))
    sending.start()
    server.reached("stalled").wait()
    assert server.requests[0].received == 1000
    assert sending.is_alive()
    server.release("stalled")
    sending.join(BOUND)
    assert client.read_report()["received"] == size


def test_a_silent_server_answers_when_released(transport):
    """The body is read and nothing is said, until the test says so."""
    start, connect = transport
    server = start(faults.silent())
    client = connect(server)
    client.send(post(b"body"))
    server.reached("silent").wait()
    assert server.requests[0].complete
    server.release("silent")
    assert client.read_report()["received"] == 4


def test_a_client_that_gives_up_on_a_silent_server_is_seen(transport):
    """A client that closes while the server keeps silent ends the pause, and the log says so."""
    start, connect = transport
    server = start(faults.silent())
    client = connect(server)
    client.send(post(b"body"))
    server.reached("silent").wait()
    client.close()
    server.reached("closed").wait()
    assert server.connections[0].ended in ("client closed", "client reset")


# -- Interim answers ---------------------------------------------------------------------------------------------------


def test_a_client_that_waits_for_100_is_given_it(transport):
    """By default the body is allowed when the client asks, and only then."""
    start, connect = transport
    client = connect(start())
    client.send(post(length=4, headers=EXPECT))
    assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body" + post(b"again"))
    assert [client.read_report()["received"] for _ in range(2)] == [4, 5]


def test_a_server_silent_on_expect_never_sends_100(transport):
    """The first thing such a client sees is the final answer, after it has sent the body unasked."""
    start, connect = transport
    server = start(faults.silent_on_expect())
    client = connect(server)
    client.send(post(length=4, headers=EXPECT))
    server.reached("request").wait()
    client.send(b"body")
    assert client.read_answer()[0].startswith(b"HTTP/1.1 200 ")


def test_an_expectation_can_be_refused(transport):
    """417 and a clean close for a request with Expect; the same request without it is served."""
    start, connect = transport
    server = start(faults.refuse_expect())
    received, end = connect(server).send_and_read_to_end(post(length=4, headers=EXPECT))
    assert received.startswith(b"HTTP/1.1 417 ")
    assert end == "closed"
    client = connect(server)
    client.send(post(b"body"))
    assert client.read_report()["complete"] is True


def test_interim_answers_come_in_the_order_given(transport):
    """Any sequence of interim answers can be sent, also a 103 before the 100, or a 100 nobody waits for."""
    start, connect = transport
    client = connect(start(faults.interim(103, 100, 102)))
    client.send(post(length=4))
    statuses = [client.read_until(b"\r\n\r\n")[9:12] for _ in range(3)]
    assert statuses == [b"103", b"100", b"102"]
    client.send(b"body")
    assert client.read_report()["received"] == 4


@pytest.mark.parametrize(
    ("endless", "mark"),
    [
        (faults.endless_1xx(), b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (faults.endless_headers(), b"X-Filler: filler\r\n"),
        (faults.endless_body(), b"10\r\n0123456789abcdef\r\n"),
    ],
)
def test_endless_answers_end_with_the_client(transport, endless, mark):
    """The server goes on for as long as it is read, and stops when the client leaves."""
    start, connect = transport
    server = start(endless)
    client = connect(server)
    client.send(post(b"body"))
    for _ in range(10_000):
        client.read_until(mark)
    client.close()
    server.reached("closed").wait()
    assert server.connections[0].ended == "client reset"


# -- Answers -----------------------------------------------------------------------------------------------------------


def test_headers_come_as_slowly_as_the_test_says(transport):
    """Each release lets so many bytes of the head out."""
    start, connect = transport
    server = start(faults.slow_headers(chunk=20))
    client = connect(server)
    client.send(post(b"body"))
    assert client.read_until(b"HTTP/1.1 204 No Cont") == b"HTTP/1.1 204 No Cont"
    assert client.received == b""
    server.release("slow", times=1)
    assert client.read_until(b"\r\n\r\n") == b"ent\r\n\r\n"


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    ("cut", "tail"),
    [
        (faults.cut_answer, b"Content-Length: 1000\r\n\r\n" + b"x" * 100),
        (faults.cut_chunked, b"5\r\nwhole\r\n65\r\n" + b"x" * 100),
    ],
)
def test_an_answer_is_cut_short(transport, cut, tail, then):
    """Less arrives than was declared; a close is a bare FIN, over TLS without close_notify, and a reset is RST."""
    start, connect = transport
    client = connect(start(cut(then=then)))
    received, end = client.send_and_read_to_end(post(b"body"))
    assert received.endswith(tail)
    bare_end = "cut" if isinstance(client.socket, TLSSocket) else "closed"
    assert end == ("reset" if then == "reset" else bare_end)


def test_garbage_is_sent_in_place_of_an_answer(transport):
    """What is sent is exactly what was given."""
    start, connect = transport
    received, _ = connect(start(faults.garbage(b"\x00not HTTP"))).send_and_read_to_end(post(b"body"))
    assert received == b"\x00not HTTP"


def test_an_idle_connection_is_closed_at_once(transport):
    """The answer promises nothing about closing, and the connection is closed behind it."""
    start, connect = transport
    received, end = connect(start(faults.close_idle())).send_and_read_to_end(post(b"body"))
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"Connection" not in received
    assert end == "closed"


def test_an_idle_connection_is_closed_when_told(transport):
    """The connection stays until the gate opens; a request on its way by then is met with RST."""
    start, connect = transport
    server = start(faults.close_idle("idle"))
    client = connect(server)
    client.send(post(b"body"))
    client.read_report()
    server.reached("idle").wait()
    client.send(post(b"too late"))
    server.release("idle")
    received, end = client.send_and_read_to_end(b"")
    assert (received, end) == (b"", "reset")
    assert server.violations == []


def test_stray_bytes_come_with_the_answer(transport):
    """An answer nobody asked for can follow right behind the one that was."""
    start, connect = transport
    client = connect(start(faults.stray_bytes()))
    client.send(post(b"body"))
    assert client.read_report()["received"] == 4
    assert client.read_answer()[1] == b"stray"


def test_stray_bytes_come_later(transport):
    """Or it comes when the connection is idle, and the connection lives."""
    start, connect = transport
    server = start(faults.in_turn(faults.stray_bytes(b"stray", gate="idle"), faults.ok()))
    client = connect(server)
    client.send(post(b"body"))
    client.read_report()
    assert client.received == b""
    server.release("idle")
    server.reached("strayed").wait()
    assert client.read_until(b"stray") == b"stray"
    client.send(post(b"again"))
    assert client.read_report()["received"] == 5


# -- What clients do wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "surplus", [b"\r\n", b"--boundary--\r\n", b"lower", b"AAAA", b"\x00" * 100, b"G3T / HTTP/1.1\r\n"]
)
def test_bytes_past_the_end_of_a_body_are_told(transport, surplus):
    """What follows a body and begins no request is a violation, found at the latest when the client leaves."""
    start, connect = transport
    server = start()
    client = connect(server)
    client.send(post(b"body") + surplus)
    assert client.read_report()["received"] == 4
    client.close()
    server.reached("closed").wait()
    assert server.requests[0].surplus == surplus
    [violation] = server.violations
    assert violation.startswith("connection 0: ")
    assert "bytes after the body of POST /" in violation


@pytest.mark.parametrize("surplus", [b"x", b"AAAA"])
def test_surplus_before_the_next_request_is_told(transport, surplus):
    """A left-over that sticks to the next request's method is no part of a method."""
    start, connect = transport
    server = start()
    client = connect(server)
    client.send(post(b"body"))
    client.read_report()
    received, _ = client.send_and_read_to_end(surplus + post(b"next"))
    assert received.startswith(b"HTTP/1.1 400 ")
    assert server.requests[0].surplus.startswith(surplus)
    assert [log.ended for log in server.connections] == ["violation"]


def test_surplus_is_seen_by_a_server_that_closes(transport):
    """A script that closes behind its answer looks once more at what has come."""

    async def answer_when_surplus_is_here(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.pause("surplus")
        await exchange.answer()
        await exchange.close()

    start, connect = transport
    server = start(answer_when_surplus_is_here)
    client = connect(server)
    client.send(post(b"body"))
    server.reached("surplus").wait()
    client.send(b"surplus")
    server.release("surplus")
    client.send_and_read_to_end(b"")
    assert server.requests[0].surplus == b"surplus"
    assert len(server.violations) == 1


def test_surplus_is_seen_by_a_server_that_stops(connect):
    """Bytes that wait to become a request when the server is left are told as well."""
    with FaultServer() as server:
        client = connect(server)
        client.send(post(b"body"))
        client.read_report()
        client.send(b"DELET")
        server.reached("body").wait()
        # One more exchange, so that the server's loop has come round to what was sent before it.
        other = connect(server)
        other.send(post())
        other.read_report()
    assert server.requests[0].surplus == b"DELET"


def test_a_client_that_leaves_in_mid_head_or_mid_body_breaks_no_rule(connect, fault_server):
    """An upload given up is logged as incomplete, and is no violation."""
    server = fault_server()
    for sent in (post(b"body") + b"POST / HT", post(b"bo", length=4), b"POS"):
        client = connect(server)
        client.send(sent)
        client.close()
    server.reached("closed", 3).wait()
    assert sorted(request.received for request in server.requests) == [2, 4]
    assert server.violations == []


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfour\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_told(connect, fault_server, head):
    """A malformed or ambiguous request is answered 400 and closed, and is in the list of violations."""
    server = fault_server()
    received, _ = connect(server).send_and_read_to_end(head)
    assert received.startswith(b"HTTP/1.1 400 ")
    server.reached("closed").wait()
    assert len(server.violations) == 1


def test_an_unusual_method_is_fine_on_a_fresh_connection(connect, fault_server):
    """Any token is a method, where nothing can have been left over from a body."""
    server = fault_server()
    client = connect(server)
    client.send(b"x-brew /pot HTTP/1.1\r\nHost: test\r\n\r\n")
    assert client.read_report()["method"] == "x-brew"


# -- Routes and scripts ------------------------------------------------------------------------------------------------


def test_a_mapping_gives_each_path_its_script(connect, fault_server):
    """Paths are looked up without their query; one that is not there is answered 404, and logged."""
    server = fault_server({"/there": faults.ok(201), "/": faults.ok()})
    client = connect(server)
    client.send(post(path="/there?a=b") + post(path="/") + post(path="/elsewhere"))
    assert [client.read_answer()[0][9:12] for _ in range(3)] == [b"201", b"200", b"404"]
    assert [request.path for request in server.requests] == ["/there", "/", "/elsewhere"]


def test_an_empty_mapping_has_no_path(connect, fault_server):
    """No path is no default."""
    client = connect(fault_server({}))
    client.send(post())
    assert client.read_answer()[0].startswith(b"HTTP/1.1 404 ")


def test_scripts_take_turns_across_connections(connect, fault_server):
    """Each request takes the next script, whatever its connection; the last one stays."""
    server = fault_server(faults.in_turn(faults.reset_after(0), faults.ok(503), faults.ok()))
    assert connect(server).send_and_read_to_end(post())[1] == "reset"
    client = connect(server)
    client.send(post() + post() + post())
    assert [client.read_answer()[0][9:12] for _ in range(3)] == [b"503", b"200", b"200"]


def test_a_script_of_ones_own(connect, fault_server):
    """Any coroutine function of an exchange is a script, and can call others."""

    async def picky(exchange: Exchange) -> None:
        if exchange.request.header("x-version") != "2":
            await exchange.answer(400, body=b"2, please")
        else:
            await faults.ok(201)(exchange)

    client = connect(fault_server(picky))
    client.send(post() + post(headers="X-Version: 2\r\n"))
    assert client.read_answer()[1] == b"2, please"
    assert client.read_answer()[0].startswith(b"HTTP/1.1 201 ")


def test_a_script_with_parameters_is_called_what_it_does():
    """`@script` takes the exchange off the signature, and a bound script shows its arguments."""

    @script
    async def late(exchange: Exchange, status: int, *, by: float = 0) -> None:
        """Answers late."""

    assert str(inspect.signature(late)).startswith("(status: int, *, by: float = 0)")
    assert late.__doc__ == "Answers late."
    assert late(200, by=1.5).__name__ == "late(200, by=1.5)"


@pytest.mark.parametrize("requests", [1, 2])
def test_what_a_script_raises_reaches_the_test(requests):
    """An exception in a script ends its connection and is raised when the server is left; several come as a group."""

    async def broken(exchange: Exchange) -> None:
        raise ZeroDivisionError("in the script")

    expected = ZeroDivisionError if requests == 1 else ExceptionGroup
    with pytest.raises(expected), FaultServer(broken) as server:
        for _ in range(requests):
            with contextlib.closing(Client(server)) as client:
                assert client.send_and_read_to_end(post())[0] == b""
        assert server.connections[0].ended == "script failed"


def test_a_failing_test_is_not_hidden_by_a_failing_script():
    """The test's own exception goes first."""

    async def broken(exchange: Exchange) -> None:
        raise ZeroDivisionError

    with pytest.raises(KeyError), FaultServer(broken) as server:
        with contextlib.closing(Client(server)) as client:
            client.send_and_read_to_end(post())
        raise KeyError


def test_a_script_that_blocks_the_server_is_told_so():
    """A server that cannot stop says why, and does not hang the test."""
    unblock = threading.Event()

    async def blocking(exchange: Exchange) -> None:
        exchange.mark("blocked")
        unblock.wait(BOUND)

    server = FaultServer(blocking, patience=0.5)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(server.__exit__, None, None, None)  # a second try, when the script is done
        cleanup.callback(unblock.set)
        with pytest.raises(RuntimeError, match="a script blocks its thread"), server:
            client = cleanup.enter_context(contextlib.closing(Client(server)))
            client.send(post())
            server.reached("blocked").wait()


def test_a_script_that_goes_on_after_closing_just_ends(connect, fault_server):
    """What follows a close is not done, and is no failure."""

    async def overeager(exchange: Exchange) -> None:
        await exchange.close()
        await exchange.answer()

    server = fault_server(overeager)
    assert connect(server).send_and_read_to_end(post())[0] == b""
    server.reached("closed").wait()
    assert server.connections[0].ended == "server closed"


# -- Before the request ------------------------------------------------------------------------------------------------


def test_a_connection_can_be_reset_before_any_request(certificates, fault_server):
    """`on_connect` comes before the TLS handshake, and needs no request."""
    server = fault_server(on_connect=faults.reset_at_once(), tls=certificates.server_context())
    with pytest.raises(ConnectionResetError):
        Client(server, certificates.client_context())
    server.reached("closed").wait()
    assert [log.ended for log in server.connections] == ["server reset"]
    assert server.requests == []


def test_a_tls_handshake_can_be_held_up(certificates, fault_server, connect):
    """A server that accepts and says nothing goes on with the handshake when it is released."""

    async def wait(exchange: Exchange) -> None:
        await exchange.pause("accepted")

    server = fault_server(on_connect=wait, tls=certificates.server_context())
    clients: list[Client] = []
    dialing = threading.Thread(target=lambda: clients.append(connect(server, certificates.client_context())))
    dialing.start()
    server.reached("accepted").wait()
    assert clients == []
    server.release("accepted")
    dialing.join(BOUND)
    clients[0].send(post(b"body"))
    assert clients[0].read_report()["received"] == 4


def test_a_failed_handshake_is_logged(certificates, fault_server):
    """A client that does not trust the certificate, or speaks no TLS, is no failure of the script."""
    server = fault_server(tls=certificates.server_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(server, certificates.client_context(certificates.other_authority))
    with contextlib.closing(Client(server)) as client:
        client.send_and_read_to_end(post())
    server.reached("closed", 2).wait()
    assert all(str(log.ended).startswith("TLS handshake failed: ") for log in server.connections)


def test_on_connect_has_no_request(connect, fault_server):
    """A script that asks for a request where none has come is told so."""

    async def hasty(exchange: Exchange) -> None:
        with pytest.raises(LookupError, match="before any request"):
            await exchange.answer()

    server = fault_server(on_connect=hasty)
    client = connect(server)
    client.send(post(b"body"))
    assert client.read_report()["received"] == 4


# -- Test and server wait for each other -------------------------------------------------------------------------------


async def test_a_client_in_the_same_program_has_its_loop_to_itself():
    """The server runs beside the test's loop, and is awaited from it."""
    async with FaultServer(faults.stall(after=5)) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(post(bytes(10)))
        await server.reached("stalled")
        assert server.requests[0].received == 5
        server.release("stalled")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()
        await server.reached("closed")


async def test_a_notice_that_does_not_come_says_what_did():
    """Waiting is bounded by the server's patience, in a coroutine and in a thread."""
    with FaultServer(patience=0.01) as server:
        _, writer = await asyncio.open_connection(*server.address)
        writer.close()
        await writer.wait_closed()
        with pytest.raises(TimeoutError, match=r"'stalled' not reached 1 times: .*'connection': 1"):
            await server.reached("stalled")
        with pytest.raises(TimeoutError, match="'stalled' not reached 2 times"):
            server.reached("stalled", 2).wait()


async def test_a_waiter_that_is_cancelled_leaves_the_others(fault_server):
    """Giving up on a notice neither stops the server nor the next one who waits for it."""
    server = fault_server()
    waiting = asyncio.ensure_future(asyncio.wait_for(server.reached("connection"), 0.001))
    with pytest.raises(TimeoutError):
        await waiting
    _, writer = await asyncio.open_connection(*server.address)
    await server.reached("connection")
    writer.close()
    await writer.wait_closed()


def test_a_gate_lets_as_many_through_as_it_is_told(connect, fault_server):
    """Releases count, also those that come before the pause; without a number the gate stays open."""
    server = fault_server(faults.silent())
    server.release("silent", times=2)
    clients = [connect(server) for _ in range(5)]
    for client in clients[:3]:
        client.send(post())
        server.reached("silent", clients.index(client) + 1).wait()
    assert [client.read_report()["method"] for client in clients[:2]] == ["POST"] * 2
    server.release("silent")
    for client in clients[3:]:
        client.send(post())
    assert [client.read_report()["method"] for client in clients[2:]] == ["POST"] * 3


def test_all_gates_open_at_once(connect, fault_server):
    """`release()` opens every gate, those too that nobody has come to yet."""
    server = fault_server({"/a": faults.silent(), "/b": faults.stall(after=1)})
    clients = [connect(server), connect(server)]
    clients[0].send(post(b"ab", path="/a"))
    server.reached("silent").wait()
    server.release()
    clients[1].send(post(b"ab", path="/b"))
    assert [client.read_report()["received"] for client in clients] == [2, 2]


def test_releasing_a_server_that_does_not_run_is_an_error():
    """A release that nobody can receive is not swallowed."""
    with pytest.raises(RuntimeError, match="not running"):
        FaultServer().release()


# -- Where it listens, and how it ends ---------------------------------------------------------------------------------


def test_a_unix_socket_serves_as_well(connect, fault_server, tmp_path):
    """Scripts do the same over a Unix socket, whose path is gone afterwards."""
    path = tmp_path / "server.sock"
    with FaultServer(faults.early_answer(413, after=4), unix_socket=path) as server:
        received, end = connect(server).send_and_read_to_end(post(b"12345678"))
        assert (received[:12], end) == (b"HTTP/1.1 413", "reset")
        assert server.url == "http://localhost"
    assert not path.exists()


@pytest.mark.parametrize("segment", [None, 1460])
def test_a_narrow_link(fault_server, segment):
    """The client's kernel is told how large a segment may be, as on a real link; on loopback they are large."""
    server = fault_server(segment=segment)
    with socket.create_connection(server.address) as client:
        assert (client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1460) is (segment is not None)


def test_segments_are_tcps(tmp_path):
    """A Unix socket has no segments to be made small."""
    with pytest.raises(ValueError, match="a Unix socket has no segments"):
        FaultServer(unix_socket=tmp_path / "socket", segment=1460)


def test_an_address_in_use_is_an_error_of_the_caller(fault_server):
    """What keeps the server from listening is raised on entering, and nothing is left behind."""
    server = fault_server()
    with pytest.raises(OSError, match="in use"):
        fault_server(port=server.address[1])


def test_urls_name_scheme_and_port(certificates):
    """The URL is ready to have a path appended."""
    with FaultServer() as plain, FaultServer(tls=certificates.server_context()) as secure:
        assert plain.url == f"http://127.0.0.1:{plain.address[1]}"
        assert secure.url == f"https://127.0.0.1:{secure.address[1]}"
    assert FaultServer(host="::1", port=80).url == "http://[::1]:80"


def test_a_server_goes_down_and_comes_back(connect):
    """Entered again it has the same port and goes on with its logs; in between connections are refused."""
    server = FaultServer(faults.silent())
    with server:
        client = connect(server)
        client.send(post())
        server.reached("silent").wait()
    assert server.connections[0].ended == "server stopped"
    with pytest.raises(ConnectionRefusedError):
        Client(server)
    with server:
        client = connect(server)
        client.send(post())
        server.reached("silent", 2).wait()
        server.release("silent")
        assert client.read_report()["method"] == "POST"
    assert len(server.connections) == 2


def open_descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
async def test_five_hundred_stalled_connections_share_one_thread_and_leave_nothing(certificates):
    """Many stalled uploads at once cost one thread; when the server is left, no thread and no socket remains."""
    threads, descriptors = threading.active_count(), open_descriptors()
    async with FaultServer(faults.stall(after=100), tls=certificates.server_context()) as server:
        connections = await asyncio.gather(
            *(asyncio.open_connection(*server.address, ssl=certificates.client_context()) for _ in range(20))
        )
        async with FaultServer(faults.stall(after=100)) as plain:
            connections += await asyncio.gather(*(asyncio.open_connection(*plain.address) for _ in range(500)))
            for _, writer in connections:
                writer.write(post(bytes(1000), length=10_000_000))
            await plain.reached("stalled", 500)
            await server.reached("stalled", 20)
            assert threading.active_count() == threads + 2
            assert {request.received for request in plain.requests + server.requests} == {100}
    assert {log.ended for log in plain.connections + server.connections} == {"server stopped"}
    for _, writer in connections:
        writer.transport.abort()
    await asyncio.gather(*(writer.wait_closed() for _, writer in connections), return_exceptions=True)
    del connections
    assert threading.active_count() == threads
    assert open_descriptors() == descriptors


def test_importing_the_server_imports_no_test_tool():
    """pytest is for the plugin, and certificates are for the caller."""
    code = "import sys, aioreq.testing; print({'pytest', 'trustme', 'h11'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
