"""Uploads of files: worker threads that write from the page cache to the socket.

A thread maps a part of the file and writes it to the socket's descriptor for as long as bytes move, and polls the
socket for a moment when they don't. Meanwhile the loop is free and goes on reading, so an early answer is seen. An
upload whose socket takes nothing gives its thread back and waits in the loop: five hundred stalled uploads need no
thread at all.

The kernel copies each byte once, from the file's page to the connection, so that what has been handed over stays what
it was when somebody writes to the file. ``sendfile`` copies nothing, but has to account for every page: mapped, the
rate is 1.8 times its, for three fifths of the processor's time, and 1.2 times that of reading into a buffer. Only for a
server that is slower than that anyway does sendfile take less: 0.1 seconds of the processor for a GB, instead of 0.3.

No Python code touches the mapped bytes. A page that is gone, because the file has become shorter or its disk has
failed, is a signal for whoever does, but EFAULT for the kernel in ``write``; then reading tells what is the matter. In
the page in which a file was cut, zeros follow: the last block of each file is not mapped but read, so that no upload
is complete before its file is known to be as long as ever. And ``write`` must not have to wait for a disk: it would do
so with the socket locked, and the loop would wait as well when it reads from that. So a part is fetched first.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import sys
from collections.abc import Callable

from .. import _page_cache as page_cache
from .._files import Descriptor, OpenFile
from .._threads import PUMPS
from .stall import LOOKS, Stall, kernel_queue
from .stream import Stream, broken_off

AVAILABLE = hasattr(select, "poll")  # not on Windows, whose sockets can't be written to by descriptor either

_CAN_MAP = sys.platform == "linux"
# What is mapped at a time: it counts as memory of the process while it is.
_MAPPED = 4 * 1024 * 1024
# What is written at a time. Half of it is a tenth slower, a sixteenth less than half as fast.
_WRITTEN = 1024 * 1024
# What is read at a time where nothing can be mapped, and of every file's end.
_READ = 512 * 1024
# A turn ends after this much, so that other uploads get the thread. While somebody watches it is shorter: what has
# moved is told at the end of a turn, and a hop to a thread costs a twentieth of the time that 4 MiB take.
TURN = 32 * 1024 * 1024
_WATCHED_TURN = 4 * 1024 * 1024
_PATIENCE_MS = 10


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


class Outlet:
    """A socket, for the time of a turn."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def write(self, data: memoryview) -> int:
        """How many bytes the socket took, once it took any; 0 if that did not happen soon. Blocks: for a thread.

        Raises:
            BrokenOff: the connection is gone.
            OSError: EFAULT, a page of ``data`` is gone.
        """
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                if not self._poll.poll(_PATIENCE_MS):
                    return 0
            except OSError as error:
                if error.errno == errno.EFAULT:
                    raise
                raise broken_off(error) from error


class _Copy(Transfer):
    _maps = _CAN_MAP

    def turn(self) -> None:
        """Move bytes until the turn is over, all are gone, or the socket takes none. Blocks: for a thread."""
        end = self.end_of_turn
        with self.socket as descriptor, self.file as source:
            out = Outlet(descriptor)
            goes_on = True
            while goes_on and self.offset < end and not self.stopped:
                if self._maps and self.length - self.offset > _READ:
                    goes_on = self._send_mapped(source, out, end)
                else:
                    goes_on = self._send_read(out, end)

    def _send_read(self, out: Outlet, end: int) -> bool:
        """Send a block; false if the socket takes no more."""
        block = memoryview(bytearray(min(_READ, end - self.offset)))
        self.file.read_into(block, self.offset)
        return self._send(block, 0, out)

    def _send_mapped(self, source: int, out: Outlet, end: int) -> bool:
        """Send a part that ends before the file's last block; false if the socket takes no more."""
        import mmap  # not before the first large file

        at = self.offset % mmap.ALLOCATIONGRANULARITY
        start = self.offset - at
        size = min(start + _MAPPED, end, self.length - _READ) - start
        self._fetch(source, start, size)
        try:
            mapped = mmap.mmap(source, size, prot=mmap.PROT_READ, offset=start)
        except (OSError, ValueError):  # reading tells why, if it can't be done either: by ValueError it is too short
            self._maps = False
            return True
        with mapped, memoryview(mapped) as part:
            try:
                return self._send(part, at, out)
            except OSError as error:
                if error.errno != errno.EFAULT:
                    raise
                self._maps = False
                return True

    def _fetch(self, source: int, start: int, size: int) -> None:
        """Have a part in the page cache, and the next one on its way there."""
        # To ask first saves a sixth of the time, where both are there: for advice the system looks at page by page.
        if page_cache.holds(source, start, min(size + _MAPPED, self.length - start)):
            return
        os.posix_fadvise(source, start, size + _MAPPED, os.POSIX_FADV_WILLNEED)
        for at in (*range(start, start + size, _READ), start + size - 1):
            self.file.read(1, at)

    def _send(self, part: memoryview, at: int, out: Outlet) -> bool:
        """Send what begins ``at``; false if the socket takes no more."""
        while at < len(part) and not self.stopped:
            with part[at : at + _WRITTEN] as piece:
                taken = out.write(piece)
            if not taken:
                return False
            at += taken
            self.offset += taken
        return True


async def pump(stream: Stream, file: OpenFile, length: int, moved: Callable[[int], None], *, watched: bool) -> None:
    """Send the first ``length`` bytes of ``file``; everything written before must have left.

    Args:
        stream: a plain one, whose buffer is empty.
        file: stays open; the caller closes it.
        length: bytes.
        moved: called with the number of bytes after each turn.
        watched: whether somebody wants to see them move.

    Raises:
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
            finally:
                if transfer.offset > before:
                    moved(transfer.offset - before)
            if transfer.offset == before:
                await _writable(stream, transfer.socket)
    finally:
        transfer.stop()
        transfer.socket.close()


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
