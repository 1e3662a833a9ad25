"""The uploader: items in, results out, and nothing unbounded in between."""

import asyncio
import functools
import gc
import io
import itertools
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiofiles
import pytest

import aioreq
from aioreq import _page_cache as page_cache
from aioreq import _session
from aioreq.bulk import Upload, _attempt, _loading, bulk_upload
from aioreq.bulk._feed import feed_from
from aioreq.bulk._run import WINDOW
from aioreq.testing import Exchange, FaultServer, faults
from tests.servers.nginx import Nginx

from .conftest import Bin, MakeFiles, all_of, settled, sha256


async def generated(items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


class TestForms:
    """POST of one form for each item."""

    async def test_every_file_arrives_once(self, new_bin: Bin, make_files: MakeFiles):
        """Each file is in the bin once, under its base name, byte for byte."""
        files = make_files(300)
        results = await all_of(bulk_upload(new_bin.url, files))
        assert {result.item.source for result in results} == set(files)
        assert all(result.ok and result.status == 201 and result.attempts == 1 for result in results)
        arrived = {(part["filename"], part["sha256"]) for r in await new_bin.receipts() for part in r["parts"]}
        assert arrived == {(path.name, sha256(path)) for path in files}
        assert (await new_bin.totals())["uploads"] == 300

    @pytest.mark.parametrize("size", [0, 1, _loading.SMALL, _loading.SMALL + 1, 3_000_000])
    async def test_of_any_size(self, new_bin: Bin, make_files: MakeFiles, size: int):
        """Small files are read ahead, large ones go from the disk: both arrive whole."""
        files = make_files(3, size)
        results = await all_of(bulk_upload(new_bin.url, files))
        assert [result.size for result in results] == [size] * 3
        assert {r["parts"][0]["sha256"] for r in await new_bin.receipts()} == {sha256(path) for path in files}

    async def test_fields(self, new_bin: Bin, make_files: MakeFiles):
        """Fields of the job come first, then those of the item, then the file in the field of that name."""
        [path] = make_files(1)
        item = Upload(path, data={"title": "one"}, name="other.txt", field="upload")
        await all_of(bulk_upload(new_bin.url, [item], data=[("album", "all")]))
        [receipt] = await new_bin.receipts()
        assert [(part["name"], part.get("value")) for part in receipt["parts"][:2]] == [
            ("album", "all"),
            ("title", "one"),
        ]
        file = receipt["parts"][2]
        assert (file["name"], file["filename"], file["content_type"]) == ("upload", "other.txt", "text/plain")

    async def test_functions_of_the_item(self, new_bin: Bin, make_files: MakeFiles, postbin: str):
        """url=, data= and headers= may be functions of the item, plain or async."""

        async def data(item: Upload) -> dict[str, str]:
            return {"title": item.label}

        files = make_files(2)
        run = bulk_upload(
            lambda item: f"{new_bin.url}?of={item.file_name}",
            files,
            data=data,
            headers=lambda item: {"idempotency-key": f"my-{item.file_name}"},
        )
        results = await all_of(run)
        assert {result.url for result in results} == {f"{new_bin.url}?of={path.name}" for path in files}
        receipts = await new_bin.receipts()
        assert {r["parts"][0]["value"] for r in receipts} == {str(path) for path in files}
        assert {r["idempotency_key"] for r in receipts} == {f"my-{path.name}" for path in files}

    @pytest.mark.parametrize("hidden", [False, True])
    async def test_async_urls(self, new_bin: Bin, make_files: MakeFiles, hidden: bool):
        """An async url= is awaited when the item's turn has come, be it a lambda that returns a coroutine."""

        async def url(item: Upload) -> str:
            await asyncio.sleep(0)
            return f"{new_bin.url}?of={item.file_name}"

        results = await all_of(bulk_upload((lambda item: url(item)) if hidden else url, make_files(3)))
        assert {result.url for result in results} == {f"{new_bin.url}?of={index:05}.bin" for index in range(3)}


class TestRawBodies:
    """PUT of the file itself."""

    async def test_below_a_url(self, nginx: Nginx, make_files: MakeFiles):
        """A raw upload to a URL that ends with a slash goes to the item's name beneath it."""
        files = make_files(40, size=1000)
        items = [Upload(path, name=f"deep ü/{path.name}") for path in files]
        results = await all_of(bulk_upload(nginx.plain.url("/dav/beneath/"), items, method="PUT"))
        assert {result.status for result in results} == {201}
        assert {path.name: path.read_bytes() for path in files} == {
            path.name: path.read_bytes() for path in nginx.stored("beneath/deep ü").iterdir()
        }

    async def test_each_to_its_own_url(self, nginx: Nginx, make_files: MakeFiles):
        """Each item may have its own URL, whatever its name."""
        files = make_files(3, size=500_000)
        items = [Upload(path, url=nginx.plain.url(f"/dav/own-{index}")) for index, path in enumerate(files)]
        await all_of(bulk_upload(None, items, method="PUT"))
        assert [nginx.stored(f"own-{index}").read_bytes() for index in range(3)] == [p.read_bytes() for p in files]

    async def test_a_name_stays_below(self, nginx: Nginx):
        """No name leads out of the URL it is put below, or away from its server."""
        item = Upload(b"content", name="//elsewhere/../../up.txt")
        [result] = await all_of(bulk_upload(nginx.plain.url("/dav/below/"), [item], method="PUT"))
        assert result.url == nginx.plain.url("/dav/below/elsewhere/up.txt")

    async def test_without_a_name(self, nginx: Nginx):
        """What has no name can't be put below a URL: its result says what to pass."""
        [result] = await all_of(bulk_upload(nginx.plain.url("/dav/"), [Upload(b"content")], method="PUT"))
        assert isinstance(result.error, aioreq.InvalidBody)
        assert "name=" in str(result.problem)

    def test_fields_need_a_form(self):
        """Fields beside a raw body are refused at once."""
        with pytest.raises(ValueError, match="field="):
            bulk_upload("http://example.org/", [], method="PUT", data={"a": "b"})


class TestSources:
    """What an item may be."""

    @pytest.mark.parametrize("kind", ["text", "path", "bytes", "open file", "memory file", "aiofiles", "iterable"])
    async def test_kinds(self, new_bin: Bin, make_files: MakeFiles, kind: str):
        """Paths as text or path objects, bytes, open files, aiofiles files, and iterables whose size is told."""
        [path] = make_files(1, size=1000)
        with path.open("rb") as file:
            async with aiofiles.open(path, "rb") as async_file:
                item: Any = {
                    "text": str(path),
                    "path": path,
                    "bytes": Upload(path.read_bytes()),
                    "open file": file,
                    "memory file": io.BytesIO(path.read_bytes()),
                    "aiofiles": Upload(async_file),
                    "iterable": Upload([path.read_bytes()], size=1000),
                }[kind]
                [result] = await all_of(bulk_upload(new_bin.url, [item]))
        assert result.ok
        assert result.size == 1000
        assert (await new_bin.receipts())[0]["parts"][0]["sha256"] == sha256(path)

    @pytest.mark.parametrize("field", ["file", None])
    async def test_a_content_type_ends_no_line(self, new_bin: Bin, field: str | None):
        """A content type with a line end is refused, whatever went over the session before."""
        async with aioreq.Session() as session:
            await session.get(new_bin.url)
            items = [Upload(b"content", content_type="text/plain\r\nX-Injected: 1")] * 2
            results = await all_of(bulk_upload(new_bin.url, items, field=field, session=session))
        assert {type(result.error) for result in results} <= {aioreq.InvalidBody, aioreq.InvalidHeader}
        assert "CR, LF or NUL" in str(results[0].error)
        assert await new_bin.receipts() == []

    @pytest.mark.parametrize("kind", [list, tuple, set, iter, generated, dict.fromkeys, functools.partial(map, str)])
    async def test_iterables(self, new_bin: Bin, make_files: MakeFiles, kind: Any):
        """Items come from any iterable or async iterable."""
        files = make_files(40)
        results = await all_of(bulk_upload(new_bin.url, kind(files)))
        assert {Path(result.item.source) for result in results} == set(files)

    @pytest.mark.parametrize("kind", [iter, generated])
    async def test_many_come_together(self, make_files: MakeFiles, kind: Any):
        """What an iterable gives while others are looked at is taken together, and never too much."""
        feed = feed_from(kind(range(1000)))
        taken = []
        while items := await feed.take(100):
            assert len(items) <= 101
            taken.append(items)
            await asyncio.sleep(0)
        await feed.aclose()
        assert list(itertools.chain(*taken)) == list(range(1000))

    async def test_a_closed_session(self, make_files: MakeFiles):
        """A session that is closed is told of before anything is read."""
        session = aioreq.Session()
        await session.aclose()
        with pytest.raises(aioreq.SessionClosed):
            await all_of(bulk_upload("http://127.0.0.1:9/", make_files(1), session=session))

    async def test_no_items(self):
        """Nothing to upload is no error."""
        assert await all_of(bulk_upload("http://127.0.0.1:9/", [])) == []

    @pytest.mark.parametrize("items", [5, None, b"path", io.BytesIO(b"path\n")])
    async def test_what_is_no_iterable(self, items: Any):
        """What can't be iterated is refused, and so is what gives anything but items."""
        with pytest.raises(TypeError, match="items are an iterable of paths and Uploads"):
            await all_of(bulk_upload("http://127.0.0.1:9/", items))

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ({"url": ["a.txt"]}, "url is text, a function of the item, or None, not list"),
            ({"headers": "X-A: b"}, "headers are a mapping or pairs, not str"),
            ({"auth": "ann:secret"}, r"auth is \(user, password\), an auth object or a function, not str"),
            ({"timeout": "5"}, "timeout connect='5' is not a number of seconds above 0"),
            ({"session": 5}, "session= is an aioreq.Session, not int"),
            ({"progress": True}, "progress= is a function of a BulkProgress, not bool"),
            ({"progress": all_of}, "progress= is a plain function of a BulkProgress, not an async one"),
            ({"memory": "64M"}, "memory='64M' is not a number of bytes above 0"),
            ({"rate_limit": "5M"}, "a rate limit is a number of bytes per second above 0, or None; not '5M'"),
        ],
    )
    def test_what_can_not_be_meant(self, argument: Any, message: str):
        """What is wrong for all items is told once, before there is any."""
        with pytest.raises((TypeError, ValueError), match=message):
            bulk_upload(**{"url": "http://127.0.0.1:9/", "items": [], **argument})

    async def test_a_function_that_gives_no_url(self, make_files: MakeFiles):
        """An item for which the function of URLs has none is refused with its name."""
        [result] = await all_of(bulk_upload(lambda item: None, make_files(1)))
        assert result.problem == f"the function that gives URLs gave None for {result.item.label}"

    @pytest.mark.parametrize(
        ("make", "error"),
        [
            (lambda folder: folder / "missing", aioreq.FileMissing),
            (lambda folder: folder, aioreq.FileIsDirectory),
            (lambda folder: os.mkfifo(folder / "pipe") or folder / "pipe", aioreq.InvalidBody),
            (lambda folder: Upload(iter([b"abc"])), aioreq.InvalidBody),
            (lambda folder: Upload(b"abc", url="ftp://example.org/"), aioreq.InvalidURL),
            (lambda folder: Upload(b"abc", url=""), aioreq.URLRequired),
            (lambda folder: Upload(b"abc", headers={"Bad name": "x"}), aioreq.InvalidHeader),
        ],
    )
    async def test_what_can_not_be_sent(self, new_bin: Bin, tmp_path: Path, make: Any, error: type[Exception]):
        """An item that can't be sent fails by itself, was never sent, and says why; the others arrive."""
        [bad, good] = sorted(
            await all_of(bulk_upload(new_bin.url, [make(tmp_path), Upload(b"good")])), key=lambda r: r.ok
        )
        assert (bad.ok, bad.sent) == (False, 0)
        assert isinstance(bad.error, error)
        assert bad.problem == " ".join(str(bad.error).split())
        assert good.ok

    async def test_a_function_that_raises(self, make_files: MakeFiles):
        """What a function of the item raises is the item's error, as it was raised."""
        error = KeyError("no such item")

        def url(item: Upload) -> str:
            raise error

        [result] = await all_of(bulk_upload(url, make_files(1)))
        assert result.error is error

    async def test_a_file_that_is_cut(self, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch):
        """A file that becomes shorter while it is read is not sent short."""
        [path] = make_files(1)

        def read(fd: int, size: int) -> bytes:
            path.write_bytes(b"")
            return b""

        with monkeypatch.context() as patch:
            patch.setattr(_loading.os, "read", read)
            delivery = aioreq.bulk._delivery.Delivery(Upload(path), None, None)
            _loading.load([delivery])
        assert isinstance(delivery.problem, aioreq.FileChanged)
        assert (delivery.problem.declared, delivery.problem.seen) == (100, 0)


class TestBounds:
    """What is bounded, and how."""

    async def test_items_are_not_materialised(self, fault_server: Any, make_files: MakeFiles):
        """However many items there are, only so many are taken ahead of what is finished."""
        [path] = make_files(1)
        taken = itertools.count()
        server = fault_server()
        run = bulk_upload(server.url, (path for _ in taken))
        number = 0
        async with run:
            async for result in run:
                assert result.ok
                number += 1
                if number == 3 * WINDOW:
                    break
        assert next(taken) <= number + WINDOW + 2 * 16 + 1

    async def test_uploads_at_a_time(self, make_files: MakeFiles):
        """No more uploads are on the way than concurrency= says."""
        now, most = 0, 0

        async def count(exchange: Exchange) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await exchange.read_body()
            if now < 4 and len(server.requests) < 40:
                await exchange.pause("full")
            else:
                server.release("full")
            now -= 1
            await exchange.answer()

        async with FaultServer(count) as server:
            results = await all_of(bulk_upload(server.url, make_files(60), concurrency=4))
        assert len(results) == 60
        assert most == 4
        assert len(server.connections) <= 4

    async def test_small_files_are_read_in_batches_off_the_loop(
        self, new_bin: Bin, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch
    ):
        """Small files that the loop can't read without waiting are opened in reader threads, many to a hop."""
        hops: list[tuple[str, int]] = []
        load = _loading.load

        def spy(batch: list[Any], digest: None) -> bool:
            hops.append((threading.current_thread().name, len(batch)))
            return load(batch, digest)

        monkeypatch.setattr(_loading, "load", spy)
        monkeypatch.setattr(page_cache, "read", lambda *_: False)
        await all_of(bulk_upload(new_bin.url, make_files(320)))
        assert all(name.startswith("aioreq-reader") for name, _ in hops)
        assert sum(number for _, number in hops) == 320
        assert len(hops) <= 320 / 32 + 2

    async def test_requests_are_made_once(self, new_bin: Bin, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch):
        """What was made ahead is what is sent, as long as nothing has changed."""
        calls: Counter[str] = Counter()
        for module, name in ((_attempt, "prepare_ahead"), (_session, "prepare")):
            original = getattr(module, name)

            def counted(*args: Any, name: str = name, original: Any = original, **options: Any) -> Any:
                calls[name] += 1
                return original(*args, **options)

            monkeypatch.setattr(module, name, counted)
        async with aioreq.Session() as session:
            await all_of(bulk_upload(new_bin.url, make_files(40), session=session))
        assert calls == {"prepare_ahead": 40, "prepare": 40}

    async def test_requests_made_ahead_follow_the_session(self, fault_server: Any, make_files: MakeFiles):
        """A request that is made before its turn is not what is sent if the session's headers have changed since."""
        server = fault_server()
        async with aioreq.Session(headers={"X-Token": "0"}) as session:
            run = bulk_upload(server.url, make_files(20), session=session, concurrency=1)
            async with run:
                async for _ in run:
                    session.headers["X-Token"] = str(len(server.requests))
        tokens = [int(dict(request.headers)["X-Token"]) for request in server.requests]
        assert tokens == sorted(tokens)
        # One is sent while the caller has the result of that before it, and one more may have been on the way by then.
        assert all(number - token <= 2 for number, token in enumerate(tokens))

    async def test_what_can_not_be_sent_is_found_ahead(self, new_bin: Bin, make_files: MakeFiles):
        """An item whose request can't be made fails by itself, without an attempt."""
        files = make_files(3)
        items = [files[0], Upload(files[1], content_type="text/plain\r\nX-Injected: 1"), files[2]]
        results = await all_of(bulk_upload(new_bin.url, items))
        [failed] = [result for result in results if not result.ok]
        assert failed.item is items[1]
        assert failed.attempts == 0
        assert isinstance(failed.error, aioreq.InvalidBody)
        assert (await new_bin.totals())["uploads"] == 2

    async def test_results_wait_for_the_caller(self, fault_server: Any, make_files: MakeFiles):
        """A caller who takes no results stops the run: it goes on when he takes some."""
        server = fault_server()
        run = bulk_upload(server.url, make_files(200), concurrency=4)
        async with run:
            results = aiter(run)
            await anext(results)
            while len(server.requests) < 8:  # four results that wait, four that can't even do that
                await asyncio.sleep(0)
            await settled()
            assert len(server.requests) <= 10
            assert len([result async for result in results]) == 199

    @pytest.mark.parametrize("number", [0, -1, 10**9])
    def test_concurrency_is_checked(self, number: int):
        """A concurrency that the process's descriptors don't allow is refused, and the message says what to raise."""
        with pytest.raises(ValueError, match="ulimit -n"):
            bulk_upload("http://example.org/", [], concurrency=number)

    @pytest.mark.parametrize(
        "option",
        [{"on_error": "ignore"}, {"memory": 0}, {"method": "BAD METHOD"}],
        ids=lambda option: next(iter(option)),
    )
    def test_options_are_checked(self, option: dict[str, Any]):
        """What an option can't mean is refused at once."""
        with pytest.raises(ValueError, match=next(iter(option)).partition("_")[0]):
            bulk_upload("http://example.org/", [], **option)

    async def test_urls_are_checked(self, new_bin: Bin, make_files: MakeFiles):
        """What is no URL is refused at once, unless the session's base_url makes one of it."""
        with pytest.raises(aioreq.InvalidURL, match="scheme"):
            bulk_upload("example.org/upload", [])
        server, slash, place = new_bin.url.rpartition("/")
        async with aioreq.Session(base_url=server + slash) as session:
            results = await all_of(bulk_upload(place, make_files(3), session=session))
        assert [result.status for result in results] == [201] * 3


class TestResults:
    """What comes back."""

    async def test_they_come_as_they_land(self, fault_server: Any):
        """The order of the results is that of the answers, not that of the items."""
        server = fault_server({"/slow": faults.stall(after=0), "/": faults.ok()})
        items = [Upload(b"1", url=f"{server.url}/slow", key="slow"), *(Upload(b"2", key=str(n)) for n in range(5))]
        order = []
        async for result in bulk_upload(server.url, items, concurrency=2):
            order.append(result.item.key)
            if len(order) == 5:
                server.release("stalled")
        assert order == ["0", "1", "2", "3", "4", "slow"]

    async def test_what_they_tell(self, fault_server: Any, make_files: MakeFiles):
        """A result has the answer, its numbers, and nothing that was sent."""
        server = fault_server(faults.ok(201))
        [path] = make_files(1)
        [result] = await all_of(bulk_upload(server.url, [path]))
        assert (result.item.source, result.status, result.attempts, result.size) == (path, 201, 1, 100)
        assert result.response is not None
        assert result.sent == result.response.json()["received"]
        assert 0 < result.duration <= result.elapsed
        assert result.url == server.url + "/"
        assert result.response.request.body is None
        assert result.key == server.requests[0].header("Idempotency-Key")
        assert result.raise_for_status() is result
        assert repr(result) == f"<UploadResult [201 {path}]>"

    async def test_an_answer_that_says_no(self, fault_server: Any):
        """An answer of 400 or more is a result that is not ok; raise_for_status() raises it."""
        server = fault_server(faults.ok(403, body=b"not\nyours"))
        [result] = await all_of(bulk_upload(server.url, [Upload(b"x")]))
        assert (result.ok, result.status, result.error, result.attempts) == (False, 403, None, 1)
        assert result.problem == f"403 Client Error: Forbidden for url: {server.url}/: not yours"
        with pytest.raises(aioreq.HTTPError, match="403"):
            result.raise_for_status()

    async def test_errors_do_not_keep_what_was_sent(self, fault_server: Any):
        """A kept error keeps its traceback, and not the body that the traceback's frames held."""
        server = fault_server(faults.reset_after(0))
        sent = Upload(b"what was sent", field=None)
        [result] = await all_of(bulk_upload(server.url, [sent], retry=None))
        assert isinstance(result.error, aioreq.ConnectionError)
        assert result.error.__traceback__ is not None
        assert result.error.request.body is None
        gc.collect()
        holders = gc.get_referrers(sent.source)
        assert [holder for holder in holders if isinstance(holder, aioreq._body.Segment)] == []


class TestFairness:
    """Between hosts."""

    async def test_a_stalled_host_does_not_hold_the_others_up(self, fault_server: Any, make_files: MakeFiles):
        """While one host takes nothing, all that goes to another one is done."""
        stalled, healthy = fault_server(faults.stall()), fault_server()
        files = make_files(100)
        items = [Upload(path, url=server.url) for path in files for server in (stalled, healthy)]
        hosts = Counter[str]()
        async for result in bulk_upload(None, items, concurrency=8):
            assert result.url is not None
            hosts[result.url.rstrip("/")] += 1
            if hosts == {healthy.url: 100}:
                stalled.release("stalled")
        assert hosts == {healthy.url: 100, stalled.url: 100}

    async def test_places_are_shared(self, fault_server: Any, make_files: MakeFiles):
        """Hosts with equal needs have equally many uploads on the way."""
        servers = [fault_server(faults.stall()) for _ in range(3)]
        items = [Upload(path, url=server.url) for server in servers for path in make_files(10)]
        async with bulk_upload(None, items, concurrency=6) as run:
            results = aiter(run)
            first = asyncio.ensure_future(anext(results))
            for server in servers:
                await server.reached("stalled", 2)
            for server in servers:
                server.release("stalled")
            await first
            assert len([result async for result in results]) == 29


class TestTheEnd:
    """Leaving early, cancelling, stopping."""

    @pytest.mark.parametrize("block", [True, False])
    @pytest.mark.parametrize("way", ["break", "raise", "cancel"])
    async def test_leaving_early(self, fault_server: Any, make_files: MakeFiles, block: bool, way: str):
        """However the loop is left, nothing of the run is left behind: no task, no connection, no open file."""
        server = fault_server(faults.in_turn(faults.ok(), faults.stall()))
        descriptors = set(Path("/proc/self/fd").iterdir())

        async def leave(run: Any) -> None:
            async for _ in run:
                await server.reached("stalled", 3)
                if way == "raise":
                    raise LookupError
                if way == "cancel":
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                    await asyncio.sleep(0)
                break

        run = bulk_upload(server.url, make_files(50, size=400_000), concurrency=4)
        with pytest.raises(BaseException) if way != "break" else _nothing() as raised:
            if block:
                async with run:
                    await leave(run)
            else:
                await asyncio.ensure_future(leave(run))
        if raised is not None:
            assert raised.type is {"raise": LookupError, "cancel": asyncio.CancelledError}[way]
        if block:
            await settled()
        else:
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0)
        server.release("stalled")  # the server sees the end of a connection when it reads on
        await server.reached("closed", len(server.connections))
        while set(Path("/proc/self/fd").iterdir()) - descriptors:  # the server's side, closed in its own time
            await asyncio.sleep(0)

    async def test_cancelled_while_it_waits(self, fault_server: Any, make_files: MakeFiles):
        """Cancelling the task that waits for a result ends the run."""
        server = fault_server(faults.stall())
        task = asyncio.ensure_future(all_of(bulk_upload(server.url, make_files(50))))
        await server.reached("stalled", 16)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_stop_finishes_what_is_on_the_way(self, fault_server: Any, make_files: MakeFiles):
        """stop() begins nothing more; what is on the way is finished and told."""
        server = fault_server(faults.in_turn(faults.ok(), faults.stall()))
        run = bulk_upload(server.url, make_files(100), concurrency=4)
        results = []
        async for result in run:
            results.append(result)
            if len(results) == 1:
                await server.reached("stalled", 3)
                run.stop()
                server.release("stalled")
        assert all(result.ok for result in results)
        assert len(results) == len(server.requests)
        assert 4 <= len(results) <= 5

    async def test_stopped_before_it_began(self, make_files: MakeFiles):
        """A run that was stopped or closed before it began can't be begun."""
        run = bulk_upload("http://127.0.0.1:9/", make_files(1))
        run.stop()
        with pytest.raises(RuntimeError, match="runs once"):
            aiter(run)

    async def test_it_runs_once(self):
        """A bulk upload can't be iterated over twice."""
        run = bulk_upload("http://127.0.0.1:9/", [])
        await all_of(run)
        with pytest.raises(RuntimeError, match="runs once"):
            aiter(run)

    async def test_on_error_stop(self, fault_server: Any, make_files: MakeFiles):
        """on_error="stop": the first failure begins nothing more; its error is raised behind the last result."""
        failing = faults.in_turn(faults.ok(), faults.ok(), faults.ok(507), faults.ok())
        server = fault_server(failing)
        results = []
        with pytest.raises(aioreq.HTTPError, match="507"):
            async for result in bulk_upload(server.url, make_files(100), concurrency=2, on_error="stop"):
                results.append(result)
        assert [result.ok for result in results].count(False) == 1
        assert len(results) == len(server.requests) <= 6

    async def test_on_error_collect(self, fault_server: Any, make_files: MakeFiles):
        """on_error="collect": every item has its result, whatever became of the others."""
        server = fault_server(faults.in_turn(faults.ok(400), faults.ok()))
        results = await all_of(bulk_upload(server.url, make_files(20), concurrency=2))
        assert sorted(result.ok for result in results) == [False] + [True] * 19

    @pytest.mark.parametrize("kind", [iter, generated])
    async def test_items_that_raise(self, new_bin: Bin, make_files: MakeFiles, kind: Any):
        """What the iterable raises is raised behind the results of the items before it."""

        def items() -> Iterator[Path]:
            yield from make_files(10)
            raise LookupError("the list is torn")

        results = []
        with pytest.raises(LookupError, match="torn"):
            async for result in bulk_upload(new_bin.url, kind(items())):
                results.append(result)
        assert len(results) == 10


class TestPlainIterables:
    """A plain iterable is the caller's code: it may block, and it may hold things open."""

    async def test_one_thread(self, new_bin: Bin, make_files: MakeFiles):
        """It is advanced in one thread, which is not the loop's."""
        threads = set()

        def items() -> Iterator[Path]:
            for path in make_files(100):
                threads.add(threading.get_ident())
                yield path

        await all_of(bulk_upload(new_bin.url, items()))
        assert len(threads) == 1
        assert threading.get_ident() not in threads

    async def test_a_generator_is_closed(self, fault_server: Any, make_files: MakeFiles):
        """When the loop is left, the generator's own end is reached before the block is."""
        closed = threading.Event()
        [path] = make_files(1)

        def items() -> Iterator[Path]:
            try:
                while True:
                    yield path
            finally:
                closed.set()

        server = fault_server()
        async with bulk_upload(server.url, items()) as run:
            async for _ in run:
                break
        assert closed.is_set()

    async def test_an_iterable_that_hangs(self, fault_server: Any, make_files: MakeFiles):
        """Items that are there are sent while the iterable waits for more; it does not keep the run from ending."""
        more, left = threading.Event(), threading.Event()
        [path] = make_files(1)

        def items() -> Iterator[Path]:
            try:
                yield path
                more.wait()
            finally:
                left.set()

        server = fault_server()
        async with bulk_upload(server.url, items()) as run:
            async for result in run:
                assert result.ok
                break
        assert not left.is_set()
        more.set()
        while any(thread.name == "aioreq-items" for thread in threading.enumerate()):
            await asyncio.sleep(0)
        assert left.is_set()


class _nothing:  # noqa: N801 - a context, beside pytest.raises
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None
