"""Items made ready to be sent, many at a time: small files are read whole, large ones described.

What the system has in memory is read in the loop, without waiting. The rest is a reader thread's: a hop there costs
more than a small file, so a batch of them shares it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from .. import _page_cache as page_cache
from .._body import SMALL, Bytes, FileRegion, Segment
from .._files import FileSource, no_path, open_file
from .._source import describe, describe_path
from .._threads import READERS
from ..exceptions import FileChanged, FileUnreadable, InvalidBody, RequestException
from ._delivery import Delivery
from ._digest import Digest

# A file that the loop can read without waiting is read together with others if it is not larger than this.
_TINY = 16 * 1024
# A hop reads this many files, or this many bytes: what waits for a thread must not wait for long.
BATCH = 32
BATCH_BYTES = 2 * 1024 * 1024
# A large file is read in such blocks where only its digest is wanted.
_BLOCK = 1024 * 1024
# What a hop may bring in at most.
HOP_BYTES = BATCH_BYTES + SMALL


def is_path(delivery: Delivery) -> bool:
    """Whether it is a file on disk, which must be opened and read."""
    return isinstance(delivery.item.source, (str, os.PathLike))


class Loader:
    """Makes the deliveries of one job ready.

    Args:
        digest: what is computed of each, or None.
    """

    def __init__(self, digest: Digest | None) -> None:
        self._digest = digest
        self._may_be_cached = False  # so it was with the last batch that a thread has read
        self._place = memoryview(bytearray(_TINY))

    async def load(self, batch: list[Delivery]) -> None:
        """Make a batch ready, as far as it fits into one hop. Whatever goes wrong with one is noted in it."""
        if not self._may_be_cached or not load_cached(batch, self._place):
            self._may_be_cached = await READERS.start(load, batch, self._digest)


def load(batch: Iterable[Delivery], digest: Digest | None = None) -> bool:
    """Make deliveries ready, until enough bytes are read. Blocks: for a reader thread.

    Whatever goes wrong with one is noted in it.

    Returns:
        Whether more like them may be read without a thread, if the system has them in memory.
    """
    read, may_be_cached = 0, digest is None
    for delivery in batch:
        if delivery.ready:
            continue
        if read >= BATCH_BYTES:
            break
        try:
            if is_path(delivery):
                may_be_cached = _load_path(delivery) and may_be_cached
            if digest is not None and delivery.digest is None:
                if read and isinstance(delivery.segment, FileRegion):
                    break  # a large file has a hop of its own, so that nobody waits for its digest
                _compute(delivery, digest)
                read += delivery.size or 0
        except RequestException as error:
            delivery.problem = error
        delivery.ready = True
        read += delivery.weight
    return may_be_cached


def load_cached(batch: Iterable[Delivery], place: memoryview) -> bool:
    """Make deliveries ready without waiting for a disk, in the event loop; False if some are left for a thread.

    Args:
        batch: files on disk, of which no digest is wanted; else they would be a thread's, see :func:`load`.
        place: where a tiny file has room, for a moment.
    """
    for delivery in batch:
        try:
            if not _load_cached_path(delivery, place):
                return False
        except RequestException as error:
            delivery.problem = error
        delivery.ready = True
    return True


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


def _load_path(delivery: Delivery) -> bool:
    """Whether its device can be asked what the system has in memory."""
    path = delivery.item.path
    assert path is not None
    try:
        fd = open_file(path)
    except OSError as error:
        raise FileUnreadable.from_oserror(error, path) from error
    except ValueError as error:
        raise no_path(path, error) from error
    try:
        status = os.fstat(fd)
        is_small = False
        if stat.S_ISREG(status.st_mode):
            _require_same(delivery, status, path)
            is_small = status.st_size <= SMALL
            page_cache.learn(fd, status.st_dev)
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
    return page_cache.answers(status.st_dev)


def _load_cached_path(delivery: Delivery, place: memoryview) -> bool:
    """Whether that could be done."""
    path = delivery.item.path
    assert path is not None
    fd = page_cache.open_cached(path)
    if fd is None:
        return False
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not page_cache.answers(status.st_dev):
            return False
        _require_same(delivery, status, path)
        segment = _cached_segment(fd, path, status, place)
    finally:
        os.close(fd)
    if segment is None:
        return False
    _settle(delivery, segment)
    return True


def _cached_segment(fd: int, path: str, status: os.stat_result, place: memoryview) -> Segment | None:
    """Of a tiny file its bytes. A larger one is read when it is sent, straight into its place, if it is there now."""
    size, device = status.st_size, status.st_dev
    if size <= _TINY:
        return Bytes(bytes(place[:size])) if page_cache.read(fd, device, place[:size]) else None
    is_there = size > SMALL or page_cache.read(fd, device, place[:1])
    return FileRegion(FileSource.known(path, status)) if is_there else None


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
