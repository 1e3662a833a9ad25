"""The worker threads: two bounded pools, so that nothing that can block runs in the event loop.

``READERS`` open and read what is uploaded. ``PUMPS`` hold a socket and a file and let the kernel copy
between them. They are not the loop's default executor, which ``getaddrinfo`` needs: a slow disk must not
stop names from being resolved.

The threads are started when first needed. Sessions hold the pools; when the last one lets go, the threads
end. Without any session (a ``datagen`` read by hand) they last as long as the process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def _forget_error(done: asyncio.Future[Any]) -> None:
    """Look at the error of a future that nobody awaits any more, so that the loop does not report it as lost."""
    if not done.cancelled():
        done.exception()


class WorkerPool(Executor):
    """At most ``size`` threads, made when they are needed; an executor for whoever takes one."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._executor: ThreadPoolExecutor | None = None

    def submit(self, work: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        """Run ``work`` in a thread."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self.size, thread_name_prefix=f"aioreq-{self.name}")
        return self._executor.submit(work, *args, **options)

    def start(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Begin ``work(*args)`` in a thread; the future belongs to the running loop."""
        return asyncio.wrap_future(self.submit(work, *args))

    async def acquire(self, make: Callable[..., T], *args: Any, discard: Callable[[T], object]) -> T:
        """Run ``make(*args)``, whose result must not be lost: a caller that was cancelled has it discarded."""
        future = self.submit(make, *args)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:

            def undo(done: Future[T]) -> None:
                if not done.cancelled() and done.exception() is None:
                    discard(done.result())

            future.add_done_callback(undo)
            raise

    async def finish(self, work: Callable[..., T], *args: Any, stop: Callable[[], object]) -> T:
        """Run ``work(*args)``; a caller that was cancelled has ``stop`` called and waits for the thread to leave."""
        future = self.submit(work, *args)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            stop()
            left = asyncio.wrap_future(future)
            left.add_done_callback(_forget_error)  # the cancellation is what the caller hears of
            await asyncio.wait((left,))
            raise

    def stop(self) -> None:
        """Let the threads end as soon as they have nothing to do; the next use starts new ones."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    def forget(self) -> None:
        """Drop the threads without ending them: they did not come along into a forked child."""
        self._executor = None


READERS = WorkerPool("reader", 16)
PUMPS = WorkerPool("pump", 8)

_holders = 0


def hold() -> None:
    """Keep the threads while a session is open."""
    global _holders  # noqa: PLW0603 - the pools are the process's
    _holders += 1


def release() -> None:
    """Undo one :func:`hold`; after the last one the threads end."""
    global _holders  # noqa: PLW0603
    _holders -= 1
    if _holders == 0:
        READERS.stop()
        PUMPS.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=READERS.forget)
    os.register_at_fork(after_in_child=PUMPS.forget)
