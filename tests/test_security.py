"""What a hostile server, a hostile URL or a hostile value must not bring about, one class for each theme.

Each test says what must not happen, and looks for it where it would show: in what the servers received. Where a theme
is proved in more detail elsewhere, these are the places:

    credentials and redirects   test_redirect.py (each rule), test_auth.py (who gets what), test_real_servers.py
    the proxy's credentials     ways/test_http_proxy.py and ways/test_squid.py (they stop at the proxy)
    cookies, public suffixes    test_cookies.py
    bad arguments               test_bad_input.py, test_headers.py, test_url.py (any text, by hypothesis)
    certificates                test_https.py, ways/test_trust.py; of proxies ways/test_http_proxy.py
    answers that are none       test_wire_http1.py (each byte, by hypothesis), faults/test_answers.py
    answers nobody asked for    faults/test_swapped_answers.py, test_wire_http1.py
    content codings             test_decode.py
"""

import asyncio
import base64
import contextlib
import gzip
import logging
import ssl
import traceback
import tracemalloc
import warnings
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest
import trustme

import aioreq
from aioreq import (
    BasicAuth,
    BearerAuth,
    ChunkedEncodingError,
    ContentDecodingError,
    DigestAuth,
    InvalidURL,
    NetrcAuth,
    RemoteProtocolError,
    RequestException,
    Session,
    SSLError,
    TooManyRedirects,
    add_autoauth,
    multipart_encode,
)
from aioreq._rules.decode import unfolding
from aioreq.testing import Exchange, FaultServer, faults, script
from tests.servers.certificates import Certificates

try:
    from compression import zstd
except ModuleNotFoundError:
    from backports import zstd

SECRET = "s3cr3t"
BASIC = base64.b64encode(f"user:{SECRET}".encode()).decode()
KIB, MIB, GIB = 1024, 1024**2, 1024**3
# For what would go on for ever; far more than any of these takes.
BOUND = 20


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No auth is registered, and no netrc file is the user's."""
    monkeypatch.setattr("aioreq._rules.auth._autoauth", [])
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server that tells what it got, and has got nothing but HTTP/1.1."""
    with FaultServer(patience=BOUND) as server:
        yield server
        assert server.violations == []


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with Session(timeout=BOUND) as session:
        yield session


def received(server: FaultServer) -> str:
    """All that a server has got, heads and bodies."""
    return "\n".join(
        f"{request.method} {request.target} {request.headers} {request.body.decode('latin-1')}"
        for request in server.requests
    )


def knows(server: FaultServer, *secrets: str) -> bool:
    """Whether a secret is in what a server has got, as it is or in Basic credentials."""
    return any(secret in received(server) for secret in (*(secrets or (SECRET,)), BASIC))


@contextlib.contextmanager
def redirecting(target: str, status: int = 307, tls: ssl.SSLContext | None = None) -> Iterator[FaultServer]:
    """A server whose /start leads to `target`, and that answers everything else."""
    with FaultServer({"/start": faults.redirect(target, status=status), "/": faults.ok()}, tls=tls) as server:
        yield server


class World:
    """Servers under names of their own, on the usual ports: a plain and a TLS one at home, and others elsewhere.

    `home` is http://home.example and its `secure` twin https://home.example; every other name and port is `away`.
    """

    def __init__(self, authority: trustme.CA, start: Any) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("home.example").configure_cert(context)
        self.home = FaultServer(start, patience=BOUND)
        self.secure = FaultServer(start, tls=context, patience=BOUND)
        self.away = FaultServer(patience=BOUND)
        self._trust = ssl.create_default_context()
        authority.configure_trust(self._trust)

    @property
    def servers(self) -> tuple[FaultServer, ...]:
        return self.home, self.secure, self.away

    def session(self, **options: Any) -> Session:
        """A session for which the names lead to these servers."""
        return Session(resolver=self._resolve, verify=self._trust, timeout=BOUND, **options)

    def _resolve(self, host: str, port: int) -> list[Any]:
        server = {("home.example", 80): self.home, ("home.example", 443): self.secure}.get((host, port), self.away)
        return [server.address]


async def as_asked(exchange: Exchange) -> None:
    """Redirect to what the query says."""
    await exchange.read_body()
    await exchange.answer(307, (("Location", exchange.request.target.partition("?")[2]),), b"")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def world(authority: trustme.CA) -> Iterator[Callable[..., World]]:
    """Makes a World whose home answers by a route; without one it answers 200 to everything."""
    with contextlib.ExitStack() as running:

        def make(route: Any = None) -> World:
            made = World(authority, route)
            for server in made.servers:
                running.enter_context(server)
            return made

        yield make


def netrc(folder: Path) -> str:
    """A netrc file for home.example alone."""
    file = folder / "netrc-of-home"
    file.write_text(f"machine home.example login user password {SECRET}\n")
    file.chmod(0o600)
    return str(file)


def signing(request: Any) -> None:
    """An auth function as users write them."""
    request.headers["Authorization"] = f"Signed {SECRET}"


def keyed(request: Any) -> None:
    """An auth function for a server with a header of its own."""
    request.headers["X-Api-Key"] = SECRET


# How somebody may say who he is: options of the session, options of the call, and what stands before the host.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "Authorization": ({}, {"headers": {"Authorization": f"Token {SECRET}"}}, ""),
    "authorization": ({}, {"headers": {"authorization": f"Token {SECRET}"}}, ""),
    "Cookie": ({}, {"headers": {"Cookie": f"id={SECRET}"}}, ""),
    "Proxy-Authorization": ({}, {"headers": {"Proxy-Authorization": f"Token {SECRET}"}}, ""),
    "the session's Authorization": ({"headers": {"Authorization": f"Token {SECRET}"}}, {}, ""),
    "the session's Cookie": ({"headers": {"Cookie": f"id={SECRET}"}}, {}, ""),
    "auth of the call": ({}, {"auth": ("user", SECRET)}, ""),
    "auth of the session": ({"auth": BasicAuth("user", SECRET)}, {}, ""),
    "a token of the call": ({}, {"auth": BearerAuth(SECRET)}, ""),
    "a token of the session": ({"auth": BearerAuth(SECRET)}, {}, ""),
    "a function of the call": ({}, {"auth": signing}, ""),
    "a function of the session": ({"auth": signing}, {}, ""),
    "a header of a function's own": ({}, {"auth": keyed}, ""),
    "a header of the session's function": ({"auth": keyed}, {}, ""),
    "cookies of the call": ({}, {"cookies": {"id": SECRET}}, ""),
    "cookies of the session": ({"cookies": {"id": SECRET}}, {}, ""),
    "userinfo": ({}, {}, f"user:{SECRET}@"),
}
ELSEWHERE = {
    "another host": "http://away.example/",
    "another port": "http://home.example:8080/",
    "another scheme": "https://home.example/",
    "a host below": "http://www.home.example/",
    "a name that begins alike": "http://home.example.away.example/",
    "a name with a dot": "http://home.example./",
    "home as userinfo": "http://home.example@away.example/",
}


class TestCredentialsElsewhere:
    """A redirect does not take credentials to another host, port or scheme."""

    @pytest.mark.parametrize("way", WAYS)
    async def test_no_way_leads_them_there(self, way: str, world: Callable[..., World]):
        """However they were given, another origin gets the body, and no credentials; it is home that got them."""
        options, call, userinfo = WAYS[way]
        there = world({"/start": as_asked, "/": faults.ok()})
        async with there.session(**options) as session:
            for place, target in ELSEWHERE.items():
                url = f"http://{userinfo}home.example/start?{target}"
                response = await session.post(url, data=b"body", **call)
                carried = [carries_the_secret(said) for said in (*response.history, response)]
                assert (place, response.status_code, carried) == (place, 200, [True, False])
        assert knows(there.home)
        assert [request.body for request in there.secure.requests] == [b"body"]
        assert [request.body for request in there.away.requests] == [b"body"] * (len(ELSEWHERE) - 1)
        assert not knows(there.secure)
        assert not knows(there.away)

    @pytest.mark.parametrize("way", WAYS)
    async def test_nor_from_https_to_http(self, way: str, world: Callable[..., World]):
        """From https to http a redirect with credentials is not followed: nobody there is even connected to."""
        options, call, userinfo = WAYS[way]
        there = world(as_asked)
        async with there.session(**options) as session:
            for target in ("http://home.example/", "http://away.example/"):
                with pytest.raises(RequestException, match="from https to http") as caught:
                    await session.get(f"https://{userinfo}home.example/start?{target}", **call)
                assert caught.value.response.status_code == 307
                assert SECRET not in str(caught.value)
        assert knows(there.secure)
        assert there.home.connections == there.away.connections == []

    async def test_without_credentials_that_is_allowed(self, world: Callable[..., World]):
        """It is for the credentials' sake alone that https to http is refused."""
        async with world(as_asked).session() as session:
            assert (await session.get("https://home.example/start?http://away.example/")).ok

    @pytest.mark.parametrize("place", ["another host", "another port", "another scheme"])
    async def test_autoauth(self, place: str, world: Callable[..., World]):
        """What is registered for a URL goes to no other origin."""
        add_autoauth("http://home.example/", ("user", SECRET))
        there = world({"/start": faults.redirect(ELSEWHERE[place], status=302), "/": faults.ok()})
        async with there.session() as session:
            assert (await session.get("http://home.example/start")).ok
            assert (await session.get(ELSEWHERE[place])).ok
        assert knows(there.home)
        assert not knows(there.away)
        assert not knows(there.secure)

    @pytest.mark.parametrize("named", ["by the call", "by the session", "by the environment"])
    @pytest.mark.parametrize("place", ["another host", "a host below", "a name that begins alike"])
    async def test_netrc(
        self, place: str, named: str, world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """A netrc file's password goes to the host that it stands for, and to no other."""
        file = netrc(tmp_path)
        if named == "by the environment":
            monkeypatch.setenv("NETRC", file)
        there = world({"/start": faults.redirect(ELSEWHERE[place], status=302)})
        async with there.session(auth=NetrcAuth(file) if named == "by the session" else None) as session:
            auth = NetrcAuth(file) if named == "by the call" else None
            assert (await session.get("http://home.example/start", auth=auth)).ok
        assert knows(there.home)
        assert len(there.away.requests) == 1
        assert not knows(there.away)

    @pytest.mark.parametrize("auth", [("user", SECRET), DigestAuth("user", SECRET)], ids=["basic", "digest"])
    @pytest.mark.parametrize("challenge", ["Basic realm=x", 'Digest realm="x", nonce="n", qop="auth", algorithm=MD5'])
    async def test_asking_for_them_does_not_help(self, challenge: str, auth: Any, world: Callable[..., World]):
        """Another origin that asks for credentials with a 401 does not get them: its 401 is the answer."""
        there = world({"/start": faults.redirect("http://home.example:8080/", status=302)})
        asking = FaultServer(_ask_for(challenge))
        there.away = asking
        with asking:
            async with there.session(auth=auth) as session:
                response = await session.get("http://home.example/start")
        assert response.status_code == 401
        [request] = asking.requests
        assert request.header("Authorization") is None

    async def test_a_host_of_the_callers_own(self, world: Callable[..., World]):
        """A Host header of the caller's is for home alone: another server is not told another's name."""
        there = world({"/start": faults.redirect("http://away.example/", status=302)})
        async with there.session() as session:
            await session.get("http://home.example/start", headers={"Host": "inner.example"})
        assert there.home.requests[0].header("Host") == "inner.example"
        assert there.away.requests[0].header("Host") == "away.example"


def carries_the_secret(response: aioreq.Response) -> bool:
    """Whether the request of an answer did, by what the caller is told of it."""
    return any(SECRET in value or BASIC in value for value in response.request.headers.values())


@script
async def _ask_for(exchange: Exchange, challenge: str) -> None:
    await exchange.read_body()
    await exchange.answer(401, (("WWW-Authenticate", challenge),), b"")


@script
async def _set_cookies(exchange: Exchange, *cookies: str) -> None:
    await exchange.read_body()
    await exchange.answer(200, tuple(("Set-Cookie", cookie) for cookie in cookies), b"")


class TestCookiesElsewhere:
    """Cookies go where the server that set them may send them, and nowhere else."""

    @pytest.mark.parametrize(
        ("setter", "attributes", "asked"),
        [
            ("http://home.example/", "", "http://www.home.example/"),
            ("http://home.example/", "", "http://away.example/"),
            ("http://home.example/", "; Domain=away.example", "http://away.example/"),
            ("http://home.example/", "; Domain=away.example", "http://home.example/"),
            ("http://home.example/", "; Domain=www.home.example", "http://www.home.example/"),
            ("http://home.example/", "; Domain=home.example", "http://nothome.example/"),
            ("http://home.example/", "; Domain=home.example", "http://home.example.away.example/"),
            ("http://home.example/", "; Domain=ome.example", "http://some.example/"),
            ("http://home.example/", "; Path=/private", "http://home.example/privateer"),
            ("http://home.example/", "; Path=/private", "http://home.example/"),
            ("https://home.example/", "; Secure", "http://home.example/"),
            ("http://home.example/", "; Max-Age=0", "http://home.example/"),
            ("http://home.example/", "; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://home.example/"),
        ],
    )
    async def test_where_they_do_not_go(self, setter: str, attributes: str, asked: str, world: Callable[..., World]):
        """Not to another host, not below a host that did not say so, not beside a path, not from https to http."""
        there = world(_set_cookies(f"id={SECRET}{attributes}"))
        async with there.session() as session:
            await session.get(setter)
            await session.get(asked)
        requests = [request for server in there.servers for request in server.requests]
        assert len(requests) == 2
        assert not any(request.header("Cookie") for request in requests)

    @pytest.mark.parametrize(
        ("attributes", "asked"),
        [
            ("", "http://home.example/any"),
            ("; Domain=home.example", "http://www.home.example/"),
            ("; Path=/private", "http://home.example/private/room"),
        ],
    )
    async def test_where_they_go(self, attributes: str, asked: str, world: Callable[..., World]):
        """What is refused above is not refused altogether."""
        there = world(_set_cookies(f"id={SECRET}{attributes}"))
        async with there.session() as session:
            await session.get("http://home.example/")
            await session.get(asked)
        assert (there.away if "www" in asked else there.home).requests[-1].header("Cookie") == f"id={SECRET}"

    async def test_a_cookie_is_one_cookie(self, world: Callable[..., World]):
        """A value that a server sets can't become a header, an attribute or a second cookie when it is sent back."""
        there = world(_set_cookies('a="x; b=2"', "c=1\x0bd", "e=1,f=2", "=g", "h"))
        async with there.session() as session:
            await session.get("http://home.example/")
            await session.get("http://home.example/")
        cookie = there.home.requests[1].header("Cookie") or ""
        names = [pair.partition("=")[0] for pair in cookie.split("; ")]
        assert "b" not in names
        assert "f" not in names
        assert there.home.violations == []


class TestUserinfo:
    """User and password in a URL."""

    async def test_they_are_in_nothing_that_is_told(
        self, server: FaultServer, session: Session, caplog: pytest.LogCaptureFixture
    ):
        """They become the Authorization header, and are in no request line, URL, repr or log line."""
        caplog.set_level(logging.DEBUG)
        response = await session.get(server.url.replace("://", f"://user:{SECRET}@") + "/path?query")
        [request] = server.requests
        assert request.header("Authorization") == f"Basic {BASIC}"
        assert request.target == "/path?query"
        assert not any(SECRET in value for _, value in request.headers)
        told = (response.url, response, response.request, response.request.url, response.request.headers, session.pool)
        assert not any(SECRET in text or BASIC in text for text in (*map(repr, told), caplog.text))
        assert caplog.records

    async def test_nor_in_errors(self, session: Session):
        """An error about the request does not show them."""
        with FaultServer(faults.reset_at_once()) as server:
            url = server.url.replace("://", f"://user:{SECRET}@")
            with pytest.raises(RequestException) as caught:
                await session.get(url)
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert SECRET not in caught.value.request.url

    @pytest.mark.parametrize(
        "url",
        [
            "http://user:{}@host:99999/",
            "http://user:{}@[bad/",
            "http://user:{}@ho st/",
            "http://user:{}@h/\n",
            "http://user:{}@ho\u2100st/",
            "ftp://user:{}@host/",
            "//user:{}@host/",
            "user:{}@host/path",
        ],
    )
    async def test_nor_in_what_is_said_of_a_bad_url(self, url: str, session: Session):
        """A URL that can't be asked for is shown without its password."""
        with pytest.raises(InvalidURL) as caught:
            await session.get(url.format(SECRET) + "x")
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        "url",
        [
            "http://home.example@{}/",
            "http://home.example:80@{}/",
            "http://home.example%2f@{}/",
            "http://home.example%00@{}/",
        ],
    )
    async def test_the_host_is_behind_the_last_at(self, url: str, server: FaultServer, session: Session):
        """What looks like a host before an @ is none: the request goes behind it, and says so."""
        place = server.url.partition("//")[2]
        with contextlib.suppress(ValueError):
            assert (await session.get(url.format(place))).url == f"http://{place}/"
        assert [request.header("Host") for request in server.requests] in ([place], [])

    @pytest.mark.parametrize("url", ["http://127.0.0.1\\@home.example/", "http://home.example\\.127.0.0.1/"])
    async def test_backslashes(self, url: str, session: Session):
        """A backslash, which browsers take for a slash and others don't, makes a URL that nobody follows."""
        with pytest.raises(InvalidURL):
            await session.get(url)


EVIL = "x\r\nX-Evil: 1\r\n\r\n"
# What carries a value of a stranger's into a request. The first refuse the value, the second quote it.
REFUSED: dict[str, Callable[[Session, str], Any]] = {
    "method": lambda session, url: session.request(f"GET / HTTP/1.1\r\n{EVIL}", url),
    "path": lambda session, url: session.get(f"{url}/{EVIL}/"),
    "query": lambda session, url: session.get(f"{url}/?{EVIL}=1"),
    "fragment": lambda session, url: session.get(f"{url}/#{EVIL}1"),
    "host in the URL": lambda session, url: session.get(f"{url}{EVIL}.example/"),
    "quoted host": lambda session, url: session.get("http://127.0.0.1%0d%0aX-Evil:1/"),
    "port": lambda session, url: session.get(f"{url}\r\nX-Evil:1/"),
    "user in the URL": lambda session, url: session.get(url.replace("//", "//x%0d%0aX-Evil:p@")),
    "password in the URL": lambda session, url: session.get(url.replace("//", "//x:%0d%0aX-Evil@")),
    "params as text": lambda session, url: session.get(url, params=EVIL),
    "params as bytes": lambda session, url: session.get(url, params=EVIL.encode()),
    "name of a header": lambda session, url: session.get(url, headers={EVIL: "1"}),
    "name with a colon": lambda session, url: session.get(url, headers={"X-Evil: 1\r\nX": "1"}),
    "value of a header": lambda session, url: session.get(url, headers={"X": EVIL}),
    "value in bytes": lambda session, url: session.get(url, headers={"X": EVIL.encode()}),
    "one of many values": lambda session, url: session.get(url, headers={"X": ["1", EVIL]}),
    "value with LF": lambda session, url: session.get(url, headers={"X": "1\nX-Evil: 1"}),
    "value with CR": lambda session, url: session.get(url, headers={"X": "1\rX-Evil: 1"}),
    "value with NUL": lambda session, url: session.get(url, headers={"X": "1\0X-Evil: 1"}),
    "value folded": lambda session, url: session.get(url, headers={"X": "1\r\n X-Evil: 1"}),
    "text that narrows to CR LF": lambda session, url: session.get(url, headers={"X": "1\u010d\u010aX-Evil: 1"}),
    "Host": lambda session, url: session.get(url, headers={"Host": EVIL}),
    "Content-Type": lambda session, url: session.post(url, b"x", headers={"Content-Type": EVIL}),
    "Content-Length": lambda session, url: session.post(url, iter([b"x"]), headers={"Content-Length": "1\r\nX: 1"}),
    "two lengths": lambda session, url: session.post(url, iter([b"x"]), headers={"Content-Length": "1, 1"}),
    "a length that lies": lambda session, url: session.post(url, b"xGET / HTTP/1.1", headers={"Content-Length": "1"}),
    "a length of no body": lambda session, url: session.get(url, headers={"Content-Length": "20"}),
    "length and coding": lambda session, url: session.post(
        url, iter([b"x"]), headers={"Content-Length": "1", "Transfer-Encoding": "chunked"}
    ),
    "another coding": lambda session, url: session.post(url, iter([b"x"]), headers={"Transfer-Encoding": "x, chunked"}),
    "name of a cookie": lambda session, url: session.get(url, cookies={EVIL: "1"}),
    "name of two cookies": lambda session, url: session.get(url, cookies={"a=1; b": "1"}),
    "value of a cookie": lambda session, url: session.get(url, cookies={"a": EVIL}),
    "value of two cookies": lambda session, url: session.get(url, cookies={"a": "1; X-Evil=1"}),
    "user": lambda session, url: session.get(url, auth=(EVIL, "p")),
    "password": lambda session, url: session.get(url, auth=("u", EVIL)),
    "user of Digest": lambda session, url: session.get(url, auth=DigestAuth(EVIL, "p")),
    "token": lambda session, url: session.get(url, auth=BearerAuth(EVIL)),
    "auth function": lambda session, url: session.get(url, auth=lambda request: request.headers.update({"X": EVIL})),
    "type of a part": lambda session, url: session.post(url, files={"f": ("f", b"x", EVIL)}),
    "header of a part": lambda session, url: session.post(url, files={"f": ("f", b"x", "a/b", {"X": EVIL})}),
    "its name": lambda session, url: session.post(url, files={"f": ("f", b"x", "a/b", {EVIL: "1"})}),
    "its name with a colon": lambda session, url: session.post(
        url, files={"f": ("f", b"x", "a/b", {"X-Evil: 1": "1"})}
    ),
    "boundary in the header": lambda session, url: session.post(
        url, files={"f": b"x"}, headers={"Content-Type": f"multipart/form-data; boundary={EVIL}"}
    ),
}
QUOTED: dict[str, Callable[[Session, str], Any]] = {
    "params": lambda session, url: session.get(url, params={EVIL: EVIL}),
    "form": lambda session, url: session.post(url, data={EVIL: EVIL}),
    "json": lambda session, url: session.post(url, json={EVIL: EVIL}),
    "name of a field": lambda session, url: session.post(url, files={f'"{EVIL}': ("f", b"x")}),
    "name of a text field": lambda session, url: session.post(url, data={f'"{EVIL}': "1"}, files={"f": b"x"}),
    "name of a file": lambda session, url: session.post(url, files={"f": (f'"; X-Evil="1"{EVIL}', b"x")}),
    "quoted URL": lambda session, url: session.get(f"{url}/x%0d%0aX-Evil:%201"),
    "spaces in the URL": lambda session, url: session.get(f"{url}/x HTTP/1.1"),
    "boundary": lambda session, url: _post_with_boundary(session, url),
}


async def _post_with_boundary(session: Session, url: str) -> aioreq.Response:
    datagen, headers = multipart_encode({"a": "b"}, boundary=EVIL)
    return await session.post(url, data=datagen, headers=headers)


class TestInjection:
    """No value of a parameter becomes more than that: no header, no second request, no part of a form."""

    @pytest.mark.parametrize("parameter", REFUSED)
    async def test_refused(self, parameter: str, server: FaultServer, session: Session):
        """What can't be said with these characters is a ValueError; nobody is connected to."""
        with pytest.raises(ValueError, match=r"."):
            await REFUSED[parameter](session, server.url)
        assert server.connections == []

    @pytest.mark.parametrize("parameter", QUOTED)
    async def test_quoted(self, parameter: str, server: FaultServer, session: Session):
        """What can be said with these characters is quoted: one request arrives, with the headers it should have."""
        await QUOTED[parameter](session, server.url)
        [request] = server.requests
        assert {name for name, _ in request.headers} <= {
            "Host", "User-Agent", "Accept", "Accept-Encoding", "Content-Length", "Content-Type",
        }  # fmt: skip
        assert "\r\n" not in request.target
        lines = request.body.split(b"\r\n")
        assert not any(line.lower().startswith(b"x-evil") for line in lines)
        assert b'"; X-Evil="1"' not in request.body
        assert request.received == request.declared

    @pytest.mark.parametrize("where", ["session.headers", "a hook", "session.cookies"])
    async def test_put_on_later(self, where: str, server: FaultServer):
        """What is put on a request behind its preparation is looked at, too."""

        def put_on(request: Any) -> None:
            request.headers["X"] = EVIL

        async with Session(event_hooks={"request": put_on} if where == "a hook" else None) as session:
            if where == "session.headers":
                session.headers["X"] = EVIL
            with pytest.raises(ValueError, match="holds"):
                if where == "session.cookies":
                    session.cookies["a"] = EVIL
                await session.get(server.url)
        assert server.requests == []

    @pytest.mark.parametrize("argument", ["headers", "cookies", "params", "base_url", "auth"])
    async def test_arguments_of_a_session(self, argument: str, server: FaultServer):
        """A session's own defaults are no other way in."""
        value: Any = {
            "headers": {"X": EVIL},
            "cookies": {"a": EVIL},
            "params": EVIL,
            "base_url": f"{server.url}/{EVIL}/",
            "auth": (EVIL, "p"),
        }[argument]
        with pytest.raises(ValueError, match=r"."):
            async with Session(**{argument: value}) as session:
                await session.get(server.url)
        assert server.connections == []

    @pytest.mark.parametrize("credentials", ["x%0d%0aX-Evil:1", "u:x%0d%0aX-Evil%3a1"])
    async def test_credentials_of_a_proxy(self, credentials: str, server: FaultServer):
        """User and password of a proxy arrive there in Base64, whatever they hold."""
        async with Session(proxy=server.url.replace("://", f"://{credentials}@")) as session:
            await session.get("http://far.example/")
        [request] = server.requests
        assert request.header("X-Evil") is None
        assert "Proxy-Authorization" in dict(request.headers)

    async def test_what_a_server_says_is_quoted(self, session: Session):
        """A challenge's quotes and backslashes are escaped in the answer to it: no field can be added to it."""
        challenge = 'Digest realm="a\\", username=\\"admin", nonce="n\\", uri=\\"/x", qop="auth"'
        route = faults.in_turn(_ask_for(challenge), faults.ok())
        with FaultServer(route) as server:
            await session.get(server.url, auth=DigestAuth("me", SECRET))
            answer = server.requests[1].header("Authorization") or ""
        assert 'realm="a\\", username=\\"admin"' in answer
        assert 'nonce="n\\", uri=\\"/x"' in answer
        assert SECRET not in answer

    @pytest.mark.parametrize(
        "location",
        ["/x%0d%0aX-Evil:%201", "/x HTTP/1.1", "/x%00", "/\tX-Evil", "/x\x0b\x0cX-Evil: 1", "/x\x85X-Evil: 1"],
    )
    async def test_a_location_stays_one_line(self, location: str, session: Session):
        """Whatever a Location holds, the request that follows it has a path and no more; or there is none."""
        with redirecting(location) as server:
            with contextlib.suppress(InvalidURL):
                await session.get(f"{server.url}/start")
            assert len(server.requests) <= 2
            assert all(request.header("X-Evil") is None for request in server.requests)
            assert all(request.version == "1.1" for request in server.requests)
            assert server.violations == []


class TestRedirectTargets:
    """A redirect leads to http and https, and nowhere else."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize(
        "location",
        [
            "file:///etc/passwd",
            "file://localhost/etc/passwd",
            "ftp://127.0.0.1/",
            "javascript:alert(1)",
            "JavaScript://127.0.0.1/%0aalert(1)",
            "data:text/html,x",
            "gopher://127.0.0.1:70/_X",
            "ws://127.0.0.1/",
            "unix:///var/run/docker.sock",
            "http:///path",
            "http://",
            "http://[::1",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1\\@home.example/",
            "//",
        ],
    )
    async def test_nowhere_else(self, location: str, status: int, session: Session):
        """Another scheme, or no host, is InvalidURL that carries the answer; nobody else is asked."""
        with redirecting(location, status) as home:
            with pytest.raises(InvalidURL) as caught:
                await session.post(f"{home.url}/start", b"body")
            assert caught.value.response.headers["Location"] == location
            assert caught.value.response.status_code == status
            assert len(home.requests) == 1
        assert session.pool.idle == session.pool.open

    @pytest.mark.parametrize("location", ["/next\r\nSet-Cookie: id=evil", "/next\rX: 1", "/next\0", "/ne\nxt"])
    async def test_no_response_splitting(self, location: str, session: Session):
        """A Location with bare CR, LF or NUL makes an answer that is none; with CR LF in it, it ends at the CR LF."""
        head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        route = {"/start": faults.garbage(head, then="close"), "/next": faults.ok(), "/": faults.ok()}
        with FaultServer(route) as server:
            if "\r\n" in location:
                assert (await session.get(f"{server.url}/start")).url == f"{server.url}/next"
            else:
                with pytest.raises(RemoteProtocolError):
                    await session.get(f"{server.url}/start")
                assert len(server.requests) == 1

    async def test_a_redirect_in_circles(self):
        """A server that redirects for ever is left after max_redirects, with one connection at most."""

        async def onward(exchange: Exchange) -> None:
            await exchange.read_body()
            await exchange.answer(307, (("Location", exchange.request.target + "x"),), b"")

        with FaultServer(onward) as endless:
            async with Session(max_redirects=7) as session:
                async with asyncio.timeout(BOUND):
                    with pytest.raises(TooManyRedirects, match="more than 7 redirects"):
                        await session.post(endless.url, b"body")
                assert session.pool.open <= 1
            assert len(endless.requests) == 8

    @pytest.mark.parametrize("challenge", ["stale=true, ", ""])
    async def test_a_challenge_in_circles(self, challenge: str, session: Session):
        """A server that challenges for ever is answered once."""

        async def never_content(exchange: Exchange) -> None:
            number = len(server.requests)
            fields = f'Digest {challenge}realm="r", nonce="{number}", qop="auth"'
            await exchange.read_body()
            await exchange.answer(401, (("WWW-Authenticate", fields),), b"")

        with FaultServer(never_content) as server:
            auth = DigestAuth("user", SECRET)
            for asked in (2, 4):
                assert (await session.get(server.url, auth=auth)).status_code == 401
                assert len(server.requests) == asked

    async def test_an_expectation_in_circles(self, session: Session):
        """A server that says 417 for ever is asked once more."""
        with FaultServer(faults.early_answer(417)) as server:
            assert (await session.post(server.url, b"body", expect_continue=True)).status_code == 417
            assert len(server.requests) == 2

    @pytest.mark.parametrize("value", ["9" * 400, "1e400", "-5", "Fri, 31 Dec 9999 23:59:59 GMT", "x" * 1000])
    async def test_a_pause_without_end(self, value: str):
        """Whatever Retry-After says, no pause is longer than the policy allows."""
        route = faults.in_turn(_later(value), faults.ok())
        with FaultServer(route) as busy:
            async with Session(retry=aioreq.Retry(2, backoff=0, max_delay=0.01)) as session, asyncio.timeout(BOUND):
                assert (await session.get(busy.url)).ok


@script
async def _later(exchange: Exchange, value: str) -> None:
    await exchange.answer(503, (("Retry-After", value),), b"")


def presenting(certificate: str, authority: trustme.CA, certificates: Certificates) -> ssl.SSLContext:
    """A server's context with a certificate that must not be trusted for 127.0.0.1."""
    if certificate == "self-signed":
        own = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with trustme.Blob(own.private_key_pem.bytes() + own.cert_pem.bytes()).tempfile() as file:
            context.load_cert_chain(file)
        return context
    if certificate == "of an unknown authority":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        return context
    names = {
        "expired": certificates.expired,
        "of another host": certificates.other_host,
        "a client's": certificates.client,
    }
    return certificates.server_context(names[certificate])


def speaking(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """The context, made to speak one old version of TLS and no other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context


class TestCertificates:
    """A server that can't prove who it is gets nothing: no head, no credentials, not a byte of a body."""

    @pytest.mark.parametrize("trust", ["system", "authority", "context"])
    @pytest.mark.parametrize(
        "certificate", ["expired", "self-signed", "of another host", "of an unknown authority", "a client's"]
    )
    async def test_bad_ones(self, certificate: str, trust: str, authority: trustme.CA, certificates: Certificates):
        """A bad certificate is an SSLError, by whatever means the good ones are told."""
        verify = {"system": True, "authority": certificates.authority, "context": certificates.client_context()}[trust]
        with FaultServer(tls=presenting(certificate, authority, certificates), patience=BOUND) as server:
            async with Session(verify=verify, retry=3, timeout=BOUND) as session:
                for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
                    with pytest.raises(SSLError, match="the server's certificate is not trusted"):
                        await session.post(url, bytes(MIB), auth=("user", SECRET))
                assert session.pool.open == 0
            assert server.requests == []
            assert len(server.connections) == 2  # and no certificate gets better by asking again

    @pytest.mark.parametrize("certificate", ["expired", "self-signed", "of another host"])
    async def test_at_the_end_of_a_redirect(self, certificate: str, authority: trustme.CA, certificates: Certificates):
        """A redirect to such a server ends there."""
        with FaultServer(tls=presenting(certificate, authority, certificates), patience=BOUND) as bad:
            with redirecting(bad.url, tls=certificates.server_context()) as good:
                async with Session(verify=certificates.authority) as session:
                    with pytest.raises(SSLError, match="not trusted"):
                        await session.post(f"{good.url}/start", b"body")
                assert len(good.requests) == 1
            assert bad.requests == []

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
    @pytest.mark.parametrize("trust", ["system", "authority", "no check"])
    async def test_old_versions(self, trust: str, version: ssl.TLSVersion, certificates: Certificates):
        """A server that speaks TLS 1.0 or 1.1 and no better gets nothing, verified or not."""
        verify = {"system": True, "authority": certificates.authority, "no check": False}[trust]
        with FaultServer(tls=speaking(certificates.server_context(), version), patience=BOUND) as server:
            async with Session(verify=verify) as session:
                with pytest.raises(SSLError, match="TLS failed"):
                    await session.post(server.url, b"body", auth=("user", SECRET))
            assert server.requests == []
            permissive = speaking(certificates.client_context(), version)
            async with Session(verify=permissive) as session:  # it would have worked, had it been wanted
                assert (await session.get(server.url)).ok

    async def test_no_check_is_for_one_session(self, certificates: Certificates):
        """verify=False of one session is no other's."""
        with FaultServer(tls=certificates.server_context(certificates.expired)) as server:
            async with Session(verify=False) as careless, Session(verify=certificates.authority) as careful:
                assert (await careless.get(server.url)).ok
                with pytest.raises(SSLError):
                    await careful.get(server.url)


def zeros_coded(compress: Callable[[bytes], bytes]) -> bytes:
    """A gigabyte of zeros, a member or frame for each 64 MiB."""
    return compress(bytes(64 * MIB)) * 16


def bombs() -> dict[str, tuple[str, bytes]]:
    """(Content-Encoding, body) by name: a few kilobytes each."""
    gzipped, zstded = zeros_coded(gzip.compress), zstd.compress(bytes(64 * MIB)) * 16
    padded = gzip.compress(gzip.compress(b"x")) + gzip.compress(bytes(64 * MIB)) * 2
    return {
        "42 kB of gzip": ("gzip", gzip.compress(bytes(42 * MIB))),
        "deflate": ("deflate", zlib.compress(bytes(64 * MIB))),
        "br": ("br", brotli.compress(bytes(64 * MIB), quality=1)),
        "zstd": ("zstd", zstded),
        "gzip in gzip": ("gzip, gzip", gzip.compress(gzipped)),
        "gzip in gzip in gzip": ("gzip, gzip, gzip", gzip.compress(gzip.compress(gzipped * 8))),
        "gzip in br": ("gzip, br", brotli.compress(gzipped, quality=5)),
        "gzip in zstd": ("gzip, zstd", zstd.compress(gzipped)),
        "zstd in deflate": ("zstd, deflate", zlib.compress(zstded)),
        "padding that unfolds": ("gzip, gzip", padded),
    }


BOMBS = (
    "42 kB of gzip", "deflate", "br", "zstd", "gzip in gzip", "gzip in gzip in gzip", "gzip in br", "gzip in zstd",
    "zstd in deflate", "padding that unfolds",
)  # fmt: skip


@pytest.fixture(scope="module")
def arsenal() -> dict[str, tuple[str, bytes]]:
    return bombs()


@contextlib.contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """What Python allocates in the block stays below `limit` bytes at each moment."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


class TestBombs:
    """A body that unfolds to gigabytes is refused; what is allocated meanwhile has a bound."""

    @pytest.mark.parametrize("bomb", BOMBS)
    async def test_read_as_it_comes(self, bomb: str, arsenal: Any, session: Session):
        """A streamed answer is refused on the way, and never more than a few pieces of it are held."""
        coding, body = arsenal[bomb]
        assert len(body) < 200 * KIB
        with FaultServer(_coded_later(coding, body)) as server:
            async with session.stream("GET", server.url) as response:
                server.release("body")
                with memory_below(8 * MIB):
                    with pytest.raises(ContentDecodingError, match="which is how an attack looks"):
                        async for _ in response.iter_content():
                            pass
        assert session.pool.idle == session.pool.open

    @pytest.mark.parametrize("bomb", BOMBS)
    async def test_read_at_once(self, bomb: str, arsenal: Any, session: Session):
        """An answer that is read whole is refused when it has unfolded to more than the guard allows."""
        coding, body = arsenal[bomb]
        with FaultServer(_coded(coding, body)) as server:
            with memory_below(100 * MIB), pytest.raises(ContentDecodingError, match="which is how an attack looks"):
                await session.get(server.url)

    @pytest.mark.parametrize("coding", ["gzip", "br", "gzip, br, zstd, deflate"])
    async def test_many_codings(self, coding: str, session: Session):
        """Codings on top of each other without end are refused before memory is taken for each."""
        with FaultServer(_coded(", ".join([coding] * 2000), gzip.compress(b"x"))) as server:
            with memory_below(16 * MIB), pytest.raises(ContentDecodingError, match="more than 5 codings"):
                await session.get(server.url)
        with FaultServer(_coded_later(", ".join([coding] * 2000), gzip.compress(b"x"))) as server:
            async with session.stream("GET", server.url) as response:
                server.release("body")
                with pytest.raises(ContentDecodingError, match="more than 5 codings"):
                    await response.read()
        assert session.pool.idle == session.pool.open

    async def test_five_codings(self, session: Session):
        """So many are taken off."""
        body = b"x"
        for _ in range(5):
            body = gzip.compress(body)
        with FaultServer(_coded("gzip, gzip, identity, gzip, gzip, gzip", body)) as server:
            assert (await session.get(server.url)).content == b"x"

    async def test_a_large_window(self, session: Session):
        """A zstd frame that wants 128 MiB kept is refused: 8 MiB are all that HTTP allows (RFC 9659)."""
        frame = zstd.FRAME_MAGIC if hasattr(zstd, "FRAME_MAGIC") else b"\x28\xb5\x2f\xfd"
        largest_wanted, one_empty_block = bytes([0x00, 17 << 3]), bytes([0x01, 0x00, 0x00])
        with FaultServer(_coded("zstd", frame + largest_wanted + one_empty_block)) as server:
            with pytest.raises(ContentDecodingError, match="zstd coding is broken"):
                await session.get(server.url)
        within = bytes([0x00, 13 << 3])
        with FaultServer(_coded("zstd", frame + within + one_empty_block)) as server:
            assert (await session.get(server.url)).content == b""

    @pytest.mark.parametrize(("coding", "whole"), [("gzip", gzip.compress(b"x")), ("deflate", zlib.compress(b"x"))])
    def test_padding(self, coding: str, whole: bytes):
        """What is padded behind a coded body without end is not kept."""
        steps = unfolding(coding)
        assert steps is not None
        assert b"".join(steps.feed(whole)) == b"x"
        padding = bytes(64 * KIB)
        with memory_below(MIB):
            for _ in range(200):
                assert list(steps.feed(padding)) == []
        steps.end()


@script
async def _coded(exchange: Exchange, coding: str, body: bytes) -> None:
    await exchange.read_body()
    await exchange.answer(200, (("Content-Encoding", coding),), body)


@script
async def _coded_later(exchange: Exchange, coding: str, body: bytes) -> None:
    """The body comes when the head has been seen: no answer that is whole with its head."""
    await exchange.read_body()
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    await exchange.send(head.encode())
    await exchange.pause("body")
    await exchange.send(body)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "status line": (b"HTTP/1.1 200 ", b"OK"),
    "status line without a version": (b"", b"HTTP/1."),
    "name of a header": (b"HTTP/1.1 200 OK\r\n", b"X-Name"),
    "value of a header": (b"HTTP/1.1 200 OK\r\nX: ", b"value"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "cookies": (b"HTTP/1.1 200 OK\r\n", b"Set-Cookie: a=b\r\n"),
    "white space": (b"HTTP/1.1 200 OK\r\nX:", b" "),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "headers of an interim answer": (b"HTTP/1.1 103 Early Hints\r\n", b"Link: </>\r\n"),
    "chunk size": (CHUNKED, b"0"),
    "chunk extension": (CHUNKED + b"5;x=", b"y"),
    "chunk extensions": (CHUNKED + b"5", b";x=y"),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X: y\r\n"),
    "one trailer": (CHUNKED + b"5\r\nhello\r\n0\r\nX: ", b"y"),
}


class TestEndless:
    """What has no end is given up after a bounded number of bytes, in bounded memory."""

    @pytest.mark.parametrize("what", ENDLESS)
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_it_is_given_up(self, method: str, what: str, session: Session):
        """The answer is a RemoteProtocolError that says what is too much, and its connection is closed."""
        begin, again = ENDLESS[what]
        with FaultServer(_for_ever(begin, again), patience=BOUND) as server:
            async with asyncio.timeout(BOUND):
                with memory_below(8 * MIB):
                    with pytest.raises(RemoteProtocolError, match=r"larger than|more than|malformed"):
                        await session.request(method, server.url, data=b"body" if method == "POST" else None)
            assert session.pool.open == 0
            await server.reached("closed")

    @pytest.mark.parametrize("what", ["chunk extension", "trailers", "chunk size"])
    async def test_streamed(self, what: str, session: Session):
        """So it is while a stream is read."""
        begin, again = ENDLESS[what]
        with FaultServer(_for_ever(begin, again), patience=BOUND) as server:
            async with session.stream("GET", server.url) as response, asyncio.timeout(BOUND):
                with memory_below(8 * MIB), pytest.raises(ChunkedEncodingError):
                    async for _ in response.iter_content():
                        pass
            assert session.pool.open == 0

    async def test_a_body_that_nobody_wants(self):
        """The endless body of a redirect, or of a challenge, is not read to its end."""

        async def away(exchange: Exchange) -> None:
            await exchange.read_body()
            await exchange.send(b"HTTP/1.1 302 Found\r\nLocation: /\r\nTransfer-Encoding: chunked\r\n\r\n")
            await exchange.send_forever(b"400\r\n" + b"x" * 1024 + b"\r\n")

        with FaultServer({"/start": away, "/": faults.ok()}, patience=BOUND) as server:
            async with Session() as session, asyncio.timeout(BOUND):
                with memory_below(8 * MIB):
                    assert (await session.get(f"{server.url}/start")).ok


@script
async def _for_ever(exchange: Exchange, begin: bytes, again: bytes) -> None:
    await exchange.read_body()
    await exchange.send(begin)
    await exchange.send_forever(again)


OK = b"HTTP/1.1 200 OK\r\n"
AMBIGUOUS = {
    "both Content-Length and chunked": OK
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "both, the other way round": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "both, with a coding nobody knows": OK + b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "two lengths in one": OK + b"Content-Length: 5, 6\r\n\r\nhello!",
    "a negative length": OK + b"Content-Length: -5\r\n\r\nhello",
    "a length with a plus": OK + b"Content-Length: +5\r\n\r\nhello",
    "a length with spaces": OK + b"Content-Length: 5 5\r\n\r\nhello",
    "a hexadecimal length": OK + b"Content-Length: 0x5\r\n\r\nhello",
    "a length with an underscore": OK + b"Content-Length: 1_0\r\n\r\nhellohello",
    "a length with a fraction": OK + b"Content-Length: 5.0\r\n\r\nhello",
    "a length in other digits": OK + b"Content-Length: \xb2\r\n\r\nhe",
    "an empty length": OK + b"Content-Length: \r\n\r\nhello",
    "a length beyond 64 bits": OK + b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "a length of a thousand digits": OK + b"Content-Length: " + b"9" * 1000 + b"\r\n\r\nhello",
    "a length of many digits": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
    "a name with a space": OK + b"Content-Length : 5\r\n\r\nhello",
    "a name with NUL": OK + b"Content-Length\0: 5\r\n\r\nhello",
    "a coding with a space before it": OK + b"Transfer-Encoding : chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "a line that ends with LF": OK + b"X: y\nContent-Length: 5\r\n\r\nhello",
    "a status line that ends with LF": b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello",
    "a line that ends with CR": OK + b"X: y\rContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a folded line": OK + b"X: y\r\n Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a length on a folded line": OK + b"Content-Length:\r\n 5\r\n\r\nhello",
    "a first line that is folded": OK + b" X: y\r\nContent-Length: 5\r\n\r\nhello",
    "NUL in a value": OK + b"X: a\0b\r\nContent-Length: 5\r\n\r\nhello",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 5\r\n\r\nhello",
    "CR in the reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello",
    "a line without a colon": OK + b"Content-Length\r\nContent-Length: 5\r\n\r\nhello",
    "a line without a name": OK + b": y\r\nContent-Length: 5\r\n\r\nhello",
    "a chunk size that overflows": OK + b"Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a chunk size of many digits": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 17 + b"\r\nhello\r\n0\r\n\r\n",
    "a negative chunk size": OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with a plus": OK + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with 0x": OK + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk size with a space": OK + b"Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
    "an empty chunk size": OK + b"Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
    "a chunk size that ends with LF": OK + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "a chunk extension with LF": OK + b"Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
    "a length among the trailers": OK
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
}
NEVER_CHUNKED = {
    "a coding behind it": b"chunked, gzip",
    "a name like it": b"xchunked",
    "a parameter": b"chunked;x",
    "a vertical tab": b"\x0bchunked",
    "another white space": b"chunked\xa0",
}


class TestFraming:
    """An answer whose end could be told in two ways is none."""

    @pytest.mark.parametrize("what", AMBIGUOUS)
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_what_is_ambiguous(self, method: str, what: str, session: Session):
        """It is a RemoteProtocolError while the connection is still open; no other request goes over that."""
        route = {"/": faults.garbage(AMBIGUOUS[what], then="hold"), "/next": faults.ok(body=b"next")}
        with FaultServer(route, patience=BOUND) as server:
            data = b"body" if method == "POST" else None
            with pytest.raises(RemoteProtocolError):
                await session.request(method, f"{server.url}/", data=data, timeout=BOUND)
            assert session.pool.open == 0
            assert (await session.get(f"{server.url}/next")).content == b"next"
            assert [request.connection for request in server.requests] == [0, 1]

    @pytest.mark.parametrize("coding", NEVER_CHUNKED)
    async def test_what_is_not_chunked(self, coding: str, session: Session):
        """A last coding that is not exactly `chunked` ends with the connection, which carries nothing after it."""
        body = b"5\r\nhello\r\n0\r\n\r\n"
        head = OK + b"Transfer-Encoding: " + NEVER_CHUNKED[coding] + b"\r\n\r\n"
        with FaultServer(faults.garbage(head + body, then="close")) as server:
            assert (await session.get(server.url)).content == body
            assert session.pool.open == 0

    @pytest.mark.parametrize("name", ["Content_Length", "Content-Length-", "XContent-Length", "Content\x2dLengths"])
    async def test_names_that_look_like_it(self, name: str, session: Session):
        """A header of another name tells no length."""
        head = OK + name.encode() + b": 2\r\n\r\n"
        with FaultServer(faults.garbage(head + b"hello", then="close")) as server:
            assert (await session.get(server.url)).content == b"hello"
            assert session.pool.open == 0

    async def test_an_answer_behind_an_answer(self, session: Session):
        """What follows an answer unasked is no answer to the next request."""
        first = OK + b"Content-Length: 5\r\n\r\nfirst"
        forged = OK + b"Content-Length: 6\r\n\r\nforged"
        with FaultServer(
            {"/": faults.garbage(first + forged, then="hold"), "/next": faults.ok(body=b"next")}
        ) as server:
            assert (await session.get(f"{server.url}/")).content == b"first"
            assert (await session.get(f"{server.url}/next")).content == b"next"
            assert [request.connection for request in server.requests] == [0, 1]
