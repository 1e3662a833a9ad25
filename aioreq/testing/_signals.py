"""How a test and its server wait for each other without sleeping: marks the server passes, gates the test opens."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Notice:
    """Something that will have happened: `await notice` in a coroutine, `notice.wait()` elsewhere.

    Both raise `TimeoutError`, saying what has been seen, when the server's `patience` is over.
    """

    def __init__(self, happened: Future[None], patience: float, explain: Callable[[], str]) -> None:
        self._happened, self._patience, self._explain = happened, patience, explain

    def wait(self) -> None:
        """Block this thread until it has happened."""
        try:
            self._happened.result(self._patience)
        except TimeoutError:
            raise TimeoutError(self._explain()) from None

    def __await__(self) -> Generator[None, None, None]:
        return self._wait_in_loop().__await__()

    async def _wait_in_loop(self) -> None:
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._happened), self._patience)
        except TimeoutError:
            raise TimeoutError(self._explain()) from None


class Marks:
    """Counts of the points passed, by name; any thread may count and wait."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._waiting: list[tuple[str, int, Future[None]]] = []

    def hit(self, name: str) -> None:
        """Count one more passage of `name`, and tell those who wait for it."""
        with self._lock:
            self._counts[name] += 1
            self._tell()

    def notice(self, name: str, times: int) -> Notice:
        """A notice of the moment `name` has been passed `times` times in all."""
        happened: Future[None] = Future()
        happened.set_running_or_notify_cancel()  # a running future cannot be cancelled by a waiter that gives up
        with self._lock:
            self._waiting.append((name, times, happened))
            self._tell()
        return Notice(happened, self._patience, lambda: f"{name!r} not reached {times} times: {dict(self._counts)}")

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for name, times, happened in waiting:
            if self._counts[name] >= times:
                happened.set_result(None)
            else:
                self._waiting.append((name, times, happened))


class Gates:
    """Gates by name, shut at first. Used inside the server's loop only."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._open: set[str] = set()
        self._all_open = False

    async def passage(self, name: str) -> None:
        """Wait, first come first served, until the gate `name` lets one through."""
        await self._gate(name).acquire()
        if self._all_open or name in self._open:
            self._gate(name).release()  # an open gate: hand the passage on to the next

    def release(self, name: str | None, times: int | None) -> None:
        """Let `times` through at `name`, or open it for good; without a name open every gate for good."""
        if name is None:
            self._all_open = True
        elif times is None:
            self._open.add(name)
        for gate in self._gates.values() if name is None else [self._gate(name)]:
            for _ in range(times or 1):
                gate.release()

    def _gate(self, name: str) -> asyncio.Semaphore:
        return self._gates.setdefault(name, asyncio.Semaphore(int(self._all_open)))
