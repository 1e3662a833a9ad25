"""Whatever is handed in as a body arrives as it is: at every server, over plain HTTP and TLS, in every size."""

import asyncio
import gzip
import hashlib
import io
import json
import os
import random
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiofiles
import anyio
import pytest

import aioreq
from aioreq import MultipartParam, multipart_encode
from tests.servers.certificates import Certificates
from tests.servers.endpoint import EchoServer, Endpoint
from tests.servers.nginx import Nginx

KIB = 1024
MIB = 1024 * KIB
ODD_SIZE = 100_003
"""A prime: no block size divides it."""


def content_of(size: int) -> bytes:
    """Bytes without a period, the same in each run."""
    return random.Random(size).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Place:
    """Where a test makes its sources; what it opens there is closed when the test ends."""

    folder: Path
    closing: AsyncExitStack
    session: aioreq.Session
    nginx: Nginx

    def file(self, content: bytes, name: str = "content.bin") -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def opened(self, content: bytes, mode: str = "rb", **options: Any) -> Any:
        return self.closing.enter_context(self.file(content).open(mode, **options))


@pytest.fixture
async def place(tmp_path: Path, session: aioreq.Session, nginx: Nginx) -> AsyncIterator[Place]:
    async with AsyncExitStack() as closing:
        yield Place(tmp_path, closing, session, nginx)


@pytest.fixture
async def session(certificates: Certificates) -> AsyncIterator[aioreq.Session]:
    async with aioreq.Session(verify=certificates.authority) as session:
        yield session


# Sources: a function of the bytes to be sent, and of where to make a file ----------------------------------


def blocks(content: bytes) -> Iterator[bytes]:
    """The content in blocks of growing size, empty ones among them."""
    start, size = 0, 1
    while start < len(content):
        yield content[start : start + size]
        yield b""
        start, size = start + size, size * 3


async def async_blocks(content: bytes) -> AsyncIterator[bytes]:
    for block in blocks(content):
        await asyncio.sleep(0)
        yield block


class Replayable:
    """An iterable that starts anew each time."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        return blocks(self._content)


class AsyncFile:
    """An object with `async read`, without a position."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


class OwnBytesIO(io.BytesIO):
    """A file-like object of somebody's own."""


async def path(content: bytes, place: Place) -> Path:
    return place.file(content)


async def open_file(content: bytes, place: Place) -> Any:
    file = place.opened(content)
    file.read(10)  # the position does not matter: a file is sent whole
    return file


async def text_file(content: bytes, place: Place) -> Any:
    return place.opened(content, "r", encoding="utf-16")  # its raw bytes on disk are sent


async def file_for_writing_too(content: bytes, place: Place) -> Any:
    file = place.opened(b"", "w+b")
    file.write(content)  # some of it is in the file's buffer still
    return file


async def bytes_io(content: bytes, place: Place) -> io.BytesIO:
    file = io.BytesIO(content)
    file.seek(len(content) // 2)
    return file


async def own_bytes_io(content: bytes, place: Place) -> io.BytesIO:
    file = OwnBytesIO(content)
    file.seek(len(content) // 2)
    return file


async def spooled_file(content: bytes, place: Place) -> Any:
    file = place.closing.enter_context(tempfile.SpooledTemporaryFile(max_size=MIB))  # noqa: SIM115
    file.write(content)
    return file


async def named_temporary_file(content: bytes, place: Place) -> Any:
    file = place.closing.enter_context(tempfile.NamedTemporaryFile(dir=place.folder))  # noqa: SIM115
    file.write(content)
    return file


async def gzip_file(content: bytes, place: Place) -> Any:
    packed = place.file(gzip.compress(content, 1), "packed.gz")
    return place.closing.enter_context(gzip.open(packed))


async def aiofiles_file(content: bytes, place: Place) -> Any:
    return await place.closing.enter_async_context(aiofiles.open(place.file(content), "rb"))


async def anyio_file(content: bytes, place: Place) -> Any:
    return await place.closing.enter_async_context(await anyio.open_file(place.file(content), "rb"))


async def streaming_response(content: bytes, place: Place) -> aioreq.Response:
    name = place.folder.name
    (place.nginx.data / "static" / name).write_bytes(content)
    call = place.session.stream("GET", place.nginx.plain.url(f"/static/{name}"))
    return await place.closing.enter_async_context(call)


async def read_response(content: bytes, place: Place) -> aioreq.Response:
    response = await streaming_response(content, place)
    await response.read()
    return response


async def async_generator(content: bytes, place: Place) -> AsyncIterator[bytes]:
    return async_blocks(content)


async def generator(content: bytes, place: Place) -> Iterator[bytes]:
    return blocks(content)


async def iterable(content: bytes, place: Place) -> Replayable:
    return Replayable(content)


async def iterator_of_views(content: bytes, place: Place) -> Iterator[memoryview]:
    return (memoryview(block) for block in blocks(content))


async def async_file(content: bytes, place: Place) -> AsyncFile:
    return AsyncFile(content)


async def pipe(content: bytes, place: Place) -> Any:
    reading, writing = os.pipe()

    def feed() -> None:
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as end:
            end.write(content)

    feeder = threading.Thread(target=feed)
    feeder.start()
    place.closing.callback(feeder.join)
    return place.closing.enter_context(os.fdopen(reading, "rb"))


Source = Callable[[bytes, Place], Awaitable[Any]]

OF_KNOWN_LENGTH: dict[str, Source] = {
    source.__name__: source
    for source in (
        path, open_file, text_file, file_for_writing_too, bytes_io, own_bytes_io, spooled_file, named_temporary_file,
        gzip_file, aiofiles_file, anyio_file, streaming_response, read_response,
    )
}  # fmt: skip
OF_DECLARED_LENGTH: dict[str, Source] = {
    source.__name__: source
    for source in (async_generator, generator, iterable, iterator_of_views, async_file, pipe)
}  # fmt: skip
SOURCES = OF_KNOWN_LENGTH | OF_DECLARED_LENGTH


# Raw bodies: what is passed as data= or json=, and what must arrive -----------------------------------------


@dataclass
class Raw:
    """Arguments of a call, and the body that must arrive."""

    arguments: dict[str, Any]
    expected: bytes
    headers: dict[str, str] = field(default_factory=dict)
    """Headers that must arrive with it."""


def text_of(content: bytes) -> str:
    """As many characters as there are bytes, half of them two bytes long in UTF-8."""
    return content.decode("latin-1")


def _plain_values() -> dict[str, Callable[[bytes, Place], Raw]]:
    form = "application/x-www-form-urlencoded"
    return {
        "bytes": lambda content, _: Raw({"data": content}, content),
        "bytearray": lambda content, _: Raw({"data": bytearray(content)}, content),
        "memoryview": lambda content, _: Raw({"data": memoryview(content)}, content),
        "list of bytes": lambda content, _: Raw({"data": list(blocks(content))}, content),
        "str": lambda content, _: Raw({"data": text_of(content)}, text_of(content).encode("utf-8")),
        "StringIO": lambda content, _: Raw(
            {"data": io.StringIO(text_of(content), newline="")}, text_of(content).encode("utf-8")
        ),
        "form": lambda content, _: Raw(
            {"data": {"a": content.hex(), "b": [1, "é &"], "c": None}},
            f"a={content.hex()}&b=1&b=%C3%A9+%26".encode(),
            {"content-type": form},
        ),
        "form of pairs": lambda content, _: Raw(
            {"data": [("a", content.hex()), ("a", "2")]}, f"a={content.hex()}&a=2".encode(), {"content-type": form}
        ),
        "json": lambda content, _: Raw(
            {"json": {"a": [content.hex(), None, 1.5, "é"]}},
            json.dumps({"a": [content.hex(), None, 1.5, "é"]}).encode(),
            {"content-type": "application/json"},
        ),
        "form encoded by hand": _datagen,
    }


def _datagen(content: bytes, place: Place) -> Raw:
    params = {"field": "é", "file": place.file(content)}
    datagen, headers = multipart_encode(params, boundary="frontier")
    expected = (
        b'--frontier\r\nContent-Disposition: form-data; name="field"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n'
        b"\xc3\xa9\r\n"
        b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="content.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--frontier--\r\n"
    )
    told = {"content-type": "multipart/form-data; boundary=frontier", "content-length": str(len(expected))}
    return Raw({"data": datagen, "headers": headers}, expected, told)


PLAIN_VALUES = _plain_values()


async def raw(kind: str, content: bytes, place: Place) -> Raw:
    """The call for a kind of body; a name with "chunked" asks for chunked coding."""
    if kind in PLAIN_VALUES:
        return PLAIN_VALUES[kind](content, place)
    name = kind.removeprefix("chunked ")
    if name != kind:
        data = content if name == "bytes" else await SOURCES[name](content, place)
        return Raw({"data": data, "headers": {"Transfer-Encoding": "chunked"}}, content)
    data = await SOURCES[name](content, place)
    headers = {"Content-Length": str(len(content))} if name in OF_DECLARED_LENGTH else None
    return Raw({"data": data, "headers": headers}, content)


CHUNKED = ["chunked bytes", *(f"chunked {name}" for name in SOURCES)]
KINDS = [*PLAIN_VALUES, *SOURCES, *CHUNKED]


def check_framing(kind: str, told: dict[str, Any]) -> None:
    """A Content-Length that is exact, or, only for who asked, chunks."""
    headers = dict(told["headers"])
    if kind.startswith("chunked"):
        assert headers["transfer-encoding"] == "chunked"
        assert "content-length" not in headers
    else:
        assert int(headers["content-length"]) == told["length"]
        assert "transfer-encoding" not in headers


async def check_echo(kind: str, content: bytes, echo: Endpoint, place: Place) -> None:
    """Send a body of a kind, and hold what the server saw against it."""
    call = await raw(kind, content, place)
    response = await place.session.post(echo.url("/echo"), timeout=20, **call.arguments)
    told = response.json()
    assert (told["length"], told["sha256"]) == (len(call.expected), digest(call.expected))
    check_framing(kind, told)
    assert call.headers.items() <= dict(told["headers"]).items()
    assert response.upload.complete
    assert response.upload.sent == len(call.expected)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_body(kind: str, echo: Endpoint, place: Place):
    """A body of every kind arrives whole, with its exact length announced."""
    await check_echo(kind, content_of(ODD_SIZE), echo, place)


BORDERS = [border + step for border in (64 * KIB, 256 * KIB, MIB) for step in (-1, 0, 1)]
KINDS_BY_WAY = ["bytes", "path", "own_bytes_io", "aiofiles_file", "async_generator", "generator", "async_file",
                "streaming_response", "form encoded by hand", "chunked path", "chunked async_generator"]  # fmt: skip
"""One kind for each way that bytes take from the source to the socket."""


@pytest.mark.parametrize("size", [0, 1, *BORDERS])
@pytest.mark.parametrize("kind", KINDS_BY_WAY)
@pytest.mark.parametrize("security", ["plain", "tls"])
async def test_sizes_around_the_borders(security: str, kind: str, size: int, aiohttp_echo: EchoServer, place: Place):
    """Nothing is lost or added where a body becomes too large for one write, one block, or one call."""
    await check_echo(kind, content_of(size), getattr(aiohttp_echo, security), place)


@pytest.mark.parametrize("kind", ["path", "async_generator"])
async def test_a_large_body(kind: str, echo: Endpoint, place: Place):
    """A body of 20 MiB arrives whole at every server."""
    await check_echo(kind, content_of(20 * MIB), echo, place)


@pytest.mark.parametrize("size", [0, 1, ODD_SIZE, 3 * MIB])
@pytest.mark.parametrize("kind", ["bytes", "path", "async_generator", "chunked bytes", "chunked path"])
@pytest.mark.parametrize("security", ["plain", "tls"])
async def test_put_to_nginx(security: str, kind: str, size: int, place: Place):
    """nginx stores what was put, byte by byte."""
    content = content_of(size)
    call = await raw(kind, content, place)
    name = f"{place.folder.name}/stored.bin"
    response = await place.session.put(getattr(place.nginx, security).url(f"/dav/{name}"), **call.arguments)
    assert response.status_code == 201
    assert place.nginx.stored(name).read_bytes() == call.expected


# Forms ------------------------------------------------------------------------------------------------------


async def form_file(kind: str, content: bytes, place: Place) -> Any:
    """What goes into files= for a kind of source."""
    if kind == "bytes":
        return content
    if kind == "bytearray":
        return bytearray(content)
    source = await SOURCES[kind](content, place)
    if kind in OF_DECLARED_LENGTH:
        return MultipartParam("file", filename="x", fileobj=source, filesize=len(content))
    return ("x", source)


@pytest.mark.parametrize("kind", ["bytes", "bytearray", *SOURCES])
async def test_every_kind_of_file_in_a_form(kind: str, echo: Endpoint, place: Place):
    """A form's file of every kind arrives whole."""
    content = content_of(ODD_SIZE)
    files = {"file": await form_file(kind, content, place)}
    response = await place.session.post(echo.url("/form"), files=files)
    [part] = response.json()["parts"]
    assert (part["name"], part["length"], part["sha256"]) == ("file", len(content), digest(content))
    assert response.upload.complete


@pytest.mark.parametrize("size", [0, 1, *BORDERS])
@pytest.mark.parametrize("kind", ["bytes", "path", "aiofiles_file", "async_generator"])
@pytest.mark.parametrize("security", ["plain", "tls"])
async def test_sizes_of_files_in_forms(security: str, kind: str, size: int, uvicorn_echo: EchoServer, place: Place):
    """The boundary behind a file stands where it must, whatever the file's size."""
    content = content_of(size)
    files = {"file": await form_file(kind, content, place), "after": ("y", b"last")}
    response = await place.session.post(getattr(uvicorn_echo, security).url("/form"), files=files)
    file, after = response.json()["parts"]
    assert (file["length"], file["sha256"]) == (size, digest(content))
    assert after["body_latin1"] == "last"


async def test_a_form_of_everything(echo: Endpoint, place: Place):
    """Fields and files of many kinds travel in one form, in their order, each with its name, filename and type."""
    content = content_of(ODD_SIZE)
    data = {"text": "é", "number": 7, "many": ["1", "2"], "none": None, "bytes": b"raw"}
    files = [
        ("path", await path(content, place)),
        ("named", ("naïve 名.txt", io.StringIO("é"))),
        ("typed", ("x.bin", io.BytesIO(content), "image/x-own")),
        ("async", await aiofiles_file(content, place)),
        MultipartParam("generated", filename="g", filesize=ODD_SIZE, fileobj=async_blocks(content)),
        MultipartParam("sync", filename="s", filesize=ODD_SIZE, fileobj=blocks(content)),
        ("answer", ("a", await streaming_response(content, place))),
        ("empty", ("empty.txt", b"")),
    ]
    response = await place.session.post(echo.url("/form"), data=data, files=files)
    parts = response.json()["parts"]
    assert [(part["name"], part["filename"]) for part in parts] == [
        ("text", None), ("number", None), ("many", None), ("many", None), ("bytes", None),
        ("path", "content.bin"), ("named", 'naïve 名.txt'), ("typed", "x.bin"), ("async", "content.bin"),
        ("generated", "g"), ("sync", "s"), ("answer", "a"), ("empty", "empty.txt"),
    ]  # fmt: skip
    assert [part["body_latin1"].encode("latin-1").decode() for part in parts[:5]] == ["é", "7", "1", "2", "raw"]
    assert [part["length"] for part in parts[5:]] == [ODD_SIZE, 2, *[ODD_SIZE] * 5, 0]
    assert {part["sha256"] for part in parts if part["length"] == ODD_SIZE} == {digest(content)}
    assert parts[7]["content_type"] == "image/x-own"


async def test_one_file_in_many_uploads(aiohttp_echo: EchoServer, place: Place):
    """One open file can be in several uploads at once: each sends it whole, and the caller's position stays."""
    content = content_of(MIB + 1)
    file = place.opened(content)
    file.seek(5)
    url = aiohttp_echo.plain.url("/echo")
    responses = await asyncio.gather(*(place.session.put(url, data=file) for _ in range(8)))
    assert {response.json()["sha256"] for response in responses} == {digest(content)}
    assert file.tell() == 5
    assert not file.closed


async def test_the_callers_file_stays_open(aiohttp_echo: EchoServer, place: Place):
    """A source that the caller opened is never closed."""
    opened = [await make(b"content", place) for make in (open_file, bytes_io, own_bytes_io, spooled_file, gzip_file)]
    for file in opened:
        await place.session.put(aiohttp_echo.plain.url("/echo"), data=file)
        await place.session.post(aiohttp_echo.plain.url("/form"), files={"file": file})
        assert not file.closed


READABLE_AGAIN = [*PLAIN_VALUES, *(OF_KNOWN_LENGTH.keys() - {"streaming_response"}), "iterable"]


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("kind", sorted(READABLE_AGAIN))
async def test_a_body_is_sent_again(status: int, kind: str, aiohttp_echo: EchoServer, place: Place):
    """A redirect that keeps the body sends it again from its first byte, for every source that can be read again."""
    call = await raw(kind, content_of(ODD_SIZE), place)
    url = aiohttp_echo.plain.url(f"/redirect/{status}?to=/echo")
    response = await place.session.post(url, **call.arguments)
    told = response.json()
    assert (told["method"], told["sha256"]) == ("POST", digest(call.expected))
    assert [hop.status_code for hop in response.history] == [status]


@pytest.mark.parametrize("kind", ["streaming_response", "async_generator", "generator", "pipe"])
async def test_a_one_shot_body_is_never_cut(kind: str, aiohttp_echo: EchoServer, place: Place):
    """A source that can be read once only can't follow such a redirect: an error says so, and no short body leaves."""
    call = await raw(kind, content_of(3 * MIB), place)
    url = aiohttp_echo.plain.url("/redirect/307?to=/echo")
    with pytest.raises(aioreq.UnrewindableBodyError, match="can be read only once"):
        await place.session.post(url, **call.arguments)
