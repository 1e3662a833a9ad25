"""Requests through HTTP proxies: tinyproxy where all is well, scripted ones where it is not."""

import asyncio
import base64
import contextlib
import logging
import os
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import ConnectionEvent, ConnectTimeout, Limits, ProxyError, Retry, Session, SSLError
from tests.servers.certificates import Certificates
from tests.servers.endpoint import EchoServer
from tests.servers.nginx import Nginx

from .proxies import PASSWORD, USERNAME, RunningProxy
from .scripted import scripted_proxy, tls_before

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
GRANTED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DENIED = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno"
SECRET = "s3cr3t"
FAR = "https://far.example:8443/path?query"


class Sockets:
    """The remote ends of the connections that requests were sent on."""

    def __init__(self) -> None:
        self.ports: list[int] = []

    def hooks(self) -> dict[str, Any]:
        return {"connection": self._note}

    def _note(self, event: ConnectionEvent) -> None:
        self.ports.append(event.remote[1])


@pytest.fixture
def sockets() -> Sockets:
    return Sockets()


@pytest.fixture
async def tls_proxy(http_proxy: RunningProxy, certificates: Certificates) -> AsyncIterator[RunningProxy]:
    """tinyproxy behind TLS."""
    async with tls_before(http_proxy, certificates.server_context()) as proxy:
        yield proxy


def header(response: aioreq.Response, name: str) -> str | None:
    """A header as the echo server got it."""
    return dict(response.json()["headers"]).get(name)


class TestForwarding:
    async def test_http_is_forwarded(
        self, http_proxy: RunningProxy, uvicorn_echo: EchoServer, sockets: Sockets
    ) -> None:
        """A request to an http URL goes to the proxy whole, and the proxy sends it on."""
        async with Session(proxy=http_proxy.url("http"), event_hooks=sockets.hooks()) as session:
            response = await session.post(uvicorn_echo.plain.url("/echo?a=b"), b"body")
        told = response.json()
        assert (told["method"], told["path"], told["query"]) == ("POST", "/echo", "a=b")
        assert told["body_latin1"] == "body"
        assert header(response, "host") == f"127.0.0.1:{uvicorn_echo.plain.port}"
        assert "tinyproxy" in (header(response, "via") or "")
        assert sockets.ports == [http_proxy.port]

    async def test_uploads_are_exact(self, http_proxy: RunningProxy, nginx: Nginx, tmp_path: Path) -> None:
        """A file of some size arrives whole through the proxy."""
        content = os.urandom(3_000_000)
        (tmp_path / "file").write_bytes(content)
        async with Session(proxy=http_proxy.url("http")) as session:
            response = await session.put(nginx.plain.url("/dav/forwarded"), tmp_path / "file")
        assert response.status_code == 201
        assert response.upload.complete
        assert nginx.stored("forwarded").read_bytes() == content

    async def test_the_proxys_credentials_stop_at_the_proxy(
        self, private_proxy: RunningProxy, uvicorn_echo: EchoServer
    ) -> None:
        """A private proxy is satisfied by the credentials in its URL, and the server never sees them."""
        async with Session(proxy=private_proxy.url("http", USERNAME, PASSWORD)) as session:
            response = await session.get(uvicorn_echo.plain.url("/echo"))
        assert response.status_code == 200
        assert header(response, "proxy-authorization") is None
        assert "Proxy-Authorization" not in response.request.headers

    async def test_servers_share_the_proxys_connections(self) -> None:
        """Requests to several servers follow one another on one connection to the proxy."""
        async with scripted_proxy(GRANTED) as script, Session(proxy=script.proxy.url("http")) as session:
            for host in ("one.example", "two.example"):
                assert (await session.get(f"http://{host}/")).text == "ok"
        assert script.connections == 1
        assert [head.split(b"\r\n")[0] for head in script.heads] == [
            b"GET http://one.example/ HTTP/1.1",
            b"GET http://two.example/ HTTP/1.1",
        ]
        assert b"\r\nHost: two.example\r\n" in script.heads[1]

    async def test_names_are_the_proxys_to_resolve(self) -> None:
        """An HTTP proxy is told the name: nothing is looked up here."""

        def resolver(host: str, port: int) -> list[str]:
            raise AssertionError(f"{host} was looked up")

        async with (
            scripted_proxy(GRANTED) as script,
            Session(proxy=script.proxy.url("http"), resolver=resolver) as session,
        ):
            await session.get("http://only-the-proxy-knows.invalid/")
        assert script.heads[0].startswith(b"GET http://only-the-proxy-knows.invalid/ HTTP/1.1\r\n")


class TestTunnel:
    async def test_https_goes_through_a_tunnel(
        self,
        http_proxy: RunningProxy,
        uvicorn_echo: EchoServer,
        certificates: Certificates,
        sockets: Sockets,
    ) -> None:
        """A request to an https URL is between us and the server: the proxy only passes bytes (CONNECT)."""
        async with Session(
            proxy=http_proxy.url("http"), verify=str(certificates.authority), event_hooks=sockets.hooks()
        ) as session:
            response = await session.get(uvicorn_echo.tls.url("/echo"))
        assert response.json()["path"] == "/echo"
        assert header(response, "via") is None
        assert sockets.ports == [http_proxy.port]
        assert http_proxy.log is not None
        assert f"CONNECT 127.0.0.1:{uvicorn_echo.tls.port} HTTP/1.1" in http_proxy.log.read_text()

    async def test_a_tunnel_is_kept_for_its_server(
        self, http_proxy: RunningProxy, nginx: Nginx, certificates: Certificates
    ) -> None:
        """The next request to the same server goes through the same tunnel."""
        async with Session(proxy=http_proxy.url("http"), verify=str(certificates.authority)) as session:
            answers = [(await session.get(nginx.tls.url("/connection"))).text.split() for _ in range(2)]
        assert answers[0][0] == answers[1][0]
        assert [count for _, count in answers] == ["1", "2"]

    async def test_uploads_are_exact(
        self, http_proxy: RunningProxy, nginx: Nginx, certificates: Certificates, tmp_path: Path
    ) -> None:
        """A file of some size arrives whole through the tunnel."""
        content = os.urandom(3_000_000)
        (tmp_path / "file").write_bytes(content)
        async with Session(proxy=http_proxy.url("http"), verify=str(certificates.authority)) as session:
            response = await session.put(nginx.tls.url("/dav/tunnelled"), tmp_path / "file")
        assert response.status_code == 201
        assert nginx.stored("tunnelled").read_bytes() == content

    async def test_the_proxys_credentials_stop_at_the_proxy(
        self, private_proxy: RunningProxy, uvicorn_echo: EchoServer, certificates: Certificates
    ) -> None:
        """The proxy gets its credentials with CONNECT, and the server gets none: not even what the caller wrote."""
        async with Session(
            proxy=private_proxy.url("http", USERNAME, PASSWORD), verify=str(certificates.authority)
        ) as session:
            response = await session.get(uvicorn_echo.tls.url("/echo"), headers={"Proxy-Authorization": "Basic eDp5"})
        assert response.status_code == 200
        assert header(response, "proxy-authorization") is None

    async def test_the_request_for_a_tunnel(self) -> None:
        """CONNECT names host and port and carries the credentials; nothing of the request itself is shown."""
        async with (
            scripted_proxy(DENIED) as script,
            Session(proxy=script.proxy.url("http", "me", "pä:ss")) as session,
        ):
            with pytest.raises(ProxyError):
                await session.get(FAR, headers={"Authorization": "mine"}, cookies={"a": "b"})
        credentials = base64.b64encode("me:pä:ss".encode())
        assert script.heads == [
            b"CONNECT far.example:8443 HTTP/1.1\r\nHost: far.example:8443\r\n"
            b"Proxy-Authorization: Basic " + credentials + b"\r\n\r\n"
        ]

    async def test_an_ipv6_address_stands_in_brackets(self) -> None:
        """The authority of an IPv6 address is bracketed, default port included (RFC 9110, section 9.3.6)."""
        async with scripted_proxy(DENIED) as script, Session(proxy=script.proxy.url("http")) as session:
            with pytest.raises(ProxyError):
                await session.get("https://[2001:db8::1]/")
        assert script.heads == [b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"]

    async def test_the_servers_certificate_is_checked(
        self, http_proxy: RunningProxy, nginx: Nginx, certificates: Certificates
    ) -> None:
        """A tunnel changes nothing in whom to trust."""
        async with Session(proxy=http_proxy.url("http"), verify=str(certificates.authority)) as session:
            for bad in (nginx.expired, nginx.other_host):
                with pytest.raises(SSLError, match="not trusted"):
                    await session.get(bad.url())


class TestProxyWithTLS:
    async def test_http_over_tls_to_the_proxy(
        self, tls_proxy: RunningProxy, uvicorn_echo: EchoServer, certificates: Certificates
    ) -> None:
        """An https:// proxy forwards plain requests that it gets over TLS."""
        async with Session(proxy=tls_proxy.url("https"), verify=str(certificates.authority)) as session:
            response = await session.get(uvicorn_echo.plain.url("/echo"))
        assert "tinyproxy" in (header(response, "via") or "")

    async def test_tls_in_tls(
        self, tls_proxy: RunningProxy, nginx: Nginx, certificates: Certificates, tmp_path: Path
    ) -> None:
        """Through an https:// proxy an https server is reached by TLS within TLS, both ways whole."""
        content = os.urandom(1_000_000)
        (tmp_path / "file").write_bytes(content)
        async with Session(proxy=tls_proxy.url("https"), verify=str(certificates.authority)) as session:
            assert (await session.put(nginx.tls.url("/dav/twice"), tmp_path / "file")).status_code == 201
            assert (await session.get(nginx.tls.url("/dav/twice"))).content == content

    async def test_the_proxys_certificate_is_checked(
        self, http_proxy: RunningProxy, nginx: Nginx, certificates: Certificates
    ) -> None:
        """A proxy that can't prove who it is gets nothing, and the error says that it is the proxy."""
        async with (
            tls_before(http_proxy, certificates.server_context(certificates.other_host)) as impostor,
            Session(proxy=impostor.url("https", "me", SECRET), verify=str(certificates.authority)) as session,
        ):
            with pytest.raises(SSLError, match=r"no TLS with the proxy https://127\.0\.0\.1"):
                await session.get(nginx.plain.url("/"))

    async def test_the_clients_certificate_is_for_the_server(
        self, tls_proxy: RunningProxy, nginx: Nginx, certificates: Certificates
    ) -> None:
        """cert= is shown to the server, through the proxy's TLS."""
        async with Session(
            proxy=tls_proxy.url("https"), verify=str(certificates.authority), cert=str(certificates.client)
        ) as session:
            response = await session.get(nginx.tls.url("/client-certificate"))
        assert response.text.startswith("SUCCESS")


class TestRefusals:
    @pytest.mark.parametrize("url", ["http://far.example/", FAR])
    async def test_missing_credentials(self, private_proxy: RunningProxy, url: str) -> None:
        """407 is a ProxyError, for http and https alike; it says what to do, and isn't tried again."""
        async with Session(proxy=private_proxy.url("http"), retry=Retry(3, backoff=60)) as session:
            with pytest.raises(ProxyError, match=r"refused with 407 .*: it wants credentials, which go") as caught:
                await session.post(url, b"body", headers={"Idempotency-Key": "1"})
            assert session.pool.open == 0
        assert caught.value.status_code == 407
        assert caught.value.request.url == url

    @pytest.mark.parametrize("url", ["http://far.example/", FAR])
    async def test_wrong_credentials(self, url: str) -> None:
        """407 to credentials says that they are wrong, and does not show them."""
        async with scripted_proxy(DENIED) as script, Session(proxy=script.proxy.url("http", "me", SECRET)) as session:
            with pytest.raises(ProxyError, match=r"407 .*: it does not accept the credentials in its URL") as caught:
                await session.post(url, b"body")
        assert caught.value.status_code == 407
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    async def test_wrong_credentials_as_tinyproxy_has_it(self, private_proxy: RunningProxy) -> None:
        """A proxy that says 401 to CONNECT means its own credentials, too: the server has not been asked yet."""
        async with Session(proxy=private_proxy.url("http", "me", SECRET)) as session:
            with pytest.raises(ProxyError, match=r"401 .*: it does not accept the credentials in its URL"):
                await session.get(FAR)

    async def test_a_refused_tunnel_carries_the_status(self, http_proxy: RunningProxy, closed_port: int) -> None:
        """A proxy that can't reach the server says so with a status, which the error carries."""
        async with Session(proxy=http_proxy.url("http")) as session:
            with pytest.raises(ProxyError, match=r"the proxy http://127\.0\.0\.1:\d+ refused with 5\d\d") as caught:
                await session.get(f"https://127.0.0.1:{closed_port}/")
        assert caught.value.status_code is not None
        assert 500 <= caught.value.status_code <= 504

    async def test_a_forwarding_proxys_other_answers_are_answers(
        self, http_proxy: RunningProxy, closed_port: int
    ) -> None:
        """Whether a 502 is the proxy's or the server's nobody can tell: it is returned."""
        async with Session(proxy=http_proxy.url("http")) as session:
            response = await session.get(f"http://127.0.0.1:{closed_port}/")
        assert 500 <= response.status_code <= 504

    async def test_a_407_from_a_server_is_an_answer(self) -> None:
        """Without a proxy that reads the request, 407 is a status like any other."""
        async with scripted_proxy(DENIED) as script, Session() as session:
            assert (await session.get(script.proxy.url("http"))).status_code == 407

    async def test_refusals_for_now_are_tried_again(self) -> None:
        """A retry policy asks a proxy again that refused with 503, and not one that refused with 403."""
        for status, asked in ((503, 2), (403, 1)):
            answer = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status
            async with (
                scripted_proxy(answer) as script,
                Session(proxy=script.proxy.url("http"), retry=Retry(2, backoff=0)) as session,
            ):
                with pytest.raises(ProxyError) as caught:
                    await session.get(FAR)
            assert (caught.value.status_code, script.connections) == (status, asked)

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (b"", "closed the connection without an answer"),
            (b"HTTP/1.1 200 OK\r\nX", "in the middle of the answer's head"),
            (b"SSH-2.0-OpenSSH\r\n", "not HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000, "larger than"),
            (b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "more than 32 interim"),
            (ESTABLISHED + b"HTTP/1.1 200 OK\r\n\r\n", "bytes of its own"),
        ],
    )
    async def test_what_is_no_proxy(self, answer: bytes, reason: str) -> None:
        """Whatever is not an answer to CONNECT is a ProxyError that says what is wrong."""
        async with scripted_proxy(answer, hang_up=True) as script, Session(proxy=script.proxy.url("http")) as session:
            with pytest.raises(ProxyError, match=reason) as caught:
                await session.get(FAR)
        assert caught.value.status_code is None

    @pytest.mark.parametrize("url", ["http://far.example/", FAR])
    async def test_nobody_there(self, closed_port: int, url: str) -> None:
        """A proxy that can't be reached is a ProxyError that names the proxy, and not its credentials."""
        async with Session(proxy=f"http://me:{SECRET}@127.0.0.1:{closed_port}") as session:
            with pytest.raises(
                ProxyError, match=rf"the proxy http://127.0.0.1:{closed_port}: nobody listens"
            ) as caught:
                await session.get(url)
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    async def test_informational_answers_are_skipped(self) -> None:
        """A 1xx answer comes before the one that counts (RFC 9110, section 15.2)."""
        async with (
            scripted_proxy(b"HTTP/1.1 103 Early Hints\r\n\r\n" + DENIED) as script,
            Session(proxy=script.proxy.url("http")) as session,
        ):
            with pytest.raises(ProxyError, match="407"):
                await session.get(FAR)


class TestTimeAndCancellation:
    @pytest.mark.parametrize(
        ("answer", "scheme"), [(b"", "http"), (b"HTTP/1.1 200", "http"), (ESTABLISHED, "http"), (b"", "https")]
    )
    async def test_the_connect_timeout_covers_all_of_it(self, answer: bytes, scheme: str) -> None:
        """A proxy that is silent, in its TLS, in its answer or behind it, is a ConnectTimeout; its socket is closed."""
        async with (
            scripted_proxy(answer, any_bytes=True) as script,
            Session(proxy=script.proxy.url(scheme), timeout=aioreq.Timeout(connect=0.2)) as session,
        ):
            with pytest.raises(ConnectTimeout, match=rf"through {scheme}://127.0.0.1:\d+ within 0.2 seconds"):
                await session.get(FAR)
            assert session.pool.open == 0
            async with asyncio.timeout(5):
                await script.left.wait()

    @pytest.mark.parametrize(("answer", "scheme"), [(b"", "http"), (ESTABLISHED, "http"), (b"", "https")])
    async def test_cancelling_leaves_nothing_behind(self, answer: bytes, scheme: str) -> None:
        """A call that is cancelled while the tunnel is made closes its socket and frees its place in the pool."""
        async with (
            scripted_proxy(answer, any_bytes=True) as script,
            Session(proxy=script.proxy.url(scheme), limits=Limits(max_connections=1)) as session,
        ):
            call = asyncio.create_task(session.get(FAR))
            async with asyncio.timeout(5):
                await script.asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert session.pool.open == 0
            async with asyncio.timeout(5):
                await script.left.wait()

    async def test_cancelling_at_every_step(
        self, http_proxy: RunningProxy, nginx: Nginx, certificates: Certificates
    ) -> None:
        """Wherever in the making of a tunnel the call is cancelled, the pool is empty afterwards."""
        verify = certificates.client_context()
        finished = False
        steps = 0
        while not finished:
            async with Session(proxy=http_proxy.url("http"), verify=verify) as session:
                call = asyncio.create_task(session.get(nginx.tls.url("/hello.txt")))
                for _ in range(steps):
                    await asyncio.sleep(0)
                finished = call.done()
                call.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await call
                assert session.pool.open == session.pool.idle
            steps += 1 + steps // 4
        assert steps > 10


class TestEnvironment:
    async def test_the_environment_chooses(
        self, http_proxy: RunningProxy, uvicorn_echo: EchoServer, monkeypatch: pytest.MonkeyPatch, sockets: Sockets
    ) -> None:
        """HTTP_PROXY is used as it stands when the session is made, NO_PROXY exempts, trust_env=False ignores both."""
        url = uvicorn_echo.plain.url("/echo")
        monkeypatch.setenv("HTTP_PROXY", http_proxy.url("http"))
        async with Session(event_hooks=sockets.hooks()) as session:
            await session.get(url)
        async with Session(event_hooks=sockets.hooks(), trust_env=False) as session:
            await session.get(url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        async with Session(event_hooks=sockets.hooks()) as session:
            await session.get(url)
        assert sockets.ports == [http_proxy.port, uvicorn_echo.plain.port, uvicorn_echo.plain.port]

    async def test_https_by_the_environment(
        self,
        private_proxy: RunningProxy,
        uvicorn_echo: EchoServer,
        certificates: Certificates,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """https_proxy may hold credentials; the server sees none."""
        monkeypatch.setenv("https_proxy", private_proxy.url("http", USERNAME, PASSWORD))
        async with Session(verify=str(certificates.authority)) as session:
            response = await session.get(uvicorn_echo.tls.url("/echo"))
        assert header(response, "proxy-authorization") is None

    async def test_each_hop_of_a_redirect_takes_its_own_way(
        self, uvicorn_echo: EchoServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A redirect to a server that needs no proxy goes there directly, without the proxy's credentials."""
        away = b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n"
        async with scripted_proxy(away % uvicorn_echo.plain.url("/echo").encode()) as script:
            monkeypatch.setenv("http_proxy", script.proxy.url("http", "me", SECRET))
            monkeypatch.setenv("no_proxy", f"127.0.0.1:{uvicorn_echo.plain.port}")
            async with Session() as session:
                response = await session.get("http://far.example/")
        assert b"\r\nProxy-Authorization: Basic " in script.heads[0]
        assert response.json()["path"] == "/echo"
        assert header(response, "proxy-authorization") is None

    async def test_credentials_go_to_no_other_proxy(
        self, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A redirect that takes another proxy leaves the first one's credentials behind."""
        away = b"HTTP/1.1 307 Away\r\nLocation: https://other.example/\r\nContent-Length: 0\r\n\r\n"
        async with scripted_proxy(away) as first, scripted_proxy(DENIED) as second:
            monkeypatch.setenv("http_proxy", first.proxy.url("http", "me", SECRET))
            monkeypatch.setenv("https_proxy", second.proxy.url("http"))
            async with Session() as session:
                with pytest.raises(ProxyError):
                    await session.get("http://far.example/")
        assert b"Proxy-Authorization" in first.heads[0]
        assert b"Proxy-Authorization" not in second.heads[0]


class TestSecrets:
    async def test_logs_and_reprs_hold_none(
        self, private_proxy: RunningProxy, uvicorn_echo: EchoServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The proxy's password is in no log line, at no level, and in no repr."""
        caplog.set_level(logging.DEBUG)
        seen: list[str] = []
        async with Session(
            proxy=private_proxy.url("http", USERNAME, PASSWORD),
            event_hooks={"request": lambda it: seen.append(repr(it)), "connection": lambda it: seen.append(repr(it))},
        ) as session:
            response = await session.get(uvicorn_echo.plain.url("/echo"))
            seen += [repr(session), repr(session.pool), repr(response), repr(response.request.headers), caplog.text]
        assert caplog.records
        assert len(seen) == 7
        basic = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        assert not any(PASSWORD in text or basic in text for text in seen)

    def test_a_bad_proxy_is_not_shown(self) -> None:
        """A session that refuses its proxy doesn't show it."""
        with pytest.raises(ValueError, match="not the URL of a proxy") as caught:
            Session(proxy=f"gopher://me:{SECRET}@proxy")
        assert SECRET not in "".join(traceback.format_exception(caught.value))
