"""Items made ready to be sent: small files are read whole, large ones described, many to one hop off the loop.

A hop to a reader thread costs more than a small file, so a batch of them shares it; then the loop has nothing left to
do for such a file than to send it, in one write with its head.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from .._body import Bytes, FileRegion, Segment
from .._source import describe, describe_path
from ..exceptions import FileChanged, FileUnreadable, InvalidBody, RequestException
from ._delivery import Delivery
from ._digest import Digest

# A file up to this size is read whole, and leaves with its head in one write.
SMALL = 256 * 1024
# A hop reads this many files, or this many bytes: what waits for a thread must not wait for long.
BATCH = 32
BATCH_BYTES = 2 * 1024 * 1024
# A large file is read in such blocks where only its digest is wanted.
_BLOCK = 1024 * 1024
# What a hop may bring in at most.
HOP_BYTES = BATCH_BYTES + SMALL

# Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


def is_path(delivery: Delivery) -> bool:
    """Whether it is a file on disk, whose reading needs a thread."""
    return isinstance(delivery.item.source, (str, os.PathLike))


def load(deliveries: Iterable[Delivery], digest: Digest | None = None) -> None:
    """Make deliveries ready, until enough bytes are read. Blocks: for a reader thread.

    Whatever goes wrong with one is noted in it.
    """
    read = 0
    for delivery in deliveries:
        if read >= BATCH_BYTES:
            return
        try:
            if is_path(delivery):
                _load_path(delivery)
            if digest is not None and delivery.digest is None:
                if read and isinstance(delivery.segment, FileRegion):
                    return  # a large file has a hop of its own, so that nobody waits for its digest
                _compute(delivery, digest)
                read += delivery.size or 0
        except RequestException as error:
            delivery.problem = error
        delivery.ready = True
        read += delivery.weight


def _compute(delivery: Delivery, digest: Digest) -> None:
    """The digest of what will be sent."""
    segment, hasher = delivery.segment, digest.hasher()
    if isinstance(segment, Bytes):
        hasher.update(segment.data)
    elif isinstance(segment, FileRegion):
        for block in _blocks(segment):
            hasher.update(block)
    else:
        raise InvalidBody(f"{delivery.item.label} has no digest: it is neither a file on disk nor bytes")
    delivery.digest = hasher.digest()


def _blocks(region: FileRegion) -> Iterator[bytes]:
    file = region.source.open()
    try:
        for offset in range(0, region.length, _BLOCK):
            yield file.read(min(_BLOCK, region.length - offset), offset)
    finally:
        file.close()


def _load_path(delivery: Delivery) -> None:
    path = delivery.item.path
    assert path is not None
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        raise FileUnreadable.from_oserror(error, path) from error
    try:
        status = os.fstat(fd)
        is_small = False
        if stat.S_ISREG(status.st_mode):
            _require_same(delivery, status, path)
            is_small = status.st_size <= SMALL
        if is_small:
            segment: Segment = Bytes(_read(fd, status.st_size, path))
            delivery.weight = status.st_size
        else:
            segment = describe_path(path)
    except OSError as error:
        if isinstance(error, RequestException):
            raise
        raise FileUnreadable.from_oserror(error, path) from error
    finally:
        os.close(fd)
    _settle(delivery, segment)


def _read(fd: int, size: int, path: str) -> bytes:
    """All of a small regular file."""
    data = os.read(fd, size)
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            raise _changed(path, size, len(data))
        data += more
    return data


def _require_same(delivery: Delivery, status: os.stat_result, path: str) -> None:
    """A file that was looked at before must still be that one: its key stands for these bytes."""
    if delivery.size is None:
        delivery.size, delivery.mtime = status.st_size, status.st_mtime_ns
    elif (delivery.size, delivery.mtime) != (status.st_size, status.st_mtime_ns):
        raise _changed(path, delivery.size, status.st_size)


def _changed(path: str, declared: int, seen: int) -> FileChanged:
    return FileChanged(
        f"the file {path!r} was changed during the upload: it had {declared} bytes, now {seen}",
        path=path,
        declared=declared,
        seen=seen,
    )


def load_other(delivery: Delivery) -> None:
    """Make a delivery ready whose source is not a path: nothing is read yet, and so it weighs nothing.

    Whatever goes wrong is noted in it.
    """
    try:
        _settle(delivery, describe(delivery.item.source, delivery.item.size))
    except RequestException as error:
        delivery.problem = error
    delivery.ready = True


def _settle(delivery: Delivery, segment: Segment) -> None:
    delivery.segment = segment
    delivery.size = segment.length
