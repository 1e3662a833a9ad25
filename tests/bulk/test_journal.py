"""The journal: a run that was killed at any moment goes on where it was."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq.bulk import JournalBusy, JournalError, JournalMismatch, Upload, bulk_upload
from aioreq.bulk._journal import Entry, Journal
from aioreq.testing import Exchange, faults

from .conftest import MakeFiles, all_of


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "job.db"


class TestGoingOn:
    """What a second run with the same journal sends."""

    async def test_what_is_done_is_not_sent_again(self, fault_server: Any, make_files: MakeFiles, journal: Path):
        """Items that have arrived come as skipped results with the status of then, and nothing is sent."""
        server, files = fault_server(faults.ok(201)), make_files(300)
        first = await all_of(bulk_upload(server.url, files, journal=journal))
        second = await all_of(bulk_upload(server.url, map(str, files), journal=journal))
        assert len(server.requests) == 300
        assert not any(result.skipped for result in first)
        assert all(result.ok and result.skipped and result.status == 201 for result in second)
        assert {(r.key, r.size, r.attempts) for r in second} == {(r.key, r.size, 0) for r in first}

    async def test_what_failed_is_sent_again_under_its_key(
        self, fault_server: Any, make_files: MakeFiles, journal: Path
    ):
        """An item that failed keeps its Idempotency-Key over runs."""
        server = fault_server(faults.in_turn(faults.ok(507), faults.ok()))
        [path] = make_files(1)
        for _ in range(2):
            await all_of(bulk_upload(server.url, [path], journal=journal))
        first, second = server.requests
        assert first.header("Idempotency-Key") == second.header("Idempotency-Key")

    @pytest.mark.parametrize("change", ["size", "mtime"])
    async def test_a_changed_file_is_sent_again(
        self, fault_server: Any, make_files: MakeFiles, journal: Path, change: str
    ):
        """A file of another size or time of change is another item, with another key."""
        server, files = fault_server(), make_files(3)
        await all_of(bulk_upload(server.url, files, journal=journal))
        if change == "size":
            status = files[1].stat()
            files[1].write_bytes(b"longer" * 100)
            os.utime(files[1], ns=(status.st_atime_ns, status.st_mtime_ns))
        else:
            os.utime(files[1], ns=(0, 12345))
        results = await all_of(bulk_upload(server.url, files, journal=journal))
        assert [result.item.source for result in results if not result.skipped] == [files[1]]
        assert len({request.header("Idempotency-Key") for request in server.requests}) == 4

    async def test_the_working_directory_does_not_matter(
        self, fault_server: Any, make_files: MakeFiles, journal: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """A file is known by its absolute path."""
        server, [path] = fault_server(), make_files(1)
        await all_of(bulk_upload(server.url, [path], journal=journal))
        monkeypatch.chdir(path.parent)
        [result] = await all_of(bulk_upload(server.url, [path.name], journal=journal))
        assert result.skipped

    async def test_signatures_do_not_matter(self, fault_server: Any, make_files: MakeFiles, journal: Path):
        """A presigned URL with a new signature is the same place, and no signature is written down."""
        server, [path] = fault_server(), make_files(1)
        for signature in ("first", "second"):
            url = f"{server.url}/a?partNumber=1&X-Amz-Expires=9&X-Amz-Signature={signature}&X-Amz-Date={signature}"
            [result] = await all_of(bulk_upload(None, [Upload(path, url=url)], method="PUT", journal=journal))
        assert result.skipped
        with closing(sqlite3.connect(journal)) as database:
            [(stored,)] = database.execute("SELECT url FROM uploads").fetchall()
        assert stored == f"{server.url}/a?partNumber=1"

    async def test_other_queries_do(self, fault_server: Any, make_files: MakeFiles, journal: Path):
        """URLs that differ in anything else are different places."""
        server, [path] = fault_server(), make_files(1)
        items = [Upload(path, url=f"{server.url}/a?expires={number}") for number in range(2)]
        results = await all_of(bulk_upload(None, items, journal=journal))
        assert [result.skipped for result in results] == [False, False]

    async def test_what_has_no_path(self, fault_server: Any, journal: Path):
        """What is not a file is known by its key=, and refused without one."""
        server = fault_server()
        items = [Upload(b"a", key="first"), Upload(b"b")]
        await all_of(bulk_upload(server.url, items, journal=journal))
        results = {r.item.key: r for r in await all_of(bulk_upload(server.url, items, journal=journal))}
        assert results["first"].skipped
        assert [request.header("Idempotency-Key") for request in server.requests] == ["first"]
        assert isinstance(results[None].error, aioreq.InvalidBody)
        assert "key=" in str(results[None].problem)

    async def test_keys_are_the_journals(self, fault_server: Any, make_files: MakeFiles, tmp_path: Path):
        """Another journal is another job: its keys are others, else servers would take it for a repetition."""
        server, [path] = fault_server(), make_files(1)
        for name in ("one.db", "two.db"):
            await all_of(bulk_upload(server.url, [path], journal=tmp_path / name))
        assert len({request.header("Idempotency-Key") for request in server.requests}) == 2


class TestRepetitions:
    """One item several times in one run."""

    async def test_it_is_sent_once(self, fault_server: Any, make_files: MakeFiles, journal: Path):
        """However often an item comes, and be it on the way just then, it is sent once."""
        server, [path] = fault_server(), make_files(1)
        results = await all_of(bulk_upload(server.url, (path for _ in range(500)), journal=journal))
        assert len(server.requests) == 1
        assert Counter(result.skipped for result in results) == {True: 499, False: 1}

    async def test_the_next_one_tries(self, fault_server: Any, make_files: MakeFiles, journal: Path):
        """Where the first one fails the next one is sent."""
        server = fault_server(faults.in_turn(faults.ok(507), faults.ok()))
        [path] = make_files(1)
        results = await all_of(bulk_upload(server.url, [path] * 5, journal=journal))
        assert [(result.status, result.skipped) for result in results] == [(507, False), (200, False)] + [
            (200, True)
        ] * 3

    async def test_stop_does_not_wait_for_them(self, fault_server: Any, make_files: MakeFiles, journal: Path):
        """stop() drops repetitions of what is on the way."""
        server, [path, other] = fault_server({"/stall": faults.stall(), "/": faults.ok()}), make_files(2)
        items = [Upload(path, url=f"{server.url}/stall")] * 5 + [Upload(other, url=server.url)]
        run = bulk_upload(None, items, journal=journal)
        results = []
        async for result in run:
            results.append(result)
            if len(results) == 1:
                await server.reached("stalled")
                run.stop()
                server.release("stalled")
        assert [result.skipped for result in results] == [False, False]


class TestRefusals:
    """What is not this job's journal."""

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"url": "http://other.example/"}, "http://other.example/"),
            ({"method": "PATCH"}, "PATCH"),
            ({"field": "document"}, "'document'"),
            ({"field": None}, "raw bodies"),
            ({"url": None}, "one URL for each item"),
        ],
    )
    async def test_another_job(self, fault_server: Any, journal: Path, options: dict[str, Any], told: str):
        """Another URL, method or field is another job; the message tells both."""
        server = fault_server()
        await all_of(bulk_upload(server.url, [], journal=journal))
        other = {"url": server.url, **options}
        with pytest.raises(JournalMismatch, match=told) as raised:
            await all_of(bulk_upload(items=[], journal=journal, **other))
        assert f"POST to {server.url}, forms with the field 'file'" in str(raised.value)
        assert isinstance(raised.value, aioreq.RequestException)

    @pytest.mark.parametrize("content", [b"not a database, but long enough to be one" * 100, b"x"])
    async def test_no_database(self, journal: Path, content: bytes):
        """A file that is no database is left as it is."""
        journal.write_bytes(content)
        with pytest.raises(JournalMismatch, match="not a journal"):
            await all_of(bulk_upload("http://127.0.0.1:9/", [], journal=journal))
        assert journal.read_bytes() == content

    async def test_a_foreign_database(self, journal: Path):
        """Somebody else's database is left as it is."""
        with sqlite3.connect(journal) as database:
            database.execute("CREATE TABLE mine (value)")
        database.close()
        content = journal.read_bytes()
        with pytest.raises(JournalMismatch, match="not a journal of aioreq"):
            await all_of(bulk_upload("http://127.0.0.1:9/", [], journal=journal))
        assert journal.read_bytes() == content

    async def test_another_version(self, journal: Path):
        """A journal of another format is refused."""
        await all_of(bulk_upload("http://127.0.0.1:9/", [], journal=journal))
        with sqlite3.connect(journal) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
        with pytest.raises(JournalMismatch, match="another version"):
            await all_of(bulk_upload("http://127.0.0.1:9/", [], journal=journal))

    async def test_where_no_file_can_be(self, tmp_path: Path):
        """A path where no file can be made is told."""
        with pytest.raises(JournalError, match="can't be used"):
            await all_of(bulk_upload("http://127.0.0.1:9/", [], journal=tmp_path / "missing" / "job.db"))

    async def test_two_runs_at_a_time(self, fault_server: Any, make_files: MakeFiles, journal: Path):
        """A second run on one journal is refused while the first goes on, and welcome behind it."""
        server = fault_server(faults.stall())
        async with bulk_upload(server.url, make_files(1), journal=journal) as run:
            first = asyncio.ensure_future(anext(aiter(run)))
            await server.reached("stalled")
            with pytest.raises(JournalBusy, match="in use"):
                await all_of(bulk_upload(server.url, [], journal=journal))
            server.release("stalled")
            assert (await first).ok
        assert await all_of(bulk_upload(server.url, [], journal=journal)) == []

    async def test_two_processes(self, fault_server: Any, make_files: MakeFiles, journal: Path):
        """So it is between processes."""
        server = fault_server(faults.stall())
        async with bulk_upload(server.url, make_files(1), journal=journal) as run:
            first = asyncio.ensure_future(anext(aiter(run)))
            await server.reached("stalled")
            other = await asyncio.to_thread(run_child, server.url, journal, journal.parent, 1)
            assert "JournalBusy" in other.stderr
            server.release("stalled")
            await first

    async def test_without_the_extra(self, journal: Path, monkeypatch: pytest.MonkeyPatch):
        """Without aiosqlite the message names the extra."""
        monkeypatch.setitem(sys.modules, "aiosqlite", None)
        with pytest.raises(aioreq.ExtraRequired, match=r"aioreq\[journal\]"):
            await all_of(bulk_upload("http://127.0.0.1:9/", [], journal=journal))


def entry(number: int) -> Entry:
    return Entry(bytes([number] * 16), "u", "f", "p", 1, 2, "k", ok=True, status=200, digest=None, problem=None,
                 attempts=1, finished=0.0)  # fmt: skip


class TestWriting:
    """How entries get onto the disk."""

    async def test_entries_share_transactions(self, journal: Path, monkeypatch: pytest.MonkeyPatch):
        """What comes while a transaction is written goes into the next one together."""
        opened = await Journal.open(journal, "job")
        sizes = []
        insert = opened._insert

        async def spy(entries: list[Entry]) -> None:
            sizes.append(len(entries))
            await insert(entries)

        monkeypatch.setattr(opened, "_insert", spy)
        await asyncio.gather(*(opened.record(entry(number)) for number in range(50)))
        assert sizes == [1, 49] or sizes == [50]
        assert len(await opened.done([bytes([number] * 16) for number in range(60)])) == 50
        await opened.aclose()

    async def test_they_are_written_through(self, journal: Path):
        """A transaction is on the disk when it is over: SQLite waits for that."""
        opened = await Journal.open(journal, "job")
        assert await opened._run("PRAGMA journal_mode") == [("wal",)]
        assert await opened._run("PRAGMA synchronous") == [(2,)]  # FULL
        await opened.aclose()

    async def test_an_entry_that_can_not_be_written(
        self, fault_server: Any, make_files: MakeFiles, journal: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """A journal that can't be written to ends the run: nothing is told that is not written down."""

        async def full(self: Journal, entries: list[Entry]) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(Journal, "_insert", full)
        results = []
        with pytest.raises(JournalError, match="disk is full"):
            async for result in bulk_upload(fault_server().url, make_files(100), journal=journal):
                results.append(result)
        assert results == []

    async def test_what_arrived_is_written_when_the_loop_is_left(
        self, fault_server: Any, make_files: MakeFiles, journal: Path
    ):
        """Leaving the loop loses nothing that has arrived: what was not told is in the journal too."""
        server, files = fault_server(), make_files(200)
        async with bulk_upload(server.url, files, journal=journal) as run:
            async for _ in run:
                break
        results = await all_of(bulk_upload(server.url, files, journal=journal))
        assert {result.item.source for result in results} == set(files)
        assert any(result.skipped for result in results)
        assert 0 <= len(server.requests) - 200 <= 16


CHILD = """
import asyncio, pathlib, sys
from aioreq.bulk import bulk_upload

async def main(url, journal, folder, concurrency, number):
    files, headers = sorted(pathlib.Path(folder).iterdir()), {"X-Run": number}
    run = bulk_upload(url, files, journal=journal, field=None, concurrency=int(concurrency), headers=headers)
    async for result in run:
        assert result.ok, result.problem
        print(result.item.source.name, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def start_child(url: str, journal: Path, folder: Path, concurrency: int, number: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, url, str(journal), str(folder), str(concurrency), str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_child(*arguments: Any) -> subprocess.CompletedProcess[str]:
    with start_child(*arguments) as process:
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class TestPowerCuts:
    """What a disk may lose when the power goes: the end of what was being written."""

    @pytest.mark.parametrize("torn", [0, 1, 5_000, 50_000])
    @pytest.mark.parametrize("garbage", [b"", b"\xff" * 700], ids=["cut", "garbage"])
    async def test_a_torn_end(self, fault_server: Any, make_files: MakeFiles, journal: Path, torn: int, garbage: bytes):
        """What the journal has lost is sent again, under its old key; what it still has is not."""
        keys: dict[bytes, list[str | None]] = {}
        pid = 0

        async def serve(exchange: Exchange) -> None:
            await exchange.read_body()
            keys.setdefault(exchange.request.body[:8], []).append(exchange.request.header("Idempotency-Key"))
            await exchange.answer(201)
            if len(keys) == 150 and pid:
                os.kill(pid, signal.SIGKILL)

        server, files = fault_server(serve), make_files(200)
        with start_child(server.url, journal, files[0].parent, 8) as child:
            pid = child.pid
            child.communicate(timeout=60)
        pid = 0
        while any(connection.ended is None for connection in server.connections):
            await asyncio.sleep(0.001)  # the server still reads what the kernel had taken before the kill
        log = journal.with_name(f"{journal.name}-wal")
        content = log.read_bytes()
        log.write_bytes(content[: len(content) - torn] + garbage)
        arrived = sum(map(len, keys.values()))
        results = await all_of(bulk_upload(server.url, files, journal=journal, field=None, concurrency=8))
        assert {result.item.source for result in results if result.ok} == set(files)
        sent = sum(map(len, keys.values())) - arrived
        assert sent == sum(not result.skipped for result in results)
        assert 50 <= sent <= (120 if torn else 58)
        assert {len(set(of_file)) for of_file in keys.values()} == {1}


class TestKilled:
    """SIGKILL, which nobody can prepare for."""

    def test_at_twenty_moments(self, fault_server: Any, make_files: MakeFiles, journal: Path):
        """Killed twenty times and started again, a run delivers every file, and repeats only what was on the way."""
        concurrency, kills = 8, 20
        files = make_files(5000)
        moments = random.Random(5)
        arrived: list[tuple[int, str]] = []  # in which run, which file
        number, until, stage, pid = 0, 0, "", 0

        def kill_at(now: str, run: int) -> None:
            nonlocal until
            if run != number:
                return  # of a child that is dead already
            if now == "begun":
                until -= 1
            if number < kills and until == 0 and now == stage:
                os.kill(pid, signal.SIGKILL)
                until = -1

        async def serve(exchange: Exchange) -> None:
            run = int(exchange.request.header("X-Run") or "")
            kill_at("begun", run)
            await exchange.read_body()
            arrived.append((run, exchange.request.body[:8].decode()))
            kill_at("arrived", run)
            await exchange.answer(201)
            kill_at("answered", run)

        server = fault_server(serve)
        told: list[str] = []
        for number in range(kills + 1):
            until, stage = moments.randint(1, 400), moments.choice(("begun", "arrived", "answered"))
            with start_child(server.url, journal, files[0].parent, concurrency, number) as child:
                pid = child.pid
                out, err = child.communicate(timeout=60)
            assert (child.returncode, err) == ((0 if number == kills else -signal.SIGKILL), "")
            told += out.split()
        assert {name for _, name in arrived} == {f"{index:08}" for index in range(5000)}
        last_seen: dict[str, int] = {}
        repeated = Counter[int]()  # by the kill that is to blame
        for run, name in sorted(arrived):
            if name in last_seen:
                repeated[last_seen[name]] += 1
            last_seen[name] = run
        assert max(repeated.values(), default=0) <= concurrency
        assert set(told) == {path.name for path in files}
