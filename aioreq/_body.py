"""A body is a description: a length in bytes, and an iteration that starts at the first byte each time.

Nothing is read when a body is made, and nothing has to be rewound when it is sent again: a redirect, a
challenge or a retry iterates once more. A body is a row of segments, each of one kind:

    Bytes          in memory
    FileRegion     a regular file, by offset: the network may hand it to the kernel
    SyncReader     a file-like object with a position, read in worker threads
    AsyncReader    an object with ``async read``
    Iteration      what an iterator gives, whose length somebody declared

A segment that can be read once only says so, and :meth:`Body.require_fresh` refuses a second reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import json
import weakref
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, methodcaller
from typing import Any, ClassVar
from urllib.parse import quote_plus

from ._files import FileSource, OpenFile
from ._threads import READERS
from .exceptions import BodyLengthError, FileUnreadable, InvalidBody, RequestException, UnrewindableBodyError

# Read-ahead blocks start small, so that a thousand stalled uploads hold little memory, and grow to where a
# thread hop no longer shows: 64 KiB blocks reach a quarter of the rate of 1 MiB ones.
_FIRST_BLOCK = 64 * 1024
_LARGEST_BLOCK = 1024 * 1024
# A body up to this size leaves with its head in one write.
SMALL = 256 * 1024
# Items taken from a plain iterator in one hop to a thread.
_BATCH = 1024


# Not an ABC: to ask whether something is an instance of one takes ten times as long, and each upload of a file does so.
class Segment:
    """A stretch of a body that comes from one place.

    Attributes:
        length: bytes, or None when nobody knows (only a body sent with chunked coding may have that).
        prompt: whether each chunk leaves as it comes, instead of being collected with the next ones.
        answer: the streamed answer that it reads, which keeps a connection until then; or None.
        in_memory: whether every byte is in memory.
        can_read_now: whether ``read_now()`` gives all of it: it is in memory or in a regular file.
    """

    __slots__ = ("length",)

    prompt: ClassVar[bool] = False
    answer: Any = None
    in_memory: ClassVar[bool] = False
    can_read_now: ClassVar[bool] = False

    def __init__(self, length: int | None) -> None:
        self.length = length

    @property
    def one_shot(self) -> bool:
        """Whether it can be read only once."""
        return False

    @abstractmethod
    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes, from the first, ``length`` of them or an error."""

    def require_fresh(self) -> None:
        """Raise UnrewindableBodyError when a source that can be read once only has begun."""


class Bytes(Segment):
    """Bytes in memory."""

    __slots__ = ("data",)

    in_memory = can_read_now = True

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.length: int = len(data)

    def read_now(self) -> bytes:
        """All of it."""
        return self.data

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        if self.data:
            yield self.data


class FileRegion(Segment):
    """The first ``length`` bytes of a regular file."""

    __slots__ = ("source",)

    can_read_now = True

    def __init__(self, source: FileSource, length: int | None = None) -> None:
        if length is None:
            length = source.size
        elif length > source.size:
            raise InvalidBody(f"{length} bytes were declared, but the file {source.name!r} has {source.size}")
        self.source = source
        self.length: int = length

    async def open(self) -> OpenFile:
        """Open it in a reader thread; the caller closes it."""
        return await READERS.acquire(self.source.open, discard=OpenFile.close)

    def read_now(self) -> bytes:
        """All of it. Blocks: for a worker thread."""
        return self.source.read_whole(self.length)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        if not self.length:
            return
        file = await self.open()
        try:
            async with contextlib.aclosing(_read_ahead(file.read, self.length)) as blocks:
                async for block in blocks:
                    yield block
        finally:
            file.close()


class SyncReader(Segment):
    """A file-like object with a position (``read``, ``seek``), read in worker threads.

    Every read finds its place first and holds the object's lock, so that several uploads of one object don't
    move each other's position.
    """

    __slots__ = ("_place",)

    def __init__(self, place: Position, length: int) -> None:
        super().__init__(length)
        self._place = place

    def read_now(self) -> bytes:
        """All of it. Blocks: for a worker thread."""
        assert self.length is not None
        blocks: list[bytes] = []
        offset = 0
        while offset < self.length:
            blocks.append(self._place.read(self.length - offset, offset))
            offset += len(blocks[-1])
        return b"".join(blocks)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        assert self.length is not None
        async with contextlib.aclosing(_read_ahead(self._place.read, self.length)) as blocks:
            async for block in blocks:
                yield block


class Position:
    """Reads a file-like object by offset."""

    def __init__(self, file: Any, lock: contextlib.AbstractContextManager[Any], declared: int) -> None:
        self._file = file
        self._lock = lock
        self._declared = declared

    def read(self, size: int, offset: int) -> bytes:
        """At least one byte and at most ``size``, from ``offset``. Blocks: for a worker thread."""
        with self._lock, reading(self._file):
            if self._file.tell() != offset:
                self._file.seek(offset)
            block = _as_bytes(self._file.read(size))
        if not block:
            raise _too_few(offset, self._declared)
        if offset + len(block) > self._declared:  # a reader that does not mind the size it was asked for
            raise _too_many(offset + len(block), self._declared)
        return block


@contextlib.contextmanager
def reading(file: Any) -> Iterator[None]:
    """Put what the operating system says of a file in our words; what the file's own code raises is left as it is."""
    try:
        yield
    except RequestException:
        raise
    except OSError as error:
        raise FileUnreadable.from_oserror(error, _name_of(file)) from error
    except ValueError as error:
        if getattr(file, "closed", False) is not True:
            raise
        raise FileUnreadable(f"the file {_name_of(file)!r} was closed before its bytes were due") from error


def _name_of(file: Any) -> str:
    name = getattr(file, "name", None)
    return name if isinstance(name, str) and name else type(file).__name__


# Sources that were begun, by id: a generator that is described a second time (a Request sent again, one body in two
# calls) has begun all the same, and would give the rest, or nothing.
_begun: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


class _OneShot(Segment):
    """A source that can be read once, unless the child knows better."""

    __slots__ = ("_has_begun", "_source")

    def __init__(self, source: Any, length: int | None) -> None:
        super().__init__(length)
        self._source = source
        self._has_begun = False

    @property
    def one_shot(self) -> bool:
        return True

    def require_fresh(self) -> None:
        if self.one_shot and (self._has_begun or _begun.get(id(self._source)) is self._source):
            raise UnrewindableBodyError(
                "the body must be sent again, but its source can be read only once and has begun; "
                "pass bytes, a path, an open file, or an object whose iteration can start anew"
            )

    def _begin(self) -> None:
        self.require_fresh()
        self._has_begun = True
        if self.one_shot:
            with contextlib.suppress(TypeError):  # what can't be referenced weakly is known by its segment alone
                _begun[id(self._source)] = self._source


class SyncStream(_OneShot):
    """A file-like object without a position (a pipe, a socket's file), whose length was declared."""

    __slots__ = ()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        self._begin()
        async with contextlib.aclosing(_exactly(self._blocks(), self.length)) as blocks:
            async for block in blocks:
                yield block

    async def _blocks(self) -> AsyncGenerator[bytes, None]:
        while block := await self._next():
            yield block

    async def _next(self) -> bytes:
        with reading(self._source):
            return _as_bytes(await READERS.start(self._source.read, _FIRST_BLOCK))


class AsyncReader(_OneShot):
    """An object with ``async read(size)``, as aiofiles, anyio and Starlette have; rewound where it can be."""

    __slots__ = ("_turns",)

    def __init__(self, turns: Turns, length: int | None) -> None:
        super().__init__(turns.file, length)
        self._turns = turns

    @property
    def one_shot(self) -> bool:
        return not self._turns.can_seek

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        self._begin()
        async with contextlib.aclosing(_exactly(self._blocks(), self.length)) as blocks:
            async for block in blocks:
                yield block

    async def _blocks(self) -> AsyncGenerator[bytes, None]:
        offset = 0
        while block := await self._turns.read(_FIRST_BLOCK, offset):
            offset += len(block)
            yield block


class Turns:
    """Several readings of one async file, one read at a time: each finds its place first.

    Attributes:
        file: the file.
        can_seek: whether it can be read from any place, hence more than once.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self.can_seek = hasattr(file, "seek")
        self._lock = asyncio.Lock()
        self._position: int | None = None

    async def read(self, size: int, offset: int) -> bytes:
        """At most ``size`` bytes from ``offset``; ``b""`` at the end."""
        async with self._lock:
            with reading(self.file):
                return await self._read(size, offset)

    async def _read(self, size: int, offset: int) -> bytes:
        if self.can_seek and (offset == 0 or offset != self._position):
            await self._seek(offset)
        self._position = None  # a read that is cancelled may leave it anywhere
        block = _as_bytes(await self.file.read(size))
        self._position = offset + len(block)
        return block

    async def _seek(self, offset: int) -> None:
        try:
            await self.file.seek(offset)
        except (OSError, ValueError):  # io.UnsupportedOperation is both
            if offset:
                raise
            self.can_seek = False  # a pipe: it has the method, and no position


class Iteration(_OneShot):
    """What an async or sync iterable gives. An iterator can be read once; an iterable, as often as it likes."""

    __slots__ = ()

    @property
    def one_shot(self) -> bool:
        # Only an iterator is its own iterator; anything else starts anew each time it is asked.
        return hasattr(self._source, "__anext__") or hasattr(self._source, "__next__")

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        self._begin()
        blocks = self._async_blocks() if hasattr(self._source, "__aiter__") else self._sync_blocks()
        async with contextlib.aclosing(_exactly(blocks, self.length)) as exact:
            async for block in exact:
                yield block

    async def _async_blocks(self) -> AsyncGenerator[bytes, None]:
        iterator = aiter(self._source)
        try:
            async for block in iterator:
                yield _as_bytes(block)
        finally:
            # A suspended generator holds what it has open until somebody closes it.
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()

    async def _sync_blocks(self) -> AsyncGenerator[bytes, None]:
        batches = _Batches(iter(self._source))
        while not batches.ended:
            yield await READERS.start(batches.next)


class _Batches:
    """Takes from a plain iterator in a worker thread, several small items to a hop.

    Attributes:
        ended: whether the iterator has.
    """

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self.ended = False

    def next(self) -> bytes:
        """The next items, joined: up to 64 KiB unless one item is larger. Blocks."""
        batch: list[bytes] = []
        size = 0
        for item in itertools.islice(self._iterator, _BATCH):  # items may be empty for ever, and a thread is not ours
            block = _as_bytes(item)
            batch.append(block)
            size += len(block)
            if size >= _FIRST_BLOCK:
                return b"".join(batch)
        self.ended = len(batch) < _BATCH
        return b"".join(batch)


async def _read_ahead(read: Callable[[int, int], bytes], length: int) -> AsyncGenerator[bytes, None]:
    """Call ``read(size, offset)`` in threads up to ``length``; the next read runs while a block is sent."""
    size, offset = _FIRST_BLOCK, 0
    pending = READERS.start(read, min(size, length), 0) if length else None
    try:
        while pending is not None:
            block = await pending
            offset += len(block)
            size = min(size * 2, _LARGEST_BLOCK)
            pending = READERS.start(read, min(size, length - offset), offset) if offset < length else None
            yield block
    finally:
        if pending is not None:
            pending.cancel()  # if it has failed while the last block was sent, nobody is to hear of that either


async def _exactly(blocks: AsyncGenerator[bytes, None], length: int | None) -> AsyncGenerator[bytes, None]:
    """Pass ``length`` bytes on, or raise BodyLengthError before a byte too many has gone.

    The last block is held until the source has ended, so that a source that gives too much is noticed while
    the server still waits for the rest.
    """
    seen = 0
    held = b""
    async with contextlib.aclosing(blocks):
        async for block in blocks:
            seen += len(block)
            if length is not None and seen > length:
                raise _too_many(seen, length)
            if not block:
                await asyncio.sleep(0)  # a source that gives nothing for ever must not hold the loop
                continue
            if held:
                yield held
                held = b""
            if seen == length:
                held = block
            else:
                yield block
    if length is not None and seen < length:
        raise _too_few(seen, length)
    if held:
        yield held


def _too_few(seen: int, declared: int) -> BodyLengthError:
    return BodyLengthError(f"{declared} bytes were declared, but the source gave only {seen}")


def _too_many(seen: int, declared: int) -> BodyLengthError:
    return BodyLengthError(f"{declared} bytes were declared, but the source gave at least {seen}")


def _as_bytes(block: Any) -> bytes:
    if isinstance(block, bytes):
        return block
    if isinstance(block, (bytearray, memoryview)):
        return bytes(block)
    raise InvalidBody(
        f"the source of a body gave {type(block).__name__}, not bytes"
        + ("; encode the text, or open the file with mode 'rb'" if isinstance(block, str) else "")
    )


_LENGTH = attrgetter("length")
_IS_IN_MEMORY = attrgetter("in_memory")
_CAN_READ_NOW = attrgetter("can_read_now")
_READ_NOW = methodcaller("read_now")


class Body:
    """A body to be sent: async-iterable as often as its sources allow, ``len()`` is its length in bytes.

    Attributes:
        segments: where the bytes come from, in order.
        params: the multipart field that each segment belongs to, None for a segment of none; empty outside of
            multipart. (A segment does not know its field: field and file would keep each other alive.)
        length: their sum, or None when a segment's length isn't known.
        in_memory: whether every byte is in memory.
        can_read_now: whether :meth:`read_now` works: all of it is in memory or in regular files.
        content_type: what the Content-Type header says unless the caller sets one; None for no header.
        on_block: called with (param, current, total) as bytes leave, poster's ``cb``; or None.
    """

    def __init__(
        self, segments: Iterable[Segment], content_type: str | None = None, params: Sequence[Any] = ()
    ) -> None:
        self.segments = segments = tuple(segments)
        self.params = params
        self.content_type = content_type
        self.on_block: Callable[[Any, int, int], object] | None = None
        self.length: int | None
        if len(segments) == 1:  # as most bodies have; without the sums a small form takes 3 % less
            [only] = segments
            self.length, self.in_memory, self.can_read_now = only.length, only.in_memory, only.can_read_now
            return
        try:
            self.length = sum(map(_LENGTH, segments))
        except TypeError:  # one of them is None
            self.length = None
        self.in_memory = all(map(_IS_IN_MEMORY, segments))
        self.can_read_now = self.in_memory or all(map(_CAN_READ_NOW, segments))

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError("the length of this body is not known")
        return self.length

    def __bool__(self) -> bool:
        return True

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        for segment in self.segments:
            async with contextlib.aclosing(segment.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk

    def without_length(self) -> Body:
        """The same body for chunked coding."""
        body = Body(self.segments, self.content_type, self.params)
        body.length = None
        return body

    @property
    def is_small(self) -> bool:
        """Whether it can leave in one write with its head."""
        return self.can_read_now and self.length is not None and self.length <= SMALL

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent more than once."""
        return self.can_read_now or not any(segment.one_shot for segment in self.segments)

    @property
    def answers(self) -> list[Any]:
        """The streamed answers that it reads."""
        return [segment.answer for segment in self.segments if segment.answer is not None]

    def require_fresh(self) -> None:
        """Raise UnrewindableBodyError when the body can't be sent (again) from its first byte."""
        if self.can_read_now:
            return
        for segment in self.segments:
            segment.require_fresh()

    @property
    def is_fresh(self) -> bool:
        """Whether the body can be sent (again) from its first byte."""
        try:
            self.require_fresh()
        except UnrewindableBodyError:
            return False
        return True

    def read_now(self, head: bytes = b"") -> bytes:
        """All of it at once, behind ``head``. Blocks when there are files: for a worker thread."""
        return b"".join((head, *map(_READ_NOW, self.segments)))


def bytes_body(data: bytes, content_type: str | None = None) -> Body:
    """A body of bytes in memory."""
    return Body((Bytes(data),), content_type)


def utf8(text: str, errors: str = "strict") -> bytes:
    """Text as it is sent.

    Raises:
        InvalidBody: it holds a lone surrogate, which has no form in UTF-8.
    """
    try:
        return text.encode("utf-8", errors)
    except UnicodeEncodeError as error:
        raise InvalidBody(f"the text {text[:60]!r} holds a lone surrogate, which has no form in UTF-8") from error


def form_body(fields: Any) -> Body:
    """An ``application/x-www-form-urlencoded`` body (WHATWG URL standard, section 5).

    Args:
        fields: a mapping or pairs; a value that is a list gives one field for each item, None gives none.
    """
    try:
        return bytes_body(encode_pairs(fields).encode("ascii"), "application/x-www-form-urlencoded")
    except UnicodeEncodeError as error:
        raise InvalidBody(f"a field can't be sent: {error.object!r} holds a lone surrogate") from error


def encode_pairs(fields: Any) -> str:
    """Fields of a query or a form as ``a=1&b=2``, as requests does it."""
    if type(fields) is dict and _are_plain_words(fields):
        return "&".join(map("=".join, fields.items()))
    return "&".join(["=".join((_quoted(name), _quoted(value))) for name, value in flatten_pairs(fields)])


def _are_plain_words(fields: dict[Any, Any]) -> bool:
    """Whether names and values are text of letters and digits, which is sent as it is.

    One look at all of them together saves a small form a tenth of its time.
    """
    try:
        text = "".join(map("".join, fields.items()))
    except TypeError:  # one of them is no text
        return False
    return text.isascii() and text.isalnum()


def _quoted(value: Any) -> str:
    """As ``urllib.parse.urlencode`` has it; plain words, which most are, need no look at each character."""
    if type(value) is str and value.isascii() and value.isalnum():
        return value
    return quote_plus(value if isinstance(value, (str, bytes)) else str(value))


def flatten_pairs(fields: Any) -> Iterator[tuple[Any, Any]]:
    """The single (name, value) pairs of a mapping or of pairs, lists taken apart and None left out.

    Raises:
        InvalidBody: a value is no plain one: a file, an async iterable, a coroutine.
    """
    pairs = fields.items() if isinstance(fields, (dict, Mapping)) else fields
    for name, value in pairs:
        if type(value) is str:
            yield name, value
            continue
        for item in value if _is_many(value) else (value,):
            if item is not None:
                yield name, _plain(name, item)


def _is_many(value: Any) -> bool:
    one = isinstance(value, (str, bytes, bytearray, memoryview)) or hasattr(value, "read")
    return not one and hasattr(value, "__iter__") and not isinstance(value, Mapping)


def _plain(name: Any, value: Any) -> Any:
    """The value, if its text is what anybody would want to see sent."""
    if isinstance(value, (str, bytes, int, float)):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if inspect.iscoroutine(value):
        value.close()  # it is told of here; a "never awaited" warning beside that would only confuse
        raise InvalidBody(f"the value of {name!r} is a coroutine that nobody awaited: write 'await' before it")
    if hasattr(value, "read") or hasattr(value, "__aiter__"):
        raise InvalidBody(f"the value of {name!r} is a source of bytes ({type(value).__name__}): pass it in files=")
    if isinstance(value, Mapping):
        raise InvalidBody(f"the value of {name!r} is a {type(value).__name__}, which no form holds: pass json= or text")
    return value


def json_body(value: Any) -> Body:
    """A JSON body (RFC 8259).

    Raises:
        InvalidBody: the value has no JSON form; NaN and infinities have none.
    """
    try:
        return bytes_body(json.dumps(value, allow_nan=False).encode(), "application/json")
    except (TypeError, ValueError) as error:
        raise InvalidBody(f"json= can't be encoded: {error}") from error
