"""The worker threads: two bounded pools, so that nothing that can block runs in the event loop.

``READERS`` open and read what is uploaded. ``PUMPS`` hold a socket and a file and move bytes
from one to the other. They are not the loop's default executor, which ``getaddrinfo`` needs: a slow disk must not
stop names from being resolved.

The threads are started when first needed. Sessions hold the pools; when the last one lets go, the threads
end. Without any session (a ``datagen`` read by hand) they last as long as the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

# So many small works share one hop to a thread: enough to make the hop cheap, and few enough that a slow one among them
# does not keep many waiting.
_SHARED = 8


def _forget_error(done: asyncio.Future[Any]) -> None:
    """Look at the error of a future that nobody awaits any more, so that the loop does not report it as lost."""
    if not done.cancelled():
        done.exception()


# A small work that shares its hop with others, and who waits for it.
_Work = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]
# What came of it: a result, or an error.
_Outcome = tuple[asyncio.Future[Any], Any, BaseException | None]


def _run_together(works: list[_Work], loop: asyncio.AbstractEventLoop) -> None:
    """Do the works, in the thread, but for those that nobody waits for any more."""
    outcomes: list[_Outcome] = []
    for waiter, function, args in works:
        if waiter.cancelled():
            continue
        try:
            outcomes.append((waiter, function(*args), None))
        except BaseException as error:
            outcomes.append((waiter, None, error))
    # An error keeps this frame, which must not keep what others have read.
    works.clear()
    del waiter, function, args
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(_tell_all, outcomes)


def _tell_all(outcomes: list[_Outcome]) -> None:
    """Hand over what came of works, in the loop."""
    for waiter, result, error in outcomes:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(result)
        else:
            waiter.set_exception(error)
    outcomes.clear()  # see above


class WorkerPool(Executor):
    """At most ``size`` threads, made when they are needed; an executor for whoever takes one."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._executor: ThreadPoolExecutor | None = None
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Work]] = {}

    def submit(self, work: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        """Run ``work`` in a thread."""
        while True:
            executor = self._executor
            if executor is None:
                executor = self._executor = self._threads()
            try:
                return executor.submit(work, *args, **options)
            except RuntimeError:
                if executor is self._executor:
                    raise
                # stopped just now: the last session of another thread was closed

    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor  # a module of its own, not loaded before a thread is needed

        return ThreadPoolExecutor(self.size, thread_name_prefix=f"aioreq-{self.name}")

    def start(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Begin ``work(*args)`` in a thread; the future belongs to the running loop."""
        return asyncio.wrap_future(self.submit(work, *args))

    def share(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Like :meth:`start` for what is done soon: works asked for in one turn of the loop share their hops.

        A hop alone costs as much as reading ten small files (55 µs on one core), and most of that is the executor's and
        the loop's work to come back.
        """
        loop = asyncio.get_running_loop()
        gathered = self._gathered.get(loop)
        if gathered is None:
            gathered = self._gathered[loop] = []
            loop.call_soon(self._send_gathered, loop)
        waiter: asyncio.Future[T] = loop.create_future()
        gathered.append((waiter, work, args))
        return waiter

    def _send_gathered(self, loop: asyncio.AbstractEventLoop) -> None:
        works = self._gathered.pop(loop, ())
        for start in range(0, len(works), _SHARED):
            together = works[start : start + _SHARED]
            try:
                self.submit(_run_together, together, loop)
            except RuntimeError as error:  # no thread can be started
                _tell_all([(waiter, None, error) for waiter, _, _ in together])

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
        self._gathered.clear()


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
