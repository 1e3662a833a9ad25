"""A file that changes while it is uploaded: the declared bytes leave, or FileChanged says what happened.

The server reads some of the body and stops, the test changes the file, and the server goes on. What has been handed to
the kernel by then is a copy and stays what it was; what has not is looked for, and found to be different or missing.
"""

import asyncio
import errno
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import _page_cache as page_cache
from aioreq.testing import FaultServer, faults

from .bodies import KIB, KINDS, MIB, Kind, Supply, digest, whole
from .conftest import Serve, make_supply

SIZE = 6 * MIB + 7
"""Bytes: more than what is read ahead and what the kernels hold, while the server reads no more."""
STALL = 64 * KIB
CUT = 5 * MIB + 1
"""Where a file is cut that had left up to somewhere before: within what is mapped next."""

on_disk = pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.pumped], ids=repr)


@pytest.fixture
def supply(tmp_path: Path) -> Iterator[Supply]:
    with ExitStack() as closing:
        yield make_supply(tmp_path, closing, SIZE)


class Upload:
    """An upload that stands still until the test has changed the file."""

    def __init__(self, serve: Serve, session: aioreq.Session) -> None:
        self.server: FaultServer = serve({"/": faults.ok(), "/upload": faults.stall(after=STALL)})
        self.session = session

    async def around(self, change: Callable[[], object], arguments: dict[str, Any]) -> aioreq.Response:
        call = asyncio.create_task(self.session.post(self.server.url + "/upload", **arguments))
        await self.server.reached("stalled")
        await asyncio.to_thread(change)
        self.server.release("stalled")
        return await call

    async def was_given_up(self, content: bytes) -> None:
        """The server got a true beginning of the file and no end, and the session works on."""
        await self.server.reached("closed")
        log = self.server.requests[0]
        assert not log.complete
        assert log.received >= STALL
        await self.works()
        assert self.server.requests[-1].connection != log.connection
        if log.header("content-type") is None:
            assert log.sha256 == digest(content[: log.received])

    async def works(self) -> None:
        assert (await self.session.get(self.server.url + "/")).ok


@pytest.fixture
def upload(serve: Serve, session: aioreq.Session) -> Upload:
    return Upload(serve, session)


def replace(path: Path, content: bytes) -> None:
    """Put another file in its place, as editors and deployments do."""
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)


@on_disk
@pytest.mark.parametrize("left", [SIZE - 1, STALL // 2, 0], ids=["by a byte", "to what has left", "to nothing"])
async def test_a_file_that_shrinks(kind: Kind, left: int, upload: Upload, supply: Supply) -> None:
    """FileChanged says which file it is, what was declared and what is there, and no byte leaves in its stead."""
    with pytest.raises(aioreq.FileChanged) as caught:
        await upload.around(lambda: os.truncate(supply.path, left), kind.arguments(supply))
    error = caught.value
    assert (error.path, error.declared, error.seen) == (str(supply.path), SIZE, left)
    assert STALL <= error.sent < upload.server.requests[0].declared
    await upload.was_given_up(supply.content)


@on_disk
@pytest.mark.parametrize("transport", ["plain"], indirect=True)
async def test_a_file_that_is_cut_in_the_middle_of_a_page(upload: Upload, supply: Supply, kind: Kind) -> None:
    """What was mapped and not sent yet reads as zeros behind the cut, in that page: no such upload is complete."""
    with pytest.raises(aioreq.FileChanged) as caught:
        await upload.around(lambda: os.truncate(supply.path, CUT), kind.arguments(supply))
    assert caught.value.seen == CUT
    await upload.was_given_up(supply.content[:CUT] + bytes(mmap.PAGESIZE - CUT % mmap.PAGESIZE))


@on_disk
async def test_a_file_that_is_written_to(kind: Kind, upload: Upload, supply: Supply) -> None:
    """What has been handed to the kernel before somebody writes to the file goes out as it was."""
    sent = 0
    moved = asyncio.Event()

    def note(progress: aioreq.UploadProgress) -> None:
        nonlocal sent
        sent = progress.sent
        if sent >= STALL:
            moved.set()

    def write() -> None:
        with supply.path.open("r+b") as file:
            file.write(bytes(sent - KIB))  # a form's head is among what was sent

    call = asyncio.create_task(
        upload.session.post(upload.server.url + "/upload", progress=note, **kind.arguments(supply))
    )
    await upload.server.reached("stalled")
    await moved.wait()
    await asyncio.to_thread(write)
    upload.server.release("stalled")
    await call
    assert whole(upload.server.requests[0], supply.content)


@on_disk
async def test_a_file_that_grows(kind: Kind, upload: Upload, supply: Supply) -> None:
    """Bytes that are added after the size was taken are not sent: the upload succeeds as it was declared."""

    def grow() -> None:
        with supply.path.open("ab") as file:
            file.write(bytes(100 * KIB))

    response = await upload.around(grow, kind.arguments(supply))
    assert response.upload.complete
    assert whole(upload.server.requests[0], supply.content)
    await upload.works()
    assert len(upload.server.connections) == 1


@on_disk
@pytest.mark.parametrize("content", [b"short", bytes(SIZE), bytes(SIZE + 1)], ids=["shorter", "as long", "longer"])
async def test_a_file_that_is_replaced_under_way(kind: Kind, content: bytes, upload: Upload, supply: Supply) -> None:
    """A file that is open already is the one that was described: it goes out whole, whatever has its name now."""
    response = await upload.around(lambda: replace(supply.path, content), kind.arguments(supply))
    assert response.upload.complete
    assert whole(upload.server.requests[0], supply.content)


@on_disk
async def test_a_file_that_is_removed_under_way(kind: Kind, upload: Upload, supply: Supply) -> None:
    """A file that is open already can be removed: it goes out whole."""
    response = await upload.around(supply.path.unlink, kind.arguments(supply))
    assert response.upload.complete
    assert whole(upload.server.requests[0], supply.content)


def two_files(supply: Supply, size: int) -> tuple[dict[str, Any], Path]:
    """A form with a second file, which is opened only when the first has left."""
    second = supply.path.with_name("second.bin")
    second.write_bytes(b"2" * size)
    return {"files": [("first", supply.path), ("second", second)]}, second


LATER = pytest.mark.parametrize("size", [10, 600 * KIB], ids=["small", "large"])


@LATER
@pytest.mark.parametrize("now", [0.5, 2], ids=["shorter", "longer"])
async def test_a_file_that_is_replaced_before_it_is_due(size: int, now: float, upload: Upload, supply: Supply) -> None:
    """A file of another size under the same name is not what was declared: FileChanged."""
    arguments, second = two_files(supply, size)
    with pytest.raises(aioreq.FileChanged) as caught:
        await upload.around(lambda: replace(second, bytes(int(size * now))), arguments)
    assert (caught.value.path, caught.value.declared, caught.value.seen) == (str(second), size, int(size * now))
    await upload.was_given_up(supply.content)


@LATER
async def test_a_file_that_is_missing_when_it_is_due(size: int, upload: Upload, supply: Supply) -> None:
    """A file that is gone when its bytes are due is FileMissing, and a FileNotFoundError too."""
    arguments, second = two_files(supply, size)
    with pytest.raises(aioreq.FileMissing) as caught:
        await upload.around(second.unlink, arguments)
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.filename == str(second)
    await upload.was_given_up(supply.content)


@LATER
async def test_a_file_that_has_grown_when_it_is_due(size: int, upload: Upload, supply: Supply) -> None:
    """The same file with more in it goes out as it was declared."""
    arguments, second = two_files(supply, size)

    def grow() -> None:
        with second.open("ab") as file:
            file.write(b"more")

    response = await upload.around(grow, arguments)
    assert response.upload.complete
    assert upload.server.requests[0].complete
    await upload.works()
    assert len(upload.server.connections) == 1


async def test_an_open_file_that_the_caller_closes_under_way(upload: Upload, supply: Supply) -> None:
    """The caller may close his file once the upload has begun: ours is a descriptor of its own."""
    file = supply.opened()
    response = await upload.around(file.close, {"data": file})
    assert response.upload.complete
    assert whole(upload.server.requests[0], supply.content)


async def test_an_open_file_that_is_closed_before_it_is_due(upload: Upload, supply: Supply) -> None:
    """A file that its owner has closed before its bytes were due is FileUnreadable, not a ValueError of its own."""
    file = supply.path.with_name("second.bin")
    file.write_bytes(bytes(600 * KIB))
    with file.open("rb") as second:
        arguments = {"files": [("first", supply.path), ("second", second)]}
        with pytest.raises(aioreq.FileUnreadable, match="was closed before its bytes were due"):
            await upload.around(second.close, arguments)
    await upload.was_given_up(supply.content)


@pytest.fixture
def broken_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it makes every later read from a file fail, as a disk does that has just died."""

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def breaks() -> None:
        monkeypatch.setattr(os, "pread", fail)
        monkeypatch.setattr(os, "preadv", fail, raising=False)

    return breaks


@on_disk
async def test_a_file_that_becomes_unreadable(
    kind: Kind, broken_disk: Callable[[], None], upload: Upload, supply: Supply
) -> None:
    """A disk that fails in mid-upload is FileUnreadable with its errno and the file's name, and an OSError too."""
    with pytest.raises(aioreq.FileUnreadable) as caught:
        await upload.around(broken_disk, kind.arguments(supply))
    assert isinstance(caught.value, OSError)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(supply.path))
    await upload.was_given_up(supply.content)


@on_disk
@pytest.mark.parametrize("transport", ["plain"], indirect=True)
async def test_a_file_that_cannot_be_mapped(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """On a file system that maps no files the file is read, and goes out whole."""

    def refuse(*_: object, **__: object) -> mmap.mmap:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(mmap, "mmap", refuse)
    await _goes_out_whole(kind.arguments(supply), serve, session, supply.content)


@pytest.fixture
def lose_page(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Called, it makes the next write find that the disk gives no mapped page; what it was given happens then."""
    write = os.write

    def lose(happens: Callable[[], object]) -> None:
        def fail_once(descriptor: int, data: Any) -> int:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                return write(descriptor, data)
            monkeypatch.setattr(os, "write", write)
            happens()
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

        monkeypatch.setattr(os, "write", fail_once)

    return lose


@on_disk
@pytest.mark.parametrize("transport", ["plain"], indirect=True)
async def test_a_page_that_is_there_again(
    kind: Kind, lose_page: Callable[..., None], serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """What the kernel could not copy is read, and goes out if that can be done."""
    lose_page(lambda: None)
    await _goes_out_whole(kind.arguments(supply), serve, session, supply.content)


@on_disk
@pytest.mark.parametrize("transport", ["plain"], indirect=True)
async def test_a_page_that_is_lost(
    kind: Kind,
    lose_page: Callable[..., None],
    broken_disk: Callable[[], None],
    serve: Serve,
    session: aioreq.Session,
    supply: Supply,
) -> None:
    """Reading tells what is the matter: FileUnreadable with its errno and the file's name."""
    server = serve()
    lose_page(broken_disk)
    with pytest.raises(aioreq.FileUnreadable) as caught:
        await session.post(server.url, **kind.arguments(supply))
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(supply.path))
    assert session.pool.open == 0


@on_disk
@pytest.mark.parametrize("transport", ["plain"], indirect=True)
async def test_a_file_that_is_not_in_the_page_cache(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """Nobody waits for the disk inside of a write, which has the socket locked: the loop might want to read from it."""
    make, cached = mmap.mmap, []

    def look_and_map(file: int, size: int, *, prot: int, offset: int) -> mmap.mmap:
        cached.extend(is_cached(file, at) for at in (offset, offset + size - 1))
        return make(file, size, prot=prot, offset=offset)

    monkeypatch.setattr(mmap, "mmap", look_and_map)
    with supply.path.open("rb+") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    await _goes_out_whole(kind.arguments(supply), serve, session, supply.content)
    assert len(cached) > 2
    assert all(cached)


@on_disk
@pytest.mark.parametrize("transport", ["plain"], indirect=True)
async def test_a_file_that_is_in_the_page_cache(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """It is mapped as it is: to have it fetched all the same would take a sixth of the time."""
    asked: list[tuple[int, int]] = []
    advice: list[Any] = []

    def holds(_fd: int, start: int, size: int) -> bool:
        asked.append((start, size))
        return True

    monkeypatch.setattr(page_cache, "holds", holds)
    monkeypatch.setattr(os, "posix_fadvise", lambda *given: advice.append(given))
    await _goes_out_whole(kind.arguments(supply), serve, session, supply.content)
    assert asked[0] == (0, SIZE)  # the first part, and all that is left of the next
    assert advice == []


def is_cached(file: int, at: int) -> bool:
    """Whether a byte can be read without waiting."""
    try:
        return os.preadv(file, [bytearray(1)], at, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False


async def _goes_out_whole(arguments: dict[str, Any], serve: Serve, session: aioreq.Session, content: bytes) -> None:
    server = serve()
    response = await session.post(server.url, **arguments)
    assert response.upload.complete
    assert whole(server.requests[0], content)
    assert (await session.get(server.url)).ok
    assert len(server.connections) == 1
