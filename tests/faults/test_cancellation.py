"""A call can be cancelled at any step of the loop: nothing is left behind, and the session goes on."""

import asyncio
import contextlib
import itertools
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import _threads
from aioreq.testing import Exchange, faults, script

from .bodies import KIB, Kind, Supply, blocks
from .conftest import BOUND, Serve, settled

Call = Callable[[], Awaitable[aioreq.Response]]
Interruption = Callable[[int, Call], Awaitable[bool]]


@pytest.fixture(autouse=True)
def descriptors_as_before() -> Iterator[None]:
    """Around servers, sessions and sources: when they are closed, no descriptor is left."""
    before = descriptors()
    yield
    assert descriptors() == before


def descriptors() -> set[str]:
    """The numbers of the process's descriptors, that of the listing itself aside."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir() if entry.exists()}


@pytest.fixture
def pumping(monkeypatch: pytest.MonkeyPatch) -> list[Future[Any]]:
    """What has been given to the threads that let the kernel copy from file to socket."""
    given: list[Future[Any]] = []
    submit = _threads.PUMPS.submit

    def recording(*work: Any) -> Future[Any]:
        given.append(submit(*work))
        return given[-1]

    monkeypatch.setattr(_threads.PUMPS, "submit", recording)
    return given


# --- a call that is ended from outside, at a step that is known


@contextlib.contextmanager
def at_step(number: int, act: Callable[[], object]) -> Iterator[None]:
    """Run `act` in the loop, behind the callback that is the `number`-th to be scheduled from here.

    What the loop is given to do is counted, not time and not turns: every step that a task makes is such a callback.
    """
    loop = asyncio.get_running_loop()
    call_soon = loop.call_soon
    numbers = itertools.count()
    acting: list[asyncio.Handle] = []

    def counting(callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        handle = call_soon(callback, *args, context=context)
        if next(numbers) == number:
            acting.append(call_soon(act))
        return handle

    loop.call_soon = counting  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del loop.call_soon
        for handle in acting:
            handle.cancel()


async def cancelled(number: int, call: Call) -> bool:
    """Cancel the call at its step `number`; false if it was over before."""
    task = asyncio.ensure_future(call())
    requests: list[bool] = []
    with at_step(number, lambda: requests.append(task.cancel())):
        await asyncio.wait((task,))
    return was_cancelled(task, requests)


async def cancelled_twice(number: int, call: Call) -> bool:
    """Cancel it again in the next turn of the loop, while it cleans up."""
    task = asyncio.ensure_future(call())
    requests: list[bool] = []

    def cancel() -> None:
        requests.append(task.cancel())
        if len(requests) == 1:
            asyncio.get_running_loop().call_soon(cancel)

    with at_step(number, cancel):
        await asyncio.wait((task,))
    return was_cancelled(task, requests)


def was_cancelled(task: "asyncio.Future[aioreq.Response]", requests: list[bool]) -> bool:
    """Whether it was; a cancellation that came in time must have been obeyed."""
    asked = any(requests)
    assert task.cancelled() == asked
    return asked or not task.result().ok


async def timed_out(number: int, call: Call) -> bool:
    """Let an `asyncio.timeout` around the call expire at its step `number`; false if it was over before."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None) as limit:
            with at_step(number, lambda: limit.reschedule(loop.time())):
                assert (await call()).ok
    return limit.expired()


WAYS = {way.__name__: way for way in (cancelled, cancelled_twice, timed_out)}


@pytest.fixture(params=WAYS)
def interruption(request: pytest.FixtureRequest) -> Interruption:
    """The ways in which a call is ended from outside."""
    return WAYS[request.param]


def steps() -> Iterator[int]:
    """Every step at first, where each is another one; then some, since a long body repeats itself."""
    yield from range(30)
    yield from itertools.count(31, 7)


# --- what must hold afterwards


def require_no_byte_leaves(pumping: list[Future[Any]]) -> None:
    """When the call has ended, nobody sends for it any more: no task, no thread."""
    assert [task for task in asyncio.all_tasks() if task.get_name() == "aioreq upload"] == []
    assert all(work.done() for work in pumping)


async def require_nothing_under_way(session: aioreq.Session) -> None:
    """No task of a call runs any more, and the pool has no connection but idle ones."""
    await settled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert session.pool.open == session.pool.idle
    assert session.pool.waiting == 0


async def require_next_call(session: aioreq.Session, url: str, token: str) -> None:
    """The next call works, and its answer is its own."""
    response = await session.put(url, data=token, headers={"X-Token": token})
    assert (response.json()["token"], response.json()["received"]) == (token, len(token))


async def require_free_threads() -> None:
    """All the worker threads can be had at once, so none is held; what they had been given is done by then."""
    for pool in (_threads.READERS, _threads.PUMPS):
        meeting = threading.Barrier(pool.size)
        await asyncio.gather(*(pool.start(meeting.wait, BOUND) for _ in range(pool.size)))


# --- at any step


async def test_an_upload_can_be_cancelled_at_any_step(
    usual_kind: Kind,
    interruption: Interruption,
    pumping: list[Future[Any]],
    serve: Serve,
    session: aioreq.Session,
    supply: Supply,
) -> None:
    """Wherever an upload on a pooled connection ends, it leaves no trace, and the caller's file stays open."""
    server = serve()
    await require_next_call(session, server.url, "first")
    sources: list[Any] = []

    def upload() -> Awaitable[aioreq.Response]:
        arguments = usual_kind.arguments(supply)
        sources.append(arguments["data"])
        return session.put(server.url, **arguments)

    for number in steps():
        interrupted = await interruption(number, upload)
        if interruption is not cancelled_twice:  # who asks twice does not wait for that
            require_no_byte_leaves(pumping)
        await require_free_threads()
        await require_nothing_under_way(session)
        await require_next_call(session, server.url, f"after {number}")
        if not interrupted:
            break
    assert number > 3
    if usual_kind.name in ("file", "aiofiles"):
        assert not any(source.closed for source in sources)


async def test_a_call_can_be_cancelled_from_its_first_step_on(
    interruption: Interruption, serve: Serve, trusting: ssl.SSLContext, small_supply: Supply
) -> None:
    """Wherever a call ends that connects, is redirected and sends its body again, its one connection is not lost."""
    server = serve({"/": faults.redirect("/end"), "/end": faults.ok()})
    limits = aioreq.Limits(max_connections=1)
    url = server.url.replace("127.0.0.1", "localhost")  # a name, so that it has to be looked up
    async with aioreq.Session(trust_env=False):  # keeps the threads from ending with each session below
        for number in itertools.count():
            async with aioreq.Session(verify=trusting, limits=limits, timeout=BOUND, trust_env=False) as session:
                files = {"file": small_supply.path}
                interrupted = await interruption(number, lambda: session.put(url + "/", files=files))
                await require_free_threads()
                await require_nothing_under_way(session)
                await require_next_call(session, url + "/end", f"after {number}")
            if not interrupted:
                break
        assert number > 15


async def test_a_wait_for_a_connection_can_be_cancelled_at_any_step(
    interruption: Interruption, serve: Serve, trusting: ssl.SSLContext, small_supply: Supply
) -> None:
    """Wherever a call ends that waits behind another, also when it is just given the connection, that is not lost."""
    server = serve()
    limits = aioreq.Limits(max_connections=1)
    async with aioreq.Session(verify=trusting, limits=limits, timeout=BOUND, trust_env=False) as session:
        for number in itertools.count():
            first = asyncio.create_task(session.put(server.url, data=small_supply.path))
            await asyncio.sleep(0)
            assert session.pool.open == 1
            interrupted = await interruption(number, lambda: session.put(server.url, data=b"second"))
            assert (await first).upload.complete
            await require_nothing_under_way(session)
            await require_next_call(session, server.url, f"after {number}")
            if not interrupted:
                break
        assert number > 5


# --- in places where a call can stay for long


async def cancel(call: "asyncio.Task[Any]") -> None:
    call.cancel()
    await asyncio.wait((call,))
    assert call.cancelled()


@pytest.mark.parametrize("transport", ["plain"], indirect=True)
async def test_a_handshake_without_an_answer_can_be_cancelled(serve: Serve, trusting: ssl.SSLContext) -> None:
    """A call cancelled in the TLS handshake gives its slot back, though the server never says a word."""

    @script
    async def quiet(exchange: Exchange) -> None:
        await exchange.pause("quiet")

    silent, healthy = serve(on_connect=quiet()), serve()
    limits = aioreq.Limits(max_connections=1)
    async with aioreq.Session(verify=trusting, limits=limits, trust_env=False) as session:
        call = asyncio.create_task(session.put(silent.url.replace("http", "https"), data=b"body"))
        await silent.reached("quiet")
        assert session.pool.open == 1
        await cancel(call)
        assert session.pool.open == 0
        await require_next_call(session, healthy.url, "next")


async def test_a_name_that_is_never_resolved_can_be_cancelled(serve: Serve, trusting: ssl.SSLContext) -> None:
    """A call cancelled while its host's name is looked up gives its slot back."""
    asked = asyncio.Event()

    async def resolver(host: str, port: int) -> list[str]:
        if host == "never.example":
            asked.set()
            await asyncio.get_running_loop().create_future()
        return ["127.0.0.1"]

    server = serve()
    limits = aioreq.Limits(max_connections=1)
    async with aioreq.Session(verify=trusting, limits=limits, resolver=resolver, trust_env=False) as session:
        call = asyncio.create_task(session.get("http://never.example/"))
        await asked.wait()
        await cancel(call)
        assert session.pool.open == 0
        await require_next_call(session, server.url.replace("127.0.0.1", "localhost"), "next")


async def test_waiting_calls_keep_their_turn(serve: Serve, trusting: ssl.SSLContext, supply: Supply) -> None:
    """Of those that wait for a connection, the cancelled ones are passed over, and the others go on in their order."""
    server = serve({"/stalled": faults.stall(after=KIB), "/": faults.ok()})
    limits = aioreq.Limits(max_connections=1)
    async with aioreq.Session(verify=trusting, limits=limits, timeout=BOUND, trust_env=False) as session:
        upload = asyncio.create_task(session.put(server.url + "/stalled", data=supply.path))
        await server.reached("stalled")
        calls = [asyncio.create_task(session.put(f"{server.url}/?{number}", data=b"x")) for number in range(6)]
        await settled()
        assert session.pool.waiting == 6
        for call in calls[::2]:
            await cancel(call)
        assert session.pool.waiting == 3
        server.release("stalled")
        assert (await upload).upload.complete
        assert all(response.ok for response in await asyncio.gather(*calls[1::2]))
        assert [request.target for request in server.requests[1:]] == ["/?1", "/?3", "/?5"]
        await require_nothing_under_way(session)


async def test_a_stalled_upload_can_be_cancelled(
    kind: Kind, pumping: list[Future[Any]], serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """An upload that waits for a server that stopped reading ends at once, and gives up what it had."""
    server = serve({"/stalled": faults.stall(after=KIB), "/": faults.ok()})
    upload = asyncio.create_task(session.put(server.url + "/stalled", expect_continue=False, **kind.arguments(supply)))
    await server.reached("stalled")
    await cancel(upload)
    require_no_byte_leaves(pumping)
    assert session.pool.open == 0
    await require_free_threads()
    await require_nothing_under_way(session)
    await require_next_call(session, server.url + "/", "next")


async def test_a_generator_is_closed_when_its_upload_is_cancelled(
    serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """What an async generator has open is closed by the time the cancelled call ends."""
    server = serve(faults.stall(after=KIB))
    ended: list[str] = []

    async def source() -> AsyncIterator[bytes]:
        try:
            for block in blocks(supply.content):
                yield block
        finally:
            await asyncio.sleep(0)
            ended.append("closed")

    upload = asyncio.create_task(session.put(server.url, data=source(), headers=supply.declared, expect_continue=False))
    await server.reached("stalled")
    await cancel(upload)
    assert ended == ["closed"]


async def test_a_source_that_is_waited_for_can_be_cancelled(serve: Serve, session: aioreq.Session) -> None:
    """A call is cancelled where it is: in the caller's own generator, which hears of it."""
    server = serve()
    heard = asyncio.Event()
    waiting = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"first"
        try:
            waiting.set()
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            heard.set()
            raise

    upload = asyncio.create_task(
        session.put(server.url, data=source(), headers={"Content-Length": "10"}, expect_continue=False)
    )
    await waiting.wait()
    await cancel(upload)
    assert heard.is_set()
    assert session.pool.open == 0


async def test_a_wait_for_the_answer_can_be_cancelled(
    usual_kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """A call whose server has the whole body and says nothing is given up with its connection."""
    server = serve({"/silent": faults.silent(), "/": faults.ok()})
    upload = asyncio.create_task(session.put(server.url + "/silent", **usual_kind.arguments(small_supply)))
    await server.reached("silent")
    await cancel(upload)
    assert session.pool.open == 0
    await require_next_call(session, server.url + "/", "next")


async def test_a_wait_for_100_continue_can_be_cancelled(serve: Serve, session: aioreq.Session) -> None:
    """A call that waits for 100 is given up before a byte of its body has left."""

    @script
    async def say_nothing(exchange: Exchange) -> None:
        await exchange.pause("expecting")

    server = serve({"/silent": say_nothing(), "/": faults.ok()})
    upload = asyncio.create_task(session.put(server.url + "/silent", data=b"body", expect_continue=True))
    await server.reached("expecting")
    await cancel(upload)
    server.release("expecting")
    await server.reached("closed")
    assert server.requests[0].received == 0
    await require_next_call(session, server.url + "/", "next")


async def test_a_pause_before_a_retry_can_be_cancelled(serve: Serve, session: aioreq.Session) -> None:
    """A call that waits for its next attempt holds no connection, and ends at once."""
    server = serve({"/": faults.ok(), "/busy": faults.ok(503)})
    pausing = asyncio.Event()
    hooks = {"attempt": lambda event: pausing.set()}
    async with aioreq.Session(verify=False, event_hooks=hooks, trust_env=False) as session:
        call = asyncio.create_task(session.put(server.url + "/busy", data=b"x", retry=aioreq.Retry(backoff=60)))
        await pausing.wait()
        assert session.pool.open == session.pool.idle == 1
        await cancel(call)
        await require_next_call(session, server.url + "/", "next")
        assert len(server.connections) == 1


async def test_a_streamed_answer_can_be_cancelled(serve: Serve, session: aioreq.Session) -> None:
    """A task cancelled in the middle of an answer gives the connection up as it leaves the block."""

    @script
    async def half(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        await exchange.pause("half")

    server = serve({"/half": half(), "/": faults.ok()})
    seen: list[bytes] = []
    arrived = asyncio.Event()

    async def read() -> None:
        async with session.stream("GET", server.url + "/half") as response:
            async for piece in response.iter_content():
                seen.append(piece)
                arrived.set()

    reading = asyncio.create_task(read())
    await arrived.wait()
    await cancel(reading)
    assert seen == [b"half"]
    assert session.pool.open == 0
    await require_next_call(session, server.url + "/", "next")
