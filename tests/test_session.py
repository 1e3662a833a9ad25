"""What a session keeps: defaults, cookies, credentials, connections; and what calls put over them."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import Limits, Request, Retry, Session, Timeout
from aioreq.testing import Exchange, FaultServer, Script, faults, script
from tests.servers.endpoint import EchoServer
from tests.servers.nginx import Nginx

Serve = Callable[..., FaultServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A factory of running servers, against which nobody has broken HTTP when the test is over."""
    servers: list[FaultServer] = []

    def start(*args: Any, **options: Any) -> FaultServer:
        servers.append(FaultServer(*args, **options).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__(None, None, None)
        assert server.violations == []


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with Session() as session:
        yield session


def answer(*headers: tuple[str, str], status: int = 200, body: bytes = b"") -> Script:
    """A script that reads the request and answers so."""
    return faults.ok(status, headers, body)


def cookies_sent(server: FaultServer) -> list[str | None]:
    return [request.header("cookie") for request in server.requests]


class TestLife:
    """Beginning and end."""

    async def test_closing_twice(self):
        """A session can be closed twice, and while nothing was ever asked of it."""
        session = Session()
        await session.aclose()
        await session.aclose()
        assert session.closed
        assert repr(session) == "<Session [closed]>"

    async def test_without_a_block(self, serve: Serve):
        """A session works without a block, from its first call until aclose()."""
        server = serve()
        session = Session()
        assert (await session.get(server.url)).status_code == 200
        assert repr(session) == "<Session [<Pool [1 open, 1 idle, 0 waiting]>]>"
        await session.aclose()
        await server.reached("closed")
        assert server.connections[0].ended == "client closed"

    async def test_an_exception_in_the_block(self, serve: Serve):
        """The block's own exception comes out of it, and the session is closed."""
        server = serve()
        with pytest.raises(LookupError, match="mine"):
            async with Session() as session:
                await session.get(server.url)
                raise LookupError("mine")
        assert session.closed
        await server.reached("closed")

    async def test_many_sessions_and_their_threads(self, serve: Serve, tmp_path: Path):
        """Worker threads stay while any session is open, and end with the last one."""
        server = serve()
        (tmp_path / "file").write_bytes(bytes(1_000_000))
        async with Session():
            async with Session() as inner:
                await inner.put(server.url, data=tmp_path / "file")
            assert _worker_threads()
        for thread in _worker_threads():
            await asyncio.to_thread(thread.join, 10)
        assert not _worker_threads()

    async def test_many_tasks(self, aiohttp_echo: EchoServer, session: Session):
        """Any number of tasks use one session at once, each with its own answers."""

        async def task(number: int) -> list[str]:
            urls = [aiohttp_echo.plain.url(f"/echo/{number}/{step}") for step in range(10)]
            return [(await session.post(url, json=number)).json()["path"] for url in urls]

        paths = await asyncio.gather(*map(task, range(20)))
        assert paths == [[f"/echo/{number}/{step}" for step in range(10)] for number in range(20)]


def _worker_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("aioreq")]


class TestDefaults:
    """What a session puts on each of its requests."""

    async def test_headers(self, serve: Serve):
        """A call's headers go over the session's, whatever their case; None leaves one out."""
        server = serve()
        async with Session(
            headers={"X-A": "session", "X-B": "session", "User-Agent": "own", "Accept": None}
        ) as session:
            await session.get(server.url)
            await session.get(server.url, headers={"x-a": "call", "X-B": None})
        first, second = server.requests
        assert [first.header(name) for name in ("x-a", "x-b", "user-agent", "accept")] == [
            "session", "session", "own", None,
        ]  # fmt: skip
        assert [second.header(name) for name in ("x-a", "x-b")] == ["call", None]
        assert len([name for name, _ in second.headers if name.lower() == "x-a"]) == 1

    async def test_headers_can_be_changed(self, serve: Serve, session: Session):
        """session.headers holds from the next call on; two sessions share none."""
        server = serve()
        session.headers["X-A"] = "1"
        await session.get(server.url)
        del session.headers["x-a"]
        await session.get(server.url)
        assert [request.header("x-a") for request in server.requests] == ["1", None]
        assert Session().headers is not session.headers

    async def test_a_call_leaves_the_defaults_alone(self, serve: Serve, session: Session):
        """Neither headers nor cookies of a call stay in the session."""
        server = serve()
        await session.post(server.url, json={}, headers={"X-A": "1"}, cookies={"c": "1"}, auth=("user", "password"))
        await session.get(server.url)
        names = {name.lower() for name, _ in server.requests[-1].headers}
        assert names == {"host", "user-agent", "accept", "accept-encoding"}

    async def test_params(self, serve: Serve):
        """The session's params stand before the call's, and behind the URL's own."""
        server = serve()
        async with Session(params={"key": "1"}) as session:
            await session.get(server.url)
            await session.get(server.url + "/?a=1", params={"b": "2"})
        assert [request.target for request in server.requests] == ["/?key=1", "/?a=1&key=1&b=2"]

    @pytest.mark.parametrize(
        ("host", "rest", "target"),
        [
            ("127.0.0.1", "", "/"),
            ("127.0.0.1", "?a=1", "/?a=1"),
            ("127.0.0.1", "#fragment", "/"),
            ("127.0.0.1", "//a//", "//a//"),
            ("LOCALHOST", "/A", "/A"),
            ("[::1]", "/", "/"),
            ("[0:0:0:0:0:0:0:1]", "/", "/"),
        ],
    )
    async def test_hosts(self, host: str, rest: str, target: str, serve: Serve, session: Session):
        """A host may be a name in any case or an address of either kind; Host has it with the port."""
        if host.startswith("[") and not _has_ipv6():
            pytest.skip("this machine has no IPv6")
        server = serve(host="::1" if host.startswith("[") else "127.0.0.1")
        port = server.address[1]
        await session.get(f"http://{host}:{port}{rest}")
        [request] = server.requests
        assert request.target == target
        expected = {"LOCALHOST": "localhost", "[0:0:0:0:0:0:0:1]": "[::1]"}.get(host, host)
        assert request.header("host") == f"{expected}:{port}"

    @pytest.mark.parametrize(
        ("base", "url", "target"),
        [
            ("", "path", "/path"),
            ("/", "/path", "/path"),
            ("/v1", "path", "/v1/path"),
            ("/v1/", "/path", "/v1/path"),
            ("/v1", "", "/v1/"),
            ("/v1", "path?next=http://other.example/", "/v1/path?next=http://other.example/"),
        ],
    )
    async def test_base_url(self, base: str, url: str, target: str, serve: Serve):
        """A relative URL is appended to the session's base_url; an absolute one is used as it is."""
        server = serve()
        async with Session(base_url=server.url + base) as session:
            await session.get(url)
            await session.get(server.url + "/absolute")
        assert [request.target for request in server.requests] == [target, "/absolute"]

    async def test_auth(self, serve: Serve):
        """The session's auth goes with each call, unless the call has its own."""
        server = serve()
        async with Session(auth=("user", "password")) as session:
            await session.get(server.url)
            await session.get(server.url, auth=aioreq.BearerAuth("token"))
        assert [request.header("authorization") for request in server.requests] == [
            "Basic dXNlcjpwYXNzd29yZA==", "Bearer token",
        ]  # fmt: skip

    async def test_an_authorization_header(self, serve: Serve):
        """An Authorization header of the caller's own stays, where there is no auth=."""
        server = serve()
        async with Session() as session:
            await session.get(server.url.replace("://", "://user:password@"), headers={"Authorization": "Own"})
        assert server.requests[0].header("authorization") == "Own"

    async def test_timeout(self, serve: Serve):
        """The session's timeout holds for each call, unless the call has its own."""
        server = serve(faults.silent())
        async with Session(timeout=Timeout(read=0.05)) as session:
            with pytest.raises(aioreq.ReadTimeout, match=r"0\.05 seconds"):
                await session.get(server.url)
            with pytest.raises(aioreq.ReadTimeout, match=r"0\.02 seconds"):
                await session.get(server.url, timeout=(1, 0.02))

    def test_one_number(self):
        """One number sets connect, read, write and pool; None sets no limit at all."""
        assert Timeout.of(5) == Timeout(connect=5, read=5, write=5, pool=5, total=None)
        assert Timeout.of(None) == Timeout(None, None, None, None, None)


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


class TestCookies:
    """Cookies of the session, of a call, and of servers."""

    async def test_of_the_session_and_of_a_call(self, serve: Serve):
        """A call's cookies go over the session's, for this call only."""
        server = serve()
        async with Session(cookies={"a": "session", "b": "session"}) as session:
            await session.get(server.url, cookies={"b": "call", "c": "call"})
            await session.get(server.url)
            session.cookies["b"] = "new"
            await session.get(server.url)
            session.cookies.clear()
            await session.get(server.url)
        assert cookies_sent(server) == ["a=session; b=call; c=call", "a=session; b=session", "a=session; b=new", None]

    async def test_of_a_server(self, serve: Serve, session: Session):
        """What a server sets is sent back, is in response.cookies, and can be looked at."""
        server = serve(answer(("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=two words; HttpOnly")))
        response = await session.get(server.url)
        assert dict(response.cookies) == {"a": "1", "b": "two words"}
        assert dict(session.cookies) == {"a": "1", "b": "two words"}
        await session.get(server.url)
        assert cookies_sent(server) == [None, "a=1; b=two words"]
        del session.cookies["a"]
        await session.get(server.url)
        assert cookies_sent(server)[-1] == "b=two words"

    async def test_changed_and_expired(self, serve: Serve, session: Session):
        """A server changes a cookie, and takes it back with Max-Age=0."""
        steps = ["a=1", "a=2", "a=; Max-Age=0", "b=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]
        server = serve(faults.in_turn(*(answer(("Set-Cookie", step)) for step in steps)))
        for _ in range(4):
            await session.get(server.url)
        assert cookies_sent(server) == [None, "a=1", "a=2", None]
        assert dict(session.cookies) == {}

    async def test_paths(self, serve: Serve, session: Session):
        """A cookie goes to its path and below (RFC 6265, section 5.1.4), and not beside it."""
        server = serve({"/set": answer(("Set-Cookie", "a=1; Path=/in")), **dict.fromkeys(_PATHS, faults.ok())})
        await session.get(server.url + "/set")
        for path in _PATHS:
            await session.get(server.url + path)
        assert cookies_sent(server) == [None, None, "a=1", "a=1", None]

    async def test_other_hosts(self, serve: Serve, session: Session):
        """A cookie goes back to its host only; a secure one only over TLS."""
        server = serve(answer(("Set-Cookie", "a=1"), ("Set-Cookie", "b=1; Secure")))
        port = server.address[1]
        await session.get(server.url)
        await session.get(f"http://localhost:{port}/")
        await session.get(server.url)
        assert cookies_sent(server) == [None, None, "a=1"]

    async def test_a_foreign_domain(self, serve: Serve, session: Session):
        """A server can't set cookies for another domain."""
        server = serve(answer(("Set-Cookie", "a=1; Domain=example.com"), ("Set-Cookie", "b=1; Domain=1")))
        await session.get(server.url)
        assert dict(session.cookies) == {}

    async def test_set_by_a_redirect(self, serve: Serve, session: Session):
        """A cookie that a redirect sets goes along with the request that follows, and is in the hop's cookies."""
        to = ("Location", "/there")
        server = serve({"/": answer(to, ("Set-Cookie", "a=1"), status=302), "/there": faults.ok()})
        response = await session.get(server.url + "/", cookies={"b": "call"})
        assert cookies_sent(server) == ["b=call", "a=1; b=call"]
        assert dict(response.history[0].cookies) == {"a": "1"}
        assert dict(response.cookies) == {}

    async def test_a_header_of_ones_own(self, serve: Serve, session: Session):
        """A Cookie header of the caller's own is sent as it is."""
        server = serve(answer(("Set-Cookie", "a=1")))
        await session.get(server.url)
        await session.get(server.url, headers={"Cookie": "own=1"})
        assert cookies_sent(server) == [None, "own=1"]

    async def test_cookies_of_an_object(self, serve: Serve):
        """cookies= takes a Cookies object, which two sessions may share."""
        server = serve(answer(("Set-Cookie", "a=1")))
        jar = aioreq.Cookies({"b": "1"})
        for _ in range(2):
            async with Session(cookies=jar) as session:
                await session.get(server.url)
        assert cookies_sent(server) == ["b=1", "a=1; b=1"]


_PATHS = ["/", "/in", "/in/side", "/inside"]


class TestRedirects:
    """Redirects that don't end well."""

    @pytest.mark.parametrize("limit", [0, 1, 5])
    async def test_too_many(self, limit: int, serve: Serve):
        """More redirects than max_redirects are TooManyRedirects, with the last response."""
        server = serve(faults.redirect("/", 302))
        async with Session(max_redirects=limit) as session:
            with pytest.raises(aioreq.TooManyRedirects, match=f"more than {limit} redirects") as caught:
                await session.get(server.url)
            assert caught.value.response.status_code == 302
            assert caught.value.request is caught.value.response.request
            assert session.pool.open == session.pool.idle
        assert len(server.requests) == limit + 1

    @pytest.mark.parametrize("to", ["ftp://host/", "http://a b/", "http://host:99999/", "mailto:user@host"])
    async def test_to_nowhere(self, to: str, serve: Serve, session: Session):
        """A Location that leads nowhere is InvalidURL, and the connection is not lost."""
        server = serve(answer(("Location", to), status=302))
        with pytest.raises(aioreq.InvalidURL) as caught:
            await session.get(server.url)
        assert caught.value.response.headers["Location"] == to
        assert caught.value.request.url == server.url + "/"
        assert session.pool.open == session.pool.idle

    async def test_without_a_location(self, serve: Serve, session: Session):
        """A redirect without a Location is the answer."""
        server = serve(faults.ok(302))
        response = await session.get(server.url)
        assert response.status_code == 302
        assert not response.is_redirect

    @pytest.mark.parametrize("status", [300, 304, 305, 306])
    async def test_what_is_no_redirect(self, status: int, serve: Serve, session: Session):
        """Other statuses are answers, whatever Location they have."""
        server = serve(answer(("Location", "/elsewhere"), status=status))
        assert (await session.get(server.url)).status_code == status

    async def test_a_large_body_on_the_way(self, serve: Serve, session: Session):
        """A redirect's own body does not matter, however large it is."""
        large = answer(("Location", "/there"), status=302, body=bytes(1_000_000))
        server = serve({"/": large, "/there": faults.ok()})
        response = await session.get(server.url + "/")
        assert response.status_code == 200
        assert session.pool.open == 1

    async def test_utf8_in_a_location(self, serve: Serve, session: Session):
        """A Location in UTF-8 that should have been quoted is understood."""
        server = serve({"/": answer(("Location", "/é".encode().decode("latin-1")), status=302), "/%C3%A9": faults.ok()})
        assert (await session.get(server.url + "/")).status_code == 200


class TestRetries:
    """`retry=`."""

    async def test_after_an_answer(self, serve: Serve):
        """An answer that passes is asked for again; the last one is returned."""
        server = serve(faults.in_turn(faults.ok(503), faults.ok(502), faults.ok(200)))
        async with Session(retry=Retry(3, backoff=0)) as session:
            assert (await session.get(server.url)).status_code == 200
            assert len(server.requests) == 3
            assert len(server.connections) == 1

    async def test_attempts_end(self, serve: Serve, session: Session):
        """When attempts are used up the last answer is returned, or the last error raised."""
        refusing, resetting = serve(faults.ok(503)), serve(faults.reset_after(0))
        assert (await session.get(refusing.url, retry=Retry(2, backoff=0))).status_code == 503
        assert len(refusing.requests) == 2
        with pytest.raises(aioreq.ServerDisconnected):
            await session.get(resetting.url, retry=Retry(3, backoff=0))
        assert len(resetting.requests) == 3

    async def test_not_what_is_not_idempotent(self, serve: Serve, session: Session):
        """POST is tried once, unless it has an Idempotency-Key."""
        server = serve(faults.ok(503))
        await session.post(server.url, data=b"body", retry=Retry(3, backoff=0))
        assert len(server.requests) == 1
        await session.post(server.url, data=b"body", headers={"Idempotency-Key": "1"}, retry=Retry(3, backoff=0))
        assert [request.body for request in server.requests] == [b"body"] * 4

    async def test_a_body_again(self, serve: Serve, session: Session, tmp_path: Path):
        """Each attempt sends the body from its first byte."""
        (tmp_path / "file").write_bytes(content := bytes(range(256)) * 8192)
        server = serve(faults.in_turn(faults.reset_after(100_000), faults.ok(503), faults.ok()), keep_body=1)
        response = await session.put(server.url, data=tmp_path / "file", retry=Retry(3, backoff=0))
        assert response.json()["received"] == len(content)
        assert server.requests[0].received < len(content)
        assert server.requests[1].sha256 == server.requests[2].sha256

    async def test_retry_after(self, serve: Serve, session: Session):
        """The server says when to come back, and max_delay that it may not be too late."""
        server = serve(faults.in_turn(answer(("Retry-After", "3600"), status=429), faults.ok()))
        assert (await session.get(server.url, retry=Retry(2, backoff=3600, max_delay=0))).status_code == 200


class TestRequests:
    """`send(request)`."""

    async def test_send(self, uvicorn_echo: EchoServer, session: Session):
        """A Request is sent with its fields, and has its response."""
        request = Request("PUT", uvicorn_echo.plain.url("/echo"), data={"a": "1"}, headers={"X-A": "1"})
        response = await session.send(request)
        assert request.response is response
        assert request.sent
        assert (response.json()["method"], response.json()["body_latin1"]) == ("PUT", "a=1")

    async def test_send_again(self, uvicorn_echo: EchoServer, session: Session, tmp_path: Path):
        """A Request with files can be sent any number of times, also at once."""
        (tmp_path / "file").write_bytes(bytes(500_000))
        request = Request("POST", uvicorn_echo.plain.url("/form"), files={"file": tmp_path / "file"})
        for _ in range(2):
            assert (await session.send(request)).json()["parts"][0]["length"] == 500_000
        responses = await asyncio.gather(*(session.send(request) for _ in range(3)))
        assert {response.json()["parts"][0]["length"] for response in responses} == {500_000}

    async def test_a_failure(self, serve: Serve, session: Session):
        """A request without an answer has neither a response nor sent; the error knows the request."""
        server = serve(faults.reset_at_once())
        request = Request("GET", server.url)
        request.sent = True
        with pytest.raises(aioreq.ConnectionError) as caught:
            await session.send(request)
        assert request.response is None
        assert request.sent is False
        assert caught.value.request.url == server.url + "/"
        assert caught.value.request.headers["User-Agent"] == session.headers["User-Agent"]

    async def test_what_was_sent_is_told(self, uvicorn_echo: EchoServer, session: Session):
        """response.request shows method, URL and headers as they were sent, secrets masked in its repr."""
        response = await session.post(uvicorn_echo.plain.url("/echo"), data=b"x", auth=("user", "password"))
        told = [(name.title(), value) for name, value in response.json()["headers"]]
        assert [(name.title(), value) for name, value in response.request.headers.items()] == told
        assert "dXNlcjpwYXNzd29yZA" not in repr(response.request.headers)

    async def test_streamed(self, nginx: Nginx, session: Session):
        """send(stream=True) leaves the body unread."""
        request = Request("GET", nginx.plain.url("/static/pattern.bin"))
        response = await session.send(request, stream=True)
        assert request.sent
        assert len(await response.read()) == 300_000


@script
async def text(exchange: Exchange, body: bytes, content_type: str | None = None) -> None:
    """Answer with this body."""
    await exchange.answer(200, (("Content-Type", content_type),) if content_type else (), body)


class TestText:
    """Text of an answer."""

    @pytest.mark.parametrize(
        ("body", "content_type", "encoding", "expected"),
        [
            ("é".encode(), None, "utf-8", "é"),
            ("é".encode("latin-1"), "text/plain; charset=ISO-8859-1", "iso8859-1", "é"),
            ("é".encode("cp1252"), 'text/plain; charset="windows-1252"', "cp1252", "é"),
            ("é".encode("utf-16"), "text/plain", "utf-16", "é"),
            ("é".encode("utf-8-sig"), "text/plain", "utf-8-sig", "é"),
            ("é".encode(), "text/plain; charset=no-such", "utf-8", "é"),
            (b"a\xffb", "text/plain; charset=utf-8", "utf-8", "a\N{REPLACEMENT CHARACTER}b"),
            (b"", "text/plain", "utf-8", ""),
        ],
    )
    async def test_encodings(
        self, body: bytes, content_type: str | None, encoding: str, expected: str, serve: Serve, session: Session
    ):
        """Text is decoded as the header says, else as a byte order mark says, else as UTF-8; nothing raises."""
        response = await session.get(serve(text(body, content_type)).url)
        assert (response.encoding, response.text) == (encoding, expected)

    async def test_an_encoding_of_ones_own(self, serve: Serve, session: Session):
        """encoding can be set; a name that is none is a LookupError."""
        response = await session.get(serve(text(b"\xe9")).url)
        response.encoding = "latin-1"
        assert response.text == "é"
        with pytest.raises(LookupError):
            response.encoding = "no-such"

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "utf-8-sig"])
    async def test_json(self, encoding: str, serve: Serve, session: Session):
        """json() reads every Unicode encoding, whatever the header says."""
        response = await session.get(serve(text('{"a": "é"}'.encode(encoding), "application/json")).url)
        assert response.json() == {"a": "é"}

    async def test_no_json(self, serve: Serve, session: Session):
        """What is no JSON is a JSONDecodeError that shows how it begins: json's own error, and a ValueError."""
        import json

        for body in (b"<html>", b"", b"\xff\xfe\xff"):
            response = await session.get(serve(text(body)).url)
            with pytest.raises(aioreq.JSONDecodeError, match="is not JSON") as caught:
                response.json()
            assert isinstance(caught.value, json.JSONDecodeError)
            assert caught.value.response is response

    async def test_links(self, serve: Serve, session: Session):
        """links has the Link header's by relation (RFC 8288)."""
        link = '<https://a.example/?page=2>; rel="next", <https://a.example/?page=9>; rel=last; title="a, b"'
        response = await session.get(serve(answer(("Link", link))).url)
        assert response.links["next"]["url"] == "https://a.example/?page=2"
        assert response.links["last"]["url"] == "https://a.example/?page=9"

    async def test_headers(self, serve: Serve, session: Session):
        """Headers are found whatever their case; those that came twice are joined, and can be had apart."""
        response = await session.get(serve(answer(("X-A", "1"), ("x-a", "2"), ("X-B", "é"))).url)
        assert response.headers["X-a"] == "1, 2"
        assert response.headers.get("X-A") == "1, 2"
        assert response.headers.getall("x-A") == ["1", "2"]
        assert response.headers["x-b"] == "é"
        assert "X-C" not in response.headers


class TestLimits:
    """Limits as values."""

    def test_defaults(self):
        """A hundred connections in all, no limit for a host, a quarter of a minute of idleness."""
        assert Limits() == Limits(max_connections=100, max_per_host=None, max_idle=100, idle_expiry=15.0)

    def test_none(self):
        """None is no limit."""
        assert Limits(None, None, None, None).max_connections is None
