"""Who is read next and who is sent next: one lane for each origin, and the limits that hold for all.

Every decision is synchronous and made here; whoever finishes something asks again. A lane's items wait, are read in
batches, and go out one by one. Places are shared fairly: among lanes that have something to send, the one with the
fewest on the way goes first, and none takes more than its share while others could use the rest.
"""

from __future__ import annotations

import itertools
from collections import deque

from .._url import Origin
from ._concurrency import Concurrency, Level
from ._delivery import Delivery
from ._loading import BATCH, HOP_BYTES


class Lane:
    """What is known of one origin's items."""

    __slots__ = ("held", "in_flight", "level", "loaded", "loading", "origin", "turn", "waiting")

    def __init__(self, origin: Origin | None, level: Level) -> None:
        self.origin = origin
        self.level = level
        self.waiting: deque[Delivery] = deque()
        self.loading = 0
        self.loaded: deque[Delivery] = deque()
        self.in_flight = 0
        self.held = 0
        self.turn = 0

    @property
    def demand(self) -> int:
        """How many places it could use."""
        return min(self.level.limit, self.in_flight + len(self.loaded) + self.loading + len(self.waiting))

    @property
    def weight(self) -> int:
        """Bytes of memory that it holds, those included that it is about to."""
        return self.held + self.loading * (HOP_BYTES // BATCH)

    @property
    def shortage(self) -> int:
        """How many waiting items should be read now, so that who could send need not wait for a disk.

        Hops are for whole batches, except where a smaller one is all there is to do.
        """
        ahead = len(self.loaded) + self.loading
        if ahead > max(BATCH, self.level.limit) or (ahead and len(self.waiting) < BATCH):
            return 0
        return min(BATCH, len(self.waiting))

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is left."""
        return not (self.waiting or self.loading or self.loaded or self.in_flight)


class Lanes:
    """All lanes.

    Args:
        concurrency: how many uploads may be on the way at a time to one origin, and at most in all.
        memory: bytes that may be read ahead at a time in all.
    """

    def __init__(self, concurrency: Concurrency, memory: int) -> None:
        self._concurrency = concurrency
        self._total = concurrency.most
        self._memory = memory
        self._levels: dict[Origin | None, Level] = {}
        self._lanes: dict[Origin | None, Lane] = {}
        self._turns = itertools.count()
        self.in_flight = 0
        self.held = 0
        """Bytes in memory, those included that hops under way may bring in."""

    def add(self, delivery: Delivery) -> None:
        """A new item, at the end of its lane."""
        self._lane(delivery).waiting.append(delivery)

    def add_ready(self, delivery: Delivery) -> None:
        """A new item that needs no reading."""
        self._lane(delivery).loaded.append(delivery)

    def add_again(self, delivery: Delivery) -> None:
        """An item to be tried again: it has waited long enough, and goes first."""
        self._lane(delivery).waiting.appendleft(delivery)

    def take_batch(self) -> list[Delivery]:
        """The items to be read next in one hop, from whatever lanes need it; empty without need, or without memory."""
        if self.held and self.held + HOP_BYTES > self._memory:
            return []
        batch: list[Delivery] = []
        for lane in self._lanes.values():
            shortage = lane.shortage
            if not shortage or lane.weight * len(self._lanes) >= self._memory:
                continue  # a stalled server's files must not keep all others' from being read
            taken = min(shortage, BATCH - len(batch))
            batch += [lane.waiting.popleft() for _ in range(taken)]
            lane.loading += taken
            if len(batch) == BATCH:
                break
        if batch:
            self.held += HOP_BYTES
        return batch

    def put_batch(self, batch: list[Delivery]) -> None:
        """A batch has been read, as far as it fitted into one hop; the rest waits again, first in its lane."""
        self.held -= HOP_BYTES
        for delivery in batch:
            lane = self._lanes[delivery.origin]
            lane.loading -= 1
            if delivery.ready:
                lane.loaded.append(delivery)
                lane.held += delivery.weight
                self.held += delivery.weight
        for delivery in reversed(batch):
            if delivery.ready:  # so are all before it
                break
            self.add_again(delivery)

    def take(self) -> Delivery | None:
        """The item to be sent next, or None when nothing is ready or nothing more may be sent."""
        if self.in_flight >= self._total:
            return None
        if len(self._lanes) == 1:
            (only,) = self._lanes.values()
            return self._take_from(only, self._total)
        share = self._share()
        best: Lane | None = None
        for lane in self._lanes.values():
            if not lane.loaded or lane.in_flight >= min(share, lane.level.limit):
                continue
            if best is None or (lane.in_flight, lane.turn) < (best.in_flight, best.turn):
                best = lane
        return None if best is None else self._take_from(best, share)

    def _take_from(self, lane: Lane, share: int) -> Delivery | None:
        if not lane.loaded or lane.in_flight >= min(share, lane.level.limit):
            return None
        lane.turn = next(self._turns)
        lane.in_flight += 1
        self.in_flight += 1
        return lane.loaded.popleft()

    def _share(self) -> int:
        """How many places a lane may take: all, or as many as the others leave it when each has what it can use.

        This is max-min fairness: who needs less than an equal share gets what he needs, and the rest is shared by
        those who need more.
        """
        lanes, left = len(self._lanes), self._total
        if lanes < 2:
            return left
        if lanes >= left:
            return 1
        for rank, demand in enumerate(sorted(lane.demand for lane in self._lanes.values())):
            share = -(-left // (lanes - rank))
            if demand >= share:
                return share
            left -= demand
        return self._total

    def finished(self, delivery: Delivery) -> None:
        """An item that was taken to be sent is off the way."""
        lane = self._lanes[delivery.origin]
        lane.in_flight -= 1
        lane.held -= delivery.weight
        self.in_flight -= 1
        self.held -= delivery.weight
        delivery.unload()
        if not lane.in_flight:
            self._forget_if_empty(lane)

    def drop(self) -> int:
        """Forget every item that is not on the way or being read; how many there were."""
        dropped = 0
        for lane in list(self._lanes.values()):
            dropped += len(lane.waiting) + len(lane.loaded)
            weight = sum(delivery.weight for delivery in lane.loaded)
            lane.held -= weight
            self.held -= weight
            lane.waiting.clear()
            lane.loaded.clear()
            self._forget_if_empty(lane)
        return dropped

    @property
    def limit(self) -> int:
        """How many may be on the way at a time as things are, in all."""
        return min(self._total, sum(lane.level.limit for lane in self._lanes.values()))

    def level_of(self, delivery: Delivery) -> Level:
        """The level of an item's lane."""
        return self._lanes[delivery.origin].level

    def _lane(self, delivery: Delivery) -> Lane:
        lane = self._lanes.get(delivery.origin)
        if lane is None:
            lane = self._lanes[delivery.origin] = Lane(delivery.origin, self._level(delivery.origin))
        return lane

    def _level(self, origin: Origin | None) -> Level:
        """An origin's level; what was found out about it outlives its lane."""
        level = self._levels.get(origin)
        if level is None:
            level = self._levels[origin] = self._concurrency.level()
        return level

    def _forget_if_empty(self, lane: Lane) -> None:
        if lane.is_empty:
            del self._lanes[lane.origin]
