"""What a lone exchange waits for: its task goes on in the loop's own call, and otherwise as with any future."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from aioreq._net.arrival import Arrival

where: ContextVar[str] = ContextVar("where", default="nowhere")


@pytest.fixture(params=[asyncio.Task, asyncio.tasks._PyTask])  # type: ignore[attr-defined]
def begin(request: pytest.FixtureRequest) -> Callable[[Any], Awaitable["asyncio.Task[Any]"]]:
    """A function that makes a task of a coroutine, in C or in Python, and has it begin."""

    async def begin(work: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = request.param(work, loop=asyncio.get_running_loop())
        await asyncio.sleep(0)
        return task

    return begin


def new_arrival() -> Arrival:
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return Arrival(done)


async def waiting_for(arrival: Arrival, seen: list[bytes]) -> bytes:
    seen.append(await arrival)
    return seen[-1]


def in_a_callback(work: Callable[[], None]) -> "asyncio.Future[None]":
    """Have the loop call it, as it calls a protocol: no task is the current one."""
    loop = asyncio.get_running_loop()
    called = loop.create_future()

    def call() -> None:
        try:
            work()
        except BaseException as error:
            called.set_exception(error)
        else:
            called.set_result(None)

    loop.call_soon(call)
    return called


async def bring_at_once(arrival: Arrival) -> None:
    """Bring it in a block, in a call that comes from the loop."""

    def bring() -> None:
        with arrival:
            arrival.set_result(b"piece")
        assert where.get() == "nowhere"
        assert asyncio.current_task() is None

    await in_a_callback(bring)


class TestArrival:
    async def test_at_once(self, begin: Any):
        """The task goes on on the way out of the block, and not before."""
        arrival, seen = new_arrival(), list[bytes]()
        task = await begin(waiting_for(arrival, seen))

        def bring() -> None:
            with arrival:
                arrival.set_result(b"piece")
                assert arrival.done()
                assert seen == []
            assert seen == [b"piece"]

        await in_a_callback(bring)
        assert await task == b"piece"

    async def test_in_the_next_turn(self, begin: Any):
        """Without a block it goes on when the loop comes to it, as with a future."""
        arrival, seen = new_arrival(), list[bytes]()
        task = await begin(waiting_for(arrival, seen))

        def bring() -> None:
            arrival.set_result(b"piece")
            assert seen == []

        await in_a_callback(bring)
        assert await task == b"piece"

    async def test_nothing_comes(self, begin: Any):
        """A block that brings nothing leaves the task waiting for the next one."""
        arrival, seen = new_arrival(), list[bytes]()
        task = await begin(waiting_for(arrival, seen))

        def bring_nothing() -> None:
            with arrival:
                pass

        await in_a_callback(bring_nothing)
        assert seen == []
        await bring_at_once(arrival)
        assert await task == b"piece"

    async def test_what_is_here_already(self):
        """Who begins to wait behind the moment does not wait."""
        arrival = new_arrival()
        arrival.set_result(b"here")
        assert await arrival == b"here"

    async def test_cancelled(self, begin: Any):
        """A cancellation reaches the task, with what it says."""
        arrival, seen = new_arrival(), list[bytes]()
        task = await begin(waiting_for(arrival, seen))
        assert task.cancel("enough")
        assert arrival.done()
        assert not arrival.cancel()
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        assert seen == []

    async def test_cancelled_in_a_block(self, begin: Any):
        """A cancellation in a block is the outcome; what would come behind it is not asked for (``done``)."""
        arrival, seen = new_arrival(), list[bytes]()
        task = await begin(waiting_for(arrival, seen))

        def cancel() -> None:
            with arrival:
                task.cancel()
                assert arrival.done()

        await in_a_callback(cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_timeout(self):
        """It can be waited for for a time only."""
        arrival = new_arrival()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await arrival
        assert arrival.done()

    async def test_context(self, begin: Any):
        """The task goes on in its own context, as the current task; the callback is in its own again behind it."""
        arrival = new_arrival()

        async def work() -> tuple[str, bool]:
            where.set("in the task")
            await arrival
            return where.get(), asyncio.current_task() is task

        task: asyncio.Task[tuple[str, bool]] = await begin(work())

        await bring_at_once(arrival)
        assert await task == ("in the task", True)

    async def test_an_error_behind_it(self, begin: Any):
        """What the task raises then is the task's, and nobody else's."""
        arrival = new_arrival()

        async def work() -> None:
            await arrival
            raise KeyError("mine")

        task = await begin(work())
        await bring_at_once(arrival)
        with pytest.raises(KeyError, match="mine"):
            await task
