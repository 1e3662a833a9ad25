"""The rate limit: right in all, fair, smooth below a second, and changeable."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

import pytest

import aioreq
from aioreq.bulk import RateLimit, Upload, bulk_upload
from aioreq.bulk._rate import Bucket
from aioreq.testing import Exchange
from tests.instant_loop import InstantLoop

from .conftest import MakeFiles, all_of


def in_no_time(work: Coroutine[Any, Any, Any]) -> Any:
    """What the coroutine gives, in a loop whose clock jumps."""
    with asyncio.Runner(loop_factory=InstantLoop) as runner:
        return runner.run(work)


async def taken(bucket: Bucket, number: int, pieces: int, times: list[float]) -> None:
    for _ in range(pieces):
        await bucket.take(number)
        times.append(asyncio.get_running_loop().time())


class TestBuckets:
    """One limit, by the clock."""

    @pytest.mark.parametrize("users", [1, 7])
    def test_the_rate(self, users: int):
        """In each tenth of a second a tenth of a second's worth leaves, and not a piece more or less."""
        times: list[float] = []

        async def use() -> None:
            bucket = Bucket(1000)
            await asyncio.gather(*(taken(bucket, 10, 700 // users, times) for _ in range(users)))

        in_no_time(use())
        assert times == sorted(times)
        assert times[-1] == pytest.approx(7, abs=0.2)
        for moment in range(1, 65):
            in_a_tenth = sum(moment / 10 <= time < (moment + 1) / 10 for time in times)
            assert 9 <= in_a_tenth <= 11

    def test_who_pauses_has_no_claim(self):
        """Who takes nothing for a while saves nothing but a moment's worth."""

        async def use() -> float:
            bucket = Bucket(1000)
            await bucket.take(10)
            await asyncio.sleep(60)
            begun = asyncio.get_running_loop().time()
            for _ in range(100):
                await bucket.take(10)
            return asyncio.get_running_loop().time() - begun

        assert in_no_time(use()) == pytest.approx(0.95, abs=0.03)

    def test_first_come_first_served(self):
        """Who waits longest goes first, however large his piece is."""
        order: list[int] = []

        async def use() -> None:
            bucket = Bucket(1000)

            async def one(number: int) -> None:
                await bucket.take(1000 if number == 1 else 1)
                order.append(number)

            await bucket.take(1000)
            await asyncio.gather(*(one(number) for number in range(5)))

        in_no_time(use())
        assert order == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize(("rate", "seconds"), [(2000, 0.5), (None, 0), (500, 2)])
    def test_a_change_holds_at_once(self, rate: float | None, seconds: float):
        """Those in line go on at the new rate."""

        async def use() -> float:
            loop = asyncio.get_running_loop()
            bucket = Bucket(1)
            await bucket.take(1)
            line = [asyncio.ensure_future(bucket.take(10)) for _ in range(100)]
            await asyncio.sleep(0)
            begun = loop.time()
            bucket.rate = rate
            await asyncio.gather(*line)
            return loop.time() - begun

        assert in_no_time(use()) == pytest.approx(seconds, rel=0.1, abs=0.05)

    def test_a_limit_that_is_set_later(self):
        """What was without a limit begins with an empty bucket, not with what it might have saved."""

        async def use() -> float:
            loop = asyncio.get_running_loop()
            bucket = Bucket(None)
            await bucket.take(10**9)
            bucket.rate = 1000
            begun = loop.time()
            for _ in range(100):
                await bucket.take(10)
            return loop.time() - begun

        assert in_no_time(use()) == pytest.approx(1, abs=0.02)

    @pytest.mark.parametrize("granted", [True, False])
    def test_who_is_cancelled_takes_nothing(self, granted: bool):
        """Who is cancelled in line, or just when his turn has come, leaves his tokens to the others."""

        async def use() -> float:
            loop = asyncio.get_running_loop()
            bucket = Bucket(1000)
            await bucket.take(1000)
            first = asyncio.ensure_future(bucket.take(10_000))
            second = asyncio.ensure_future(bucket.take(1))
            await asyncio.sleep(0)
            if granted:
                bucket.rate = 1_000_000
                bucket.rate = 1000
                await asyncio.sleep(0.96)
                bucket._level = 1.0
                bucket._serve()
            first.cancel()
            await asyncio.wait((first,))
            await second
            return loop.time()

        assert in_no_time(use()) < 1.1

    @pytest.mark.parametrize("rate", [0, -1, float("nan")])
    def test_what_is_no_rate(self, rate: float):
        """A rate is above 0."""
        with pytest.raises(ValueError, match="rate limit"):
            RateLimit(rate)
        with pytest.raises(ValueError, match="rate limit"):
            RateLimit().per_host = rate


class TestLimits:
    """A run's limit, and each host's."""

    def test_hosts_beside_each_other(self):
        """Each host has its own rate, and all share the total."""

        async def use(limit: RateLimit, hosts: int) -> float:
            async def one(host: str) -> None:
                for _ in range(100):
                    await limit.take(("http", host, 80), 10)

            await asyncio.gather(*(one(str(host)) for host in range(hosts)))
            return asyncio.get_running_loop().time()

        assert in_no_time(use(RateLimit(per_host=1000), 3)) == pytest.approx(1, abs=0.06)
        assert in_no_time(use(RateLimit(total=1000), 3)) == pytest.approx(3, abs=0.06)
        assert in_no_time(use(RateLimit(total=1000, per_host=100), 3)) == pytest.approx(10, abs=0.2)

    def test_both_can_be_changed(self):
        """A change of the rate per host holds for hosts that are known already."""

        async def use() -> float:
            limit = RateLimit(per_host=1)
            host = ("http", "a", 80)
            await limit.take(host, 1)
            line = [asyncio.ensure_future(limit.take(host, 10)) for _ in range(100)]
            await asyncio.sleep(0)
            limit.per_host, limit.total = 1000, 500
            await asyncio.gather(*line)
            return asyncio.get_running_loop().time()

        limit = RateLimit(per_host=5)
        limit.total = 7
        assert (limit.per_host, limit.total, repr(limit)) == (5, 7, "RateLimit(total=7, per_host=5)")
        assert in_no_time(use()) == pytest.approx(2, abs=0.1)

    @pytest.mark.parametrize(
        ("total", "per_host", "piece"),
        [(None, None, 262144), (1_000_000, None, 50_000), (1_000_000, 100_000, 5_000), (100, None, 512)],
    )
    def test_pieces(self, total: float | None, per_host: float | None, piece: int):
        """Bodies leave in pieces of a twentieth of a second's worth, neither tiny nor huge."""
        assert RateLimit(total, per_host).piece == piece


class TestUploads:
    """Limited uploads."""

    async def test_they_are_not_faster(self, fault_server: Any, make_files: MakeFiles):
        """Files small and large take the time that the limit says, and arrive whole."""
        server = fault_server()
        files = [*make_files(50, size=2000, folder="small"), *make_files(2, size=300_000, folder="large")]
        begun = asyncio.get_running_loop().time()
        results = await all_of(bulk_upload(server.url, files, field=None, rate_limit=1_400_000))
        assert asyncio.get_running_loop().time() - begun > 0.4
        assert all(result.ok for result in results)
        assert sorted(request.received for request in server.requests) == [2000] * 50 + [300_000] * 2

    @pytest.mark.parametrize("source", ["file", "form", "bytes"])
    async def test_pieces_leave_at_once_and_the_limit_can_be_lifted(
        self, fault_server: Any, make_files: MakeFiles, source: str
    ):
        """However low the limit, what it lets go is not held back; lifted, it lets go of everything."""

        async def serve(exchange: Exchange) -> None:
            await exchange.read_body(100)
            exchange.mark("some")
            await exchange.read_body()
            await exchange.answer()

        server = fault_server(serve)
        [path] = make_files(1, size=1_000_000)
        item = Upload(path.read_bytes() if source == "bytes" else path, field="file" if source == "form" else None)
        run = bulk_upload(server.url, [item], rate_limit=RateLimit(per_host=600))
        results = asyncio.ensure_future(all_of(run))
        await server.reached("some")
        assert server.requests[0].received < 5000
        run.rate_limit.per_host = None
        assert [result.sent >= 1_000_000 for result in await results] == [True]

    async def test_sources_that_can_be_read_once(self, fault_server: Any):
        """A limited upload of an iterator is tried once, as an unlimited one is."""
        server = fault_server()
        item = Upload(iter([b"x" * 1000] * 10), size=10_000)
        [result] = await all_of(bulk_upload(server.url, [item], rate_limit=1_000_000))
        assert result.ok
        assert server.requests[0].received > 10_000

    async def test_it_is_shared(self, fault_server: Any, make_files: MakeFiles):
        """Runs that share a limit share its bytes."""
        server, limit = fault_server(), RateLimit(500_000)
        begun = asyncio.get_running_loop().time()
        runs = (bulk_upload(server.url, make_files(1, size=150_000), rate_limit=limit) for _ in range(2))
        await asyncio.gather(*map(all_of, runs))
        assert asyncio.get_running_loop().time() - begun > 0.5

    async def test_leaving_does_not_wait(self, fault_server: Any, make_files: MakeFiles):
        """Who leaves the loop does not wait for bytes that were not due yet."""
        server = fault_server()
        items = [Upload(b"", name="first"), *(Upload(path) for path in make_files(30, size=200_000))]
        async with bulk_upload(server.url, items, rate_limit=1000) as run:
            async for _ in run:
                break


async def test_a_retry_is_limited_too(fault_server: Any, make_files: MakeFiles):
    """What is sent again counts again."""
    numbers = itertools.count()

    async def serve(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.answer(503 if next(numbers) == 0 else 200)

    server = fault_server(serve)
    begun = asyncio.get_running_loop().time()
    run = bulk_upload(
        server.url, make_files(1, size=100_000), rate_limit=500_000, retry=aioreq.Retry(attempts=2, backoff=0)
    )
    [result] = await all_of(run)
    assert result.attempts == 2
    assert asyncio.get_running_loop().time() - begun > 0.3
