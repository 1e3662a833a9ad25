"""What can't be meant is refused before a connection is opened, each time with a sentence that says what is wrong."""

import asyncio
import io
import os
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

import aioreq
from aioreq import (
    BasicAuth,
    BearerAuth,
    DigestAuth,
    FileForbidden,
    FileIsDirectory,
    FileMissing,
    InvalidBody,
    InvalidHeader,
    InvalidURL,
    Limits,
    MultipartParam,
    Request,
    Retry,
    Session,
    SessionClosed,
    Timeout,
    URLRequired,
)
from aioreq._rules.auth import autoauth_for
from aioreq._url import parse_url
from aioreq.testing import FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server that nobody may connect to."""
    with FaultServer() as server:
        yield server
        assert server.connections == []


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with Session() as session:
        yield session
        assert session.pool.open == 0


async def coroutine() -> bytes:
    """What somebody forgot to await."""
    return b""


async def async_blocks() -> AsyncIterator[bytes]:
    yield b"block"


def blocks() -> Iterator[bytes]:
    yield b"block"


class TestURLs:
    """URLs that lead nowhere."""

    @pytest.mark.parametrize("url", [None, "", "  \n"])
    async def test_none(self, url: Any, session: Session):
        """A call without a URL raises URLRequired."""
        with pytest.raises(URLRequired, match="a request needs a URL"):
            await session.get(url)

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("example.com/x", "has no scheme; did you mean 'http://example.com/x'"),
            ("localhost:80/x", "has no scheme; did you mean 'http://localhost:80/x'"),
            ("//host/x", "has no scheme; did you mean 'http://host/x'"),
            ("/path", "has no host.*base_url"),
            ("ftp://host/", "has the scheme 'ftp'; only http and https"),
            ("file:///etc/passwd", "has the scheme 'file'; only http and https"),
            ("http://", "has no host"),
            ("http:///path", "has no host"),
            ("http://?query", "has no host"),
            ("http://:80/", "host is required"),
            ("http://127.0.0.1:0/", "has a port outside of 1 to 65535"),
            ("http://127.0.0.1:65536/", "Port out of range"),
            ("http://127.0.0.1:-1/", "Port out of range"),
            ("http://127.0.0.1:http/", "port can't be converted"),
            ("http://a b/", "has a host that no host can be called"),
            ("http://a%0d%0ab/", "has a host that no host can be called"),
            ("http://a..b/", "has a host that no host can be called"),
            ("http://.a/", "has a host that no host can be called"),
            ("http://./", "has a host that no host can be called"),
            (f"http://{'a' * 64}.example/", "has a host that no host can be called"),
            ("http://[::1/", "is not a valid URL: Invalid IPv6 URL"),
            ("http://[zz]/", "is not a valid URL"),
            ("http://evil.example\\@127.0.0.1/", "backslash"),
            ("http://xn--é/", "is not a valid URL"),
            ("http://127.0.0.1/a\r\nb", "holds control characters"),
            ("http://127.0.0.1/\0", "holds control characters"),
            ("http://127.0.0.1/\ud800", "holds a lone surrogate"),
            (7, "the URL '7' has no scheme"),
        ],
    )
    async def test_invalid(self, url: Any, message: str, session: Session):
        """A URL without scheme or host, with a scheme of another kind, or a bad port or host, is InvalidURL."""
        with pytest.raises(InvalidURL, match=message) as caught:
            await session.get(url)
        assert isinstance(caught.value, ValueError)

    async def test_bytes(self, session: Session):
        """A URL may be bytes, as in requests."""
        with pytest.raises(InvalidURL, match="'ftp://host/' has the scheme 'ftp'"):
            await session.get(b"ftp://host/")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            (7, "pass a mapping, pairs or text"),
            (["a"], "pass a mapping, pairs or text"),
            (b"\xff", "pass a mapping, pairs or text"),
            ({"a": "\ud800"}, "surrogates not allowed"),
            ("a=\r\nb", "holds control characters"),
            ({"a": io.BytesIO(b"x")}, r"the value of 'a' is a source of bytes \(BytesIO\)"),
            ({"a": async_blocks()}, r"the value of 'a' is a source of bytes \(async_generator\)"),
        ],
    )
    async def test_params(self, params: Any, message: str, server: FaultServer, session: Session):
        """params= that have no form as a query are InvalidURL."""
        with pytest.raises(InvalidURL, match=message):
            await session.get(server.url, params=params)

    async def test_base_url(self):
        """A base URL is checked when the session is made."""
        with pytest.raises(InvalidURL, match=r"'example\.com' has no scheme"):
            Session(base_url="example.com")

    @pytest.mark.parametrize("method", ["", "G T", "GET /x HTTP/1.1\r\nX:", "GÉT", None])
    async def test_method(self, method: Any, server: FaultServer, session: Session):
        """A method that is no token is InvalidMethod."""
        with pytest.raises(aioreq.InvalidMethod, match="can't be a method"):
            await session.request(method, server.url)


class TestHeaders:
    """Headers that would end a head, or begin another one."""

    @pytest.mark.parametrize(
        ("headers", "message"),
        [
            ({"X-A\r\nX-B": "1"}, "can't be the name of a header"),
            ({"X A": "1"}, "can't be the name of a header"),
            ({"": "1"}, "'' can't be the name of a header"),
            ({"X-É": "1"}, "can't be the name of a header"),
            ({7: "1"}, "7 can't be the name of a header"),
            ({"X-A": "1\r\nX-B: 2"}, "the header X-A holds CR, LF or NUL"),
            ({"X-A": "1\nX-B: 2"}, "the header X-A holds CR, LF or NUL"),
            ({"X-A": b"1\rX-B: 2"}, "the header X-A holds CR, LF or NUL"),
            ({"X-A": "1\0"}, "the header X-A holds CR, LF or NUL"),
            ({"X-A": ["1", "2\r\n"]}, "the header X-A holds CR, LF or NUL"),
            ([("X-A", "1"), ("X-A", "2\r\n")], "the header X-A holds CR, LF or NUL"),
            ({"Content-Type": "text/plain\r\nX-B: 2"}, "the header Content-Type holds CR, LF or NUL"),
            ({"Host": "a\r\nX-B: 2"}, "the header Host holds CR, LF or NUL"),
            ({"X-A": "€"}, "outside of latin-1"),
            ({"X-A": object()}, "the header X-A is object; pass text or bytes"),
            ({"X-A": True}, "the header X-A is bool; pass text or bytes"),
            ("X-A: 1", "headers are a mapping or pairs, not str"),
            (7, "headers are a mapping or pairs, not int"),
            (["XA"], "'XA' among the headers is not a pair"),
        ],
    )
    async def test_headers(self, headers: Any, message: str, server: FaultServer, session: Session):
        """A header that may not go on the wire is InvalidHeader, of a call and of a session."""
        with pytest.raises(InvalidHeader, match=message):
            await session.post(server.url, data=b"body", headers=headers)
        with pytest.raises(InvalidHeader, match=message):
            Session(headers=headers)

    @pytest.mark.parametrize("value", ["1\r\nX-B: 2", "1\nX-B: 2", "\0", "€"])
    async def test_headers_put_into_the_session(self, value: str, server: FaultServer, session: Session):
        """What was put into session.headers unchecked is refused all the same."""
        session.headers["X-A"] = value
        with pytest.raises(InvalidHeader, match="the header X-A holds") as caught:
            await session.get(server.url)
        assert caught.value.request.url == server.url + "/"

    async def test_headers_put_on_by_a_function(self, server: FaultServer, session: Session):
        """An auth function and a hook can't put on what may not go on the wire."""

        def inject(request: aioreq.PreparedRequest) -> None:
            request.headers["X-A"] = "1\r\nX-B: 2"

        with pytest.raises(InvalidHeader, match="the header X-A holds CR, LF or NUL"):
            await session.get(server.url, auth=inject)
        async with Session(event_hooks={"request": inject}) as hooked:
            with pytest.raises(InvalidHeader, match="the header X-A holds CR, LF or NUL"):
                await hooked.get(server.url)

    @pytest.mark.parametrize(
        ("cookies", "message"),
        [
            ({"a\r\nb": "1"}, "can't be the name of a cookie"),
            ({"a=b": "1"}, "can't be the name of a cookie"),
            ({"a": "1\r\nX-B: 2"}, "the cookie a holds a control character or a semicolon"),
            ({"a": "1; b=2"}, "the cookie a holds a control character or a semicolon"),
            ({"a": "€"}, "the cookie a holds characters outside of latin-1"),
            ("a=1", "cookies are a mapping of names to values, or pairs"),
            (7, "cookies are a mapping of names to values, or pairs"),
        ],
    )
    async def test_cookies(self, cookies: Any, message: str, server: FaultServer, session: Session):
        """A cookie that would end its header, or add another cookie, is InvalidHeader."""
        with pytest.raises(InvalidHeader, match=message):
            await session.get(server.url, cookies=cookies)
        with pytest.raises(InvalidHeader, match=message):
            Session(cookies=cookies)

    def test_cookies_put_into_the_session(self):
        """session.cookies refuses it when it is set."""
        with pytest.raises(InvalidHeader, match="the cookie a holds a control character"):
            Session().cookies["a"] = "1\r\n"

    @pytest.mark.parametrize(
        ("headers", "data", "message"),
        [
            ({"Content-Length": "4"}, b"abc", "Content-Length says 4, but the body has 3 bytes"),
            ({"Content-Length": "4"}, {"a": "1"}, "Content-Length says 4, but the body has 3 bytes"),
            ({"Content-Length": "4"}, None, "Content-Length says 4, but the body has 0 bytes"),
            ({"Content-Length": "-1"}, b"abc", "'-1', not a number of bytes"),
            ({"Content-Length": "three"}, b"abc", "'three', not a number of bytes"),
            ({"Content-Length": ["3", "3"]}, b"abc", "'3, 3', not a number of bytes"),
            ({"Transfer-Encoding": "gzip"}, b"abc", "can only be 'chunked'"),
            ({"Transfer-Encoding": "chunked"}, None, "can only be 'chunked', on a request with a body"),
            ({"Transfer-Encoding": "chunked", "Content-Length": "3"}, b"abc", "and no Content-Length"),
            ({"Transfer-Encoding": "chunked"}, {"a": "1"}, "a form has a length: leave the header Transfer-Encoding"),
        ],
    )
    async def test_framing(self, headers: Any, data: Any, message: str, server: FaultServer, session: Session):
        """Headers that say something else of the body's length than is true are InvalidHeader."""
        with pytest.raises(InvalidHeader, match=message):
            await session.post(server.url, data=data, headers=headers)

    async def test_a_form_without_its_boundary(self, server: FaultServer, session: Session):
        """A Content-Type beside files= must name the boundary, or be left out."""
        headers = {"Content-Type": "multipart/form-data"}
        with pytest.raises(InvalidHeader, match="names no boundary: leave it out"):
            await session.post(server.url, files={"a": b""}, headers=headers)
        headers["Content-Type"] = f"multipart/form-data; boundary={'b' * 71}"
        with pytest.raises(ValueError, match="a boundary has 1 to 70 characters"):
            await session.post(server.url, files={"a": b""}, headers=headers)


class TestAuth:
    """Credentials that no header can hold."""

    @pytest.mark.parametrize("scheme", [BasicAuth, DigestAuth])
    @pytest.mark.parametrize(
        ("username", "password", "message"),
        [
            ("a\r\nX-B: 2", "p", "the user name holds a control character"),
            ("a", "p\0", "the password holds a control character"),
        ],
    )
    def test_control_characters(self, scheme: type, username: str, password: str, message: str):
        """CR, LF and other control characters in a user name or password are InvalidHeader."""
        with pytest.raises(InvalidHeader, match=message):
            scheme(username, password)

    @pytest.mark.parametrize("scheme", [BasicAuth, DigestAuth])
    def test_no_text(self, scheme: type):
        """A user name or password that is no text is a TypeError."""
        with pytest.raises(TypeError, match="a user name is text, not NoneType"):
            scheme(None, "p")
        with pytest.raises(TypeError, match="a password is text, not int"):
            scheme("a", 7)

    def test_a_colon(self):
        """A colon in a Basic user name would move to the password, and is an AuthenticationError."""
        with pytest.raises(aioreq.AuthenticationError, match="can't contain a colon"):
            BasicAuth("a:b", "p")

    def test_a_token(self):
        """A bearer token with CR LF is InvalidHeader."""
        with pytest.raises(InvalidHeader, match="a bearer token has letters"):
            BearerAuth("a\r\nX-B: 2")

    @pytest.mark.parametrize("auth", ["user:password", 7, ("user",), ["user", "password"], ("a", "b", "c")])
    async def test_what_is_none(self, auth: Any, server: FaultServer, session: Session):
        """auth= that is no pair, object or function is a TypeError, of a call and of a session."""
        with pytest.raises(TypeError, match=r"auth is \(user, password\), an auth object or a function, not"):
            await session.get(server.url, auth=auth)
        with pytest.raises(TypeError, match="auth is"):
            Session(auth=auth)

    async def test_a_pair_with_crlf(self, server: FaultServer, session: Session):
        """A pair as auth= is held to the same."""
        with pytest.raises(InvalidHeader, match="the user name holds a control character"):
            await session.get(server.url, auth=("a\r\nX-B: 2", "p"))

    def test_autoauth(self):
        """add_autoauth refuses a URL without scheme, and what is no auth; None forgets what was registered."""
        with pytest.raises(InvalidURL, match="has no scheme"):
            aioreq.add_autoauth("example.com", ("user", "password"))
        with pytest.raises(TypeError, match="auth is"):
            aioreq.add_autoauth("http://example.com", 7)
        aioreq.add_autoauth("http://example.com", ("user", "password"))
        aioreq.add_autoauth("http://example.com", None)
        assert autoauth_for(parse_url("http://example.com/")) is None


class TextReader:
    """A file-like object of known size that gives text."""

    def read(self, size: int = -1) -> str:
        return "text"

    def seek(self, offset: int, whence: int = 0) -> int:
        return 4

    def tell(self) -> int:
        return 0


@pytest.fixture
def pipe() -> Iterator[Any]:
    """The reading end of a pipe, open as a file."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file:
        yield file
    os.close(writing)


def closed_file(folder: Path) -> Any:
    with (folder / "closed").open("wb") as file:
        pass
    return file


def closed_bytes_io(folder: Path) -> Any:
    file = io.BytesIO(b"content")
    file.close()
    return file


def named_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


SOURCES: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "a generator": (lambda _: blocks(), InvalidBody, "No Content-Length: the length of this generator"),
    "an async generator": (lambda _: async_blocks(), InvalidBody, "No Content-Length: the length of this async_gen"),
    "a generator function": (lambda _: async_blocks, InvalidBody, "async_blocks is a function: call it"),
    "a coroutine": (lambda _: coroutine(), InvalidBody, r"coroutine\(\) is a coroutine that nobody awaited"),
    "a named pipe": (named_pipe, InvalidBody, "is not a regular file .* so its size is not known"),
    "a device": (lambda _: Path(os.devnull), InvalidBody, "is not a regular file"),
    "a directory": (lambda folder: folder, FileIsDirectory, "is a directory; pass the files inside it"),
    "a missing file": (lambda folder: folder / "missing", FileMissing, "can't read '.*missing': No such file"),
    "a home by its sign": (lambda _: Path("~/file"), FileMissing, "only a shell knows ~ by itself: use Path"),
    "a missing folder": (lambda folder: folder / "missing" / "file", FileMissing, "No such file or directory"),
    "a file as a folder": (lambda _: Path(__file__) / "file", FileMissing, "Not a directory"),
    "a path with NUL": (lambda _: Path("a\0b"), aioreq.FileUnreadable, "can't be a path: .*embedded null"),
    "a closed file": (closed_file, InvalidBody, "the file '.*closed' is closed"),
    "a closed BytesIO": (closed_bytes_io, InvalidBody, "is closed"),
    "an object": (lambda _: object(), InvalidBody, "object can't be sent: pass text, bytes, a path"),
    "text in no file": (lambda _: io.TextIOWrapper(io.BytesIO(b"x")), InvalidBody, "gives text, not bytes: open it in"),
}


class TestBodies:
    """Bodies that can't be sent, or only wrongly."""

    @pytest.mark.parametrize("kind", SOURCES)
    async def test_data(self, kind: str, tmp_path: Path, server: FaultServer, session: Session):
        """A source without a length, or that can't be read, is refused as data=."""
        make, error, message = SOURCES[kind]
        with pytest.raises(error, match=message):
            await session.post(server.url, data=make(tmp_path))

    @pytest.mark.parametrize("kind", SOURCES)
    async def test_files(self, kind: str, tmp_path: Path, server: FaultServer, session: Session):
        """... and in files=, alone and in a tuple."""
        make, error, message = SOURCES[kind]
        for folder, wrap in (("alone", lambda source: source), ("tuple", lambda source: ("name.txt", source))):
            place = tmp_path / folder
            place.mkdir()
            with pytest.raises(error, match=message):
                await session.post(server.url, files={"file": wrap(make(place))})

    async def test_a_pipe(self, pipe: Any, server: FaultServer, session: Session):
        """An open pipe has no size: the message says what to pass."""
        for arguments in ({"data": pipe}, {"files": {"file": pipe}}):
            with pytest.raises(InvalidBody, match="so its size is not known: read it first, or pass"):
                await session.post(server.url, **arguments)

    async def test_a_file_open_for_writing(self, tmp_path: Path, server: FaultServer, session: Session):
        """A file that is open for writing only can't be read."""
        with (tmp_path / "file").open("wb") as file, pytest.raises(InvalidBody, match="is open for writing only"):
            await session.post(server.url, data=file)

    async def test_a_forbidden_file(
        self, tmp_path: Path, server: FaultServer, session: Session, monkeypatch: pytest.MonkeyPatch
    ):
        """A file that may not be read is FileForbidden, which is a PermissionError."""
        (tmp_path / "file").touch(mode=0)
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read every file
        with pytest.raises(FileForbidden, match="permission denied") as caught:
            await session.post(server.url, data=tmp_path / "file")
        assert isinstance(caught.value, PermissionError)

    async def test_system_errors_are_kept(self, tmp_path: Path, server: FaultServer, session: Session):
        """A file's error is the operating system's too: its class, errno and filename."""
        with pytest.raises(FileNotFoundError) as caught:
            await session.post(server.url, data=tmp_path / "missing")
        assert isinstance(caught.value, aioreq.RequestException)
        assert caught.value.errno == 2
        assert caught.value.filename == str(tmp_path / "missing")

    async def test_more_declared_than_there_is(self, tmp_path: Path, server: FaultServer, session: Session):
        """A Content-Length beyond a file's size is refused."""
        (tmp_path / "file").write_bytes(b"123")
        with pytest.raises(InvalidBody, match=r"4 bytes were declared, but the file '.*file' has 3"):
            await session.post(server.url, data=tmp_path / "file", headers={"Content-Length": "4"})

    async def test_text_where_bytes_were_promised(self, server: FaultServer, session: Session):
        """A list of texts is no body, and a file that gives text is none either."""
        with pytest.raises(InvalidBody, match="list can't be sent"):
            await session.post(server.url, data=["text", "text"])
        with pytest.raises(InvalidBody, match="gives text, not bytes"):
            await session.post(server.url, data=io.TextIOWrapper(io.BytesIO(b"x")))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"json": {}, "data": b"x"}, "json= can't go along with data= or files="),
            ({"json": {}, "files": {"a": b""}}, "json= can't go along with data= or files="),
            ({"json": {1, 2}}, "json= can't be encoded: Object of type set"),
            ({"json": b"bytes"}, "json= can't be encoded: Object of type bytes"),
            ({"json": float("nan")}, "json= can't be encoded: Out of range float"),
            ({"data": "text", "files": {"a": b""}}, "data= beside files= holds fields"),
            ({"data": b"bytes", "files": {"a": b""}}, "data= beside files= holds fields"),
            ({"files": "path/to/file"}, "pairs or MultipartParams, not str"),
            ({"files": b"bytes"}, "pairs or MultipartParams, not bytes"),
            ({"files": Path("path")}, "pairs or MultipartParams, not PosixPath"),
            ({"files": 7}, "pairs or MultipartParams, not int"),
            ({"files": io.BytesIO(b"x")}, "pairs or MultipartParams, not BytesIO"),
            ({"files": {"a": {"filename": "b"}}}, "dict can't be sent: pass text, bytes, a path"),
            ({"files": {"a": ("name", ("path", b""))}}, "tuple can't be sent: pass text, bytes, a path"),
            ({"files": ["a"]}, "'a' is neither a pair"),
            ({"files": {"a": object()}}, "object can't be sent"),
            (
                {"data": {"a": io.BytesIO(b"x")}},
                r"the value of 'a' is a source of bytes \(BytesIO\): pass it in files=",
            ),
            ({"data": {"a": async_blocks()}}, "the value of 'a' is a source of bytes"),
            ({"data": {"a": {"b": 1}}}, "the value of 'a' is a dict, which no form holds: pass json= or text"),
            ({"data": {"a": {"b": 1}}, "files": {"c": b""}}, "dict can't be sent"),
        ],
    )
    async def test_arguments(self, arguments: Any, message: str, server: FaultServer, session: Session):
        """Arguments that contradict each other, or make no body, are InvalidBody: a TypeError and a ValueError."""
        with pytest.raises(InvalidBody, match=message) as caught:
            await session.post(server.url, **arguments)
        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, ValueError)

    @pytest.mark.parametrize(
        "part",
        [
            ("name", b"x", "text/plain\r\nX-B: 2"),
            ("name", b"x", "text/plain\0"),
            ("name", b"x", "text/plain", {"X-A": "1\r\nX-B: 2"}),
            ("name", b"x", "text/plain", {"X-A\r\nX-B": "1"}),
            ("name", b"x", 7),
        ],
    )
    async def test_part_headers(self, part: Any, server: FaultServer, session: Session):
        """CR, LF or NUL in the content type or the headers of a part are refused."""
        with pytest.raises(InvalidBody, match="a header of the field 'a' holds CR, LF or NUL, or isn't text"):
            await session.post(server.url, files={"a": part})

    async def test_an_unread_answer_of_unknown_length(self, session: Session):
        """A streamed answer without a length can't be a form's file: its length is not known."""
        with FaultServer({"/": _unknown_length}) as source:
            async with session.stream("GET", source.url + "/") as response:
                with pytest.raises(InvalidBody, match="the length of this response is not known"):
                    await session.post(source.url, files={"a": response})


async def _unknown_length(exchange: Any) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    await exchange.pause("held")


class TestNames:
    """CR LF in names and filenames is not refused but escaped, as browsers do."""

    async def test_crlf_in_names(self, session: Session):
        """CR, LF and quotes in a field's name and filename are sent as %0D, %0A and %22: no header can be injected."""
        with FaultServer() as server:
            await session.post(server.url, files={'a"\r\nX-A: 1': ('b"\r\nX-B: 2', b"x")})
            [request] = server.requests
        head = request.body.partition(b"\r\n\r\n")[0]
        assert head.split(b"\r\n")[1:] == [
            b'Content-Disposition: form-data; name="a%22%0D%0AX-A: 1"; filename="b%22%0D%0AX-B: 2"',
            b"Content-Type: application/octet-stream",
        ]


class TestCoroutines:
    """A coroutine that nobody awaited."""

    @pytest.mark.parametrize(
        "arguments",
        [
            lambda: {"data": coroutine()},
            lambda: {"files": {"a": coroutine()}},
            lambda: {"files": {"a": ("name", coroutine())}},
            lambda: {"data": {"a": coroutine()}},
            lambda: {"data": {"a": [coroutine()]}},
            lambda: {"data": {"a": coroutine()}, "files": {"b": b""}},
            lambda: {"params": {"a": coroutine()}},
        ],
        ids=["data", "file", "tuple", "field", "list", "field beside files", "params"],
    )
    async def test_as_a_value(self, arguments: Callable[[], Any], server: FaultServer, session: Session):
        """It is named, and Python does not warn of it a second time."""
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with pytest.raises((InvalidBody, InvalidURL), match="coroutine that nobody awaited: write 'await'"):
                await session.post(server.url, **arguments())
        assert warned == []


class TestSessions:
    """Sessions used in the wrong way."""

    def test_with(self):
        """`with` where `async with` was meant is told so in one sentence."""
        with pytest.raises(TypeError, match=r"write 'async with aioreq\.Session\(\) as session:'"), Session():
            pass  # pragma: no cover

    async def test_closed(self, server: FaultServer):
        """A call on a closed session raises SessionClosed, for every way in."""
        async with Session() as session:
            pass
        assert session.closed
        for call in (session.get(server.url), session.send(Request("GET", server.url)), session.__aenter__()):
            with pytest.raises(SessionClosed, match="the session is closed: make a new one"):
                await call
        with pytest.raises(SessionClosed, match="the session is closed"):
            async with session.stream("GET", server.url):
                pass  # pragma: no cover
        await session.aclose()

    def test_two_loops(self, server: FaultServer):
        """A session belongs to the loop that it was first used in."""
        session = Session()

        async def begin() -> None:
            await session.__aenter__()

        async def use() -> None:
            with pytest.raises(SessionClosed, match="belongs to another event loop: make one for each"):
                await session.get(server.url)

        with asyncio.Runner() as one, asyncio.Runner() as other:
            one.run(begin())
            other.run(use())
            one.run(session.aclose())

    def test_closed_in_another_loop(self):
        """A session whose loop has ended can't be closed in another one, and says so."""
        session = Session()

        async def begin() -> None:
            await session.__aenter__()

        asyncio.run(begin())
        with pytest.raises(SessionClosed, match="belongs to another event loop: close it there, before that ends"):
            asyncio.run(session.aclose())
        assert session.closed

    def test_outside_of_a_loop(self):
        """A session can be made where no loop runs, and closed again without one."""
        session = Session(timeout=5)
        assert not session.closed
        assert repr(session) == "<Session [<Pool [0 open, 0 idle, 0 waiting]>]>"

    @pytest.mark.parametrize("option", ["verify", "proxies", "proxy", "cert", "stream_", "foo"])
    async def test_options_a_call_does_not_have(self, option: str, server: FaultServer, session: Session):
        """An option that a call does not have is a TypeError, not ignored."""
        with pytest.raises(TypeError, match=f"a call has no option '{option}'"):
            await session.get(server.url, **{option: False})

    @pytest.mark.parametrize(
        ("option", "instead"),
        [
            ("verify", r"aioreq\.Session\(verify=\.\.\.\)"),
            ("limits", r"aioreq\.Session\(limits=\.\.\.\)"),
            ("proxies", r"aioreq\.Session\(proxy=\.\.\.\)"),
            ("content", "data="),
            ("header", "headers="),
        ],
    )
    async def test_where_an_option_belongs(self, option: str, instead: str, server: FaultServer, session: Session):
        """What other clients take with a call is not known here, but its place is."""
        with pytest.raises(TypeError, match=f"a call has no option '{option}': use {instead}"):
            await session.get(server.url, **{option: False})

    async def test_progress(self, server: FaultServer, session: Session):
        """progress= that can't be called is a TypeError."""
        with pytest.raises(TypeError, match="progress= is a function of an UploadProgress, not int"):
            await session.post(server.url, data=b"x", progress=7)  # type: ignore[arg-type]

    async def test_what_is_no_request(self, session: Session):
        """send() of anything but a Request is a TypeError."""
        with pytest.raises(TypeError, match=r"send\(\) sends an aioreq.Request, not str: for a URL there is get\(\)"):
            await session.send("http://example.org/")  # type: ignore[arg-type]

    async def test_an_async_progress(self, server: FaultServer, session: Session):
        """progress= that would have to be awaited is a TypeError: nobody could."""
        with pytest.raises(TypeError, match="progress= is a plain function of an UploadProgress, not an async one"):
            await session.post(server.url, data=b"x", progress=coroutine)  # type: ignore[arg-type]


class TestSettings:
    """Settings that mean nothing."""

    @pytest.mark.parametrize("value", ["5", 0, -1, float("nan"), True, (1, 2, 3), (1, "2"), object(), [1, 2]])
    async def test_timeout(self, value: Any, server: FaultServer, session: Session):
        """A timeout that is no positive number is a ValueError, of a call, of a session and of a Timeout."""
        with pytest.raises(ValueError, match="is not a number of seconds above 0"):
            await session.get(server.url, timeout=value)
        with pytest.raises(ValueError, match="is not a number of seconds above 0"):
            Session(timeout=value)
        with pytest.raises(ValueError, match=r"timeout total=.* is not a number of seconds above 0"):
            Timeout(total=value)

    @pytest.mark.parametrize("value", ["3", True, 1.5, object()])
    async def test_retry(self, value: Any, server: FaultServer, session: Session):
        """retry= that is no Retry and no number is a TypeError."""
        with pytest.raises(TypeError, match="retry is a Retry, a number of attempts or None"):
            await session.get(server.url, retry=value)
        with pytest.raises(TypeError, match="retry is a Retry"):
            Session(retry=value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *[("attempts", value) for value in (0, -1, "5", 1.5, True, None, [5], float("nan"))],
            *[(name, value) for name in ("backoff", "max_delay") for value in (-0.1, "1", True, None, float("nan"))],
        ],
    )
    def test_retry_numbers(self, name: str, value: Any):
        """A Retry without an attempt, with a negative delay, or with what is no number, is a ValueError."""
        with pytest.raises(ValueError, match="attempts is 1 or more, backoff and max_delay are seconds") as caught:
            Retry(**{name: value})
        assert f"Retry({name}={value!r})" in str(caught.value)

    @pytest.mark.parametrize("value", [503, "503", None, ["503"], iter([503])])
    def test_retry_statuses(self, value: Any):
        """statuses= that is no collection of numbers is a ValueError that shows one."""
        with pytest.raises(ValueError, match=r"Retry\(statuses=.*: a collection of numbers, such as \{502, 503\}"):
            Retry(statuses=value)

    @pytest.mark.parametrize("value", [5, "POST", None, [5], [b"GET"]])
    def test_retry_methods(self, value: Any):
        """methods= that is no collection of names is a ValueError that shows one."""
        with pytest.raises(ValueError, match=r"Retry\(methods=.*: a collection of names, such as \{'GET', 'POST'\}"):
            Retry(methods=value)

    def test_retry_methods_that_are_none(self):
        """A name that no method can have is InvalidMethod; the case of one makes no difference."""
        with pytest.raises(aioreq.InvalidMethod, match="'G T' can't be a method"):
            Retry(methods=["G T"])
        assert Retry(methods=["post"]) == Retry(methods={"POST"})

    @pytest.mark.parametrize("name", ["max_connections", "max_per_host", "max_idle", "idle_expiry"])
    @pytest.mark.parametrize("value", ["5", -1, True, float("nan"), [1]])
    def test_limits(self, name: str, value: Any):
        """A limit that is no number, or below what makes sense, is a ValueError."""
        with pytest.raises(ValueError, match=f"{name}=.*: a number, at least"):
            Limits(**{name: value})

    @pytest.mark.parametrize("name", ["max_connections", "max_per_host"])
    @pytest.mark.parametrize("value", [0, 1.5])
    def test_limits_of_connections(self, name: str, value: Any):
        """There is at least one connection, and no half ones."""
        with pytest.raises(ValueError, match=f"{name}=.*: a number, at least 1"):
            Limits(**{name: value})

    def test_limits_that_are_none(self):
        """limits= that is no Limits is a TypeError."""
        with pytest.raises(TypeError, match=r"limits= is an aioreq\.Limits, not int"):
            Session(limits=5)  # type: ignore[arg-type]

    @pytest.mark.parametrize("value", ["3", -1, None, True, 1.5])
    def test_max_redirects(self, value: Any):
        """max_redirects= that is no number is a ValueError."""
        with pytest.raises(ValueError, match="is not a number of redirects"):
            Session(max_redirects=value)

    @pytest.mark.parametrize("value", [None, 7, object()])
    def test_verify(self, value: Any):
        """verify= that is no bool, path or context is a TypeError: None does not turn verification off."""
        with pytest.raises(TypeError, match="verify= is True, False, a path or an SSLContext"):
            Session(verify=value)

    def test_verify_and_cert_paths(self, tmp_path: Path):
        """Paths of certificates that lead nowhere are found when the session is made."""
        with pytest.raises(FileMissing, match=r"can't read '.*missing\.pem'"):
            Session(verify=str(tmp_path / "missing.pem"))
        with pytest.raises(FileMissing, match=r"can't read '.*missing\.pem'"):
            Session(cert=tmp_path / "missing.pem")

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("unix_socket", 7, "unix_socket= is the path of a Unix socket, not int"),
            ("resolver", "127.0.0.1", "resolver= is a function of a host and a port, not str"),
            ("resolver", ["127.0.0.1"], "resolver= is a function of a host and a port, not list"),
            ("transport", 7, "transport= is a MockTransport, an ASGITransport or alike, not int"),
            ("event_hooks", [print], "event_hooks= is a mapping of events to functions, not list"),
            ("event_hooks", print, "event_hooks= is a mapping of events to functions, not builtin"),
            ("event_hooks", {"request": 7}, "a hook for 'request' is not a function"),
            ("proxy", 7, "proxy= is one URL as text"),
            ("proxy", {"http": "http://proxy"}, "proxy= is one URL as text"),
            ("auth", ["user", "password"], "auth is .user, password., an auth object or a function, not list"),
        ],
    )
    def test_kinds(self, name: str, value: Any, message: str):
        """An argument of the wrong kind is a TypeError that says what it should be."""
        with pytest.raises(TypeError, match=message):
            Session(**{name: value})

    @pytest.mark.parametrize("value", [5, 1.5, True, b"x", "", "example.org", "/api", "ftp://h/", [], {}, object()])
    def test_base_url(self, value: Any):
        """base_url= that is no whole URL is InvalidURL that shows one."""
        with pytest.raises(InvalidURL, match="base_url= is a whole URL, such as 'https://example.org/api': "):
            Session(base_url=value)

    async def test_base_url_of_another_kind(self):
        """base_url= may be bytes, or an object that is written as a URL, as the URL of a call may."""
        with FaultServer() as server:
            for base in (server.url.encode(), URL(server.url)):
                async with Session(base_url=base) as session:  # type: ignore[arg-type]
                    assert (await session.get("path")).url == f"{server.url}/path"

    @pytest.mark.parametrize("value", [5, True, [1], ["a"], object(), b"\xff"])
    def test_params(self, value: Any):
        """params= of a session that are no query are InvalidURL when it is made."""
        with pytest.raises(InvalidURL, match="params= can't be made into a query .*: pass a mapping, pairs or text"):
            Session(params=value)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: BearerAuth(5), "a bearer token is text, not int"),  # type: ignore[arg-type]
            (lambda: BearerAuth(None), "a bearer token is text, not NoneType"),  # type: ignore[arg-type]
            (lambda: BasicAuth("user", None), "a password is text, not NoneType"),  # type: ignore[arg-type]
            (lambda: DigestAuth(b"user", "x"), "a user name is text, not bytes"),  # type: ignore[arg-type]
            (lambda: aioreq.add_autoauth(5, ("a", "b")), "the URL that auth is registered for is text, not int"),  # type: ignore[arg-type]
        ],
    )
    def test_credentials(self, make: Callable[[], Any], message: str):
        """Credentials that are no text are a TypeError."""
        with pytest.raises(TypeError, match=message):
            make()

    @pytest.mark.parametrize("kind", [BasicAuth, DigestAuth])
    def test_credentials_without_a_form(self, kind: Any):
        """A lone surrogate has no form in UTF-8: InvalidHeader when the object is made."""
        with pytest.raises(InvalidHeader, match="the user name holds a lone surrogate"):
            kind("\ud800", "password")
        with pytest.raises(InvalidHeader, match="the password holds a lone surrogate"):
            kind("user", "\udfff")

    @pytest.mark.parametrize("value", [5, ["a"], [1], object(), "ab"])
    def test_headers_of_a_part(self, value: Any):
        """The headers of a form's part are a mapping."""
        with pytest.raises(InvalidBody, match="the headers of the field 'file' are a mapping, not "):
            MultipartParam("file", b"x", headers=value)

    @pytest.mark.parametrize("name", ["", "a b", "a:", "\xe4"])
    def test_names_of_a_parts_headers(self, name: str):
        """Their names are tokens."""
        with pytest.raises(InvalidBody, match="can't be the name of a header of the field 'file': it is no token"):
            MultipartParam("file", b"x", headers={name: "value"})

    @pytest.mark.parametrize("value", [7, (), ("one",), ("one", "two", "three", "four")])
    def test_cert(self, value: Any):
        """cert= that is no path and no pair is a TypeError."""
        with pytest.raises(TypeError, match="cert= is a path"):
            Session(cert=value)

    @pytest.mark.parametrize("filesize", [-1, "3", 1.5])
    def test_filesize(self, filesize: Any):
        """A filesize that is no number of bytes is refused."""
        with pytest.raises(InvalidBody, match="which is no number of bytes"):
            MultipartParam("file", fileobj=async_blocks(), filesize=filesize)
