"""Requests through SOCKS proxies: ssh's for all versions, microsocks for credentials, scripted ones for the rest."""

import asyncio
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import ConnectionEvent, ConnectTimeout, ExtraRequired, ProxyError, Session
from tests.servers.certificates import Certificates
from tests.servers.endpoint import EchoServer
from tests.servers.nginx import Nginx

from .proxies import PASSWORD, USERNAME, RunningProxy
from .scripted import scripted_proxy

SECRET = "s3cr3t"
SCHEMES = ["socks4", "socks4a", "socks5", "socks5h"]
LOCAL = {"socks4", "socks5"}
NO_AUTHENTICATION = b"\x05\x00"


class TestThrough:
    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_http(self, socks_proxy: RunningProxy, uvicorn_echo: EchoServer, scheme: str) -> None:
        """Each version of SOCKS carries plain requests to the server, which gets them as if there were no proxy."""
        ports: list[int] = []

        def note(event: ConnectionEvent) -> None:
            ports.append(event.remote[1])

        async with Session(proxy=socks_proxy.url(scheme), event_hooks={"connection": note}) as session:
            response = await session.post(uvicorn_echo.plain.url("/echo?a"), b"body")
        told = response.json()
        assert (told["path"], told["query"], told["body_latin1"]) == ("/echo", "a", "body")
        assert ports == [socks_proxy.port]

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_https(
        self, socks_proxy: RunningProxy, nginx: Nginx, certificates: Certificates, scheme: str, tmp_path: Path
    ) -> None:
        """Each version of SOCKS carries TLS; uploads and downloads are whole, and connections are kept."""
        content = os.urandom(1_000_000)
        (tmp_path / "file").write_bytes(content)
        async with Session(proxy=socks_proxy.url(scheme), verify=str(certificates.authority)) as session:
            for _ in range(2):
                await session.put(nginx.tls.url(f"/dav/{scheme}"), tmp_path / "file")
            assert (await session.get(nginx.tls.url(f"/dav/{scheme}"))).content == content
            assert session.pool.open == 1

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_who_resolves_names(self, socks_proxy: RunningProxy, uvicorn_echo: EchoServer, scheme: str) -> None:
        """socks4 and socks5 look names up here, socks4a and socks5h leave that to the proxy; as curl has it."""
        asked: list[str] = []

        def resolver(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"]

        url = f"http://localhost:{uvicorn_echo.plain.port}/echo"
        async with Session(proxy=socks_proxy.url(scheme), resolver=resolver) as session:
            assert (await session.get(url)).status_code == 200
        assert asked == (["localhost"] if scheme in LOCAL else [])

    async def test_addresses_are_tried_in_turn(self, socks_proxy: RunningProxy, nginx: Nginx, closed_port: int) -> None:
        """Where names are looked up here, the proxy is asked for each address until it reaches one."""

        def resolver(host: str, port: int) -> list[Any]:
            return [("127.0.0.1", closed_port), "127.0.0.1"]

        async with Session(proxy=socks_proxy.url("socks5"), resolver=resolver) as session:
            assert (await session.get(f"http://two.example:{nginx.plain.port}/status/204")).status_code == 204

    async def test_all_proxy(
        self, socks_proxy: RunningProxy, uvicorn_echo: EchoServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The environment may name a SOCKS proxy."""
        monkeypatch.setenv("ALL_PROXY", socks_proxy.url("socks5h"))
        ports: list[int] = []
        async with Session(event_hooks={"connection": lambda event: ports.append(event.remote[1])}) as session:
            await session.get(uvicorn_echo.plain.url("/echo"))
        assert ports == [socks_proxy.port]


class TestCredentials:
    @pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
    async def test_right(self, private_socks_proxy: RunningProxy, uvicorn_echo: EchoServer, scheme: str) -> None:
        """SOCKS5 takes user and password (RFC 1929); the server sees none of them."""
        async with Session(proxy=private_socks_proxy.url(scheme, USERNAME, PASSWORD)) as session:
            response = await session.get(uvicorn_echo.plain.url("/echo"), headers={"Proxy-Authorization": "Basic eDp5"})
        assert response.status_code == 200
        assert "proxy-authorization" not in dict(response.json()["headers"])

    async def test_wrong(self, private_socks_proxy: RunningProxy, uvicorn_echo: EchoServer) -> None:
        """Wrong credentials are a ProxyError that does not show them."""
        async with Session(proxy=private_socks_proxy.url("socks5h", USERNAME, SECRET)) as session:
            with pytest.raises(ProxyError, match=r"the proxy socks5h://127\.0\.0\.1:\d+ gives no way to") as caught:
                await session.get(uvicorn_echo.plain.url("/echo"))
            assert session.pool.open == 0
        text = "".join(traceback.format_exception(caught.value))
        assert SECRET not in text
        assert USERNAME not in text

    async def test_missing(self, private_socks_proxy: RunningProxy, uvicorn_echo: EchoServer) -> None:
        """Missing credentials are a ProxyError."""
        async with Session(proxy=private_socks_proxy.url("socks5h")) as session:
            with pytest.raises(ProxyError):
                await session.get(uvicorn_echo.plain.url("/echo"))

    async def test_the_user_of_socks4(self) -> None:
        """SOCKS4 says who asks, for what; a name follows behind the address 0.0.0.1 (SOCKS 4A)."""
        async with (
            scripted_proxy(b"\x00\x5b" + bytes(6), any_bytes=True) as script,
            Session(proxy=script.proxy.url("socks4a", "me")) as session,
        ):
            with pytest.raises(ProxyError, match="rejected"):
                await session.get("http://far.example:258/")
        assert script.heads == [b"\x04\x01\x01\x02\x00\x00\x00\x01me\x00far.example\x00"]


class TestRefusals:
    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_the_server_can_not_be_reached(
        self, socks_proxy: RunningProxy, closed_port: int, scheme: str
    ) -> None:
        """What the proxy can't reach is a ProxyError that names both."""
        async with Session(proxy=socks_proxy.url(scheme)) as session:
            with pytest.raises(
                ProxyError, match=rf"{scheme}://.* gives no way to 127\.0\.0\.1:{closed_port}"
            ) as caught:
                await session.get(f"http://127.0.0.1:{closed_port}/")
            assert session.pool.open == 0
        assert caught.value.request.url == f"http://127.0.0.1:{closed_port}/"

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_nobody_there(self, closed_port: int, scheme: str) -> None:
        """A proxy that can't be reached is a ProxyError that names it."""
        async with Session(proxy=f"{scheme}://me:{SECRET}@127.0.0.1:{closed_port}") as session:
            with pytest.raises(ProxyError, match=rf"the proxy {scheme}://127.0.0.1:{closed_port}: nobody") as caught:
                await session.get("http://127.0.0.1/")
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    @pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
    async def test_socks4_knows_ipv4_only(self, socks_proxy: RunningProxy, scheme: str) -> None:
        """An IPv6 address can't be said in SOCKS4, and nothing is tried."""
        async with Session(proxy=socks_proxy.url(scheme)) as session:
            with pytest.raises(ProxyError, match=rf"{scheme} knows IPv4 only, and \[::1\]:80 has no such address"):
                await session.get("http://[::1]/")

    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize("answer", [b"", b"\x05", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05\x01", b"\x05\x02"])
    async def test_what_is_no_proxy(self, scheme: str, answer: bytes) -> None:
        """Whatever is not an answer in SOCKS is a ProxyError, and its socket is closed."""
        async with (
            scripted_proxy(answer, any_bytes=True, hang_up=True) as script,
            Session(proxy=script.proxy.url(scheme)) as session,
        ):
            with pytest.raises(ProxyError):
                await session.get("http://127.0.0.1/")

    @pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
    @pytest.mark.parametrize("scheme", ["http", *SCHEMES])
    async def test_a_proxy_that_no_host_can_be_called(self, scheme: str, host: str) -> None:
        """A proxy whose name can't be looked up is a ProxyError like one whose name is unknown."""
        async with Session(proxy=f"{scheme}://{host}:1") as session:
            with pytest.raises(ProxyError, match=r"can't connect to the proxy .*the name can't be a host's"):
                await session.get("http://127.0.0.1/")


class TestTimeAndCancellation:
    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize("answer", [b"", NO_AUTHENTICATION])
    async def test_the_connect_timeout_covers_it(self, scheme: str, answer: bytes) -> None:
        """A proxy that falls silent is a ConnectTimeout, and its socket is closed."""
        async with scripted_proxy(answer, any_bytes=True) as script:
            async with Session(proxy=script.proxy.url(scheme), timeout=aioreq.Timeout(connect=0.2)) as session:
                with pytest.raises(ConnectTimeout, match=f"through {scheme}://"):
                    await session.get("http://127.0.0.1/")
                assert session.pool.open == 0
            async with asyncio.timeout(5):
                await script.left.wait()

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_cancelling_leaves_nothing_behind(self, scheme: str) -> None:
        """A call that is cancelled while the proxy is asked closes its socket and frees its place in the pool."""
        async with scripted_proxy(b"", any_bytes=True) as script, Session(proxy=script.proxy.url(scheme)) as session:
            call = asyncio.create_task(session.get("http://127.0.0.1/"))
            async with asyncio.timeout(5):
                await script.asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert session.pool.open == 0
            async with asyncio.timeout(5):
                await script.left.wait()


class TestWithoutTheExtra:
    @pytest.fixture(autouse=True)
    def without_python_socks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "python_socks", None)

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_a_given_proxy_is_refused_at_once(self, scheme: str) -> None:
        """A session that could not talk to its proxy says which extra to install, and does not show the password."""
        with pytest.raises(ExtraRequired, match=r"pip install 'aioreq\[socks\]'") as caught:
            Session(proxy=f"{scheme}://me:{SECRET}@127.0.0.1:1")
        assert isinstance(caught.value, ImportError)
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    async def test_the_environments_proxy_is_refused_when_it_is_needed(
        self, uvicorn_echo: EchoServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A SOCKS proxy in the environment is an error of the requests that need it, at the first attempt."""
        monkeypatch.setenv("all_proxy", f"socks5://me:{SECRET}@127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with Session(retry=aioreq.Retry(3, backoff=60)) as session:
            assert (await session.get(uvicorn_echo.plain.url("/echo"))).status_code == 200
            with pytest.raises(ExtraRequired, match=r"pip install 'aioreq\[socks\]'"):
                await session.get("http://far.example/")
