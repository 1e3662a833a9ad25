"""Uploads over TLS: worker threads that read, encrypt and send.

The kernel can't copy from a file to a socket here, since what leaves is not what is in the file. But all that is slow
happens outside of the interpreter, so one thread does it: it reads into a buffer that it uses again, has the
stream's TLS make records of that, and writes them to the socket's descriptor. The loop goes on reading and
decrypting; both take turns at the TLS state. Records that the socket does not take at once go to the stream, which
waits in the loop until the kernel has them, and notices when nothing moves: a stalled upload needs no thread.

Against encrypting in the loop, block by block as a thread reads ahead, this is 1.6 times the rate for two thirds of
the processor's time, and one core is as fast as with a bare socket.
"""

from __future__ import annotations

from collections.abc import Callable

from .._files import OpenFile
from .._threads import PUMPS
from .pump import TURN, Outlet, Transfer
from .stream import BrokenOff, Stream

# What is encrypted and written at a time: seven records. They stay in the processor's cache between the two, come out
# of memory that malloc keeps at hand (from 128 KiB on it may map it anew each time), and fill two segments of a
# loopback interface. With a record more, the third one that holds the rest costs 15 to 30 % of the rate there.
SEALED = 7 * 16 * 1024
# A read of so many of them costs little beside what it reads: 8 % of the rate against one.
_READ = 4 * SEALED
# Progress is told at the end of a turn, and the hop to a thread costs an eighth of the time that this much takes.
_WATCHED_TURN = 4 * _READ


class _Sealing(Transfer):
    """A transfer whose bytes become records on the way.

    Attributes:
        records: those that the socket has not taken yet.
    """

    def __init__(self, stream: Stream, file: OpenFile, length: int, turn: int) -> None:
        super().__init__(stream, file, length, turn)
        self.records = memoryview(b"")

    def turn(self, encrypt: Callable[[memoryview], bytes | memoryview]) -> None:
        """Send until the turn is over, all is gone, or the socket takes none. Blocks: for a thread."""
        end = self.end_of_turn
        block = memoryview(bytearray(min(_READ, end - self.offset)))
        with self.socket as descriptor, self.file:
            out = Outlet(descriptor)
            while self.offset < end and not self.stopped:
                block = block[: end - self.offset]
                self.file.read_into(block, self.offset)
                for start in range(0, len(block), SEALED):
                    piece = block[start : start + SEALED]
                    self.records = memoryview(encrypt(piece))
                    self.offset += len(piece)
                    if not self._write(out, len(piece)):
                        return

    def _write(self, out: Outlet, size: int) -> bool:
        """Whether the socket has taken all records, which hold ``size`` bytes, in time."""
        while self.records:
            try:
                taken = out.write(self.records)
            except BrokenOff:
                self.offset -= min(size, len(self.records))  # what is left never leaves
                self.records = memoryview(b"")
                raise
            if not taken:
                return False
            self.records = self.records[taken:]
        return True


async def pump(stream: Stream, file: OpenFile, length: int, moved: Callable[[int], None], *, watched: bool) -> None:
    """Send the first ``length`` bytes of ``file`` over TLS; everything written before must have left.

    Args:
        stream: one with TLS, whose buffer is empty.
        file: stays open; the caller closes it.
        length: bytes.
        moved: called with the number of bytes after each turn, while the stream may still hold the last of them, and
            with 0 when it does not any more.
        watched: whether somebody wants to see them move.

    Raises:
        FileChanged: the file has become shorter.
        FileUnreadable: it can't be read any more.
        SSLError: the TLS connection has failed.
        BrokenOff: the connection is gone, or nothing moved for the stream's ``write_limit``.
    """
    sealing = _Sealing(stream, file, length, _WATCHED_TURN if watched else TURN)
    try:
        while sealing.offset < length:
            await _take_turn(stream, sealing, moved)
            await stream.drain()
            moved(0)
    finally:
        sealing.stop()
        sealing.socket.close()


async def _take_turn(stream: Stream, sealing: _Sealing, moved: Callable[[int], None]) -> None:
    before = sealing.offset
    encrypt = stream.lend()
    try:
        await PUMPS.finish(sealing.turn, encrypt, stop=sealing.stop)
    finally:
        stream.give_back(sealing.records)
        sealing.records = memoryview(b"")
        moved(sealing.offset - before)
