"""The worker threads: works that share a hop, what becomes of each, and loops and processes that end meanwhile."""

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from aioreq._threads import _SHARED, READERS, WorkerPool

PATIENCE = 10.0


class NotedPool(WorkerPool):
    """A pool that notes its hops.

    Attributes:
        hops: what became of each.
    """

    def __init__(self) -> None:
        super().__init__("test", 4)
        self.hops: list[Future[Any]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        hop = super().submit(work, *args, **options)
        self.hops.append(hop)
        return hop


@pytest.fixture
def pool() -> Iterator[NotedPool]:
    pool = NotedPool()
    yield pool
    pool.stop()


class Held:
    """A work that lasts until it is let go.

    Attributes:
        begun: set in the loop when a thread has begun it.
        end: set it to let it go.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.end = threading.Event()

    def __call__(self) -> str:
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self.end.wait(PATIENCE)
        return "held"


def fail(error: BaseException) -> None:
    raise error


class TestSharing:
    async def test_works_of_one_turn_share_hops(self, pool: NotedPool):
        """Works asked for in one turn of the loop go to the threads a few at a time, and each has its own result."""
        asked = [pool.share(divmod, number, 7) for number in range(2 * _SHARED + 1)]
        assert await asyncio.gather(*asked) == [divmod(number, 7) for number in range(2 * _SHARED + 1)]
        assert len(pool.hops) == 3

    async def test_works_of_other_turns_do_not(self, pool: NotedPool):
        """What is asked for later has a hop of its own, and waits for nobody."""
        held = Held()
        first = pool.share(held)
        await held.begun.wait()
        assert await pool.share(str, 2) == "2"
        held.end.set()
        assert await first == "held"
        assert len(pool.hops) == 2

    async def test_the_loop_goes_on(self, pool: NotedPool):
        """A work runs in a thread of the pool, not in the loop's."""
        assert (await pool.share(threading.current_thread)).name.startswith("aioreq-test")

    async def test_nothing_is_kept(self, pool: NotedPool):
        """When all is told, the pool knows of no loop and of no work."""
        await asyncio.gather(*(pool.share(str, number) for number in range(20)))
        assert pool._gathered == {}


class TestErrors:
    @pytest.mark.parametrize("error", [ValueError("wrong"), MemoryError(), asyncio.CancelledError(), BaseException()])
    async def test_an_error_is_for_who_asked(self, pool: NotedPool, error: BaseException):
        """What a work raises, whatever it is, is raised to who asked for it, and to nobody else."""
        asked = [pool.share(str, 1), pool.share(fail, error), pool.share(str, 3)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [outcomes[0], outcomes[2]] == ["1", "3"]
        assert isinstance(outcomes[1], type(error))

    async def test_an_error_keeps_no_other_result(self, pool: NotedPool):
        """Who keeps an error does not keep what others of its hop have read."""

        class Read:
            pass

        gc.disable()
        try:
            asked = [pool.share(Read), pool.share(fail, ValueError("wrong")), pool.share(Read)]
            outcomes: list[Any] = await asyncio.gather(*asked, return_exceptions=True)
            del asked
            error, read = outcomes[1], [weakref.ref(outcomes[0]), weakref.ref(outcomes[2])]
            outcomes.clear()
            await asyncio.sleep(0)
            assert [each() for each in read] == [None, None]
            assert str(error) == "wrong"
        finally:
            gc.enable()

    async def test_no_thread_can_be_started(self, pool: NotedPool, monkeypatch: pytest.MonkeyPatch):
        """Where the system has no thread left, everybody who waits hears of it."""
        monkeypatch.setattr(threading.Thread, "start", lambda _thread: fail(RuntimeError("can't start new thread")))
        asked = [pool.share(str, number) for number in range(2 * _SHARED + 1)]
        outcomes = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), PATIENCE)
        assert {str(outcome) for outcome in outcomes} == {"can't start new thread"}

    async def test_who_was_cancelled_is_not_told(self, pool: NotedPool, monkeypatch: pytest.MonkeyPatch):
        """... but who does not wait any more."""
        monkeypatch.setattr(threading.Thread, "start", lambda _thread: fail(RuntimeError("can't start new thread")))
        cancelled, asked = pool.share(str, 1), pool.share(str, 2)
        cancelled.cancel()
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await asked
        assert cancelled.cancelled()


class TestCancellation:
    async def test_a_work_that_nobody_waits_for_is_not_begun(self, pool: NotedPool):
        """Cancelled while another work of its hop runs, a work is left out, and those behind it are done."""
        held, begun = Held(), []
        first, second, third = pool.share(held), pool.share(begun.append, "second"), pool.share(begun.append, "third")
        await held.begun.wait()
        second.cancel()
        held.end.set()
        await asyncio.wait_for(asyncio.gather(first, third), PATIENCE)
        assert begun == ["third"]
        assert second.cancelled()

    @pytest.mark.parametrize("fails", [True, False])
    async def test_a_work_under_way(self, pool: NotedPool, fails: bool):
        """Cancelled while it runs, a work ends, and what comes of it is forgotten, an error too."""
        held = Held()

        def work() -> str:
            return held() if not fails else fail(LookupError(held()))  # type: ignore[func-returns-value]

        cancelled, other = pool.share(work), pool.share(str, 1)
        await held.begun.wait()
        cancelled.cancel()
        held.end.set()
        assert await asyncio.wait_for(other, PATIENCE) == "1"
        assert cancelled.cancelled()


class TestEnds:
    def test_a_loop_that_is_closed_while_a_work_runs(self, pool: NotedPool):
        """Nobody is told then, and the thread minds nothing."""
        held: list[Held] = []

        async def leave() -> None:
            held.append(Held())
            pool.share(held[0])
            await held[0].begun.wait()

        loop = asyncio.new_event_loop()
        loop.run_until_complete(leave())
        loop.close()
        held[0].end.set()
        assert pool.hops[0].exception(PATIENCE) is None

    def test_two_loops_in_two_threads(self, pool: NotedPool):
        """Each has its own results, at the same time."""
        together = threading.Barrier(2, timeout=PATIENCE)

        async def ask(name: str) -> list[str]:
            outcomes: list[str] = []
            for number in range(50):
                together.wait()
                outcomes += await asyncio.gather(*(pool.share(str.format, "{}{}", name, number) for _ in range(10)))
            return outcomes

        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(asyncio.run, ask(name)) for name in "ab"]
            for name, outcomes in zip("ab", asked, strict=True):
                assert outcomes.result() == [f"{name}{number}" for number in range(50) for _ in range(10)]

    def test_stopped_by_another_thread_just_now(self, pool: NotedPool):
        """Threads that another thread's last session has ended between two steps are replaced by new ones."""

        class StoppedJustNow(ThreadPoolExecutor):
            def submit(self, *args: Any, **options: Any) -> Future[Any]:
                pool.stop()
                return super().submit(*args, **options)

        pool._executor = StoppedJustNow(1)
        assert pool.submit(str, 1).result(PATIENCE) == "1"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    async def test_a_fork_in_between(self):
        """A child process begins with no threads, and with nothing that was asked for in its parent."""
        await READERS.share(str, 0)
        asked = READERS.share(str, 1)
        child = os.fork()
        if not child:
            is_new = READERS._executor is None and READERS._gathered == {}
            os._exit(0 if is_new and READERS.submit(str, 2).result(PATIENCE) == "2" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert await asked == "1"
