"""Zero-copy uploads: worker threads that let the kernel copy from file to socket.

A thread calls ``os.sendfile`` for as long as bytes move, and polls the socket for a moment when they don't.
Meanwhile the loop is free and goes on reading, so an early answer is seen; ``loop.sendfile`` would stop
reading for the whole file. An upload whose socket takes nothing gives its thread back and waits in the loop:
five hundred stalled uploads need no thread at all.

That nothing is copied has a price: what waits in the kernel is the file's pages, so whoever changes a file in place
changes what has not left yet. The length is exact all the same: where the file ends too soon, the upload fails.

Against reading and writing this is 2.4 times aiohttp's rate and 1.7 times curl's.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import sys
from collections.abc import Callable

from .._files import Descriptor, OpenFile
from .._threads import PUMPS
from ..exceptions import FileUnreadable
from .stall import LOOKS, Stall, kernel_queue
from .stream import Stream, broken_off

AVAILABLE = hasattr(os, "sendfile") and sys.platform.startswith("linux")

_CALL = 1024 * 1024
# A turn ends after this much, so that other uploads get the thread. While somebody watches it is shorter: what has
# moved is told at the end of a turn, and a hop to a thread costs a twentieth of the time that 4 MiB take.
TURN = 32 * 1024 * 1024
_WATCHED_TURN = 4 * 1024 * 1024
PATIENCE_MS = 10
# What only a file can be at fault for; everything else that sendfile reports, the socket is.
_FILE_ERRORS = frozenset((errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.EOVERFLOW))
# A file system without this way of copying.
_UNSUPPORTED = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP))


class Unsupported(Exception):
    """The kernel can't copy from this file to a socket; nothing has been sent."""


class Transfer:
    """The state that a thread and the loop hand to each other; never used by both at a time.

    Attributes:
        offset: how many bytes of the file have been dealt with.
    """

    def __init__(self, stream: Stream, file: OpenFile, length: int, turn: int) -> None:
        try:
            # A descriptor of our own: the transport may close its one while a thread is in the call.
            self.socket = Descriptor(os.dup(stream.fileno()))
        except OSError as error:  # it has done so just now
            raise broken_off(error) from error
        self.file = file
        self.length = length
        self._turn = turn
        self.offset = 0
        self.stopped = False

    def stop(self) -> None:
        """Have the thread leave after the call it is in."""
        self.stopped = True

    @property
    def end_of_turn(self) -> int:
        """Where a turn that begins now ends, if the socket takes that much."""
        return min(self.length, self.offset + self._turn)


class _Copy(Transfer):
    def turn(self) -> None:
        """Move bytes until the turn is over, all are gone, or the socket takes none. Blocks: for a thread."""
        end = self.end_of_turn
        with self.socket as out, self.file as source:
            poll = select.poll()
            poll.register(out, select.POLLOUT)
            while self.offset < end and not self.stopped:
                try:
                    moved = os.sendfile(out, source, self.offset, min(_CALL, end - self.offset))
                except BlockingIOError:
                    if not poll.poll(PATIENCE_MS):
                        return
                    continue
                if moved == 0:
                    raise self.file.changed()
                self.offset += moved


async def pump(stream: Stream, file: OpenFile, length: int, moved: Callable[[int], None], *, watched: bool) -> None:
    """Send the first ``length`` bytes of ``file``; everything written before must have left.

    Args:
        stream: a plain one, whose buffer is empty.
        file: stays open; the caller closes it.
        length: bytes.
        moved: called with the number of bytes after each turn.
        watched: whether somebody wants to see them move.

    Raises:
        Unsupported: the kernel can't do this with the file.
        FileChanged: the file has become shorter.
        FileUnreadable: it can't be read any more.
        BrokenOff: the connection is gone, or nothing moved for the stream's ``write_limit``.
    """
    transfer = _Copy(stream, file, length, _WATCHED_TURN if watched else TURN)
    try:
        while transfer.offset < length:
            before = transfer.offset
            try:
                await PUMPS.finish(transfer.turn, stop=transfer.stop)
            except OSError as error:
                raise _explain(error, transfer) from error
            finally:
                if transfer.offset > before:
                    moved(transfer.offset - before)
            if transfer.offset == before:
                await _writable(stream, transfer.socket)
    finally:
        transfer.stop()
        transfer.socket.close()


def _explain(error: OSError, transfer: Transfer) -> Exception:
    if error.errno in _UNSUPPORTED and not transfer.offset:
        return Unsupported()
    if error.errno in _FILE_ERRORS:
        return FileUnreadable.from_oserror(error, transfer.file.source.name)
    return broken_off(error)


async def _writable(stream: Stream, socket: Descriptor) -> None:
    """Wait in the loop until the socket takes bytes again."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    with socket as fd:
        loop.add_writer(fd, _done, ready)
        try:
            await _moving(stream, fd, ready)
        finally:
            loop.remove_writer(fd)


async def _moving(stream: Stream, fd: int, ready: asyncio.Future[None]) -> None:
    """Wait for ``ready`` as long as the kernel's queue moves."""
    if stream.write_limit is None:
        await ready
        return
    stall = Stall()
    stall.begin(kernel_queue(fd))
    while not (await asyncio.wait((ready,), timeout=stream.write_limit / LOOKS))[0]:
        if stall.found_at(kernel_queue(fd)):
            raise stream.give_up_writing()


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
