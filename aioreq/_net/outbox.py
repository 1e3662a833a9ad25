"""Small requests that leave together.

A request that is sent as soon as it is ready finds the server asleep and has it woken, and behind each system call our
own code starts with cold caches. So while several exchanges are under way in a loop, what they have ready in one turn
of it leaves back to back: 50 at a time, that is 1.45 times the requests, for two thirds of the processor's time. A
request that is alone leaves at once, and none waits for more than a few others, so that the server has something to do.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Protocol

# Twice as many as 16 take 3 % less time each; with more nothing is gained any more, and the first one waits longer.
_TOGETHER = 32


class Sendable(Protocol):
    """What has something ready to be sent."""

    def send_posted(self) -> None:
        """Send it, if that has not happened or become pointless meanwhile."""


class Outbox:
    """What is ready to leave in one event loop.

    Attributes:
        waiting: how many streams of the loop wait for their server.
    """

    __slots__ = ("__weakref__", "_ready", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self._ready: list[Sendable] = []

    def add(self, sender: Sendable, loop: asyncio.AbstractEventLoop) -> None:
        """Have it sent before the loop looks at its sockets again."""
        if len(self._ready) >= _TOGETHER:
            self._empty()
        if not self._ready:
            loop.call_soon(self._empty)
        self._ready.append(sender)

    def _empty(self) -> None:
        ready, self._ready = self._ready, []
        for sender in ready:
            sender.send_posted()


# Its streams keep an outbox, and it keeps those that wait in it: kept here as well, it would keep a loop that was left
# with something posted for ever.
_outboxes: weakref.WeakValueDictionary[asyncio.AbstractEventLoop, Outbox] = weakref.WeakValueDictionary()


def outbox_of(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The one outbox of a loop's streams."""
    outbox = _outboxes.get(loop)
    if outbox is None:
        outbox = _outboxes[loop] = Outbox()
    return outbox
