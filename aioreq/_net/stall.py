"""How long nothing has moved: what the limits on silence measure while bytes are on their way out.

A socket that takes no byte is not yet a stalled upload. Linux reports room only when a third of the send buffer
is free, which is a megabyte or more, and after the last byte was taken megabytes may still lie in the kernel. A
server that reads slowly moves that queue all the same, so the queue is what is looked at.
"""

from __future__ import annotations

import socket
import sys

# A stall is looked for this many times in the time allowed: it is noticed one or two looks late at most, never early.
LOOKS = 4


def kernel_queue(sock: int | socket.socket) -> int:
    """Bytes that the kernel has taken and the other side's kernel has not; 0 where that can't be told."""
    try:
        from fcntl import ioctl
        from termios import TIOCOUTQ  # both not before something is slow: most programs need neither
    except ImportError:  # Windows has no such call: there a limit measures what the kernel takes
        return 0
    try:
        return int.from_bytes(ioctl(sock, TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # no TCP socket, or closed
        return 0


class Stall:
    """Counts how often a position was looked at and found where it had been."""

    __slots__ = ("_position", "_strikes")

    def __init__(self) -> None:
        self._position: object = None
        self._strikes = 0

    def begin(self, position: object) -> None:
        """Count from here."""
        self._position = position
        self._strikes = 0

    def restart(self) -> None:
        """Something else has moved: count anew."""
        self._strikes = 0

    def found_at(self, position: object) -> bool:
        """Whether this look and the ``LOOKS - 1`` before it found no movement."""
        self._strikes = self._strikes + 1 if position == self._position else 0
        self._position = position
        return self._strikes >= LOOKS
