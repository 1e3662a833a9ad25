"""A limit on bytes per second: for the whole run, for each host, changeable at any time, and smooth.

A token bucket fills at the rate, up to a twentieth of a second's worth. Who wants to send takes a token for each byte,
and may thereby leave the bucket in debt; who finds it empty waits in line. Bodies go out in pieces of a twentieth of a
second's worth, each taken on its own, so that many uploads share the rate evenly and no second has a burst.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

from .._body import Body, Segment
from .._url import Origin

# Seconds' worth of bytes that a bucket holds, and that leave as one piece.
_MOMENT = 0.05
_SMALLEST_PIECE = 512
_LARGEST_PIECE = 256 * 1024


class Bucket:
    """Tokens that come at a rate.

    Args:
        rate: tokens per second, or None for no limit.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._level = 0.0
        self._filled: float | None = None
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def rate(self) -> float | None:
        """Tokens per second, or None for no limit. A change holds from now on, for those in line too."""
        return self._rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        if self._filled is not None:
            self._fill()
        self._rate = rate
        if rate is not None:
            self._level = min(self._level, rate * _MOMENT)
        if self._line:
            self._serve()

    async def take(self, number: int) -> None:
        """Wait until it is our turn and there is a token, and take so many: first come, first served."""
        self._fill()
        if not self._line and self._has_any:
            self._level -= number
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append((number, turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            self._leave(number, turn)
            raise

    @property
    def _has_any(self) -> bool:
        return self._rate is None or self._level > 0

    def _fill(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._rate is None:
            self._level = 0.0
        elif self._filled is None:
            self._level = self._rate * _MOMENT
        else:
            self._level = min(self._rate * _MOMENT, self._level + (now - self._filled) * self._rate)
        self._filled = now

    def _serve(self) -> None:
        """Let those in front go, as far as the tokens reach, and look again when there will be more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fill()
        while self._line and self._has_any:
            number, turn = self._line.popleft()
            if not turn.done():
                self._level -= number
                turn.set_result(None)
        if self._line and self._rate is not None:
            # One token more than the debt, for at zero there is none yet.
            self._timer = asyncio.get_running_loop().call_later((1 - self._level) / self._rate, self._serve)

    def _leave(self, number: int, turn: asyncio.Future[None]) -> None:
        """Whoever was cancelled leaves the line, or gives back what he was just given."""
        if not turn.cancelled():
            self._level += number
        with contextlib.suppress(ValueError):
            self._line.remove((number, turn))
        if self._line:
            self._serve()
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None


class RateLimit:
    """Bytes of bodies per second, whatever the number of uploads. Both numbers can be changed at any time.

    Args:
        total: for everything that shares this object, or None for no limit.
        per_host: for each origin (scheme, host and port), or None for no limit.

    Raises:
        ValueError: a rate is not above 0.
    """

    def __init__(self, total: float | None = None, per_host: float | None = None) -> None:
        self._total = Bucket(_checked(total))
        self._per_host = _checked(per_host)
        self._hosts: dict[Origin | None, Bucket] = {}

    @property
    def total(self) -> float | None:
        """Bytes per second in all, or None."""
        return self._total.rate

    @total.setter
    def total(self, rate: float | None) -> None:
        self._total.rate = _checked(rate)

    @property
    def per_host(self) -> float | None:
        """Bytes per second to each origin, or None."""
        return self._per_host

    @per_host.setter
    def per_host(self, rate: float | None) -> None:
        self._per_host = _checked(rate)
        for bucket in self._hosts.values():
            bucket.rate = rate

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return self.total is not None or self.per_host is not None

    def __repr__(self) -> str:
        return f"RateLimit(total={self.total}, per_host={self.per_host})"

    async def take(self, origin: Origin | None, number: int) -> None:
        """Wait until so many bytes may leave for an origin."""
        bucket = self._hosts.get(origin)
        if bucket is None:
            bucket = self._hosts[origin] = Bucket(self._per_host)
        await bucket.take(number)
        await self._total.take(number)

    @property
    def piece(self) -> int:
        """How many bytes should leave at a time."""
        rates = [rate for rate in (self.total, self.per_host) if rate is not None]
        if not rates:
            return _LARGEST_PIECE
        return int(min(max(min(rates) * _MOMENT, _SMALLEST_PIECE), _LARGEST_PIECE))

    async def paced(self, body: Body, origin: Origin | None) -> Body:
        """The body as it may be sent: itself, behind a wait, when it is one piece; else one that leaves in pieces."""
        if body.in_memory and body.length is not None and body.length <= self.piece:
            await self.take(origin, body.length)
            return body
        return Body([_Paced(segment, self, origin) for segment in body.segments], body.content_type, body.params)


class _Paced(Segment):
    """A segment that leaves in pieces, as the limit lets it."""

    __slots__ = ("_limit", "_origin", "_segment")

    prompt = True

    def __init__(self, segment: Segment, limit: RateLimit, origin: Origin | None) -> None:
        super().__init__(segment.length)
        self._segment = segment
        self._limit = limit
        self._origin = origin

    @property
    def one_shot(self) -> bool:
        """Whether the segment behind it can be read once only."""
        return self._segment.one_shot

    def require_fresh(self) -> None:
        self._segment.require_fresh()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(self._segment.chunks()) as chunks:
            async for chunk in chunks:
                start = 0
                while start < len(chunk):
                    piece = chunk[start : start + self._limit.piece]
                    await self._limit.take(self._origin, len(piece))
                    start += len(piece)
                    yield piece


def _checked(rate: Any) -> float | None:
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate > 0:
        raise ValueError(f"a rate limit is a number of bytes per second above 0, or None; not {rate!r}")
    return rate
