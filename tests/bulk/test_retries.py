"""Trying again: each item by itself, under one Idempotency-Key, and only what may get better."""

import asyncio
from collections import Counter
from typing import Any

import pytest

import aioreq
from aioreq.bulk import Upload, UploadResult, bulk_upload
from aioreq.testing import Exchange, FaultServer, faults

from .conftest import MakeFiles, all_of, sha256

QUICK = aioreq.Retry(attempts=4, backoff=0.01)


class TestAgain:
    """What is tried again."""

    @pytest.mark.parametrize(
        "fault",
        [
            faults.ok(503, (("Retry-After", "0"),)),
            faults.ok(429),
            faults.ok(502),
            faults.reset_after(0),
            faults.reset_after(50),
            faults.cut_answer(),
        ],
        ids=lambda fault: fault.__name__,
    )
    async def test_what_may_get_better(self, fault_server: Any, make_files: MakeFiles, fault: Any):
        """After 429, 502, 503 and broken connections an item is sent again, whole and under the same key."""
        server = fault_server(faults.in_turn(fault, fault, faults.ok()))
        [result] = await all_of(bulk_upload(server.url, make_files(1), retry=QUICK))
        assert (result.ok, result.attempts) == (True, 3)
        assert {request.header("Idempotency-Key") for request in server.requests} == {result.key}
        first, *_, last = server.requests
        assert last.received == first.declared
        assert result.elapsed > result.duration

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 500])
    async def test_what_will_not(self, fault_server: Any, make_files: MakeFiles, status: int):
        """Any other answer is the item's result after one attempt."""
        server = fault_server(faults.ok(status))
        [result] = await all_of(bulk_upload(server.url, make_files(1), retry=QUICK))
        assert (result.status, result.attempts) == (status, 1)

    async def test_attempts_have_an_end(self, fault_server: Any, make_files: MakeFiles):
        """The last attempt's answer is the result, whatever it is."""
        server = fault_server(faults.ok(503))
        [result] = await all_of(bulk_upload(server.url, make_files(1), retry=QUICK))
        assert (result.status, result.ok, result.attempts, len(server.requests)) == (503, False, 4, 4)

    @pytest.mark.parametrize("retry", [None, 1])
    async def test_one_attempt(self, fault_server: Any, make_files: MakeFiles, retry: Any):
        """retry=None and retry=1 mean one attempt."""
        server = fault_server(faults.in_turn(faults.reset_after(0), faults.ok()))
        [result] = await all_of(bulk_upload(server.url, make_files(1), retry=retry))
        assert isinstance(result.error, aioreq.ConnectionError)
        assert result.attempts == 1

    async def test_large_files(self, fault_server: Any, make_files: MakeFiles):
        """A file that goes from the disk goes again from its first byte."""
        server = fault_server(faults.in_turn(faults.reset_after(500_000), faults.ok()))
        [path] = make_files(1, size=2_000_000)
        [result] = await all_of(bulk_upload(server.url, [path], field=None, retry=QUICK))
        assert (result.ok, result.attempts) == (True, 2)
        assert server.requests[1].received == 2_000_000

    async def test_what_can_be_read_once(self, fault_server: Any):
        """A source that can be read once only is not tried again: its first failure is its result."""
        server = fault_server(faults.in_turn(faults.ok(503), faults.ok()))
        item = Upload(iter([b"abc"]), size=3, name="x")
        [result] = await all_of(bulk_upload(server.url, [item], retry=QUICK))
        assert (result.status, result.attempts) == (503, 1)

    async def test_without_a_key(self, fault_server: Any, make_files: MakeFiles):
        """Who leaves the Idempotency-Key out has only idempotent methods tried again."""
        for method, attempts in (("POST", 1), ("PUT", 2)):
            server = fault_server(faults.in_turn(faults.ok(503), faults.ok()))
            run = bulk_upload(server.url, make_files(1), method=method, headers={"Idempotency-Key": None}, retry=QUICK)
            [result] = await all_of(run)
            assert result.attempts == attempts
            assert server.requests[0].header("Idempotency-Key") is None

    async def test_async_urls_are_fresh(self, fault_server: Any, make_files: MakeFiles):
        """An async url= is asked anew before each attempt, for what it signs may have expired."""
        server = fault_server(faults.in_turn(faults.ok(503), faults.ok()))
        signed = iter(("first", "second"))

        async def url(item: Upload) -> str:
            return f"{server.url}/{next(signed)}"

        await all_of(bulk_upload(url, make_files(1), retry=QUICK))
        assert [request.target for request in server.requests] == ["/first", "/second"]

    async def test_a_file_that_changes(self, fault_server: Any, make_files: MakeFiles):
        """A file that was changed between two attempts is not sent under the old key."""
        [path] = make_files(1)

        async def change(exchange: Exchange) -> None:
            await exchange.read_body()
            path.write_bytes(b"other")
            await exchange.answer(503)

        server = fault_server(change)
        [result] = await all_of(bulk_upload(server.url, [path], retry=QUICK))
        assert isinstance(result.error, aioreq.FileChanged)
        assert (result.attempts, len(server.requests)) == (1, 1)


class TestPauses:
    """The time between two attempts."""

    async def test_they_hold_no_place(self, fault_server: Any, make_files: MakeFiles):
        """While an item waits for its next attempt, the others go on in its place."""
        files = make_files(20)
        server = fault_server(faults.in_turn(faults.ok(503, (("Retry-After", "1"),)), faults.ok()))
        results = await all_of(bulk_upload(server.url, files, concurrency=1))
        assert [result.item.source for result in results] == [*files[1:], files[0]]
        assert results[-1].elapsed >= 1

    async def test_stop_ends_them(self, fault_server: Any, make_files: MakeFiles):
        """stop() waits for nobody's next attempt: such an item is not sent, and has no result."""
        server = fault_server(faults.in_turn(faults.ok(503, (("Retry-After", "30"),)), faults.ok()))
        run = bulk_upload(server.url, make_files(3), concurrency=1)
        results = []
        async for result in run:
            results.append(result)
            if len(results) == 2:
                run.stop()
        assert [result.status for result in results] == [200, 200]

    async def test_leaving_ends_them(self, fault_server: Any, make_files: MakeFiles):
        """Leaving the loop waits for nobody's next attempt."""
        server = fault_server(faults.in_turn(faults.ok(503, (("Retry-After", "30"),)), faults.ok()))
        async with bulk_upload(server.url, make_files(3), concurrency=1) as run:
            async for _ in run:
                break


class Watched(aioreq.Retry):
    """Tells of each connection that was refused."""

    refused = asyncio.Event()
    count = 0

    def after_error(self, request: Any, error: Any, attempt: int) -> float | None:
        Watched.count += 1
        if Watched.count == 20:
            Watched.refused.set()
        return super().after_error(request, error, attempt)


class TestABadDay:
    """Everything at once."""

    async def test_all_files_arrive_each_once(self, make_files: MakeFiles):
        """A server that answers 503 to every fifth request, resets every fiftieth, and is gone for a second."""
        stored: dict[str, str] = {}
        repeated = Counter[str]()
        numbers = iter(range(1, 1_000_000))

        async def serve(exchange: Exchange) -> None:
            number = next(numbers)
            if number % 5 == 0:
                await exchange.read_body()
                await exchange.answer(503, (("Retry-After", "0"),))
            elif number % 50 == 1:
                await exchange.read_body(30)
                await exchange.reset()
            else:
                await exchange.read_body()
                key = exchange.request.header("Idempotency-Key")
                assert key is not None
                if key in stored:
                    repeated[key] += 1
                stored[key] = exchange.request.sha256
                await exchange.answer(201)

        Watched.refused, Watched.count = asyncio.Event(), 0
        files = make_files(1000)
        server = FaultServer(serve)
        server.__enter__()
        results: list[UploadResult] = []
        try:
            retry = Watched(attempts=20, backoff=0.02, max_delay=0.3)
            async for result in bulk_upload(server.url, files, field=None, retry=retry):
                results.append(result)
                if len(results) == 400:
                    server.__exit__(None, None, None)
                    await asyncio.gather(Watched.refused.wait(), asyncio.sleep(1))  # the second is the fault
                    server.__enter__()
        finally:
            server.__exit__(None, None, None)
        assert {result.item.source for result in results if result.ok} == set(files)
        assert len(results) == len(stored) == 1000
        assert stored == {result.key: sha256(result.item.source) for result in results}
        # The server was ended in the middle of what was on the way: there it may have stored without answering.
        assert sum(repeated.values()) <= 16
