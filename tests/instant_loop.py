"""A loop without waiting, for what depends on time and not on sockets."""

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class InstantLoop(asyncio.SelectorEventLoop):
    """Its clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_ImpatientSelector(self._jump))

    def time(self) -> float:
        """Seconds since the loop was made, as far as it has jumped."""
        return self._now

    def _jump(self, seconds: float) -> None:
        self._now += seconds


class _ImpatientSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Says how long it would have waited, and does not."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:  # without a timer only another thread can make things go on
            return super().select(None)
        ready: list[Any] = super().select(0)
        if not ready:
            self._jump(timeout)
        return ready
