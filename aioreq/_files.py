"""Regular files, read by offset.

A file is described once (:class:`FileSource`: which one, how long) and opened each time its bytes are due.
Reading by offset (``pread``, a map) leaves the caller's file position alone, so one file object can
be in several uploads at once, and each sends it whole from its first byte, as poster did.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from . import _page_cache as page_cache
from .exceptions import FileChanged, FileIsDirectory, FileUnreadable, InvalidBody

# Windows opens a descriptor in text mode unless told otherwise.
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# Without it, opening a pipe that has taken a file's place waits for somebody to write to it.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


class Descriptor:
    """A descriptor of our own, closed only when no thread is inside a call on it.

    Closing a descriptor under a thread that uses it would let the next ``open`` hand the same number out, and
    the thread would read or write somebody else's bytes. ``with descriptor as number:`` is that use.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._users = 0
        self._closing = False

    def __enter__(self) -> int:
        with self._lock:
            if self._closing:
                raise ValueError("the descriptor was closed")
            self._users += 1
        return self._fd

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            last = self._closing and self._users == 0
        if last:
            os.close(self._fd)

    def close(self) -> None:
        """Close now, or as soon as the last thread has left."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            idle = self._users == 0
        if idle:
            os.close(self._fd)


class OpenFile(Descriptor):
    """A regular file, open for reading by offset."""

    def __init__(self, fd: int, source: FileSource) -> None:
        super().__init__(fd)
        self.source = source

    def read(self, size: int, offset: int) -> bytes:
        """Exactly ``size`` bytes from ``offset``, or :class:`FileChanged`. Blocks: for a worker thread."""
        with self as fd:
            data = _pread(fd, size, offset, self.source.name)
            while len(data) < size:
                more = _pread(fd, size - len(data), offset + len(data), self.source.name)
                if not more:
                    raise self.changed()
                data += more
        return data

    def read_into(self, place: memoryview, offset: int = 0) -> None:
        """The bytes from ``offset``, exactly as many as there is room for, or :class:`FileChanged`. Blocks."""
        with self as fd:
            self.source.fill(place, fd, offset)

    def changed(self) -> FileChanged:
        """The error for a file that has become shorter."""
        with self as fd:
            return self.source.changed(os.fstat(fd).st_size)


# Windows has no pread, and duplicated descriptors share one position.
_position = threading.Lock()
_HAS_PREADV = hasattr(os, "preadv")  # neither Windows nor macOS before 11


def _pread(fd: int, size: int, offset: int, name: str | None) -> bytes:
    try:
        if hasattr(os, "pread"):
            return os.pread(fd, size, offset)
        with _position:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, size)
    except OSError as error:
        raise FileUnreadable.from_oserror(error, name) from error


def _pread_into(fd: int, place: memoryview, offset: int, name: str | None) -> int:
    if not _HAS_PREADV:
        data = _pread(fd, len(place), offset, name)
        place[: len(data)] = data
        return len(data)
    try:
        return os.preadv(fd, [place], offset)
    except OSError as error:
        raise FileUnreadable.from_oserror(error, name) from error


def open_file(path: str, wait: bool = True) -> int:
    """A descriptor for reading.

    Raises:
        BlockingIOError: somebody has a lease on it (fcntl(2)), and ``wait`` is false; he has been asked to give it up.
    """
    try:
        return os.open(path, _FLAGS | _NONBLOCK)
    except BlockingIOError:
        if not wait:
            raise
        return os.open(path, _FLAGS)


class FileSource:
    """A regular file and the size it had when it was described.

    Attributes:
        name: the path, or the open file's name, for messages.
        size: bytes, by ``fstat``; exactly these many are sent.

    Args:
        name: see above.
        status: the file's.
        opener: gives a descriptor; called with whether it may wait for that.
    """

    def __init__(self, name: str | None, status: os.stat_result, opener: Callable[[bool], int]) -> None:
        self.name = name
        self.size = status.st_size
        self._identity = (status.st_dev, status.st_ino)
        self._opener = opener

    @classmethod
    def from_path(cls, path: str) -> FileSource:
        """Describe the file at ``path``; nothing stays open.

        Raises:
            FileUnreadable: there is no such file, it is a directory, or it may not be read.
            InvalidBody: it is a pipe, a socket or a device, whose size can't be known.
        """
        try:
            status = os.stat(path)  # noqa: PTH116 - a str costs a third of a Path
        except OSError as error:
            raise FileUnreadable.from_oserror(error, path) from error
        except ValueError as error:
            raise no_path(path, error) from error
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(status, path)
        if not os.access(path, os.R_OK):
            raise FileUnreadable.from_oserror(PermissionError(13, "permission denied"), path)
        return cls.known(path, status)

    @classmethod
    def known(cls, path: str, status: os.stat_result) -> FileSource:
        """Describe the regular file at ``path``, which may be read, by its status."""
        return cls(path, status, partial(open_file, path))

    @classmethod
    def from_open_file(cls, file: Any, raw: io.FileIO) -> FileSource:
        """Describe a file that the caller has open; it is never closed by us.

        Its descriptor is duplicated when the bytes are due, so that the caller may close his own meanwhile.
        """
        name = file.name if isinstance(getattr(file, "name", None), str) else None
        if not raw.readable():
            raise InvalidBody(f"the file {name!r} is open for writing only; open it with mode 'rb'")
        if raw.writable():
            file.flush()  # what was written but sits in the buffer belongs to the file
        status = os.fstat(raw.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(status, name)
        return cls(name, status, lambda _: os.dup(raw.fileno()))

    def open(self) -> OpenFile:
        """Open the file and hold it against its description. Blocks: for a worker thread.

        Raises:
            FileChanged: it has become shorter, or was replaced by a file of another size.
            FileUnreadable: it can't be opened any more.
        """
        return OpenFile(self._open(), self)

    def _open(self) -> int:
        try:
            fd = self._opener(True)
        except OSError as error:
            raise FileUnreadable.from_oserror(error, self.name) from error
        except ValueError as error:  # fileno() of a closed file
            raise FileUnreadable(f"the file {self.name!r} was closed before its bytes were due") from error
        return self._checked(fd)

    def _open_now(self) -> int | None:
        """Without waiting; None if that can't be, and a thread finds out why. The path was looked up before."""
        try:
            fd = self._opener(False)
        except (OSError, ValueError):
            return None
        return self._checked(fd)

    def _checked(self, fd: int) -> int:
        try:
            self._check(os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _check(self, status: os.stat_result) -> None:
        seen = status.st_size
        if seen != self.size and (seen < self.size or (status.st_dev, status.st_ino) != self._identity):
            raise self.changed(seen)

    def read_whole(self, length: int) -> bytes:
        """Open, read the first ``length`` bytes and close, in one go. Blocks: for a worker thread."""
        file = self.open()
        try:
            return file.read(length, 0) if length else b""
        finally:
            file.close()

    def read_into(self, place: memoryview) -> None:
        """Open, read as many bytes as there is room for, and close, in one go. Blocks: for a worker thread."""
        fd = self._open()  # a plain one: no other thread knows of it
        try:
            page_cache.learn(fd, self._identity[0])
            self.fill(place, fd, 0)
        finally:
            os.close(fd)

    def read_cached_into(self, place: memoryview) -> bool:
        """The same for the event loop: False if the system has not all of it in memory, or it can't be opened now.

        Raises:
            FileChanged: see :meth:`open`.
        """
        device = self._identity[0]
        if not page_cache.answers(device) or (fd := self._open_now()) is None:
            return False
        try:
            return page_cache.read(fd, device, place)
        finally:
            os.close(fd)

    def open_cached(self, length: int) -> int | None:
        """A descriptor, for the caller to close, if the first ``length`` bytes are in memory: for the event loop.

        Raises:
            FileChanged: see :meth:`open`.
        """
        if not page_cache.tells(self._identity[0]) or (fd := self._open_now()) is None:
            return None
        if page_cache.holds(fd, 0, length):
            return fd
        os.close(fd)
        return None

    def fill(self, place: memoryview, fd: int, offset: int) -> None:
        """Read from ``offset`` exactly as many bytes as there is room for, or :class:`FileChanged`. Blocks."""
        at = _pread_into(fd, place, offset, self.name)
        while at < len(place):
            more = _pread_into(fd, place[at:], offset + at, self.name)
            if not more:
                raise self.changed(os.fstat(fd).st_size)
            at += more

    def changed(self, seen: int) -> FileChanged:
        """The error that says how this file differs from its description."""
        return FileChanged(
            f"the file {self.name!r} has changed: {self.size} bytes were declared, {seen} are there now",
            path=self.name,
            declared=self.size,
            seen=seen,
        )


def no_path(path: str, error: ValueError) -> FileUnreadable:
    """The error for what names no file on any system."""
    return FileUnreadable(f"{path!r} can't be a path: {error}", filename=path)


def _not_regular(status: os.stat_result, name: str | None) -> FileIsDirectory | InvalidBody:
    if stat.S_ISDIR(status.st_mode):
        return FileIsDirectory(f"{name!r} is a directory; pass the files inside it", filename=name)
    return InvalidBody(
        f"{'the file' if name is None else repr(name)} is not a regular file (a pipe, a socket or a device), so "
        "its size is not known: read it first, or pass an open file or an iterator together with its length"
    )
