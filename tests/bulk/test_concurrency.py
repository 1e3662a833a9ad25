"""Concurrency that adapts: the right number is found, between bounds, and given up when it is wrong."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest

import aioreq
from aioreq.bulk import Concurrency, Upload, bulk_upload
from aioreq.bulk._concurrency import AdaptiveLevel, Outcome, most_uploads
from aioreq.testing import Exchange

from .conftest import MakeFiles

Behaviour = Callable[[int], tuple[float, Outcome]]


class Simulated:
    """Uploads to a server that is a function: how long an upload takes, and how it ends, with so many on the way."""

    def __init__(self, level: AdaptiveLevel, behaviour: Behaviour, size: int = 1000) -> None:
        self.level = level
        self.behaviour = behaviour
        self.now = 0.0
        self.limits: list[int] = []
        self.outcomes: list[Outcome] = []
        self._size = size
        self._ends: list[tuple[float, int, float, Outcome]] = []
        self._numbers = itertools.count()

    def run(self, uploads: int) -> None:
        for _ in range(uploads):
            while len(self._ends) < self.level.limit:
                self.level.begun(self.now)
                seconds, outcome = self.behaviour(len(self._ends) + 1)
                seconds *= 1 + 0.1 * ((next(self._numbers) * 7919) % 11 - 5) / 5  # nothing is exactly regular
                heapq.heappush(self._ends, (self.now + seconds, next(self._numbers), seconds, outcome))
            self.now, _, seconds, outcome = heapq.heappop(self._ends)
            self.level.moved(self._size if outcome is Outcome.GOOD else 0)
            self.level.ended(self.now, seconds, outcome)
            self.limits.append(self.level.limit)
            self.outcomes.append(outcome)

    def refusals(self) -> float:
        """Which share of the uploads was refused."""
        return self.outcomes.count(Outcome.TOO_MUCH) / len(self.outcomes)

    def usual(self, share: float = 0.5) -> float:
        """The mean of the level in the last part of the run."""
        part = self.limits[int(len(self.limits) * (1 - share)) :]
        return sum(part) / len(part)


def queueing(places: int, seconds: float = 0.01) -> Behaviour:
    """A server that works on so many uploads at a time and lets the others wait."""
    return lambda n: (seconds * max(1, n / places), Outcome.GOOD)


def refusing(places: int, seconds: float = 0.01) -> Behaviour:
    """A server that refuses what is beyond its places."""
    return lambda n: (seconds, Outcome.GOOD) if n <= places else (0.001, Outcome.TOO_MUCH)


def collapsing(places: int, seconds: float = 0.01) -> Behaviour:
    """A server that gets less done the more it is asked for."""
    return lambda n: (seconds * max(1, n / places) ** 2, Outcome.GOOD)


def simulated(behaviour: Behaviour, uploads: int = 20_000, **bounds: Any) -> Simulated:
    run = Simulated(AdaptiveLevel(Concurrency(**bounds)), behaviour)
    run.run(uploads)
    return run


class TestTheHill:
    """What is found."""

    @pytest.mark.parametrize("places", [1, 2, 5, 20, 60])
    @pytest.mark.parametrize("server", [queueing, collapsing, refusing])
    def test_the_right_number(self, server: Callable[[int], Behaviour], places: int):
        """It comes to rest near what the server can work on at a time."""
        run = simulated(server(places))
        assert 0.6 * places <= run.usual() <= 1.6 * places + 1.5

    def test_it_is_found_quickly(self):
        """A server that could do more gets more before long."""
        run = simulated(queueing(60), 1500)
        assert max(run.limits) >= 50

    def test_refusals_are_rare(self):
        """A server that refuses what is too much is not bothered with it for long."""
        run = simulated(refusing(20))
        assert run.refusals() < 0.02

    def test_little_is_lost(self):
        """The search costs little: a tenth of what would have been possible."""
        run = simulated(queueing(20))
        assert run.now < 1.15 * 20_000 * 0.01 / 20


class TestChanges:
    """A server does not stay as it is."""

    def test_a_server_that_becomes_slower(self):
        """Fewer places: the number comes down."""
        run = simulated(queueing(40), 10_000)
        run.behaviour = queueing(5)
        run.run(20_000)
        assert run.usual(0.3) <= 12

    def test_a_server_that_becomes_faster(self):
        """More places: the number goes up."""
        run = simulated(queueing(5), 10_000)
        run.behaviour = queueing(40)
        run.run(30_000)
        assert run.usual(0.3) >= 25

    @pytest.mark.parametrize("outage", [2000])
    def test_an_outage(self, outage: int):
        """While nothing gets through, as few as allowed are tried; afterwards the number recovers."""
        run = simulated(queueing(20), 10_000)
        run.behaviour = lambda n: (0.01, Outcome.TOO_MUCH)
        run.run(outage)
        assert run.limits[-1] <= 2
        run.behaviour = queueing(20)
        run.run(20_000)
        assert run.usual(0.3) >= 12


class TestBounds:
    """Between floor and ceiling."""

    def test_the_floor(self):
        """Never below, however bad it is."""
        run = simulated(lambda n: (0.01, Outcome.TOO_MUCH), 1000, floor=3)
        assert min(run.limits) == run.limits[-1] == 3

    def test_the_ceiling(self):
        """Never above, however good it is."""
        run = simulated(lambda n: (0.01, Outcome.GOOD), 5000, ceiling=17)
        assert max(run.limits) == run.limits[-1] == 17

    def test_failures_of_items_do_not_matter(self):
        """An item that fails for reasons of its own says nothing about the number."""
        run = simulated(lambda n: (0.01, Outcome.NEITHER), 1000)
        assert min(run.limits) >= 4

    def test_little_to_do(self):
        """A number that is not reached is not raised."""
        level = AdaptiveLevel(Concurrency())
        now = 0.0
        for _ in range(1000):
            level.begun(now)
            now += 0.01
            level.ended(now, 0.01, Outcome.GOOD)
        assert level.limit == 4

    @pytest.mark.parametrize("value", [0, (5, 4), (1, 10**9)])
    def test_what_can_not_be(self, value: Any):
        """Bounds that can't be met are refused."""
        with pytest.raises(ValueError, match="ulimit -n"):
            Concurrency(*value) if isinstance(value, tuple) else Concurrency.of(value)

    @pytest.mark.parametrize("value", ["many", 1.5, True])
    def test_what_is_no_concurrency(self, value: Any):
        """A number, "auto" or bounds; nothing else."""
        with pytest.raises(TypeError, match="auto"):
            bulk_upload("http://example.org/", [], concurrency=value)

    def test_descriptors(self, monkeypatch: pytest.MonkeyPatch):
        """The most is a third of the descriptors that a process may have, some left aside."""
        resource = pytest.importorskip("resource")
        monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
        assert most_uploads() == 320
        assert Concurrency().most == 128
        assert Concurrency.of(None) == Concurrency(16, 16)
        monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
        assert most_uploads() == Concurrency().most == 64
        monkeypatch.setattr(resource, "getrlimit", lambda _: (94, 94))
        assert most_uploads() == Concurrency().most == Concurrency.of(None).most == 10


class TestUploads:
    """With real servers."""

    async def test_a_server_that_has_few_places(self, fault_server: Any, make_files: MakeFiles):
        """A server that refuses more than three at a time gets all files, with few refusals."""
        now = 0
        refused = 0

        async def serve(exchange: Exchange) -> None:
            nonlocal now, refused
            now += 1
            if now > 3:
                refused += 1
                await exchange.read_body()
                await exchange.answer(503, (("Retry-After", "0"),))
            else:
                await exchange.read_body(pace=0.002, chunk=60)
                await exchange.answer(201)
            now -= 1

        server = fault_server(serve)
        run = bulk_upload(
            server.url, make_files(300), field=None, concurrency="auto", retry=aioreq.Retry(attempts=20, backoff=0.01)
        )
        results = [result async for result in run]
        assert all(result.ok for result in results)
        assert len(results) == 300
        assert refused < 60

    async def test_each_host_has_its_own(self, fault_server: Any, make_files: MakeFiles):
        """A host that refuses everything does not slow the others down."""

        async def refuse(exchange: Exchange) -> None:
            await exchange.read_body()
            await exchange.answer(503, (("Retry-After", "0"),))

        bad, good = fault_server(refuse), fault_server()
        items = [Upload(path, url=server.url) for path in make_files(100) for server in (bad, good)]
        results = [r async for r in bulk_upload(None, items, concurrency="auto", retry=2)]
        assert sum(result.ok for result in results) == 100
