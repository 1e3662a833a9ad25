"""The pool: who gets which connection, who waits, and that the account is right whatever happens meanwhile."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import aioreq
from aioreq import Limits, PoolTimeout, Session, SessionClosed
from aioreq._net.http1 import Connection
from aioreq._net.pool import Pool
from aioreq._net.stream import Stream, Watcher
from aioreq._rules.route import Route
from aioreq.testing import Exchange, FaultServer, faults, script
from tests.instant_loop import InstantLoop
from tests.servers.certificates import Certificates
from tests.servers.endpoint import EchoServer
from tests.servers.nginx import Nginx

T = TypeVar("T")

A, B, C = (Route(("http", f"{name}.example", 80)) for name in "abc")


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """Run a coroutine in an `InstantLoop`."""
    with asyncio.Runner(loop_factory=InstantLoop) as runner:
        yield runner.run


async def settle() -> None:
    """Let every task go on as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


class FakeStream:
    """What the pool sees of a stream."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.untouched = True
        self.closed = False
        self.failure: BaseException | None = None
        self._watcher: Watcher | None = None

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def watch(self, watcher: Watcher | None) -> None:
        self._watcher = watcher

    def disturb(self) -> None:
        """The server closes it, or sends what nobody asked for."""
        self.untouched = False
        if self._watcher is not None:
            self._watcher.disturbed()

    def fail(self, error: BaseException) -> None:
        self.failure = error

    def abort(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        assert self.closed


@dataclass
class FakeNet:
    """Makes streams at once, or when the test says so."""

    at_once: bool = True
    streams: list[FakeStream] = field(default_factory=list)
    dialing: list[tuple[Route, asyncio.Future[None]]] = field(default_factory=list)

    async def dial(self, route: Route, limit: float | None) -> Stream:
        if not self.at_once:
            entry = (route, asyncio.get_running_loop().create_future())
            self.dialing.append(entry)
            try:
                await entry[1]
            finally:
                self.dialing.remove(entry)
        stream = FakeStream(route)
        self.streams.append(stream)
        return stream  # type: ignore[return-value]

    @property
    def open(self) -> list[FakeStream]:
        return [stream for stream in self.streams if not stream.closed]


def make(**limits: Any) -> tuple[Pool, FakeNet]:
    net = FakeNet()
    return Pool(net.dial, Limits(**limits)), net


def ask(pool: Pool, route: Route, limit: float | None = None) -> "asyncio.Task[Connection]":
    return asyncio.create_task(pool.acquire(route, limit, None))


class TestReuse:
    """Idle connections."""

    def test_the_last_used_is_used_first(self, run: Any):
        """The connection that was used last is taken first: it is the most likely to be alive still."""

        async def check() -> None:
            pool, net = make()
            first, second = await pool.acquire(A, None, None), await pool.acquire(A, None, None)
            first.release(reusable=True)
            second.release(reusable=True)
            assert await pool.acquire(A, None, None) is second
            assert await pool.acquire(A, None, None) is first
            assert len(net.streams) == 2
            await pool.aclose()

        run(check())

    def test_the_limit_holds_when_one_is_replaced(self, run: Any):
        """Where the only connection of a route turns out to be dead, its place is taken by its successor alone."""

        async def check() -> None:
            pool, net = make(max_per_host=1)
            first = await pool.acquire(A, None, None)
            first.release(reusable=True)
            first.stream.untouched = False  # type: ignore[misc]
            second = await pool.acquire(A, None, None)
            waiting = ask(pool, A)
            await settle()
            assert not waiting.done()
            assert len(net.open) == 1
            second.release(reusable=True)
            assert await waiting is second
            await pool.aclose()

        run(check())

    def test_not_for_another_route(self, run: Any):
        """A connection serves its own route only."""

        async def check() -> None:
            pool, net = make()
            (await pool.acquire(A, None, None)).release(reusable=True)
            await pool.acquire(B, None, None)
            await pool.acquire(Route(A.origin, "/run/socket"), None, None)
            assert len(net.streams) == 3
            await pool.aclose()

        run(check())

    def test_not_what_is_broken(self, run: Any):
        """A connection that can't be used again is closed, and leaves room."""

        async def check() -> None:
            pool, net = make(max_connections=1)
            (await pool.acquire(A, None, None)).release(reusable=False)
            assert pool.open == 0
            await pool.acquire(A, None, None)
            await settle()
            assert [stream.closed for stream in net.streams] == [True, False]
            await pool.aclose()

        run(check())

    def test_not_what_was_touched(self, run: Any):
        """An idle connection on which anything happened is closed at once; one that only looks so, when it is due."""

        async def check() -> None:
            pool, net = make()
            (await pool.acquire(A, None, None)).release(reusable=True)
            net.streams[0].disturb()
            assert (pool.open, pool.idle) == (0, 0)
            (await pool.acquire(A, None, None)).release(reusable=True)
            net.streams[1].untouched = False  # in the kernel, and not told of yet
            await pool.acquire(A, None, None)
            await settle()
            assert [stream.closed for stream in net.streams] == [True, True, False]
            await pool.aclose()

        run(check())

    def test_max_idle(self, run: Any):
        """Of more idle connections than max_idle the oldest are closed."""

        async def check() -> None:
            pool, net = make(max_idle=2)
            held = [await pool.acquire(route, None, None) for route in (A, B, C)]
            for connection in held:
                connection.release(reusable=True)
            assert (pool.open, pool.idle) == (2, 2)
            await settle()
            assert [stream.route for stream in net.open] == [B, C]
            await pool.aclose()

        run(check())

    def test_max_idle_of_none(self, run: Any):
        """max_idle=0 keeps nothing, and a waiter is served all the same."""

        async def check() -> None:
            pool, _ = make(max_idle=0, max_connections=1)
            held = await pool.acquire(A, None, None)
            waiting = ask(pool, A)
            await settle()
            held.release(reusable=True)
            (await waiting).release(reusable=True)
            assert (pool.open, pool.idle) == (0, 0)
            await pool.aclose()

        run(check())

    def test_idle_expiry(self, run: Any):
        """An idle connection is closed when its time is over, each counted from when it was given back."""

        async def check() -> None:
            pool, net = make(idle_expiry=10)
            held = [await pool.acquire(route, None, None) for route in (A, B)]
            held[0].release(reusable=True)
            await asyncio.sleep(6)
            held[1].release(reusable=True)
            await asyncio.sleep(3.9)
            assert pool.idle == 2
            await asyncio.sleep(0.2)
            assert [stream.route for stream in net.open] == [B]
            await asyncio.sleep(5.8)
            assert pool.idle == 1
            await asyncio.sleep(0.2)
            assert (pool.open, net.open) == (0, [])
            await pool.aclose()

        run(check())

    def test_use_puts_expiry_off(self, run: Any):
        """A connection that is used again and again does not expire."""

        async def check() -> None:
            pool, net = make(idle_expiry=10)
            for _ in range(10):
                (await pool.acquire(A, None, None)).release(reusable=True)
                await asyncio.sleep(9)
            assert len(net.streams) == 1
            await pool.aclose()

        run(check())

    def test_no_expiry(self, run: Any):
        """idle_expiry=None keeps connections for ever."""

        async def check() -> None:
            pool, net = make(idle_expiry=None)
            (await pool.acquire(A, None, None)).release(reusable=True)
            await asyncio.sleep(1e6)
            assert pool.idle == 1
            await pool.aclose()
            assert net.open == []

        run(check())


class TestWaiting:
    """Who waits, and for whom."""

    @pytest.mark.parametrize("reusable", [True, False])
    def test_first_come_first_served(self, reusable: bool, run: Any):
        """Requests are served in the order they came, whether connections can be used again or not."""

        async def check() -> None:
            pool, _ = make(max_connections=1)
            order: list[int] = []

            async def request(number: int) -> None:
                connection = await pool.acquire((A, B)[number % 2], None, None)
                order.append(number)
                await asyncio.sleep(1)
                connection.release(reusable=reusable)

            await asyncio.gather(*map(request, range(20)))
            assert order == list(range(20))
            await pool.aclose()

        run(check())

    def test_no_overtaking(self, run: Any):
        """A request that comes while others wait for the same route does not pass them."""

        async def check() -> None:
            pool, _ = make(max_connections=1)
            held = await pool.acquire(A, None, None)
            waiting = ask(pool, A)
            await settle()
            held.release(reusable=True)  # granted to the waiter, which has not run yet
            late = ask(pool, A)
            await settle()
            assert waiting.done()
            assert not late.done()
            waiting.result().release(reusable=True)
            assert await late is waiting.result()
            await pool.aclose()

        run(check())

    def test_max_connections(self, run: Any):
        """No more than max_connections are open, those being made included."""

        async def check() -> None:
            pool, net = make(max_connections=3)
            net.at_once = False
            tasks = [ask(pool, route) for route in (A, B, C, A, B)]
            await settle()
            assert (pool.open, len(net.dialing), pool.waiting) == (3, 3, 2)
            await pool.aclose()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        run(check())

    def test_max_per_host(self, run: Any):
        """A route at its limit makes only its own requests wait."""

        async def check() -> None:
            pool, net = make(max_per_host=2, max_connections=4)
            tasks = [ask(pool, A) for _ in range(4)] + [ask(pool, B)]
            await settle()
            assert [task.done() for task in tasks] == [True, True, False, False, True]
            assert Counter(stream.route for stream in net.open) == {A: 2, B: 1}
            tasks[0].result().release(reusable=False)
            await settle()
            assert tasks[2].done()
            await pool.aclose()
            tasks[3].cancel()
            await asyncio.wait(tasks)

        run(check())

    def test_another_routes_idle_connection_makes_room(self, run: Any):
        """At max_connections the oldest idle connection of another route is closed for a new one."""

        async def check() -> None:
            pool, net = make(max_connections=2)
            (await pool.acquire(A, None, None)).release(reusable=True)
            (await pool.acquire(B, None, None)).release(reusable=True)
            await pool.acquire(C, None, None)
            await settle()
            assert [stream.route for stream in net.open] == [B, C]
            assert pool.open == 2
            await pool.aclose()

        run(check())

    def test_a_connection_given_back_makes_room(self, run: Any):
        """A connection that is given back while another route waits is closed for it, if that came first."""

        async def check() -> None:
            pool, net = make(max_connections=1)
            held = await pool.acquire(A, None, None)
            other, same = ask(pool, B), ask(pool, A)
            await settle()
            held.release(reusable=True)
            await settle()
            assert [stream.route for stream in net.open] == [B]
            other.result().release(reusable=True)
            assert (await same).route == A
            await pool.aclose()

        run(check())

    def test_nobody_waits_for_another_routes_limit(self, run: Any):
        """A request is not held up by an older one that waits for its own route's limit."""

        async def check() -> None:
            pool, _ = make(max_connections=2, max_per_host=1)
            first = await pool.acquire(A, None, None)
            second = await pool.acquire(B, None, None)
            same, other = ask(pool, A), ask(pool, C)
            await settle()
            second.release(reusable=True)
            await settle()
            assert other.done()
            assert not same.done()
            first.release(reusable=True)
            assert await same is first
            await pool.aclose()

        run(check())

    def test_pool_timeout(self, run: Any):
        """A request that waits for too long gets PoolTimeout; the others keep their places."""

        async def check() -> None:
            pool, _ = make(max_connections=1)
            held = await pool.acquire(A, None, None)
            patient, hasty = ask(pool, A, 10), ask(pool, A, 5)
            with pytest.raises(PoolTimeout, match="no connection became free within 5 seconds"):
                await hasty
            assert (pool.waiting, patient.done()) == (1, False)
            held.release(reusable=True)
            assert await patient is held
            await asyncio.sleep(100)  # a timer that was left over would strike now
            assert (pool.open, pool.waiting) == (1, 0)
            await pool.aclose()

        run(check())

    def test_pool_timeout_is_for_waiting_only(self, run: Any):
        """The pool's limit does not count the time that a connection takes to be made."""

        async def check() -> None:
            pool, net = make(max_connections=1)
            net.at_once = False
            asked = ask(pool, A, 5)
            await asyncio.sleep(50)
            net.dialing[0][1].set_result(None)
            await asked
            await pool.aclose()

        run(check())


class TestTrouble:
    """What goes wrong while somebody waits."""

    def test_a_cancelled_waiter(self, run: Any):
        """A waiter that is cancelled is passed over."""

        async def check() -> None:
            pool, _ = make(max_connections=1)
            held = await pool.acquire(A, None, None)
            waiting = [ask(pool, A) for _ in range(3)]
            await settle()
            waiting[0].cancel()
            waiting[1].cancel()
            held.release(reusable=True)
            assert await waiting[2] is held
            assert pool.waiting == 0
            await pool.aclose()

        run(check())

    @pytest.mark.parametrize("reusable", [True, False])
    def test_cancelled_after_the_grant(self, reusable: bool, run: Any):
        """What was granted to a request that is cancelled in the same moment goes to the next."""

        async def check() -> None:
            pool, _ = make(max_connections=1)
            held = await pool.acquire(A, None, None)
            granted, following = ask(pool, A), ask(pool, B)
            await settle()
            held.release(reusable=reusable)
            granted.cancel()
            assert (await following).route == B
            assert granted.cancelled()
            assert (pool.open, pool.waiting) == (1, 0)
            await pool.aclose()

        run(check())

    def test_a_cancelled_dial(self, run: Any):
        """A request that is cancelled while it connects leaves its slot to the next."""

        async def check() -> None:
            pool, net = make(max_connections=1)
            net.at_once = False
            dialing, following = ask(pool, A), ask(pool, A)
            await settle()
            dialing.cancel()
            await settle()
            assert len(net.dialing) == 1
            net.dialing[0][1].set_result(None)
            (await following).release(reusable=True)
            assert (pool.open, pool.idle) == (1, 1)
            await pool.aclose()

        run(check())

    def test_a_failed_dial(self, run: Any):
        """A connection that can't be made is that request's error alone; its slot goes to the next."""

        async def check() -> None:
            pool, net = make(max_connections=1)
            net.at_once = False
            failing, following = ask(pool, A), ask(pool, A)
            await settle()
            net.dialing[0][1].set_exception(aioreq.ConnectionError("nobody there"))
            with pytest.raises(aioreq.ConnectionError, match="nobody there"):
                await failing
            await settle()
            net.dialing[0][1].set_result(None)
            await following
            assert pool.open == 1
            await pool.aclose()

        run(check())

    def test_a_stale_connection_for_a_waiter(self, run: Any):
        """A connection that is given back but was closed by the server is not handed to a waiter."""

        async def check() -> None:
            pool, net = make(max_connections=1)
            held = await pool.acquire(A, None, None)
            waiting = ask(pool, A)
            await settle()
            net.streams[0].untouched = False
            held.release(reusable=True)
            assert await waiting is not held
            assert [stream.closed for stream in net.streams] == [True, False]
            await pool.aclose()

        run(check())

    def test_closing(self, run: Any):
        """Closing ends everything: idle and busy connections, waiters, and dials that end later."""

        async def check() -> None:
            pool, net = make(max_per_host=1)
            idle, busy = await pool.acquire(A, None, None), await pool.acquire(B, None, None)
            idle.release(reusable=True)
            net.at_once = False
            dialing, waiting = ask(pool, C), ask(pool, B)
            await settle()
            assert repr(pool) == "<Pool [3 open, 1 idle, 1 waiting]>"
            await pool.aclose()
            assert all(stream.closed for stream in net.streams)
            assert isinstance(net.streams[1].failure, SessionClosed)
            with pytest.raises(SessionClosed, match="closed while the request waited"):
                await waiting
            net.dialing[0][1].set_result(None)
            with pytest.raises(SessionClosed, match="closed while the connection was made"):
                await dialing
            busy.release(reusable=True)
            await settle()
            assert net.open == []
            assert (pool.open, pool.idle, pool.waiting) == (0, 0, 0)
            with pytest.raises(SessionClosed, match="the session is closed"):
                await pool.acquire(A, None, None)

        run(check())


@dataclass
class Ask:
    """A request of the model."""

    number: int
    route: Route
    task: "asyncio.Task[Connection]"

    @property
    def holds(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None


class PoolMachine(RuleBasedStateMachine):
    """Everything that can happen to a pool, in any order; what must hold is checked after each step."""

    @initialize(
        max_connections=st.integers(1, 4),
        max_per_host=st.none() | st.integers(1, 3),
        max_idle=st.integers(0, 4),
    )
    def begin(self, max_connections: int, max_per_host: int | None, max_idle: int) -> None:
        self.runner = asyncio.Runner(loop_factory=InstantLoop)
        self.net = FakeNet(at_once=False)
        self.limits = Limits(max_connections, max_per_host, max_idle, idle_expiry=10)
        self.pool = Pool(self.net.dial, self.limits)
        self.numbers = itertools.count()
        self.asks: list[Ask] = []
        self.served: dict[Route, int] = {}

    def act(self, action: Callable[[], Any]) -> None:
        async def perform() -> None:
            action()
            await settle()

        self.runner.run(perform())

    def held(self) -> list[Ask]:
        return [ask for ask in self.asks if ask.holds]

    def under_way(self) -> list[Ask]:
        return [ask for ask in self.asks if not ask.task.done()]

    @rule(route=st.sampled_from([A, B, C]), count=st.integers(1, 3))
    def ask(self, route: Route, count: int) -> None:
        def action() -> None:
            for _ in range(count):
                self.asks.append(Ask(next(self.numbers), route, ask(self.pool, route)))

        self.act(action)

    @precondition(lambda self: self.net.dialing)
    @rule(data=st.data(), fails=st.booleans())
    def finish_dialing(self, data: st.DataObject, fails: bool) -> None:
        _, future = data.draw(st.sampled_from(self.net.dialing))
        error = aioreq.ConnectionError("nobody there")
        self.act(lambda: future.set_exception(error) if fails else future.set_result(None))

    @precondition(lambda self: self.held())
    @rule(data=st.data(), reusable=st.booleans(), touched=st.booleans(), cancelled=st.booleans())
    def give_back(self, data: st.DataObject, reusable: bool, touched: bool, cancelled: bool) -> None:
        """Give a connection back, and maybe cancel in the same moment somebody who may have been granted it."""
        ask = data.draw(st.sampled_from(self.held()))
        victims = self.under_way() if cancelled else []
        victim = data.draw(st.sampled_from(victims)) if victims else None

        def action() -> None:
            self.asks.remove(ask)
            connection = ask.task.result()
            connection.stream.untouched = not touched  # type: ignore[misc]
            connection.release(reusable=reusable)
            if victim is not None:
                victim.task.cancel()

        self.act(action)

    @precondition(lambda self: self.under_way())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.act(data.draw(st.sampled_from(self.under_way())).task.cancel)

    @precondition(lambda self: self.net.open)
    @rule(data=st.data())
    def disturb(self, data: st.DataObject) -> None:
        self.act(data.draw(st.sampled_from(self.net.open)).disturb)

    @rule(seconds=st.sampled_from([1, 5, 20]))
    def let_time_pass(self, seconds: int) -> None:
        self.runner.run(asyncio.sleep(seconds))

    @invariant()
    def the_account_is_right(self) -> None:
        """What is counted is what there is."""
        held = [ask.task.result().stream for ask in self.held()]
        idle = [stream for stream in self.net.open if stream not in held]
        assert self.pool.idle == len(idle)
        assert self.pool.open == len(self.net.open) + len(self.net.dialing)
        assert self.pool.waiting == len(self.under_way()) - len(self.net.dialing)
        assert len({id(stream) for stream in held}) == len(held)

    @invariant()
    def the_limits_hold(self) -> None:
        """No limit is passed."""
        assert self.pool.open <= (self.limits.max_connections or 0)
        assert self.pool.idle <= (self.limits.max_idle or 0)
        if self.limits.max_per_host is not None:
            assert max(self._open_by_route().values(), default=0) <= self.limits.max_per_host

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """Whoever waits could not be served: all is taken, or all of his route."""
        held = {id(ask.task.result().stream) for ask in self.held()}
        idle = Counter(stream.route for stream in self.net.open if id(stream) not in held)
        full = self.pool.open == self.limits.max_connections
        for route in self._waiting_by_route():
            at_limit = self._open_by_route()[route] == self.limits.max_per_host
            assert not idle[route]
            assert at_limit or (full and not idle)

    def _open_by_route(self) -> Counter[Route]:
        return Counter([stream.route for stream in self.net.open] + [route for route, _ in self.net.dialing])

    def _waiting_by_route(self) -> Counter[Route]:
        under_way = Counter(ask.route for ask in self.under_way())
        return under_way - Counter(route for route, _ in self.net.dialing)

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        with self.runner:
            self.runner.run(self._finish())

    async def _finish(self) -> None:
        """Let everything end well: everybody is served, and nothing is left."""
        self.net.at_once = True
        while self.asks:
            for _, future in list(self.net.dialing):
                if not future.done():
                    future.set_result(None)
            await settle()
            done = [ask for ask in self.asks if ask.task.done()]
            assert done, "somebody waits for ever"
            for ask in done:
                self.asks.remove(ask)
                if ask.holds:
                    ask.task.result().release(reusable=True)
        await self.pool.aclose()
        assert self.net.open == []
        assert (self.pool.open, self.pool.idle, self.pool.waiting) == (0, 0, 0)
        assert self.pool._lanes == {}


def test_in_any_order():
    """Whatever happens in whatever order: the account is right, limits hold, and everybody is served in the end."""
    run_state_machine_as_test(
        PoolMachine,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


# With servers -----------------------------------------------------------------------------------------------


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; the test's own time limit is the limit."""
    while not condition():
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("security", ["plain", "tls"])
async def test_two_thousand_requests_at_once(security: str, nginx: Nginx, certificates: Certificates):
    """Two thousand requests gathered at once are all answered, over twenty connections and no more."""
    url = getattr(nginx, security).url("/connection")
    async with Session(verify=certificates.authority, limits=Limits(max_connections=20)) as session:
        responses = await asyncio.gather(*(session.get(url) for _ in range(2000)))
        connections = Counter(response.text.split()[0] for response in responses)
        assert len(connections) == session.pool.open == session.pool.idle == 20


@pytest.mark.parametrize("security", ["plain", "tls"])
async def test_five_hundred_uploads_at_once(security: str, aiohttp_echo: EchoServer, certificates: Certificates):
    """The same with bodies, over ten connections to each host."""
    url = getattr(aiohttp_echo, security).url("/echo")
    async with Session(verify=certificates.authority, limits=Limits(max_per_host=10)) as session:
        bodies = [bytes([number % 256]) * (number * 7) for number in range(500)]
        responses = await asyncio.gather(*(session.put(url, data=body) for body in bodies))
        assert [response.json()["length"] for response in responses] == [len(body) for body in bodies]
        assert session.pool.open == 10


async def test_a_connection_closed_while_idle():
    """A connection that the server has closed meanwhile is noticed and replaced, for any method."""
    with FaultServer(faults.close_idle()) as server:
        async with Session() as session:
            for number in range(1, 4):
                response = await session.post(server.url, data=b"body")
                assert response.status_code == 200
                await server.reached("closed", number)
                await until(lambda: session.pool.open == 0)
        assert [connection.requests for connection in server.connections] == [1, 1, 1]


async def test_a_connection_closed_as_it_is_used():
    """A request that meets the server's closing goes out again on a new connection, if that is safe."""
    with FaultServer(faults.in_turn(faults.close_idle("go"), faults.ok())) as server:
        async with Session() as session:
            await session.get(server.url)
            await server.reached("go")
            again = asyncio.create_task(session.get(server.url))
            await until(lambda: session.pool.idle == 0)
            server.release("go")
            assert (await again).status_code == 200
        assert [connection.requests for connection in server.connections] == [1, 1]


async def test_no_post_goes_out_twice():
    """... which a POST whose body has left is not: it is an error that says what was sent."""
    with FaultServer(faults.close_idle("go")) as server:
        async with Session() as session:
            await session.get(server.url)
            await server.reached("go")
            again = asyncio.create_task(session.post(server.url, data=b"body"))
            await until(lambda: session.pool.idle == 0)
            server.release("go")
            with pytest.raises(aioreq.ServerDisconnected) as caught:
                await again
            assert caught.value.sent == 4
            assert session.pool.open == 0
        assert len(server.connections) == 1


@pytest.mark.parametrize("gate", [None, "later"])
async def test_stray_bytes(gate: str | None):
    """Bytes that nobody asked for close the connection, whether they come with an answer or later: none is taken
    for the next one's answer.
    """
    with FaultServer(faults.stray_bytes(gate=gate)) as server:
        async with Session() as session:
            for number in range(1, 4):
                response = await session.get(server.url, headers={"X-Token": str(number)})
                assert response.json()["token"] == str(number)
                if gate:
                    assert session.pool.idle == 1
                    server.release(gate, 1)
                await server.reached("strayed", number)
                await until(lambda: session.pool.open == 0)
        assert len(server.connections) == 3


async def test_idle_connections_expire():
    """The server sees an idle connection closed when its time is over."""
    with FaultServer() as server:
        async with Session(limits=Limits(idle_expiry=0.01)) as session:
            await session.get(server.url)
            await server.reached("closed")
            assert session.pool.open == 0
            await session.get(server.url)
        await server.reached("closed", 2)
        assert [connection.ended for connection in server.connections] == ["client closed", "client closed"]


async def test_another_host_gets_the_connection():
    """With one connection in all, requests to two hosts take turns, each closing the other's."""
    with FaultServer() as one, FaultServer() as other:
        async with Session(limits=Limits(max_connections=1)) as session:
            urls = [server.url for server in (one, other)] * 5
            responses = await asyncio.gather(*(session.get(url) for url in urls))
            assert {response.status_code for response in responses} == {200}
            assert session.pool.open == 1
        assert len(one.requests) == len(other.requests) == 5


async def test_pool_timeout_of_a_session():
    """timeout= limits the wait for a connection; the request that holds it is not disturbed."""
    with FaultServer({"/silent": faults.silent(), "/": faults.ok()}) as server:
        async with Session(limits=Limits(max_connections=1)) as session:
            first = asyncio.create_task(session.get(server.url + "/silent"))
            await server.reached("silent")
            with pytest.raises(PoolTimeout, match="no connection became free") as caught:
                await session.get(server.url + "/", timeout=aioreq.Timeout(pool=0.01))
            assert caught.value.request.url == server.url + "/"
            assert isinstance(caught.value, TimeoutError)
            server.release("silent")
            assert (await first).status_code == 200
            assert (session.pool.open, session.pool.idle) == (1, 1)


@pytest.mark.parametrize("place", ["waiting", "connecting", "uploading", "reading"])
async def test_cancelled_anywhere(place: str, certificates: Certificates):
    """A cancelled request leaves nothing behind: no slot, no connection, no waiter."""
    at = {
        "connecting": ("silent", {"on_connect": _say_nothing()}),
        "uploading": ("stalled", {"route": faults.stall(after=1000)}),
        "reading": ("silent", {"route": faults.silent()}),
        "waiting": ("silent", {"route": faults.silent()}),
    }
    mark, options = at[place]
    with FaultServer(tls=certificates.server_context(), **options) as server:
        async with Session(verify=certificates.authority, limits=Limits(max_connections=1)) as session:
            call = asyncio.create_task(session.post(server.url, data=bytes(20_000_000)))
            await server.reached(mark)
            if place == "waiting":
                waiting = asyncio.create_task(session.get(server.url))
                await until(lambda: session.pool.waiting == 1)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert session.pool.waiting == 0
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (session.pool.open, session.pool.idle, session.pool.waiting) == (0, 0, 0)


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(64 * 1024)


CALLS: dict[str, Callable[[Session, str, Path], Coroutine[Any, Any, aioreq.Response]]] = {
    "get": lambda session, url, _: session.get(url),
    "post": lambda session, url, _: session.post(url, data=b"body"),
    "file": lambda session, url, file: session.put(url, data=file),
    "form": lambda session, url, file: session.post(url, data={"a": "1"}, files={"file": file}),
    "pieces": lambda session, url, _: session.put(url, data=_pieces(20), headers={"Content-Length": "1310720"}),
    "redirect": lambda session, url, file: session.put(url + "/redirect", data=file),
}


@pytest.mark.parametrize("security", ["plain", "tls"])
@pytest.mark.parametrize("call", CALLS)
async def test_cancelled_at_every_step(call: str, security: str, certificates: Certificates, tmp_path: Path):
    """Wherever a call is cancelled, the one connection that is allowed serves the next call, with its own answer."""
    (tmp_path / "file").write_bytes(bytes(1_000_000))
    routes = {"/": faults.ok(), "/redirect": faults.redirect("/")}
    tls = certificates.server_context() if security == "tls" else None
    with FaultServer(routes, tls=tls) as server:
        async with Session(verify=certificates.authority, limits=Limits(max_connections=1)) as session:
            for step in range(50):
                cancelled = asyncio.create_task(CALLS[call](session, server.url, tmp_path / "file"))
                for _ in range(step):
                    await asyncio.sleep(0)
                cancelled.cancel()
                await asyncio.wait([cancelled])
                assert session.pool.waiting == 0
                assert session.pool.open == session.pool.idle
                response = await session.post(server.url, data=b"body", headers={"X-Token": str(step)})
                assert response.json()["token"] == str(step)
        assert server.violations == []


@script
async def _say_nothing(exchange: Exchange) -> None:
    await exchange.pause("silent")
