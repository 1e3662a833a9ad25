"""What a lone exchange waits for: a future that wakes its task without a turn of the loop.

A future has its task go on in the next turn of the loop, which begins with one more look at what is ready. Where one
exchange follows the other that look is in vain, and a sixteenth of the time that a small one takes. So the loop's own
call that brings an answer has the task go on before it returns.

That is for one at a time. When many sockets are ready, to receive from all of them and then have their tasks go on is
better for the processor's caches than to do both for each in turn: there this would cost 7 %.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class Arrival:
    """A piece that is waited for by one task.

    ``with arrival:`` stands around the code that may bring it, in a call that comes from the loop itself: on the way
    out, when nothing is left to be done there, the task goes on. Without that it goes on in the loop's next turn.

    It is like a future in what asyncio's tasks ask of one (``asyncio.isfuture``), and no more. A task that goes on asks
    for the result, of a future of another kind than asyncio's own in a way that makes CPython's lookups of all methods
    slower. So it is told of one that is its own, and done; what it wanted to have is what it awaited here.

    Args:
        done: a future of the loop, which is done.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_done", "_is_held", "_outcome", "_piece", "_wake")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self._asyncio_future_blocking = False
        self._done = done
        self._outcome: asyncio.Future[None] | None = None  # what the task is told of, once it may go on
        self._piece = b""
        self._is_held = False
        self._wake: Callable[[asyncio.Future[None]], object] | None = None
        self._context: Context | None = None

    def __await__(self) -> Generator[Any, None, bytes]:
        if self._outcome is None:
            self._asyncio_future_blocking = True
            yield self
        return self._piece

    def __enter__(self) -> None:
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        self._is_held = False
        wake, context, outcome = self._wake, self._context, self._outcome
        if wake is not None and context is not None and outcome is not None:
            self._wake = None
            context.run(wake, outcome)

    def set_result(self, piece: bytes) -> None:
        """It is here; or ``b""``: it won't come."""
        self._piece = piece
        self._go_on(self._done)

    def done(self) -> bool:
        """Whether it is here, or nobody waits any more."""
        return self._outcome is not None

    def _go_on(self, outcome: asyncio.Future[None]) -> None:
        self._outcome = outcome
        if self._wake is not None and not self._is_held:
            wake, self._wake = self._wake, None
            self.get_loop().call_soon(wake, outcome, context=self._context)

    # --- what the task asks of it

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the task."""
        return self._done.get_loop()

    def add_done_callback(
        self, wake: Callable[[asyncio.Future[None]], object], *, context: Context | None = None
    ) -> None:
        """The task waits, and goes on when ``wake`` is called."""
        self._wake, self._context = wake, context

    def cancel(self, msg: Any = None) -> bool:
        """The task is cancelled."""
        if self.done():
            return False
        cancelled: asyncio.Future[None] = self.get_loop().create_future()
        cancelled.cancel(msg)
        self._go_on(cancelled)
        return True
