"""What a caller may hand in as the bytes of a body or of a file, and the segment each becomes.

Lengths are found here, before a byte is read. What has none is refused here, with a sentence that says what
to pass instead.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import stat
import sys
import threading
import weakref
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Protocol, TypeVar, runtime_checkable

from ._body import (
    AsyncReader,
    Bytes,
    FileRegion,
    Iteration,
    Position,
    Segment,
    SyncReader,
    SyncStream,
    Turns,
    reading,
    utf8,
)
from ._files import FileSource
from .exceptions import InvalidBody


@runtime_checkable
class SegmentSource(Protocol):
    """An object of our own that can be uploaded, such as a streaming response."""

    def as_segment(self, length: int | None) -> Segment:
        """Describe it as a segment."""


def describe(value: Any, length: int | None = None, *, chunked: bool = False) -> Segment:
    """The segment for what a caller handed in.

    Args:
        value: text, bytes, a number, a path object, an open file, an async file, or an iterable of bytes.
        length: bytes, where the caller declared them; needed for iterators and for what has no size.
        chunked: no length is needed: the caller asked for chunked coding.

    Raises:
        InvalidBody: it can't be sent; the message says what to pass instead.
        FileUnreadable: a path can't be opened.
    """
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return Bytes(encode_value(value))
    if is_path(value):
        return describe_path(os.fsdecode(value), length)
    if is_number(value):
        return Bytes(encode_value(value))
    if isinstance(value, SegmentSource):
        return value.as_segment(length)
    _refuse_unawaited(value)
    if is_file(value):
        return _describe_file(value, length, chunked=chunked)
    if isinstance(value, (AsyncIterable, Iterable)) and not _is_no_stream(value):
        if length is None and not chunked:
            raise InvalidBody(_no_length(value))
        return Iteration(value, length)
    raise InvalidBody(
        f"{type(value).__name__} can't be sent: pass text, bytes, a path (pathlib.Path), an open file, "
        "or an iterable of bytes together with its length"
    )


def describe_path(path: str, length: int | None = None) -> FileRegion:
    """The segment for the first ``length`` bytes of a file on disk, or for all of it.

    Raises:
        InvalidBody: it is shorter, or no regular file.
        FileUnreadable: it can't be opened.
    """
    return FileRegion(FileSource.from_path(path), length)


def encode_value(value: Any) -> bytes:
    """The bytes of a plain value: text as UTF-8, a number as it prints."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return utf8(value if isinstance(value, str) else str(value))


def is_path(value: Any) -> bool:
    """Whether it is a path object: what ``isinstance(value, os.PathLike)`` looks at, in a tenth of its time."""
    return hasattr(type(value), "__fspath__")


def is_file(value: Any) -> bool:
    """Whether it is read from, rather than iterated."""
    return callable(getattr(value, "read", None))


def file_name(value: Any) -> str | None:
    """The base name of a path or of an open file, or None; not a descriptor's number or ``<stdin>``."""
    name = os.fspath(value) if is_path(value) else getattr(value, "name", None)
    if name is None:
        name = getattr(value, "filename", None)  # Starlette's UploadFile
    if isinstance(name, bytes):
        name = os.fsdecode(name)
    if not isinstance(name, str) or (name[:1] == "<" and name[-1:] == ">"):
        return None
    return base_name(name)


def base_name(name: str) -> str | None:
    """The last part of a path, of this system's or of Windows' kind where that is this system."""
    if os.sep == "/":  # what basename() does there, in a third of its time
        return name.rpartition("/")[2] or None
    return os.path.basename(name) or None  # noqa: PTH119 - any str, not only what makes a Path


def is_measured_by_seeking(value: Any) -> bool:
    """Whether :func:`describe` seeks to its end for its size. That may take long: a GzipFile unpacks all of itself."""
    if not is_file(value) or not hasattr(value, "seek") or isinstance(value, SegmentSource):
        return False
    in_memory = type(value) in (io.BytesIO, io.StringIO)
    return not in_memory and _file_on_disk(value) is None and not inspect.iscoroutinefunction(value.read)


def is_number(value: Any) -> bool:
    """Whether it is a number, of whatever library."""
    from numbers import Number  # not before the first body

    return isinstance(value, Number)


def _is_no_stream(value: Any) -> bool:
    """Whether it can be iterated, but is surely not meant as bytes one after another."""
    if isinstance(value, (list, tuple)):
        return not all(isinstance(piece, (bytes, bytearray, memoryview)) for piece in value)
    return isinstance(value, (Mapping, AbstractSet))


def _refuse_unawaited(value: Any) -> None:
    if inspect.iscoroutine(value):
        value.close()  # it is told of here; a "never awaited" warning beside that would only confuse
        raise InvalidBody(f"{value.__qualname__}() is a coroutine that nobody awaited: write 'await' before it")
    if inspect.isfunction(value) or inspect.ismethod(value):
        raise InvalidBody(f"{value.__qualname__} is a function: call it, and pass what it returns")


def _describe_file(file: Any, length: int | None, *, chunked: bool) -> Segment:
    if getattr(file, "closed", False) is True:
        raise InvalidBody(f"the file {getattr(file, 'name', file)!r} is closed")
    if type(file) is io.BytesIO:
        return Bytes(file.getvalue())
    if type(file) is io.StringIO:
        return Bytes(utf8(file.getvalue()))
    raw = _file_on_disk(file)
    # A pipe or a device has no size: it is read as it comes, where the caller knows how much that is.
    if raw is not None and (_is_regular(raw) or (length is None and not chunked)):
        return FileRegion(FileSource.from_open_file(file, raw), length)
    if inspect.iscoroutinefunction(file.read):
        return _describe_async_file(file, length, chunked=chunked)
    return _describe_sync_file(file, length, chunked=chunked)


def _is_regular(raw: io.FileIO) -> bool:
    return stat.S_ISREG(os.fstat(raw.fileno()).st_mode)


def _file_on_disk(file: Any) -> io.FileIO | None:
    """The file on disk whose bytes ``file`` passes on as they are, or None.

    ``fileno()`` alone would not do: a GzipFile has one too, but what it reads is not what is on disk, and
    asking a spooled file for its number writes it out.
    """
    seen = 0
    while seen < 4:  # aiofiles' wrapper, tempfile's wrapper, text, buffer
        if type(file) is io.FileIO:
            return file
        if type(file) is io.TextIOWrapper:
            file = file.buffer
        elif type(file) in (io.BufferedReader, io.BufferedRandom, io.BufferedWriter):
            file = file.raw
        elif _wraps_a_file(file):
            file = getattr(file, "_file", None) or getattr(file, "file", None) or file.wrapped
        else:
            return None
        seen += 1
    return None


def _wraps_a_file(file: Any) -> bool:
    """Whether it is a known wrapper that hands the file's own bytes on: aiofiles', anyio's, tempfile's.

    None of the three is imported for this: an instance can only exist once its module has been.
    """
    for module, name in (("aiofiles.base", "AsyncBase"), ("anyio", "AsyncFile"), ("tempfile", "_TemporaryFileWrapper")):
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(file, kind):
            return True
    return False


def _describe_async_file(file: Any, length: int | None, *, chunked: bool) -> Segment:
    if length is None and isinstance(getattr(file, "size", None), int):  # Starlette's UploadFile
        length = file.size
    if length is None and not chunked:
        raise InvalidBody(f"the size of {type(file).__name__} can't be found without waiting: pass filesize=")
    return AsyncReader(_shared(_turns, file, Turns), length)


def _describe_sync_file(file: Any, length: int | None, *, chunked: bool) -> Segment:
    if isinstance(file, io.TextIOBase):
        raise InvalidBody(f"{type(file).__name__} gives text, not bytes: open it in binary mode ('rb')")
    if not _has_position(file):
        if length is None:
            length = _length_attribute(file)
        if length is None and not chunked:
            raise InvalidBody(_no_length(file))
        return SyncStream(file, length)
    if length is None:
        length = _length_by_seeking(file)
    lock = _shared(_locks, file, _Lock)
    return SyncReader(Position(file, lock, length), length)


def _has_position(file: Any) -> bool:
    if not (hasattr(file, "seek") and hasattr(file, "tell")):
        return False
    try:
        seekable = file.seekable() if hasattr(file, "seekable") else True
        file.tell()
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return False
    return bool(seekable)


def _length_by_seeking(file: Any) -> int:
    """Poster's way: seek to the end, ask where that is, and put the position back."""
    with reading(file):
        position = file.tell()
        file.seek(0, os.SEEK_END)
        length = file.tell()
        file.seek(position)
    return int(length)


def _length_attribute(file: Any) -> int | None:
    """``len(file)`` or ``file.len``, as requests and its toolbelt have it."""
    with contextlib.suppress(TypeError):
        return len(file)
    length = getattr(file, "len", None)
    return length if isinstance(length, int) else None


# One lock for each file-like object in use, shared by the uploads that read it; each keeps its file (hence the
# file's id) alive.
_locks: weakref.WeakValueDictionary[int, _Lock] = weakref.WeakValueDictionary()
_turns: weakref.WeakValueDictionary[int, Turns] = weakref.WeakValueDictionary()
_Shared = TypeVar("_Shared")


class _Lock:
    """A lock that can be weakly referenced."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _shared(kept: weakref.WeakValueDictionary[int, _Shared], file: Any, make: Callable[[Any], _Shared]) -> _Shared:
    found = kept.get(id(file))
    if found is None:
        found = kept[id(file)] = make(file)
    return found


def _no_length(value: Any) -> str:
    return (
        f"No Content-Length: the length of this {type(value).__name__} is not known. Pass it (the header "
        "Content-Length for a whole body, filesize= for a part), pass bytes, a path or a seekable file, or ask "
        "for chunked coding with the header 'Transfer-Encoding: chunked'"
    )
