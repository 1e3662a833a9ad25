"""A call can be cancelled at any await: nothing of it is left, and what it shared with others is whole."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq.testing import faults

from .bodies import KIB, Kind, Supply
from .conftest import Serve, settled

MOST_STEPS = 400


async def cancelled_at(step: int, call: Coroutine[Any, Any, aioreq.Response]) -> bool:
    """Cancel a call after so many turns of the loop; whether that was before its end."""
    task = asyncio.create_task(call)
    for _ in range(step):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_at_every_step(usual_kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply) -> None:
    """Whatever the step of an upload, a cancellation leaves the pool whole, no task, and a session that works."""
    server = serve()
    cancelled = step = 0
    while step < MOST_STEPS:
        call = session.put(server.url, expect_continue=False, **usual_kind.arguments(small_supply))
        if not await cancelled_at(step, call):
            break
        cancelled += 1
        await settled()
        assert session.pool.open == session.pool.idle
        assert session.pool.waiting == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        step += 1 + step // 12
    assert cancelled > 8
    response = await session.put(server.url, data=small_supply.content)
    assert response.json()["received"] == len(small_supply.content)


async def test_in_the_middle_of_a_stalled_upload(
    kind: Kind, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """An upload that stands still is cancelled at once: its connection and its file are closed, the caller's is not."""
    server = serve({"/": faults.stall(after=64 * KIB), "/next": faults.ok()})
    arguments = kind.arguments(supply)
    await session.get(server.url + "/next")
    files = open_files()
    call = asyncio.create_task(session.put(server.url + "/", expect_continue=False, **arguments))
    await server.reached("stalled")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await settled()
    server.release("stalled")
    assert session.pool.open == session.pool.idle
    source = arguments.get("data")
    if kind.name == "file":
        assert not source.closed
        assert source.tell() == 0
    assert (await session.get(server.url + "/next")).ok
    assert open_files() <= files + 2  # the server's end of a connection may close a moment later


def by_timeout(call: Coroutine[Any, Any, aioreq.Response]) -> Coroutine[Any, Any, None]:
    async def run() -> None:
        async with asyncio.timeout(0.05):
            await call

    return run()


def by_wait_for(call: Coroutine[Any, Any, aioreq.Response]) -> Coroutine[Any, Any, None]:
    async def run() -> None:
        await asyncio.wait_for(call, 0.05)

    return run()


@pytest.mark.parametrize("limited", [by_timeout, by_wait_for])
async def test_a_timeout_of_asyncios_own(
    limited: Callable[[Coroutine[Any, Any, aioreq.Response]], Coroutine[Any, Any, None]],
    usual_kind: Kind,
    serve: Serve,
    session: aioreq.Session,
    supply: Supply,
) -> None:
    """asyncio.timeout and wait_for around a call are a cancellation like any other."""
    server = serve({"/": faults.stall(after=64 * KIB), "/next": faults.ok()})
    call = session.put(server.url + "/", expect_continue=False, **usual_kind.arguments(supply))
    with pytest.raises(TimeoutError):
        await limited(call)
    await settled()
    assert session.pool.open == 0
    assert (await session.get(server.url + "/next")).ok


async def test_while_waiting_for_the_pool(serve: Serve, trusting: Any) -> None:
    """A call that is cancelled in the queue, or just as its turn comes, takes no connection with it."""
    server = serve({"/": faults.silent(), "/next": faults.ok()})
    limits = aioreq.Limits(max_connections=1)
    async with aioreq.Session(limits=limits, verify=trusting, trust_env=False) as session:
        for turns in range(6):
            first = asyncio.create_task(session.get(server.url + "/"))
            await server.reached("silent", times=turns + 1)
            queued = [asyncio.create_task(session.get(server.url + "/next")) for _ in range(4)]
            await settled()
            assert session.pool.waiting == 4
            queued[0].cancel()
            server.release("silent", times=1)
            await asyncio.wait((first,))
            for _ in range(turns):
                await asyncio.sleep(0)
            queued[1].cancel()
            done = await asyncio.gather(*queued, return_exceptions=True)
            assert isinstance(done[0], asyncio.CancelledError)
            assert [answer.status_code for answer in done[2:]] == [200, 200]
            await settled()
            assert (session.pool.open, session.pool.idle, session.pool.waiting) == (1, 1, 0)


async def test_while_an_answer_is_read(serve: Serve, session: aioreq.Session) -> None:
    """A streamed answer can be cancelled in the middle; its connection is closed."""
    server = serve({"/": faults.cut_answer(declared=1000, sent=100, then="hold"), "/next": faults.ok()})
    begun = asyncio.Event()

    async def read() -> None:
        async with session.stream("GET", server.url + "/") as response:
            async for _ in response.iter_content():
                begun.set()

    reading = asyncio.create_task(read())
    await begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await settled()
    assert session.pool.open == 0
    assert (await session.get(server.url + "/next")).ok
