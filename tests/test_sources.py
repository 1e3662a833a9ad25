"""What is handed in as bytes to send: it is described before a byte is read, and sent exactly or not at all."""

import asyncio
import contextlib
import functools
import gc
import gzip
import io
import itertools
import os
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiofiles
import anyio
import pytest

import aioreq
from aioreq._body import (
    AsyncReader,
    Body,
    Bytes,
    FileRegion,
    Iteration,
    Segment,
    SyncReader,
    SyncStream,
    _Batches,
    bytes_body,
)
from aioreq._source import describe, is_measured_by_seeking
from aioreq.exceptions import (
    BodyLengthError,
    FileChanged,
    FileForbidden,
    FileIsDirectory,
    FileMissing,
    FileUnreadable,
    InvalidBody,
    UnrewindableBodyError,
)
from aioreq.multipart import multipart_encode
from aioreq.testing import FaultServer

EVERY_BYTE = bytes(range(256))
KIB = 1024


async def sent_by(segment: Segment | Body) -> bytes:
    chunks = segment.chunks() if isinstance(segment, Segment) else segment
    return b"".join([chunk async for chunk in chunks])


async def sent_before_error(segment: Segment, error: type[BaseException], match: str) -> bytes:
    """What a segment gives before it raises; it must raise."""
    sent = bytearray()

    async def send() -> None:
        async for chunk in segment.chunks():
            sent.extend(chunk)

    with pytest.raises(error, match=match):
        await send()
    return bytes(sent)


def is_open(path: Path) -> bool:
    """Whether this process has the file open."""
    status = path.stat()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.path.samestat(fd.stat(), status):
                return True
    return False


async def until(condition: Callable[[], bool]) -> None:
    """Give other tasks and threads their turn until it is so; the test's timeout is the limit."""
    while not condition():
        await asyncio.sleep(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of 256 KiB."""
    path = tmp_path / "file.bin"
    path.write_bytes(EVERY_BYTE * KIB)
    return path


class ReadOnly:
    """An object with ``read`` and nothing else."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


class AsyncReadOnly(ReadOnly):
    async def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        return self._file.read(size)


class AsyncSeekable(AsyncReadOnly):
    async def seek(self, offset: int) -> int:
        return self._file.seek(offset)


class Seekable(io.BytesIO):
    """A file-like object of a kind that nobody knows."""


class TestDescription:
    @pytest.mark.parametrize(
        ("value", "data"),
        [
            ("é", b"\xc3\xa9"),
            (b"\xff", b"\xff"),
            (bytearray(b"ab"), b"ab"),
            (memoryview(b"abcd")[::2], b"ac"),
            (1.5, b"1.5"),
            (io.BytesIO(b"x"), b"x"),
            (io.StringIO("é"), b"\xc3\xa9"),
        ],
    )
    async def test_what_is_in_memory(self, value: Any, data: bytes):
        """Text, bytes, numbers and files in memory become their bytes."""
        segment = describe(value)
        assert isinstance(segment, Bytes)
        assert segment.length == len(data)
        assert await sent_by(segment) == data

    @pytest.mark.parametrize("mode", ["rb", "r+b", "a+b", "r"])
    @pytest.mark.parametrize("buffering", [-1, 0, 7])
    async def test_an_open_file_is_a_region_on_disk(self, path: Path, mode: str, buffering: int):
        """A regular file is read by offset, through whatever wrappers Python puts around it."""
        if mode == "r" and buffering == 0:
            buffering = 1
        with path.open(mode, buffering=buffering) as file:
            segment = describe(file)
            assert isinstance(segment, FileRegion)
            assert segment.length == 256 * KIB
            assert await sent_by(segment) == path.read_bytes()

    async def test_what_a_gzip_file_reads_is_sent(self, tmp_path: Path):
        """Of a GzipFile the unpacked bytes are sent, although it has a descriptor."""
        (tmp_path / "packed.gz").write_bytes(gzip.compress(b"text" * 100))
        with gzip.open(tmp_path / "packed.gz") as file:
            segment = describe(file)
            assert isinstance(segment, SyncReader)
            assert segment.length == 400
            assert await sent_by(segment) == b"text" * 100

    async def test_a_spooled_file_stays_in_memory(self):
        """Asking a spooled file for its size does not write it out."""
        with tempfile.SpooledTemporaryFile() as file:
            file.write(b"spooled")
            assert describe(file).length == 7
            assert not file._rolled  # type: ignore[attr-defined]

    async def test_a_file_like_object_keeps_its_position_while_it_is_described(self):
        """Its size is found by seeking, and it stands where it stood."""
        file = Seekable(EVERY_BYTE)
        file.seek(100)
        segment = describe(file)
        assert isinstance(segment, SyncReader)
        assert (segment.length, file.tell()) == (256, 100)
        assert await sent_by(segment) == EVERY_BYTE

    async def test_an_object_with_a_length_of_its_own(self):
        """``len()`` or a ``len`` attribute says how much an object without a position will give."""

        class Sized(ReadOnly):
            def __len__(self) -> int:
                return 256

        class Attributed(ReadOnly):
            len = 256

        for kind in (Sized, Attributed):
            segment = describe(kind(EVERY_BYTE))
            assert isinstance(segment, SyncStream)
            assert segment.length == 256
            assert await sent_by(segment) == EVERY_BYTE

    async def test_an_async_file_with_a_size(self):
        """An object with async ``read`` and a ``size``, as Starlette's UploadFile is, says its length itself."""
        file = AsyncSeekable(EVERY_BYTE)
        file.size = 256  # type: ignore[attr-defined]
        segment = describe(file)
        assert isinstance(segment, AsyncReader)
        assert await sent_by(segment) == EVERY_BYTE
        assert await sent_by(segment) == EVERY_BYTE

    @pytest.mark.parametrize("kind", [ReadOnly, AsyncReadOnly, lambda data: iter([data])])
    async def test_a_declared_length(self, kind: Callable[[bytes], Any]):
        """What has no size of its own is sent when its length is declared, or when chunked coding needs none."""
        assert await sent_by(describe(kind(EVERY_BYTE), 256)) == EVERY_BYTE
        unmeasured = describe(kind(EVERY_BYTE), chunked=True)
        assert unmeasured.length is None
        assert await sent_by(unmeasured) == EVERY_BYTE

    async def test_a_pipe_with_a_declared_length(self):
        """A pipe is read as it comes, where the caller says how much that will be."""
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as file:
            with os.fdopen(writing, "wb") as other:
                other.write(EVERY_BYTE)
            assert await sent_by(describe(file, 256)) == EVERY_BYTE

    @pytest.mark.parametrize("wrap", [anyio.wrap_file, lambda file: aiofiles.threadpool.wrap(file, loop=None)])
    async def test_a_pipe_in_an_async_wrapper(self, wrap: Callable[[Any], Any]):
        """An async file that has ``seek``, but no position to seek to, is read once."""
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as file:
            with os.fdopen(writing, "wb") as other:
                other.write(EVERY_BYTE)
            segment = describe(wrap(file), 256)
            assert await sent_by(segment) == EVERY_BYTE
            with pytest.raises(UnrewindableBodyError):
                segment.require_fresh()

    async def test_asyncios_own_reader(self):
        """An asyncio.StreamReader is a source like any async file."""
        reader = asyncio.StreamReader()
        reader.feed_data(EVERY_BYTE)
        reader.feed_eof()
        assert await sent_by(describe(reader, 256)) == EVERY_BYTE

    async def test_an_iterable_starts_anew_each_time(self):
        """An iterable that is no iterator can be sent as often as it likes."""

        class Blocks:
            def __iter__(self) -> Iterator[bytes]:
                return iter([b"abc", bytearray(b"def")])  # type: ignore[list-item]

        class AsyncBlocks:
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield b"abc"
                yield b"def"

        for source in ([b"abc", b"", memoryview(b"def")], Blocks(), AsyncBlocks()):
            segment = describe(source, 6)
            assert await sent_by(segment) == b"abcdef"
            segment.require_fresh()
            assert await sent_by(segment) == b"abcdef"

    async def test_a_small_part_of_a_file(self, path: Path):
        """A declared length below a file's size sends that many bytes from its beginning."""
        assert await sent_by(describe(path, 1000)) == path.read_bytes()[:1000]

    async def test_an_empty_file_is_not_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """There is nothing to read in an empty file."""
        (tmp_path / "empty").touch()
        segment = describe(tmp_path / "empty")
        monkeypatch.setattr(os, "open", lambda *_: pytest.fail("it was opened"))
        assert await sent_by(segment) == b""


def a_function() -> bytes:
    return b""


async def a_coroutine() -> bytes:
    return b""


async def a_generator() -> AsyncIterator[bytes]:
    yield b""


class NotesSeeks(io.BytesIO):
    """Remembers the threads in which its end was looked for."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.threads: list[threading.Thread] = []

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            self.threads.append(threading.current_thread())
        return super().seek(offset, whence)


class TestMeasuring:
    """Where a size is found by seeking, which unpacks all of a packed file."""

    @pytest.mark.parametrize(
        "given",
        [
            lambda file: {"data": file},
            lambda file: {"files": {"f": file}},
            lambda file: {"files": {"f": [("a", b"x"), ("b", file, "text/plain")]}},
            lambda file: {"files": [("f", ("name", file))]},
        ],
    )
    async def test_in_a_thread(self, given: Callable[[Any], dict[str, Any]]):
        """A session looks for the end in a worker thread, wherever in the request the file stands."""
        file = NotesSeeks(EVERY_BYTE)
        with FaultServer() as server:
            async with aioreq.Session() as session:
                response = await session.post(server.url, **given(file))
        assert response.json()["received"] >= len(EVERY_BYTE)
        assert len(file.threads) == 1
        assert threading.main_thread() not in file.threads

    async def test_what_is_wrong_there(self):
        """What goes wrong in the thread is raised as ever."""

        packed = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(EVERY_BYTE)[:-8] + b"no check"))
        async with aioreq.Session() as session:
            with pytest.raises(FileUnreadable, match="can't read 'GzipFile': CRC check failed"):
                await session.post("http://example.invalid/", data=packed)

    def test_which_ones(self, tmp_path: Path):
        """Packed files and objects of unknown kinds are; files on disk, in memory, async and one-shot ones are not."""
        path = tmp_path / "packed.gz"
        path.write_bytes(gzip.compress(b"x"))
        with gzip.open(path) as packed, path.open("rb") as plain, tempfile.SpooledTemporaryFile() as spooled:
            for file in (packed, io.BufferedReader(packed), spooled, Seekable(b"")):
                assert is_measured_by_seeking(file)
            for other in (plain, io.BytesIO(), io.StringIO(), path, b"", "", None, iter([b""]), ReadOnly(b""),
                          AsyncSeekable(b"")):  # fmt: skip
                assert not is_measured_by_seeking(other)


class TestWhatCannotBeSent:
    """Each mistake is told in a sentence of its own, before anything is sent."""

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (iter([b"x"]), "No Content-Length: the length of this list_iterator is not known. Pass it"),
            ([b"x"], "No Content-Length: the length of this list"),
            (a_generator(), "No Content-Length: the length of this async_generator"),
            (ReadOnly(b""), "No Content-Length: the length of this ReadOnly"),
            (AsyncReadOnly(b""), "the size of AsyncReadOnly can't be found without waiting: pass filesize="),
            (object(), "object can't be sent: pass text, bytes, a path"),
            (None, "NoneType can't be sent: pass text, bytes, a path"),
            (dict, "type can't be sent"),
            (print, "builtin_function_or_method can't be sent"),
            (a_function, "a_function is a function: call it, and pass what it returns"),
            (a_coroutine, "a_coroutine is a function: call it"),
            (a_generator, "a_generator is a function: call it"),
            (ReadOnly(b"").read, "ReadOnly.read is a function: call it"),
            (functools.partial(a_function), "partial can't be sent"),
            (Path("/"), "'/' is a directory; pass the files inside it"),
            (Path("/dev/null"), "'/dev/null' is not a regular file (a pipe, a socket or a device)"),
            (Path("/no/such/file"), "can't read '/no/such/file': No such file or directory"),
            (Path("nul\0byte"), "can't be a path"),
        ],
        ids=repr,
    )
    def test_the_message_says_what_is_wrong(self, value: Any, message: str):
        """The error is a ValueError, and says what the value is and what to pass instead."""
        with pytest.raises(ValueError) as caught:
            describe(value)
        assert message in str(caught.value)

    def test_the_advice_for_what_has_no_length(self):
        """The error names all ways out: declaring the length, passing something else, chunked coding."""
        with pytest.raises(InvalidBody, match=r"Content-Length.*filesize=.*bytes, a path.*Transfer-Encoding: chunked"):
            describe(iter([b"x"]))

    @pytest.mark.filterwarnings("error")
    def test_a_coroutine_that_nobody_awaited(self, recwarn: pytest.WarningsRecorder):
        """It is told of once: no RuntimeWarning comes on top."""
        with pytest.raises(InvalidBody, match=r"a_coroutine\(\) is a coroutine that nobody awaited: write 'await'"):
            describe(a_coroutine())
        gc.collect()
        assert not recwarn.list

    def test_a_pipe(self, tmp_path: Path):
        """A pipe has no size, whether it is named or open."""
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(
            InvalidBody, match=r"fifo' is not a regular file .* so its size is not known: read it first"
        ):
            describe(tmp_path / "fifo")
        reading, writing = os.pipe()
        with (
            os.fdopen(reading, "rb") as file,
            os.fdopen(writing, "wb"),
            pytest.raises(InvalidBody, match="not a regular file"),
        ):
            describe(file)

    def test_a_sockets_file(self):
        """A socket's file has no size."""
        one, other = socket.socketpair()
        with one, other, one.makefile("rb") as file, pytest.raises(InvalidBody, match="No Content-Length"):
            describe(file)

    def test_a_directory(self, tmp_path: Path):
        """A directory is an IsADirectoryError too."""
        with pytest.raises(FileIsDirectory, match="pass the files inside it") as caught:
            describe(tmp_path)
        assert isinstance(caught.value, IsADirectoryError)

    def test_a_missing_file(self, tmp_path: Path):
        """A missing file is a FileNotFoundError too, with errno and filename."""
        with pytest.raises(FileMissing, match="No such file") as caught:
            describe(tmp_path / "missing")
        assert isinstance(caught.value, FileNotFoundError)
        assert (caught.value.errno, caught.value.filename) == (2, str(tmp_path / "missing"))

    def test_a_file_below_a_file(self, path: Path):
        """What can't be there is missing."""
        with pytest.raises(FileMissing, match="Not a directory"):
            describe(path / "below")

    def test_a_file_that_may_not_be_read(self, path: Path, monkeypatch: pytest.MonkeyPatch):
        """A file without permission is a PermissionError too."""
        if os.geteuid() == 0:  # who may read everything
            monkeypatch.setattr(os, "access", lambda _path, _mode: False)
        else:
            path.chmod(0)
        with pytest.raises(FileForbidden, match="permission denied") as caught:
            describe(path)
        assert isinstance(caught.value, PermissionError)

    @pytest.mark.parametrize("mode", ["wb", "ab", "w"])
    def test_a_file_open_for_writing(self, tmp_path: Path, mode: str):
        """A file that can't be read is told of, and how to open it."""
        with (tmp_path / "new").open(mode) as file, pytest.raises(InvalidBody, match=r"writing only; open it .* 'rb'"):
            describe(file)

    @pytest.mark.parametrize("make", [io.BytesIO, io.StringIO, Seekable, tempfile.TemporaryFile])
    def test_a_closed_file(self, make: Callable[[], Any]):
        """A closed file is told of, whatever its kind."""
        file = make()
        file.close()
        with pytest.raises(InvalidBody, match=r"the file .* is closed"):
            describe(file)

    def test_a_closed_file_on_disk(self, path: Path):
        """Its name is in the message."""
        with path.open("rb") as file:
            pass
        with pytest.raises(InvalidBody, match=r"the file '.*file\.bin' is closed"):
            describe(file)

    def test_text_out_of_a_gzip_file(self, tmp_path: Path):
        """What reads text, and has no bytes on disk that would be meant, must be opened in binary mode."""
        (tmp_path / "packed.gz").write_bytes(gzip.compress(b"text"))
        with gzip.open(tmp_path / "packed.gz", "rt") as file, pytest.raises(InvalidBody, match=r"binary mode \('rb'\)"):
            describe(file)

    @pytest.mark.parametrize("kind", [iter, lambda blocks: AsyncBlocks(blocks)])
    async def test_an_iterable_of_text(self, kind: Callable[[list[Any]], Any]):
        """An iterable must give bytes; the error says how."""
        with pytest.raises(InvalidBody, match="gave str, not bytes; encode the text, or open the file with mode 'rb'"):
            await sent_by(describe(kind(["text"]), 4))

    async def test_an_iterable_of_something_else(self):
        """A number is no block, and neither is a list."""
        with pytest.raises(InvalidBody, match=r"gave int, not bytes$"):
            await sent_by(describe(iter([1, 2]), 4))

    def test_more_than_a_file_has(self, path: Path):
        """A declared length beyond a file's size is refused before it is sent."""
        with pytest.raises(InvalidBody, match=r"300000 bytes were declared, but the file .* has 262144"):
            describe(path, 300_000)


class AsyncBlocks:
    """An async iterator over given blocks that knows how far it was read, and whether it was closed."""

    def __init__(self, blocks: list[Any]) -> None:
        self._blocks = iter(blocks)
        self.given = 0

    def __aiter__(self) -> "AsyncBlocks":
        return self

    async def __anext__(self) -> Any:
        try:
            block = next(self._blocks)
        except StopIteration:
            raise StopAsyncIteration from None
        self.given += 1
        return block


class TestFilesThatChange:
    """A file is sent as it was announced, or not at all."""

    async def test_a_file_that_shrank_before_it_is_opened(self, path: Path):
        """FileChanged tells path, declared and seen, and nothing is sent."""
        segment = describe(path)
        os.truncate(path, 1000)
        assert await sent_before_error(segment, FileChanged, r"file\.bin' has changed: 262144 .* 1000 are there") == b""

    async def test_the_facts_are_in_the_error(self, path: Path):
        """The error carries what its message says, and is a BodyLengthError and a ValueError."""
        segment = describe(path)
        os.truncate(path, 1000)
        with pytest.raises(BodyLengthError) as caught:
            await sent_by(segment)
        error = caught.value
        assert isinstance(error, FileChanged)
        assert isinstance(error, ValueError)
        assert (error.path, error.declared, error.seen) == (str(path), 256 * KIB, 1000)

    async def test_a_file_that_shrinks_while_it_is_read(self, tmp_path: Path):
        """The blocks before the new end are sent, and then FileChanged is raised instead of a wrong byte."""
        path = tmp_path / "shrinking"
        path.write_bytes(bytes(4096 * KIB))
        segment = describe(path)
        chunks = segment.chunks()
        sent = len(await anext(chunks))
        os.truncate(path, 1500 * KIB)

        async def send_the_rest() -> None:
            nonlocal sent
            async for chunk in chunks:
                assert not any(chunk)
                sent += len(chunk)

        with pytest.raises(FileChanged) as caught:
            await send_the_rest()
        assert caught.value.seen == 1500 * KIB
        assert sent <= 1500 * KIB
        assert not is_open(path)

    async def test_a_file_that_was_replaced(self, path: Path, tmp_path: Path):
        """Another file of another size under the same name is no longer what was announced, even if it is larger."""
        for size in (10, 300 * KIB):
            segment = describe(path)
            other = tmp_path / "other"
            other.write_bytes(bytes(size))
            other.replace(path)
            await sent_before_error(segment, FileChanged, f"{size} are there now")

    async def test_a_file_that_was_rewritten(self, path: Path):
        """New bytes of the same number are sent: they are what the file has when its bytes are due."""
        segment = describe(path)
        path.write_bytes(EVERY_BYTE[::-1] * KIB)
        assert await sent_by(segment) == EVERY_BYTE[::-1] * KIB

    async def test_a_file_that_grew(self, path: Path):
        """Bytes that were added after the size was taken are not sent."""
        segment = describe(path)
        with path.open("ab") as file:
            file.write(b"more" * 100_000)
        assert await sent_by(segment) == EVERY_BYTE * KIB

    async def test_a_file_that_grows_while_it_is_read(self, path: Path):
        """Bytes that are added in the middle are not sent."""
        chunks = describe(path).chunks()
        sent = await anext(chunks)
        with path.open("ab") as file:
            file.write(b"more" * 100_000)
        sent += b"".join([chunk async for chunk in chunks])
        assert sent == EVERY_BYTE * KIB

    async def test_an_open_file_that_shrank(self, path: Path):
        """The caller's open file is held against its size too."""
        with path.open("r+b") as file:
            segment = describe(file)
            file.truncate(10)
            await sent_before_error(segment, FileChanged, "10 are there now")
            assert not file.closed

    async def test_a_file_that_is_gone(self, path: Path):
        """A file that was deleted meanwhile is missing."""
        segment = describe(path)
        path.unlink()
        await sent_before_error(segment, FileMissing, "No such file")

    async def test_an_open_file_whose_name_is_gone(self, path: Path):
        """An open file is sent although its name was deleted."""
        with path.open("rb") as file:
            segment = describe(file)
            path.unlink()
            assert await sent_by(segment) == EVERY_BYTE * KIB

    async def test_an_open_file_that_was_closed(self, path: Path):
        """The caller closed his file before its bytes were due."""
        with path.open("rb") as file:
            segment = describe(file)
        await sent_before_error(segment, FileUnreadable, r"file\.bin' was closed before its bytes were due")

    async def test_an_open_file_that_is_closed_while_it_is_read(self, path: Path):
        """Once its bytes are under way, the caller may close his file."""
        with path.open("rb") as file:
            chunks = describe(file).chunks()
            sent = await anext(chunks)
        sent += b"".join([chunk async for chunk in chunks])
        assert sent == EVERY_BYTE * KIB

    async def test_a_disk_that_fails(self, path: Path, monkeypatch: pytest.MonkeyPatch):
        """An error of the operating system while reading is a FileUnreadable with its errno."""

        def fail(*_: Any) -> bytes:
            raise OSError(5, "Input/output error")

        segment = describe(path)
        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(FileUnreadable, match=r"can't read '.*file\.bin': Input/output error") as caught:
            await sent_by(segment)
        assert caught.value.errno == 5
        assert not is_open(path)

    async def test_reads_that_give_less_than_asked_for(self, path: Path, monkeypatch: pytest.MonkeyPatch):
        """A short read is continued, not taken for the end."""
        pread = os.pread
        monkeypatch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 10_000), offset))
        assert await sent_by(describe(path)) == EVERY_BYTE * KIB

    async def test_a_file_like_object_that_shrank(self):
        """A file-like object that gives less than it had is a BodyLengthError."""
        file = Seekable(EVERY_BYTE)
        segment = describe(file)
        file.truncate(100)
        assert await sent_before_error(segment, BodyLengthError, "256 .* gave only 100") == EVERY_BYTE[:100]

    async def test_a_file_like_object_that_grew(self):
        """Of a file-like object that grew, what it had is sent."""
        file = Seekable(EVERY_BYTE)
        segment = describe(file)
        file.seek(0, os.SEEK_END)
        file.write(b"more")
        assert await sent_by(segment) == EVERY_BYTE

    async def test_a_file_like_object_that_does_not_listen(self):
        """One whose ``read`` gives more than asked for is sent if that is what was announced, and never more."""

        class Careless(Seekable):
            def read(self, size: int | None = -1) -> bytes:
                return super().read()

        file = Careless(EVERY_BYTE * KIB)
        segment = describe(file)
        assert await sent_by(segment) == EVERY_BYTE * KIB
        file.seek(0, os.SEEK_END)
        file.write(b"x")
        assert await sent_before_error(segment, BodyLengthError, r"262144 .* gave at least 262145") == b""


KINDS_OF_STREAM: list[Callable[[list[bytes]], Any]] = [
    iter,
    AsyncBlocks,
    lambda blocks: ReadOnly(b"".join(blocks)),
    lambda blocks: AsyncReadOnly(b"".join(blocks)),
]


class TestDeclaredLengths:
    @pytest.mark.parametrize("kind", KINDS_OF_STREAM)
    @pytest.mark.parametrize("blocks", [[], [b"abc"], [b"abc", b"def", b"ghi"]])
    async def test_too_few_bytes(self, kind: Callable[[list[bytes]], Any], blocks: list[bytes]):
        """A source that ends too early raises BodyLengthError."""
        given = b"".join(blocks)
        segment = describe(kind(blocks), 10)
        sent = await sent_before_error(segment, BodyLengthError, f"10 bytes were declared.* gave only {len(given)}")
        assert sent == given

    @pytest.mark.parametrize("kind", KINDS_OF_STREAM)
    @pytest.mark.parametrize("blocks", [[b"abcdef"], [b"abc", b"def"], [b"abcde", b"", b"f"]])
    async def test_too_many_bytes(self, kind: Callable[[list[bytes]], Any], blocks: list[bytes]):
        """A source that gives too much raises BodyLengthError while the server still waits for the rest."""
        sent = await sent_before_error(describe(kind(blocks), 5), BodyLengthError, "5 bytes .* gave at least 6")
        assert b"abcde".startswith(sent)
        assert len(sent) < 5

    async def test_the_last_block_is_held_until_the_source_has_ended(self):
        """The last byte leaves only when nothing can follow it any more."""
        ended = asyncio.Event()
        asked = asyncio.Event()

        async def source() -> AsyncIterator[bytes]:
            yield b"abc"
            yield b"def"
            asked.set()
            await ended.wait()

        chunks = describe(source(), 6).chunks()
        assert await anext(chunks) == b"abc"
        last = asyncio.ensure_future(anext(chunks))
        await asked.wait()
        assert not last.done()
        ended.set()
        assert await last == b"def"
        await chunks.aclose()

    async def test_empty_blocks_at_the_end_are_nothing(self):
        """Empty blocks count for nothing, wherever they stand."""
        assert await sent_by(describe(AsyncBlocks([b"", b"abc", b"", b"", b"def", b""]), 6)) == b"abcdef"
        assert await sent_by(describe(iter([b"", b"abc", b"", b"", b"def", b""]), 6)) == b"abcdef"
        assert await sent_by(describe(AsyncBlocks([b"", b""]), 0)) == b""

    async def test_a_source_that_never_ends(self):
        """It is noticed with its first byte too many, and the loop turns all the while."""

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(1000)

        sent = await sent_before_error(describe(endless(), 5500), BodyLengthError, "gave at least 6000")
        assert len(sent) == 5000

    async def test_an_async_source_that_gives_nothing_for_ever(self):
        """A source of empty blocks does not hold the loop: it can be cancelled."""
        begun = asyncio.Event()

        async def nothing() -> AsyncIterator[bytes]:
            while True:
                begun.set()
                yield b""

        sending = asyncio.ensure_future(sent_by(describe(nothing(), 10)))
        await begun.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    def test_a_plain_source_that_gives_nothing_for_ever(self):
        """A plain iterator of empty blocks does not keep a worker thread: it is asked for so many at a time."""
        batches = _Batches(itertools.repeat(b""))
        assert batches.next() == b""
        assert not batches.ended

    async def test_what_a_source_raises_is_raised(self):
        """An exception out of the caller's iterator reaches the caller as it is."""

        class Own(Exception):
            pass

        def failing() -> Iterator[bytes]:
            yield b"abc"
            raise Own("disk on fire")

        async def failing_later() -> AsyncIterator[bytes]:
            yield b"abc"
            raise Own("disk on fire")

        for source in (failing(), failing_later()):
            await sent_before_error(describe(source, 10), Own, "^disk on fire$")

    async def test_small_items_of_an_iterator_are_sent_together(self):
        """A plain iterator is read in a worker thread, and a thousand small items don't cost a thousand hops."""
        threads: set[str] = set()

        def items() -> Iterator[bytes]:
            for number in range(1000):
                threads.add(threading.current_thread().name)
                yield b"%03d" % number

        chunks = [chunk async for chunk in describe(items(), 3000).chunks()]
        assert b"".join(chunks) == b"".join(b"%03d" % number for number in range(1000))
        assert len(chunks) < 10
        assert all(name.startswith("aioreq-reader") for name in threads)


class TestOneShot:
    @pytest.mark.parametrize("kind", KINDS_OF_STREAM)
    async def test_a_second_reading_is_refused(self, kind: Callable[[list[bytes]], Any]):
        """What can be read once is refused a second time, as soon as it has begun."""
        segment = describe(kind([b"abc"]), 3)
        assert segment.one_shot
        segment.require_fresh()
        chunks = segment.chunks()
        await anext(chunks)
        with pytest.raises(UnrewindableBodyError, match="can be read only once and has begun; pass bytes, a path"):
            segment.require_fresh()
        await chunks.aclose()
        with pytest.raises(UnrewindableBodyError):
            await sent_by(segment)

    async def test_a_body_of_one_is_not_replayable(self):
        """One such segment makes the whole body so."""
        once = Body((Bytes(b"head"), describe(iter([b"x"]), 1)))
        assert not once.replayable
        assert await sent_by(once) == b"headx"
        with pytest.raises(UnrewindableBodyError):
            once.require_fresh()
        assert bytes_body(b"x").replayable

    async def test_an_async_file_that_can_seek_is_rewound(self):
        """An async file with ``seek`` can be sent again."""
        segment = describe(AsyncSeekable(EVERY_BYTE), 256)
        assert await sent_by(segment) == EVERY_BYTE
        segment.require_fresh()
        assert await sent_by(segment) == EVERY_BYTE


class TestClosing:
    """Nothing is left open, however a reading ends."""

    @pytest.mark.parametrize("how", ["ended", "broken off", "failed", "too long"])
    async def test_an_async_generator_is_closed(self, how: str):
        """The caller's async generator is closed at once, not when the garbage collector comes by."""
        closed = False

        async def source() -> AsyncIterator[bytes]:
            nonlocal closed
            try:
                yield b"abc"
                yield b"def"
                if how == "too long":
                    yield b"ghi"
                    yield b"never asked for"
            finally:
                await asyncio.sleep(0)
                closed = True

        segment = describe(source(), 6)
        if how == "ended":
            await sent_by(segment)
        elif how == "too long":
            await sent_before_error(segment, BodyLengthError, "at least 9")
        else:
            chunks = segment.chunks()
            await anext(chunks)
            if how == "failed":
                with pytest.raises(RuntimeError, match="the connection broke"):
                    await chunks.athrow(RuntimeError("the connection broke"))
            else:
                await chunks.aclose()
        assert closed

    async def test_a_reading_that_is_broken_off_closes_the_file(self, path: Path):
        """A file that we opened is closed when its reading is given up."""
        chunks = describe(path).chunks()
        await anext(chunks)
        assert is_open(path)
        await chunks.aclose()
        await until(lambda: not is_open(path))

    async def test_a_reading_that_ended_closes_the_file(self, path: Path):
        """A file that we opened is closed at its end."""
        await sent_by(describe(path))
        assert not is_open(path)

    async def test_cancelled_between_two_blocks(self, path: Path):
        """A task that is cancelled while it holds a block leaves no file open."""
        holding = asyncio.Event()
        datagen, _ = multipart_encode({"file": path})

        async def upload() -> None:
            async with contextlib.aclosing(aiter(datagen)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    if len(chunk) > KIB:
                        holding.set()
                        await asyncio.Event().wait()

        task = asyncio.create_task(upload())
        await holding.wait()
        assert is_open(path)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not is_open(path))

    async def test_cancelled_in_the_middle_of_a_read(self, path: Path, monkeypatch: pytest.MonkeyPatch):
        """The file stays open as long as a thread reads from it, and is closed when that thread is done."""
        entered, leave = threading.Event(), threading.Event()
        pread = os.pread

        def slow_pread(fd: int, size: int, offset: int) -> bytes:
            entered.set()
            assert leave.wait(30)
            return pread(fd, size, offset)

        monkeypatch.setattr(os, "pread", slow_pread)
        task = asyncio.create_task(sent_by(describe(path)))
        await asyncio.to_thread(entered.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_open(path)
        leave.set()
        await until(lambda: not is_open(path))

    async def test_cancelled_while_the_file_is_opened(self, path: Path, monkeypatch: pytest.MonkeyPatch):
        """A file that opens only after its reader was cancelled is closed again."""
        entered, leave, opened = threading.Event(), threading.Event(), threading.Event()
        os_open = os.open

        def slow_open(*arguments: Any) -> int:
            entered.set()
            assert leave.wait(30)
            fd = os_open(*arguments)
            opened.set()
            return fd

        segment = describe(path)
        monkeypatch.setattr(os, "open", slow_open)
        task = asyncio.create_task(sent_by(segment))
        await asyncio.to_thread(entered.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        leave.set()
        await asyncio.to_thread(opened.wait, 30)
        await until(lambda: not is_open(path))


class Watched(Seekable):
    """A file-like object that tells of each read: a semaphore counts those that have begun."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.begun = threading.Semaphore(0)
        self.reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        self.begun.release()
        return super().read(size)


class TestReadAhead:
    async def test_the_next_read_runs_while_a_block_is_sent(self):
        """While a block is held, the one behind it is read; the one behind that is not."""
        file = Watched(bytes(1000 * KIB))
        chunks = describe(file).chunks()
        await anext(chunks)
        for _ in range(2):
            assert await asyncio.to_thread(file.begun.acquire, timeout=30)
        assert file.reads == 2
        await anext(chunks)
        assert await asyncio.to_thread(file.begun.acquire, timeout=30)
        assert file.reads == 3
        await chunks.aclose()

    async def test_blocks_grow(self, tmp_path: Path):
        """Blocks begin at 64 KiB and double up to 1 MiB: many stalled uploads hold little, a fast one hops seldom."""
        path = tmp_path / "large"
        path.write_bytes(bytes(4000 * KIB))
        sizes = [len(chunk) // KIB async for chunk in describe(path).chunks()]
        assert sizes == [64, 128, 256, 512, 1024, 1024, 992]

    async def test_no_read_runs_in_the_event_loop(self):
        """A file-like object is read in worker threads of our own."""
        threads: set[str] = set()

        class Noting(Seekable):
            def read(self, size: int | None = -1) -> bytes:
                threads.add(threading.current_thread().name)
                return super().read(size)

        await sent_by(describe(Noting(bytes(1000 * KIB))))
        assert threads
        assert all(name.startswith("aioreq-reader") for name in threads)

    async def test_a_slow_file_does_not_hold_the_loop(self):
        """While a read blocks, the loop runs other tasks."""
        leave = threading.Event()

        class Slow(Seekable):
            def read(self, size: int | None = -1) -> bytes:
                assert leave.wait(30)
                return super().read(size)

        reading = asyncio.create_task(sent_by(describe(Slow(EVERY_BYTE))))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not reading.done()
        leave.set()
        assert await reading == EVERY_BYTE

    async def test_readings_of_one_object_do_not_mix(self):
        """Several readings of one file-like object at once each give all of it, in order."""
        file = Seekable(b"".join(b"%06d" % number for number in range(100_000)))
        segments = [describe(file) for _ in range(6)]
        assert set(await asyncio.gather(*map(sent_by, segments))) == {file.getvalue()}

    async def test_readings_of_one_async_file_do_not_mix(self):
        """An async file that can seek may be in several uploads at once as well."""

        class Turning(AsyncSeekable):
            async def read(self, size: int = -1) -> bytes:
                await asyncio.sleep(0)
                return await super().read(size)

        data = b"".join(b"%06d" % number for number in range(100_000))
        file = Turning(data)
        segments = [describe(file, len(data)) for _ in range(4)]
        assert set(await asyncio.gather(*map(sent_by, segments))) == {data}


class TestBody:
    async def test_a_body_is_a_row_of_segments(self, path: Path):
        """Its length is the sum of theirs, its bytes are theirs in order, as often as wanted."""
        body = Body((Bytes(b"head"), describe(path), Bytes(b""), Bytes(b"tail")), "x/y")
        assert len(body) == body.length == 256 * KIB + 8
        assert bool(body)
        for _ in range(2):
            assert await sent_by(body) == b"head" + path.read_bytes() + b"tail"

    def test_what_is_known_of_a_body(self, path: Path):
        """Whether it is in memory, and whether it can be read without an iteration."""
        memory, disk, stream = Bytes(b"x"), describe(path), describe(iter([b"x"]), 1)
        assert Body((memory,)).in_memory
        assert Body((memory,)).can_read_now
        assert not Body((memory, disk)).in_memory
        assert Body((memory, disk)).can_read_now
        assert Body((memory, disk)).read_now() == b"x" + path.read_bytes()
        assert not Body((memory, stream)).can_read_now

    async def test_a_body_of_unknown_length(self):
        """A body without a length says so, and can be sent with chunked coding only."""
        body = Body((Bytes(b"x"), describe(iter([b"y"]), chunked=True)))
        assert body.length is None
        with pytest.raises(TypeError, match="the length of this body is not known"):
            len(body)
        assert await sent_by(body) == b"xy"

    def test_segments_are_of_known_kinds(self, path: Path):
        """Every source becomes one of the six kinds of segment."""
        kinds = {
            type(describe(source, length))
            for source, length in (
                (b"x", None),
                (path, None),
                (Seekable(b"x"), None),
                (ReadOnly(b"x"), 1),
                (AsyncReadOnly(b"x"), 1),
                (iter([b"x"]), 1),
            )
        }
        assert kinds == {Bytes, FileRegion, SyncReader, SyncStream, AsyncReader, Iteration}


async def test_the_files_of_a_form_are_opened_one_after_the_other(tmp_path: Path):
    """A form of many files holds one descriptor at a time, and none before it is sent."""
    paths = [tmp_path / f"{number}" for number in range(20)]
    for path in paths:
        path.write_bytes(b"x")
    datagen, _ = multipart_encode([("file", path) for path in paths])
    assert not any(map(is_open, paths))
    async for chunk in datagen:
        if chunk == b"x":
            assert sum(map(is_open, paths)) == 1
