"""Files made ready to be sent, by a thread or, when the system has them in memory, by the loop: with one outcome."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import _page_cache as page_cache
from aioreq._body import SMALL, Bytes, FileRegion
from aioreq.bulk import Upload, _loading, bulk_upload
from aioreq.bulk._delivery import Delivery
from tests.cached_files import require_device_that_answers

from .conftest import MakeFiles, all_of, sha256

SIZES = [0, 1, 100, _loading._TINY, _loading._TINY + 1, SMALL, SMALL + 1, 1_000_000]


@pytest.fixture(autouse=True)
def known_device(tmp_path: Path) -> Iterator[int]:
    """The device of the test's files has been found to be one that can be asked."""
    device = require_device_that_answers(tmp_path)
    yield device
    page_cache.forget(device)


def delivery_of(path: Path) -> Delivery:
    return Delivery(Upload(path), None, None)


def load_cached(batch: list[Delivery]) -> bool:
    return _loading.load_cached(batch, memoryview(bytearray(_loading._TINY)))


def content_of(delivery: Delivery) -> bytes:
    assert isinstance(delivery.segment, (Bytes, FileRegion))
    return delivery.segment.read_now()


@pytest.mark.parametrize("size", SIZES)
def test_the_loop_loads_what_is_in_memory(make_files: MakeFiles, size: int):
    """Tiny files are read, larger ones described: their bytes are read when they are sent."""
    [path] = make_files(1, size=size)
    by_thread, by_loop = delivery_of(path), delivery_of(path)
    assert _loading.load([by_thread])
    assert load_cached([by_loop])
    assert isinstance(by_loop.segment, Bytes if size <= _loading._TINY else FileRegion)
    assert content_of(by_loop) == content_of(by_thread) == path.read_bytes()
    assert by_loop.ready
    assert (by_loop.size, by_loop.mtime) == (by_thread.size, by_thread.mtime) == (size, path.stat().st_mtime_ns)


@pytest.mark.parametrize("what", ["missing", "folder", "pipe", "device", "NUL", "surrogate", "changed"])
def test_what_can_not_be_sent(tmp_path: Path, what: str):
    """It has the same error as from a thread, and the files behind it are loaded all the same."""
    path = tmp_path / "it"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path = Path("/dev/null")
    elif what == "NUL":
        path = tmp_path / "first\0"
    elif what == "surrogate":
        path = tmp_path / "\ud800"
    elif what == "changed":
        path.write_bytes(b"changed")
    outcomes = []
    for first in (load_cached, _loading.load):
        batch = [delivery_of(tmp_path / "first"), delivery_of(path), delivery_of(tmp_path / "first")]
        if what == "changed":
            batch[1].size = 3
        if not first(batch):
            _loading.load(batch)
        assert [delivery.ready for delivery in batch] == [True] * 3
        assert [delivery.problem is None for delivery in batch] == [True, False, True]
        outcomes.append(batch[1].problem)
    assert type(outcomes[0]) is type(outcomes[1])
    assert str(outcomes[0]) == str(outcomes[1])


def test_a_thread_does_what_is_left(make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch):
    """From the first file on that is not in memory; what was loaded before is not read again."""
    batch = list(map(delivery_of, make_files(4) + make_files(2, size=100_000, folder="large")))
    read, asked = page_cache.read, []

    def read_some(fd: int, device: int, place: memoryview) -> bool:
        asked.append(len(place))
        return len(asked) < 3 and read(fd, device, place)

    monkeypatch.setattr(page_cache, "read", read_some)
    assert not load_cached(batch)
    assert asked == [100, 100, 100]
    assert [delivery.ready for delivery in batch] == [True, True, False, False, False, False]
    loaded = [delivery.segment for delivery in batch[:2]]
    assert _loading.load(batch)
    assert [delivery.segment for delivery in batch[:2]] == loaded
    assert all(delivery.ready for delivery in batch)


def test_a_device_that_can_not_be_asked(make_files: MakeFiles, known_device: int):
    """Its files are a thread's to read, and so are the next ones."""
    [path] = make_files(1)
    page_cache._answering[known_device] = False
    assert not load_cached([delivery_of(path)])
    assert not _loading.load([delivery_of(path)])


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no /dev/shm")
async def test_from_a_tmpfs(fault_server: Any, tmp_path: Path):
    """Most can't be asked; whether this one can or not, all arrive."""
    server = fault_server()
    folder = Path("/dev/shm", f"aioreq-{os.getpid()}")
    folder.mkdir()
    paths = [folder / f"{number}" for number in range(100)]
    try:
        for number, path in enumerate(paths):
            path.write_bytes(b"%d" % number * 10_000)
        results = await all_of(bulk_upload(server.url, paths, field=None))
        digests = sorted(map(sha256, paths))
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
        folder.rmdir()
    assert all(result.ok for result in results)
    assert sorted(request.sha256 for request in server.requests) == digests


class Hops:
    """The batches that were handed to a thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        load = _loading.load

        def counted(batch: list[Delivery], digest: Any = None) -> bool:
            self.sizes.append(len(batch))
            return load(batch, digest)

        monkeypatch.setattr(_loading, "load", counted)


@pytest.mark.parametrize("size", [100, 60_000])
async def test_only_the_first_batch_needs_a_thread(
    fault_server: Any, make_files: MakeFiles, size: int, monkeypatch: pytest.MonkeyPatch
):
    """When all files are in memory; all arrive as they are."""
    server, paths, hops = fault_server(), make_files(300, size=size), Hops(monkeypatch)
    results = await all_of(bulk_upload(server.url, paths, field=None))
    assert all(result.ok and result.sent == size for result in results)
    assert sorted(request.sha256 for request in server.requests) == sorted(map(sha256, paths))
    assert sum(hops.sizes) < 3 * _loading.BATCH


@pytest.mark.parametrize("digest", [None, "sha256"])
async def test_a_digest_is_computed_by_a_thread(
    fault_server: Any, make_files: MakeFiles, digest: str | None, monkeypatch: pytest.MonkeyPatch
):
    """Always, since that takes the processor's time."""
    server, paths, hops = fault_server(), make_files(200), Hops(monkeypatch)
    results = await all_of(bulk_upload(server.url, paths, field=None, digest=digest))
    assert {result.digest for result in results} == ({None} if digest is None else set(map(sha256, paths)))
    assert (sum(hops.sizes) == 200) is (digest is not None)


async def test_a_file_that_shrinks_before_it_is_sent(
    fault_server: Any, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch
):
    """It fails by itself, before a byte of it has left."""
    server, paths, original = fault_server(), make_files(100, size=50_000), _loading.load_cached

    def load_and_shrink(batch: list[Delivery], place: memoryview) -> bool:
        is_done = original(batch, place)
        if batch[-1].item.path == str(paths[-1]):
            paths[-1].write_bytes(b"short")
        return is_done

    monkeypatch.setattr(_loading, "load_cached", load_and_shrink)
    results = {result.item.path: result for result in await all_of(bulk_upload(server.url, paths, field=None))}
    failed = results.pop(str(paths[-1]))
    assert isinstance(failed.error, aioreq.FileChanged)
    assert failed.sent == 0
    assert all(result.ok for result in results.values())
    assert len(server.requests) == 99


async def test_a_path_that_is_none(fault_server: Any, make_files: MakeFiles):
    """It has a result like any other that can't be read, and does not end the run."""
    server, paths = fault_server(), make_files(2)
    results = await all_of(bulk_upload(server.url, [paths[0], "a\0b", paths[1]]))
    assert sorted(result.ok for result in results) == [False, True, True]
    [failed] = [result for result in results if not result.ok]
    assert isinstance(failed.error, aioreq.FileUnreadable)
    assert "can't be a path" in str(failed.error)
