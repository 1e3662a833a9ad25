"""Exactly the declared bytes leave, or a named error does; and such a connection is never used again."""

import asyncio
import errno
import gc
import io
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import aioreq
from aioreq._threads import READERS
from aioreq.testing import FaultServer, RequestLog, faults

from .bodies import KIB, MIB, AsyncFile, OwnFile, content_of, digest
from .conftest import Serve, settled

DECLARED = 300 * KIB
BLOCK = 20 * KIB
CONTENT = content_of(DECLARED)


def cut(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), BLOCK):
        yield content[start : start + BLOCK]


async def cut_async(content: bytes) -> AsyncIterator[bytes]:
    for block in cut(content):
        yield block


class OneByteAtATime:
    """A pipe: it has `read`, and no position."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


def raw(source: Any) -> dict[str, Any]:
    return {"data": source, "headers": {"Content-Length": str(DECLARED)}}


def in_a_form(source: Any) -> dict[str, Any]:
    param = aioreq.MultipartParam("file", filename="f", fileobj=source, filesize=DECLARED)
    return {"data": {"before": "x" * 100}, "files": [param, ("after", b"y")]}


SOURCES = {"async generator": cut_async, "generator": cut, "async file": AsyncFile, "pipe": OneByteAtATime}
PLACES = {"raw": raw, "in a form": in_a_form}

source = pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
place = pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))


@source
@place
async def test_a_source_that_ends_too_soon(
    source: Callable, place: Callable, serve: Serve, session: aioreq.Session
) -> None:
    """An iterator or file that gives fewer bytes than were declared raises BodyLengthError; the server sees no end."""
    server = serve()
    with pytest.raises(aioreq.BodyLengthError, match=f"{DECLARED} bytes were declared.* only {DECLARED - 1}") as caught:
        await session.post(server.url, **place(source(CONTENT[:-1])))
    cut_short = await never_completed(server, session)
    assert cut_short.received == caught.value.sent
    assert caught.value.request.url == server.url + "/"


@source
@place
async def test_a_source_that_gives_too_much(
    source: Callable, place: Callable, serve: Serve, session: aioreq.Session
) -> None:
    """One byte more than was declared raises BodyLengthError while the server still waits for the rest."""
    server = serve()
    with pytest.raises(aioreq.BodyLengthError, match=f"{DECLARED} bytes were declared.* at least"):
        await session.post(server.url, **place(source(CONTENT + b"z")))
    await never_completed(server, session)


@source
async def test_a_source_that_gives_something_where_nothing_was_declared(
    source: Callable, serve: Serve, session: aioreq.Session
) -> None:
    """A declared length of 0 is a length too."""
    server = serve()
    with pytest.raises(aioreq.BodyLengthError):
        await session.post(server.url, data=source(b"z"), headers={"Content-Length": "0"})
    assert (await session.get(server.url)).ok


@source
@place
async def test_a_source_that_keeps_its_word(
    source: Callable, place: Callable, serve: Serve, session: aioreq.Session
) -> None:
    """Where the source gives what was declared, the upload succeeds and the connection serves the next request."""
    server = serve()
    response = await session.post(server.url, **place(source(CONTENT)))
    assert response.upload.complete
    assert response.upload.sent == server.requests[0].received == response.upload.total
    assert place is in_a_form or server.requests[0].sha256 == digest(CONTENT)
    assert (await session.get(server.url)).ok
    assert len(server.connections) == 1


def blocks_for_ever() -> Iterator[bytes]:
    return itertools.repeat(bytes(BLOCK))


async def blocks_for_ever_async() -> AsyncIterator[bytes]:
    while True:
        yield bytes(BLOCK)


@pytest.mark.parametrize("endless", [blocks_for_ever, blocks_for_ever_async])
async def test_a_source_that_never_ends(endless: Callable, serve: Serve, session: aioreq.Session) -> None:
    """A generator that never ends, with a declared length, is stopped there; it does not hold the process."""
    server = serve()
    with pytest.raises(aioreq.BodyLengthError):
        await session.post(server.url, **raw(endless()))
    await never_completed(server, session)


def nothing_for_ever() -> Iterator[bytes]:
    return itertools.repeat(b"")


async def nothing_for_ever_async() -> AsyncIterator[bytes]:
    while True:
        yield b""


@pytest.mark.parametrize("endless", [nothing_for_ever, nothing_for_ever_async])
async def test_a_source_that_gives_empty_blocks_for_ever(
    endless: Callable, serve: Serve, session: aioreq.Session
) -> None:
    """Empty blocks without end hold neither the loop nor a thread: the call can be ended, and others go on."""
    server = serve()
    stuck = asyncio.create_task(session.post(server.url, **raw(endless())))
    await server.reached("request")
    assert (await session.get(server.url)).ok
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck
    await never_completed(server, session)


class OwnError(Exception):
    """The caller's own."""


@pytest.mark.parametrize("error", [OwnError("mine"), asyncio.CancelledError("mine"), OSError(5, "mine")])
async def test_an_error_in_an_iterator_is_raised_as_it_is(
    error: BaseException, serve: Serve, session: aioreq.Session
) -> None:
    """What the caller's own iterator raises ends the upload and reaches the caller as it was raised."""
    server = serve()

    async def failing() -> AsyncIterator[bytes]:
        yield CONTENT[: DECLARED // 2]
        raise error

    with pytest.raises(type(error)) as caught:
        await session.post(server.url, **raw(failing()))
    assert caught.value is error
    await never_completed(server, session)


class BrokenFile(io.BytesIO):
    """A file whose second block can't be read."""

    name = "broken.bin"

    def __init__(self, error: Exception) -> None:
        super().__init__(CONTENT)
        self.error = error

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise self.error
        return super().read(64 * KIB)


class BrokenPipe(BrokenFile):
    """The same without a position."""

    def seekable(self) -> bool:
        return False


class BrokenAsyncFile:
    """The same with `async read`."""

    def __init__(self, error: Exception) -> None:
        self._file = BrokenFile(error)
        self.name = self._file.name

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


BROKEN = pytest.mark.parametrize("broken", [BrokenFile, BrokenPipe, BrokenAsyncFile])


@BROKEN
@place
async def test_a_file_object_that_can_no_longer_be_read(
    broken: Callable, place: Callable, serve: Serve, session: aioreq.Session
) -> None:
    """What the operating system says of a file object is FileUnreadable, with its errno and the file's name."""
    server = serve()
    with pytest.raises(aioreq.FileUnreadable, match="broken.bin") as caught:
        await session.post(server.url, **place(broken(OSError(errno.EIO, "input/output error"))))
    assert isinstance(caught.value, OSError)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, "broken.bin")
    await never_completed(server, session)


@BROKEN
async def test_an_error_in_a_file_object_is_raised_as_it_is(
    broken: Callable, serve: Serve, session: aioreq.Session
) -> None:
    """What the caller's own file object raises of its own reaches the caller as it was raised."""
    server = serve()
    error = OwnError("mine")
    with pytest.raises(OwnError) as caught:
        await session.post(server.url, **raw(broken(error)))
    assert caught.value is error
    await never_completed(server, session)


async def test_a_read_that_fails_ahead(unseen: list[Any]) -> None:
    """A block that is read ahead and can't be is nobody's error when the body is given up before it is due."""
    tried = threading.Event()

    class Failing(BrokenFile):
        def read(self, size: int | None = -1) -> bytes:
            try:
                return super().read(size)
            except OSError:
                tried.set()
                raise

    datagen, _ = aioreq.multipart_encode({"file": Failing(OSError(errno.EIO, "input/output error"))})
    blocks = aiter(datagen)
    while len(await anext(blocks)) < 64 * KIB:
        pass
    await asyncio.to_thread(tried.wait)
    await asyncio.to_thread(READERS.submit(int).result)
    await settled()
    await blocks.aclose()
    del blocks, datagen
    await settled()
    gc.collect()
    assert unseen == []


async def test_a_file_object_that_is_closed_under_way(serve: Serve, session: aioreq.Session) -> None:
    """A file object that its owner closes before all of it has left is FileUnreadable, which says so."""
    server = serve(faults.stall(after=KIB))
    file = OwnFile(content_of(6 * MIB))
    upload = asyncio.create_task(session.post(server.url, data=file))
    await server.reached("stalled")
    file.close()
    server.release("stalled")
    with pytest.raises(aioreq.FileUnreadable, match="'OwnFile' was closed before its bytes were due"):
        await upload
    await never_completed(server, session)


async def test_an_iterator_of_something_else(serve: Serve, session: aioreq.Session) -> None:
    """A block that is not bytes is told so."""
    server = serve()
    with pytest.raises(aioreq.InvalidBody, match="gave str, not bytes; encode the text"):
        await session.post(server.url, **raw(iter([CONTENT[:1000], "text"])))
    await never_completed(server, session)


async def test_a_download_that_breaks_off_in_mid_upload(serve: Serve, session: aioreq.Session) -> None:
    """Where the body is another answer that is cut short, that error ends the upload: it is no broken connection."""
    server = serve({"/cut": faults.cut_answer(MIB, 400 * KIB), "/": faults.ok()})
    async with session.stream("GET", server.url + "/cut") as download:
        with pytest.raises(aioreq.RemoteProtocolError, match="cut short|middle of the answer") as caught:
            await session.post(server.url, data=download, timeout=aioreq.Timeout(read=None, write=None))
    assert caught.value.request.method == "GET"
    assert server.requests[1].declared == MIB
    assert not server.requests[1].complete
    assert (await session.get(server.url)).ok


async def never_completed(server: FaultServer, session: aioreq.Session) -> RequestLog:
    """The first request was given up along with its connection, and the session works."""
    await server.reached("closed")
    first = server.requests[0]
    assert not first.complete
    assert (await session.get(server.url)).ok
    assert server.requests[-1].connection != first.connection
    return first
