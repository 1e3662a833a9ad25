"""The pool: which connection a request gets, and who waits.

The decisions are synchronous and made in one place (:meth:`Pool._serve`): whoever gives a connection or a
slot back runs it, and a waiter is handed what it needs through its future. A cancellation can therefore only
fall between decisions, never into one. Waiting is first come, first served among the routes that have room;
nobody is passed over because of another route's limit, and every step costs the same however many wait.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Collection
from math import inf
from typing import Any

from .._body import Body
from .._rules.route import Route
from .._value import Value
from ..exceptions import PoolTimeout, SessionClosed
from .dial import Dial
from .http1 import Connection
from .stream import Stream


class Limits(Value):
    """How many connections a session keeps.

    Args:
        max_connections: open at a time, idle ones included; None for no limit.
        max_per_host: open at a time to one origin; None for no limit.
        max_idle: kept open while nobody uses them; None for no limit.
        idle_expiry: seconds that an idle connection is kept; None for no limit.

    Raises:
        ValueError: a limit is below what makes sense.
    """

    __match_args__ = ("max_connections", "max_per_host", "max_idle", "idle_expiry")
    __slots__ = __match_args__

    max_connections: int | None
    max_per_host: int | None
    max_idle: int | None
    idle_expiry: float | None

    def __init__(
        self,
        max_connections: int | None = 100,
        max_per_host: int | None = None,
        max_idle: int | None = 100,
        idle_expiry: float | None = 15.0,
    ) -> None:
        self._set(max_connections, max_per_host, max_idle, idle_expiry)
        for name, least in (("max_connections", 1), ("max_per_host", 1), ("max_idle", 0), ("idle_expiry", 0)):
            value = getattr(self, name)
            kind = float if name == "idle_expiry" else int
            if value is not None and not _is_at_least(least, value, kind):
                raise ValueError(f"{name}={value!r}: a number, at least {least}, or None for no limit")


def _is_at_least(least: int, value: Any, kind: type[int | float]) -> bool:
    return isinstance(value, (int, kind)) and not isinstance(value, bool) and value >= least


class _Waiter:
    """A request that waits for its turn: for a connection, or for leave (None) to make one.

    Attributes:
        number: the order of coming.
        grant: what it is handed.
        answers: the answers that its body reads, each of which may keep a connection until then.
    """

    __slots__ = ("answers", "grant", "number")

    def __init__(self, number: int, grant: asyncio.Future[Connection | None], answers: Collection[Any]) -> None:
        self.number = number
        self.grant = grant
        self.answers = answers


class _Lane:
    """What there is of one route."""

    __slots__ = ("idle", "open", "queued", "route", "waiters")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.open = 0
        self.idle: deque[Connection] = deque()
        self.waiters: deque[_Waiter] = deque()
        self.queued = False

    def drop_gone(self) -> None:
        """Forget the waiters in front that were cancelled or ran out of time."""
        while self.waiters and self.waiters[0].grant.done():
            self.waiters.popleft()


class Pool:
    """Connections by route, within limits."""

    def __init__(self, dial: Dial, limits: Limits) -> None:
        self._dial = dial
        self._limits = limits
        self._max_idle = inf if limits.max_idle is None else limits.max_idle
        self._lanes: dict[Route, _Lane] = {}
        self._open = 0
        self._idle: dict[Connection, _Lane] = {}  # oldest first
        self._busy: dict[Connection, _Lane] = {}
        # A heap of lanes that could be served, by the number of their first waiter; at most one entry a lane,
        # which may be out of date and is put right when it comes up.
        self._queue: list[tuple[int, _Lane]] = []
        self._numbers = itertools.count()
        self._waiting = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Pool [{self._open} open, {len(self._idle)} idle, {self._waiting} waiting]>"

    @property
    def open(self) -> int:
        """Connections that are open, or being made."""
        return self._open

    @property
    def idle(self) -> int:
        """Connections that are open and unused."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return self._waiting

    def census(self) -> list[tuple[Route, int, int]]:
        """For each route, how many connections are open and how many of them idle; from whatever thread."""
        return [(lane.route, lane.open, len(lane.idle)) for lane in tuple(self._lanes.values())]

    # --- getting a connection

    def take(self, route: Route) -> Connection | None:
        """An idle connection, where there is one and nobody waits for it; else :meth:`acquire` is to be asked."""
        lane = self._lanes.get(route)
        return None if lane is None or lane.waiters or self._closed else self._take_idle(lane)

    async def acquire(
        self, route: Route, pool_limit: float | None, connect_limit: float | None, body: Body | None = None
    ) -> Connection:
        """A connection to use now: an idle one, or a new one, after waiting where the limits demand it.

        Args:
            route: where to.
            pool_limit: seconds to wait for one that is free.
            connect_limit: seconds to make one.
            body: what is to be sent; an answer that it reads may keep a connection until then.

        Raises:
            PoolTimeout: none became free in time, or none can: they all wait for their answers to be read.
            ConnectionError: a new one could not be made.
        """
        if self._closed:
            raise SessionClosed("the session is closed")
        lane = self._lane(route)
        if lane.waiters:
            lane.drop_gone()
        if not lane.waiters and (connection := self._take_idle(lane)) is not None:
            return connection
        if not lane.waiters and (self._may_open(lane) or self._evict_for(lane)):
            self._count_open(lane, 1)
        else:
            connection = await self._wait(lane, pool_limit, () if body is None else body.answers)
            if connection is not None:
                return connection
        try:  # to fill the slot, which is counted already
            stream = await self._dial(lane.route, connect_limit)
        except BaseException:
            self._count_open(lane, -1)
            self._serve()
            raise
        return self._adopt(stream, lane)

    def _take_idle(self, lane: _Lane) -> Connection | None:
        """The most recently used connection that is still good."""
        while lane.idle:
            connection = lane.idle.pop()
            del self._idle[connection]
            self._busy[connection] = lane
            if connection.stream.untouched:
                return connection
            self._discard(connection)  # the server closed it meanwhile, or sent what nobody asked for
        return None

    def _may_open(self, lane: _Lane) -> bool:
        limits = self._limits
        return (limits.max_connections is None or self._open < limits.max_connections) and self._has_room(lane)

    def _has_room(self, lane: _Lane) -> bool:
        return self._limits.max_per_host is None or lane.open < self._limits.max_per_host

    def _evict_for(self, lane: _Lane) -> bool:
        """Close another route's oldest idle connection, if that makes room."""
        if not self._idle or not self._has_room(lane):
            return False
        self._retire(next(iter(self._idle)))
        return True

    def _adopt(self, stream: Stream, lane: _Lane) -> Connection:
        connection = Connection(stream, lane.route, self)
        stream.watch(connection)
        self._busy[connection] = lane
        if self._closed:
            self._discard(connection)
            raise SessionClosed("the session was closed while the connection was made")
        return connection

    async def _wait(self, lane: _Lane, limit: float | None, answers: Collection[Any]) -> Connection | None:
        if answers and self._would_wait_for_ever(lane, answers):
            raise PoolTimeout(
                "no connection can become free: all that are allowed are kept by answers which are to be sent on, and "
                "wait for this one. Read them first ('await response.read()'), raise the Limits, or send them with "
                "another session"
            )
        loop = asyncio.get_running_loop()
        waiter = _Waiter(next(self._numbers), loop.create_future(), answers)
        lane.waiters.append(waiter)
        self._enqueue(lane)
        timer = None if limit is None else loop.call_later(limit, _expire, waiter.grant, limit)
        self._waiting += 1
        try:
            return await waiter.grant
        except BaseException:
            self._give_back(waiter, lane)
            raise
        finally:
            self._waiting -= 1
            if timer is not None:
                timer.cancel()

    def _would_wait_for_ever(self, lane: _Lane, answers: Collection[Any]) -> bool:
        """Whether each connection in the way is kept by an answer that a waiting request, or this one, is to send.

        Only a new waiter can close such a circle: any other connection is handed on when its exchange is over.
        """
        waiters = [waiter for other in self._lanes.values() for waiter in other.waiters if not waiter.grant.done()]
        to_be_sent = {id(answer) for answer in answers}.union(*(map(id, waiter.answers) for waiter in waiters))
        everywhere = self._has_room(lane)
        in_the_way = [connection for connection, home in self._busy.items() if everywhere or home is lane]
        if len(in_the_way) < (self._open if everywhere else lane.open):
            return False  # one is being made
        return all(id(connection.answer) in to_be_sent for connection in in_the_way)

    def _give_back(self, waiter: _Waiter, lane: _Lane) -> None:
        """What was granted to a request that was cancelled before it could take it."""
        lane.drop_gone()
        if waiter.grant.cancelled() or waiter.grant.exception() is not None:
            self._forget_if_unused(lane)
            return
        connection = waiter.grant.result()
        if connection is not None:
            self.released(connection, True)
        else:
            self._count_open(lane, -1)
            self._serve()

    # --- giving it back

    def released(self, connection: Connection, reusable: bool) -> None:
        """See :class:`aioreq._net.http1.Keeper`, as of :meth:`disturbed`."""
        if reusable and not self._closed:
            self._rest(connection)
        else:
            self._discard(connection)
        if self._queue:
            self._serve()

    def _rest(self, connection: Connection) -> None:
        """Hand it to the lane's next waiter, or keep it idle."""
        lane = self._busy[connection]
        if lane.waiters:
            lane.drop_gone()
            if lane.waiters and self._is_next(lane) and connection.stream.untouched:
                self._grant(lane, connection)
                return
        del self._busy[connection]
        lane.idle.append(connection)
        self._idle[connection] = lane
        if lane.waiters:
            self._enqueue(lane)
        connection.idle_since = connection.stream.time()
        if self._expiry is None or len(self._idle) > self._max_idle:
            self._trim()

    def _is_next(self, lane: _Lane) -> bool:
        """Whether no other lane's waiter has waited longer for this connection's slot."""
        oldest = self._oldest()
        return oldest is None or oldest is lane or oldest.waiters[0].number > lane.waiters[0].number

    def _trim(self) -> None:
        while len(self._idle) > self._max_idle:
            self._retire(next(iter(self._idle)))
        if self._expiry is None and self._idle and self._limits.idle_expiry is not None:
            self._expiry = asyncio.get_running_loop().call_later(self._limits.idle_expiry, self._expire_idle)

    def _expire_idle(self) -> None:
        """Close what has been idle for too long, and look again when the next one is due."""
        self._expiry = None
        loop = asyncio.get_running_loop()
        expiry = self._limits.idle_expiry
        assert expiry is not None
        while self._idle:
            oldest = next(iter(self._idle))
            due = oldest.idle_since + expiry
            if due > loop.time():
                self._expiry = loop.call_at(due, self._expire_idle)
                return
            self._retire(oldest)

    def disturbed(self, connection: Connection) -> None:
        """One that is idle can't be used any more."""
        if connection in self._idle:
            self._retire(connection)
            self._serve()

    def _retire(self, connection: Connection) -> None:
        """Close an idle connection."""
        lane = self._idle.pop(connection)
        lane.idle.remove(connection)
        self._busy[connection] = lane
        self._discard(connection)

    def _discard(self, connection: Connection) -> None:
        lane = self._busy.pop(connection)
        connection.stream.watch(None)
        self._count_open(lane, -1)
        connection.stream.close()  # here, since the end of the loop may cancel the task before it has begun
        closing = asyncio.ensure_future(connection.stream.aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    # --- deciding

    def _serve(self) -> None:
        """Let waiters go ahead, oldest first, as far as the limits allow."""
        while (lane := self._oldest()) is not None:
            idle = self._take_idle(lane)
            if idle is None:
                if not (self._may_open(lane) or self._evict_for(lane)):
                    return
                self._count_open(lane, 1)
            self._grant(lane, idle)

    def _oldest(self) -> _Lane | None:
        """The lane whose first waiter has waited longest among those that could be served."""
        while self._queue:
            number, lane = self._queue[0]
            lane.drop_gone()
            if lane.waiters and lane.waiters[0].number == number and self._can_serve(lane):
                return lane
            heapq.heappop(self._queue)
            lane.queued = False
            self._enqueue(lane)
        return None

    def _enqueue(self, lane: _Lane) -> None:
        """Put a lane in line. One that is at its own limit is left out until that changes, and costs nobody time."""
        if lane.waiters and not lane.queued and self._can_serve(lane):
            lane.queued = True
            heapq.heappush(self._queue, (lane.waiters[0].number, lane))

    def _can_serve(self, lane: _Lane) -> bool:
        return bool(lane.idle) or self._has_room(lane)

    def _grant(self, lane: _Lane, connection: Connection | None) -> None:
        lane.waiters.popleft().grant.set_result(connection)

    def _lane(self, route: Route) -> _Lane:
        lane = self._lanes.get(route)
        if lane is None:
            lane = self._lanes[route] = _Lane(route)
        return lane

    def _count_open(self, lane: _Lane, change: int) -> None:
        self._open += change
        lane.open += change
        if change > 0:
            self._lanes[lane.route] = lane  # it may have been forgotten since, with its last connection
        else:
            self._enqueue(lane)
            self._forget_if_unused(lane)

    def _forget_if_unused(self, lane: _Lane) -> None:
        lane.drop_gone()
        if not lane.open and not lane.waiters and self._lanes.get(lane.route) is lane:
            del self._lanes[lane.route]

    async def aclose(self) -> None:
        """Close every connection, those in use too, and wait until they are closed."""
        self._closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        for lane in list(self._lanes.values()):
            for waiter in lane.waiters:
                if not waiter.grant.done():
                    waiter.grant.set_exception(SessionClosed("the session was closed while the request waited"))
        for connection in list(self._idle):
            self._retire(connection)
        busy = list(self._busy)
        for connection in busy:
            connection.stream.fail(SessionClosed("the session was closed in the middle of the exchange"))
            connection.stream.abort()
        for connection in busy:
            await connection.stream.aclose()
        while self._closing:
            await asyncio.wait(self._closing)


def _expire(grant: asyncio.Future[Connection | None], limit: float) -> None:
    if not grant.done():
        grant.set_exception(PoolTimeout(f"no connection became free within {limit:g} seconds"))
