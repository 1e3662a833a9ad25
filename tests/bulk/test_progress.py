"""Progress: how far a run has come, while it goes on."""

import asyncio
from typing import Any

import pytest

import aioreq
from aioreq.bulk import BulkProgress, Upload, bulk_upload
from aioreq.bulk._progress import Tally
from aioreq.testing import faults

from .conftest import MakeFiles, all_of


class TestCallbacks:
    """progress=."""

    async def test_the_last_word(self, fault_server: Any, make_files: MakeFiles, tmp_path: Any):
        """The last call tells of everything."""
        server = fault_server(faults.in_turn(faults.ok(400), faults.ok(503), faults.ok()))
        files = make_files(20)
        told: list[BulkProgress] = []
        options: dict[str, Any] = {"journal": tmp_path / "job.db", "retry": aioreq.Retry(backoff=0), "concurrency": 1}
        await all_of(bulk_upload(server.url, files, progress=told.append, **options))
        last = told[-1]
        assert (last.total, last.uploaded, last.failed, last.skipped, last.retries) == (20, 19, 1, 0, 1)
        assert (last.finished, last.in_flight, last.bytes_done) == (20, 0, 1900)
        assert last.bytes_sent == sum(request.received for request in server.requests)
        assert last.elapsed > 0
        await all_of(bulk_upload(server.url, files, progress=told.append, **options))
        assert (told[-1].skipped, told[-1].uploaded) == (19, 1)

    async def test_large_files_are_told_of_on_their_way(self, fault_server: Any, make_files: MakeFiles):
        """Bytes count as they leave, not when the file is through."""
        server = fault_server(faults.stall(after=10_000_000))
        [path] = make_files(1, size=20_000_000)
        run = bulk_upload(server.url, [path])
        results = asyncio.ensure_future(all_of(run))
        await server.reached("stalled")
        while run.progress.bytes_sent < 10_000_000:
            await asyncio.sleep(0)  # the server may know of them before we do
        assert (run.progress.in_flight, run.progress.finished, run.progress.limit) == (1, 0, 16)
        server.release("stalled")
        await results
        assert run.progress.bytes_sent == server.requests[0].received

    async def test_what_is_sent_twice(self, fault_server: Any, make_files: MakeFiles):
        """A body that goes again behind a redirect counts again."""
        server = fault_server({"/old": faults.redirect("/new", 307), "/new": faults.ok()})
        [path] = make_files(1, size=2_000_000)
        run = bulk_upload(f"{server.url}/old", [path])
        await all_of(run)
        assert run.progress.bytes_sent == sum(request.received for request in server.requests)

    async def test_it_is_not_called_all_the_time(self, fault_server: Any, make_files: MakeFiles):
        """However much happens, it is called ten times a second at most."""
        server = fault_server()
        told: list[BulkProgress] = []
        await all_of(bulk_upload(server.url, make_files(300), progress=told.append))
        assert len(told) <= told[-1].elapsed * 10 + 2

    @pytest.mark.parametrize("size", [100, 5_000_000])
    async def test_what_it_raises(self, fault_server: Any, make_files: MakeFiles, size: int):
        """What a callback raises ends the run, and reaches the caller as it was raised."""
        error = LookupError("enough")

        def tell(progress: BulkProgress) -> None:
            raise error

        with pytest.raises(LookupError) as raised:
            await all_of(bulk_upload(fault_server().url, make_files(50, size=size), progress=tell))
        assert raised.value is error


class TestTotals:
    """How much there will be."""

    async def test_of_a_list(self, fault_server: Any, make_files: MakeFiles):
        """What has a length is known from the beginning; what has none, at the end."""
        server = fault_server()
        files = make_files(5)
        told: list[BulkProgress] = []
        await all_of(bulk_upload(server.url, files, progress=told.append))
        assert {progress.total for progress in told} == {5}
        told.clear()
        await all_of(bulk_upload(server.url, iter(files), progress=told.append))
        assert (told[0].total, told[-1].total) == (None, 5)

    async def test_that_the_caller_knows(self, fault_server: Any):
        """The caller may know better, before the run and in it."""
        run = bulk_upload(fault_server().url, iter([Upload(b"x"), Upload(b"y")]), concurrency=1)
        assert run.progress == BulkProgress()
        run.expect(7, 900)
        async for _ in run:
            if run.progress.finished == 1:
                assert (run.progress.total, run.progress.total_bytes) == (7, 900)
                run.expect(2)
                assert (run.progress.total, run.progress.total_bytes) == (2, None)

    def test_time_left(self):
        """The time left goes by the number of items or by their bytes, whichever is more."""
        assert BulkProgress(elapsed=10).remaining is None
        assert BulkProgress(total=10, elapsed=10).remaining is None
        assert BulkProgress(total=40, uploaded=10, elapsed=10).remaining == 30
        by_bytes = BulkProgress(total=11, uploaded=10, elapsed=10, total_bytes=1000, bytes_done=100, bytes_sent=100)
        assert by_bytes.remaining == 90

    def test_speed_is_that_of_late(self):
        """A speed is that of the last five seconds."""
        tally = Tally(0.0)
        for tenth in range(1, 101):
            tally.moved(100_000, tenth / 10)
        assert tally.snapshot(10.0, 0, 0).speed == pytest.approx(1_000_000, rel=0.05)
        assert tally.snapshot(100.0, 0, 0).speed < 20_000
