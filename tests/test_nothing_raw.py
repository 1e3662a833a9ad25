"""No error of the system, of ssl or of a library comes out raw; what the caller's own code raises does, untouched."""

import asyncio
import io
import os
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import Auth, InvalidBody, InvalidHeader, RequestException, Session
from aioreq.testing import FaultServer
from tests.servers.certificates import Certificates

SURROGATE = "\ud800"
NAMED = "http://name.example:9/"
# What nobody may see who has not raised it himself.
RAW = (OSError, ssl.SSLError, asyncio.InvalidStateError, UnicodeError, LookupError, AttributeError, RuntimeError)


class OwnError(Exception):
    """Raised by the caller's code in these tests."""


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
async def secure(certificates: Certificates) -> AsyncIterator[FaultServer]:
    with FaultServer(tls=certificates.server_context()) as server:
        yield server


def raises(*_: Any) -> Any:
    raise OwnError("mine")


async def raises_later(*_: Any) -> Any:
    raise OwnError("mine")


def raises_lookup(*_: Any) -> Any:
    raise KeyError("mine")


OWN_CODE = pytest.mark.parametrize(
    ("code", "error"), [(raises, OwnError), (raises_later, OwnError), (raises_lookup, KeyError)]
)


class Gives(Auth):
    """An auth whose flow is whatever it is made with."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def flow(self, request: Any) -> Any:
        return self._make(request)


class TestResolvers:
    @pytest.mark.parametrize(
        "answer",
        [None, 7, "127.0.0.1", b"127.0.0.1", [7], [None], ["nonsense"], [SURROGATE], [b"127.0.0.1"], ["::1%nozone"],
         [("127.0.0.1", "http")], [("127.0.0.1", 99999)], [("127.0.0.1", -1)], [("127.0.0.1", 0)],
         [("127.0.0.1", 1, 2)], ["a." * 200], {"a": 1}],
    )  # fmt: skip
    @pytest.mark.parametrize("is_async", [True, False])
    async def test_nonsense(self, answer: Any, is_async: bool):
        """What is no list of addresses is told of, as a connection that could not be made."""

        def resolve(_host: str, _port: int) -> Any:
            return answer

        async def resolve_later(_host: str, _port: int) -> Any:
            return answer

        async with Session(resolver=resolve_later if is_async else resolve) as session:
            with pytest.raises(aioreq.ConnectionError, match="the resolver gave .*, which is no") as caught:
                await session.get(NAMED)
        assert caught.value.request.url == NAMED

    @OWN_CODE
    async def test_what_it_raises(self, code: Any, error: type[Exception]):
        """Its own error comes through; what the system says of a name is a ConnectionError."""
        async with Session(resolver=code) as session:
            with pytest.raises(error, match="mine"):
                await session.get(NAMED)

    async def test_what_the_system_says_in_it(self):
        """An OSError in a resolver is about the name."""

        def fails(*_: Any) -> Any:
            raise TimeoutError

        async with Session(resolver=fails) as session:
            with pytest.raises(aioreq.ConnectionError, match=r"can't connect to http://name.example:9: \w+"):
                await session.get(NAMED)


class TestAuth:
    @pytest.mark.parametrize("flow", [None, 7, [], "request"])
    async def test_a_flow_that_is_none(self, server: FaultServer, flow: Any):
        """A flow that is no generator is told of, with the name of its class."""
        async with Session(auth=Gives(lambda _request: flow)) as session:
            with pytest.raises(TypeError, match=r"Gives.flow\(\) gave .*: it is a generator, and yields the request"):
                await session.get(server.url)

    @pytest.mark.parametrize("letters", [[], [None], [7], ["request"], [aioreq.Request("GET", "http://x.example/")]])
    async def test_nonsense(self, server: FaultServer, letters: list[Any]):
        """So is one that yields anything but requests, or nothing."""
        async with Session(auth=Gives(lambda _request: iter(letters))) as session:
            with pytest.raises(TypeError, match=r"Gives.flow\(\) yields the request it was given, not "):
                await session.get(server.url)
        assert server.requests == []

    async def test_nonsense_after_an_answer(self, server: FaultServer):
        """Also where it comes after an answer; the connection is given back or closed."""

        def flow(request: Any) -> Any:
            yield request
            yield None

        async with Session(auth=Gives(flow)) as session:
            with pytest.raises(TypeError, match="yields the request it was given, not None"):
                await session.get(server.url)
            assert session.pool.open == session.pool.idle

    @OWN_CODE
    async def test_what_it_raises(self, server: FaultServer, code: Any, error: type[Exception]):
        """What a flow raises comes through."""

        def flow(request: Any) -> Any:
            if code is not raises_later:
                code()
            yield request
            raise OwnError("mine")

        async with Session(auth=Gives(flow)) as session:
            with pytest.raises(error, match="mine"):
                await session.get(server.url)


class TestHooksAndProgress:
    @pytest.mark.parametrize("event", ["request", "response", "connection"])
    @OWN_CODE
    async def test_hooks(self, server: FaultServer, event: str, code: Any, error: type[Exception]):
        """What a hook raises comes through, and leaves no connection in use."""
        async with Session(event_hooks={event: code}) as session:
            with pytest.raises(error, match="mine"):
                await session.get(server.url)
            assert session.pool.open == session.pool.idle

    @pytest.mark.parametrize("code", [raises, raises_lookup])
    async def test_progress(self, server: FaultServer, code: Any):
        """What a progress callback raises comes through."""
        async with Session() as session:
            with pytest.raises((OwnError, KeyError), match="mine"):
                await session.put(server.url, data=bytes(100_000), progress=code)

    @pytest.mark.parametrize("hooks", [7, "x", [], object(), {"nope": raises}, {"request": 7}, {"request": [None]}])
    def test_hooks_of_a_wrong_kind(self, hooks: Any):
        """Hooks that can't be called are refused when the session is made."""
        with pytest.raises((TypeError, ValueError), match="event|hook"):
            Session(event_hooks=hooks)


class TestText:
    @pytest.mark.parametrize(
        "options",
        [
            {"data": SURROGATE},
            {"data": {"a": SURROGATE}},
            {"data": {SURROGATE: "a"}},
            {"data": {"a": ["b", SURROGATE]}},
            {"data": io.StringIO(SURROGATE)},
            {"files": {"a": SURROGATE}},
            {"files": {SURROGATE: b"a"}},
            {"files": {"a": (SURROGATE, b"a")}},
            {"files": {"a": b"a"}, "data": {"b": SURROGATE}},
        ],
    )
    async def test_lone_surrogates(self, server: FaultServer, options: dict[str, Any]):
        """Text that has no form in UTF-8 can't be a body; nothing is sent."""
        async with Session() as session:
            with pytest.raises(InvalidBody, match="lone surrogate"):
                await session.post(server.url, **options)
        assert server.requests == []

    @pytest.mark.parametrize("options", [{"headers": {SURROGATE: "x"}}, {"headers": {"X": SURROGATE}},
                                         {"headers": {None: None}}, {"headers": {7: None}},
                                         {"cookies": {"a": SURROGATE}}])  # fmt: skip
    async def test_headers(self, server: FaultServer, options: dict[str, Any]):
        """Nor can it be a header or a cookie; and a name is text, also where it only takes a header away."""
        async with Session() as session:
            with pytest.raises(InvalidHeader):
                await session.get(server.url, **options)

    def test_a_path(self):
        """Nor the path of a Unix socket."""
        with pytest.raises(ValueError, match="holds a lone surrogate"):
            Session(unix_socket=f"/run/{SURROGATE}")


class TestFiles:
    @pytest.fixture
    def place(self, tmp_path: Path, certificates: Certificates) -> Path:
        (tmp_path / "folder").mkdir()
        (tmp_path / "text").write_text("nonsense")
        (tmp_path / "empty").touch()
        (tmp_path / "bytes").write_bytes(b"\xff\0\xfe")
        lines = certificates.client.read_text()
        begin = lines.index("-----BEGIN CERTIFICATE")
        (tmp_path / "certificate").write_text(lines[begin:])
        (tmp_path / "key").write_text(lines[:begin])
        return tmp_path

    @pytest.mark.parametrize("name", ["missing", "text", "empty", "bytes", "key"])
    async def test_authorities(self, secure: FaultServer, place: Path, name: str):
        """A file that holds no certificates of authorities is told of by its name."""
        with pytest.raises(RequestException, match=name):
            async with Session(verify=place / name) as session:
                await session.get(secure.url)

    @pytest.mark.parametrize(
        "names",
        [("missing",), ("folder",), ("text",), ("empty",), ("bytes",), ("certificate",), ("key",),
         ("certificate", "missing"), ("certificate", "folder"), ("certificate", "text"), ("key", "certificate")],
    )  # fmt: skip
    async def test_a_certificate_of_ones_own(self, secure: FaultServer, place: Path, names: tuple[str, ...]):
        """So is a certificate without its key, a key without its certificate, and what is neither."""
        paths = tuple(place / name for name in names)
        with pytest.raises(RequestException, match="|".join(names)):
            async with Session(cert=paths if len(paths) == 2 else paths[0]) as session:
                await session.get(secure.url)

    @pytest.mark.parametrize("cert", [(None, None), (7, None), ("a", 7), (), ("a",), 7, ["a", "b"], {"a": 1}])
    def test_a_certificate_of_a_wrong_kind(self, cert: Any):
        """What can't be a path is refused when the session is made."""
        with pytest.raises(TypeError, match="cert= "):
            Session(cert=cert)

    @pytest.mark.parametrize("name", ["folder", "text", "bytes", "missing"])
    async def test_netrc(self, server: FaultServer, place: Path, name: str, monkeypatch: pytest.MonkeyPatch):
        """A netrc file that is none is an error for NetrcAuth, and is left out where nobody asked for it."""
        async with Session(auth=aioreq.NetrcAuth(place / name)) as session:
            with pytest.raises(aioreq.AuthenticationError, match="netrc file"):
                await session.get(server.url)
        monkeypatch.setenv("NETRC", os.fspath(place / name))
        async with Session() as session:
            assert (await session.get(server.url)).ok


WRONG = [
    7, 1.5, True, object(), b"x", "x", [7], [("a",)], [("a", "b", "c")], {7: 7}, {"a": object()}, {None: None},
    {"a": [object()]}, {"a": None}, {"a": b"\xff"}, {b"\xff": "x"}, {"a"}, {"a": {"b": "c"}}, raises, range(3),
    Path("/missing"), {"a": float("nan")}, {"a": "x\r\ny"}, {"a b": "c"}, {"": ""}, [None], [[]], (1, 2), ("a", "b"),
    memoryview(b"x"), {"a": ("x",)}, {"a": ("n", b"x", "t", {"h": "v"}, "z")}, {"a": ("n", None)}, {"a": ()},
    {"a": ("n", b"x", 7)}, {"a": ("n", b"x", "t", 7)}, {"a": ("n", b"x", "t", {"h": 7})}, {"a": (7, b"x")}, OwnError,
    asyncio.sleep, float("inf"),
]  # fmt: skip


@pytest.mark.parametrize("name", ["params", "headers", "cookies", "data", "json", "files", "timeout", "retry"])
async def test_arguments_of_wrong_kinds(server: FaultServer, name: str):
    """Whatever stands in the place of an argument, the call works or is refused in words: with an error of aioreq, or
    a TypeError or ValueError that is no library's.
    """
    async with Session() as session:
        for value in [*WRONG, iter([7]), iter([("a", "b")]), (item for item in ()), io.StringIO(SURROGATE)]:
            (outcome,) = await asyncio.gather(session.post(server.url, **{name: value}), return_exceptions=True)
            if isinstance(outcome, aioreq.Response | RequestException):
                continue
            assert isinstance(outcome, TypeError | ValueError), (value, outcome)
            assert not isinstance(outcome, RAW), (value, outcome)
            assert name.rstrip("s") in str(outcome), (value, outcome)


@pytest.mark.parametrize(
    "proxy",
    ["", " ", "nonsense://x", "http://", "http://:80", "http://x:99999", "http://[::1", f"http://{SURROGATE}:1",
     "http://a b", f"http://user:{SURROGATE}@x:1", "http://..:1", "http://" + "a" * 70 + ":1", "http://127.0.0.1:9",
     "socks5://127.0.0.1:9"],
)  # fmt: skip
async def test_proxies(server: FaultServer, proxy: str):
    """A proxy that is none, or is not there, is told of as a URL or as a connection."""
    with pytest.raises((aioreq.InvalidURL, aioreq.ConnectionError)):
        async with Session(proxy=proxy) as session:
            await session.get(server.url)
