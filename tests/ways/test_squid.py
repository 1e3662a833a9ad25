"""Requests through squid, a proxy that reads what it forwards, refuses early, and keeps connections."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aioreq import ConnectionEvent, ProxyError, Session
from tests.servers.certificates import Certificates
from tests.servers.endpoint import EchoServer, Endpoint
from tests.servers.nginx import Nginx

from .proxies import PASSWORD, USERNAME, RunningProxy

SIZE = 20_000_000


@pytest.fixture(params=["plain", "tls"])
def nginx_port(request: pytest.FixtureRequest, nginx: Nginx) -> Endpoint:
    """nginx over plain http, which squid forwards, and over TLS, which it tunnels."""
    endpoint: Endpoint = getattr(nginx, request.param)
    return endpoint


@pytest.fixture
def big_file(tmp_path: Path) -> Iterator[Path]:
    """A file larger than all buffers on the way."""
    path = tmp_path / "big"
    path.write_bytes(os.urandom(1_000_000) * (SIZE // 1_000_000))
    yield path
    path.unlink()


def pieces(size: int) -> Iterator[bytes]:
    """So many bytes, a piece at a time."""
    for _ in range(size // 10_000):
        yield b"x" * 10_000


class TestForms:
    async def test_http_is_forwarded(self, open_squid: RunningProxy, uvicorn_echo: EchoServer) -> None:
        """The proxy gets the whole URL, the server its path; the proxy tells both that it was there."""
        async with Session(proxy=open_squid.url("http")) as session:
            response = await session.post(uvicorn_echo.plain.url("/echo/forwarded?a=b"), b"body")
        told = response.json()
        assert (told["method"], told["path"], told["query"]) == ("POST", "/echo/forwarded", "a=b")
        assert told["body_latin1"] == "body"
        headers = dict(told["headers"])
        assert "squid" in headers["via"]
        assert headers["host"] == f"127.0.0.1:{uvicorn_echo.plain.port}"
        assert "squid" in response.headers["Via"]
        assert open_squid.log is not None
        assert f" POST {uvicorn_echo.plain.url('/echo/forwarded')}" in open_squid.log.read_text()

    async def test_https_goes_through_a_tunnel(
        self, open_squid: RunningProxy, uvicorn_echo: EchoServer, certificates: Certificates
    ) -> None:
        """The proxy learns host and port alone, and the server nothing of the proxy."""
        async with Session(proxy=open_squid.url("http"), verify=str(certificates.authority)) as session:
            response = await session.post(uvicorn_echo.tls.url("/echo/tunnelled"), b"body")
        told = response.json()
        assert (told["path"], told["body_latin1"]) == ("/echo/tunnelled", "body")
        assert "via" not in dict(told["headers"])
        assert "Via" not in response.headers
        assert open_squid.log is not None
        assert "tunnelled" not in open_squid.log.read_text()

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
    async def test_any_method(self, method: str, open_squid: RunningProxy, uvicorn_echo: EchoServer) -> None:
        """Methods go through as they are."""
        async with Session(proxy=open_squid.url("http")) as session:
            response = await session.request(method, uvicorn_echo.plain.url("/echo"))
        assert response.status_code == 200
        assert (method == "HEAD") or response.json()["method"] == method

    async def test_redirects(self, open_squid: RunningProxy, httpbin: Endpoint) -> None:
        """Each hop of a redirect goes through the proxy; cookies that are set on the way go along."""
        async with Session(proxy=open_squid.url("http")) as session:
            response = await session.get(httpbin.url("/cookies/set/name/value"))
        assert response.json() == {"cookies": {"name": "value"}}
        assert all("squid" in hop.headers["Via"] for hop in (*response.history, response))


class TestCredentials:
    @pytest.mark.parametrize("scheme", ["plain", "tls"])
    async def test_none_then_the_right_ones(
        self, scheme: str, private_squid: RunningProxy, uvicorn_echo: EchoServer, certificates: Certificates
    ) -> None:
        """Without credentials 407 is a ProxyError that says what to do; with those in the URL all goes through."""
        url = getattr(uvicorn_echo, scheme).url("/echo")
        verify = str(certificates.authority)
        async with Session(proxy=private_squid.url("http"), verify=verify) as session:
            with pytest.raises(ProxyError, match=r"407 .*: it wants credentials, which go into its URL") as caught:
                await session.post(url, b"body")
        assert caught.value.status_code == 407
        async with Session(proxy=private_squid.url("http", USERNAME, PASSWORD), verify=verify) as session:
            told = (await session.post(url, b"body")).json()
        assert told["body_latin1"] == "body"
        assert not {"authorization", "proxy-authorization"} & set(dict(told["headers"]))

    @pytest.mark.parametrize("scheme", ["plain", "tls"])
    async def test_wrong_ones(self, scheme: str, private_squid: RunningProxy, uvicorn_echo: EchoServer) -> None:
        """407 to credentials says that they are wrong."""
        async with Session(proxy=private_squid.url("http", USERNAME, "wrong")) as session:
            with pytest.raises(ProxyError, match=r"407 .*: it does not accept the credentials in its URL"):
                await session.get(getattr(uvicorn_echo, scheme).url("/echo"))

    async def test_a_refused_upload(self, private_squid: RunningProxy, nginx: Nginx) -> None:
        """407 in the middle of an upload is not lost in the broken connection."""
        async with Session(proxy=private_squid.url("http")) as session:
            with pytest.raises(ProxyError, match="407") as caught:
                await session.put(nginx.plain.url("/dav/refused"), bytes(4_000_000))
            assert session.pool.open == session.pool.idle  # kept only if squid has taken all of the body
        assert caught.value.status_code == 407
        assert not nginx.stored("refused").exists()

    async def test_the_servers_own_are_another_matter(self, private_squid: RunningProxy, httpbin: Endpoint) -> None:
        """Credentials for the server go through to it, beside those for the proxy."""
        async with Session(proxy=private_squid.url("http", USERNAME, PASSWORD)) as session:
            response = await session.get(httpbin.url("/basic-auth/me/secret"), auth=("me", "secret"))
            assert response.json() == {"authenticated": True, "user": "me"}
            assert (await session.get(httpbin.url("/basic-auth/me/secret"))).status_code == 401


class TestTransfers:
    async def test_big_files_both_ways(
        self, open_squid: RunningProxy, nginx: Nginx, nginx_port: Endpoint, certificates: Certificates, big_file: Path
    ) -> None:
        """A large file arrives whole, forwarded or tunnelled, and comes back whole."""
        digest = hashlib.sha256(big_file.read_bytes()).hexdigest()
        async with Session(proxy=open_squid.url("http"), verify=str(certificates.authority)) as session:
            response = await session.put(nginx_port.url("/dav/big"), big_file)
            assert response.ok
            assert (response.upload.sent, response.upload.complete) == (SIZE, True)
            assert hashlib.sha256(nginx.stored("big").read_bytes()).hexdigest() == digest
            back = hashlib.sha256()
            async with session.stream("GET", nginx_port.url("/dav/big")) as download:
                async for piece in download.iter_content():
                    back.update(piece)
            assert back.hexdigest() == digest
            assert session.pool.open == 1

    async def test_chunks(self, open_squid: RunningProxy, uvicorn_echo: EchoServer) -> None:
        """A body in chunks goes through, too."""
        async with Session(proxy=open_squid.url("http")) as session:
            response = await session.put(
                uvicorn_echo.plain.url("/echo"), data=pieces(300_000), headers={"Transfer-Encoding": "chunked"}
            )
        assert response.json()["length"] == 300_000

    async def test_a_streamed_answer(self, open_squid: RunningProxy, httpbin: Endpoint) -> None:
        """An answer in chunks is read as it comes."""
        async with Session(proxy=open_squid.url("http")) as session:
            async with session.stream("GET", httpbin.url("/stream/30")) as response:
                assert [line async for line in response.iter_lines()][29].endswith('"id": 29}')


class TestEarlyRefusal:
    @pytest.mark.parametrize("kind", ["file", "bytes", "form", "iterator"])
    async def test_413(self, kind: str, private_squid: RunningProxy, nginx: Nginx, big_file: Path) -> None:
        """squid refuses a body that is too large before it is out: the 413 is the answer, its text whole."""
        arguments: dict[str, Any] = {
            "file": {"data": big_file},
            "bytes": {"data": bytes(SIZE)},
            "form": {"files": {"file": big_file}},
            "iterator": {"data": pieces(SIZE), "headers": {"Content-Length": str(SIZE)}, "expect_continue": False},
        }[kind]
        async with Session(proxy=private_squid.url("http", USERNAME, PASSWORD)) as session:
            response = await session.put(nginx.plain.url("/dav/too-big"), **arguments)
            assert response.status_code == 413
            assert response.headers["X-Squid-Error"].startswith("ERR_TOO_BIG")
            assert len(response.content) == int(response.headers["Content-Length"])
            assert not response.upload.complete
            assert response.upload.sent < response.upload.total
            assert session.pool.open == 0
            assert (await session.put(nginx.plain.url("/dav/small"), b"x" * 100_000)).ok
        assert not nginx.stored("too-big").exists()
        assert nginx.stored("small").stat().st_size == 100_000

    async def test_asked_first(self, private_squid: RunningProxy, nginx: Nginx, big_file: Path) -> None:
        """With expect_continue not a byte of a body leaves that is refused."""
        async with Session(proxy=private_squid.url("http", USERNAME, PASSWORD)) as session:
            response = await session.put(nginx.plain.url("/dav/asked"), big_file, expect_continue=True)
        assert response.status_code == 413
        assert response.upload.sent == 0

    async def test_a_tunnel_has_no_limit(
        self, private_squid: RunningProxy, nginx: Nginx, certificates: Certificates, big_file: Path
    ) -> None:
        """Through a tunnel the proxy can't tell how large a body is."""
        async with Session(
            proxy=private_squid.url("http", USERNAME, PASSWORD), verify=str(certificates.authority)
        ) as session:
            assert (await session.put(nginx.tls.url("/dav/tunnelled"), big_file)).ok
        assert nginx.stored("tunnelled").stat().st_size == SIZE

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_nobody_behind_it(self, scheme: str, open_squid: RunningProxy, closed_port: int) -> None:
        """A server that the proxy can't reach is its 503: an answer where it forwards, a ProxyError in a tunnel."""
        async with Session(proxy=open_squid.url("http")) as session:
            url = f"{scheme}://127.0.0.1:{closed_port}/"
            if scheme == "http":
                response = await session.get(url)
                assert response.headers["X-Squid-Error"].startswith("ERR_CONNECT_FAIL")
                assert response.status_code == 503
            else:
                with pytest.raises(ProxyError, match="503") as caught:
                    await session.get(url)
                assert caught.value.status_code == 503


class TestConnections:
    async def test_forwarded_requests_share_one(
        self, open_squid: RunningProxy, uvicorn_echo: EchoServer, httpbin: Endpoint, nginx: Nginx
    ) -> None:
        """Requests to any server follow each other on one connection to the proxy, uploads among them."""
        seen: list[ConnectionEvent] = []
        async with Session(proxy=open_squid.url("http"), event_hooks={"connection": seen.append}) as session:
            for _ in range(3):
                await session.get(uvicorn_echo.plain.url("/echo"))
                await session.post(httpbin.url("/post"), b"x" * 300_000)
                await session.put(nginx.plain.url("/dav/shared"), b"y" * 300_000)
        assert len(seen) == 9
        assert len({event.local for event in seen}) == 1
        assert {event.remote[1] for event in seen} == {open_squid.port}

    async def test_a_tunnel_is_kept(
        self, open_squid: RunningProxy, uvicorn_echo: EchoServer, certificates: Certificates
    ) -> None:
        """Requests to one https server follow each other through one tunnel."""
        assert open_squid.log is not None
        async with Session(proxy=open_squid.url("http"), verify=str(certificates.authority)) as session:
            for _ in range(5):
                assert (await session.post(uvicorn_echo.tls.url("/echo"), b"x" * 300_000)).ok
            assert session.pool.open == 1

    async def test_a_connection_that_the_proxy_closed(self, open_squid: RunningProxy, httpbin: Endpoint) -> None:
        """What the proxy closes after an answer is not used again, and the next request finds another."""
        async with Session(proxy=open_squid.url("http")) as session:
            response = await session.get(httpbin.url("/get"), headers={"Connection": "close"})
            assert re.search(r"\bclose\b", response.headers["Connection"])
            assert session.pool.open == 0
            assert (await session.get(httpbin.url("/get"))).ok
