"""Uploads that stand still cost the others nothing: no thread, no place in the loop, no name that can't be resolved."""

import asyncio
import io
import threading
from pathlib import Path

import pytest

import aioreq
from aioreq import _threads
from aioreq.testing import faults

from .bodies import KIB, MIB
from .conftest import Serve

STALLED = 500
HEALTHY = 100


def worker_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("aioreq-")]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of 16 MiB that takes no room: more than any kernel holds for a server that does not read."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(16 * MIB)
    return path


@pytest.mark.parametrize("transport", ["plain"], indirect=True)
async def test_stalled_uploads_hold_no_thread(serve: Serve, large: Path) -> None:
    """While 500 uploads are stalled by their server, 100 others on the same session finish, on a few threads."""
    server = serve({"/stalled": faults.stall(after=KIB), "/": faults.ok()})
    limits = aioreq.Limits(max_connections=STALLED + 20)
    async with aioreq.Session(limits=limits, trust_env=False) as session:
        stalled = [asyncio.create_task(session.put(server.url + "/stalled", data=large)) for _ in range(STALLED)]
        await server.reached("stalled", times=STALLED)
        healthy = [session.put(server.url + "/", data=large) for _ in range(HEALTHY)]
        responses = [response for some in batches(healthy, 10) for response in await asyncio.gather(*some)]
        assert [response.json()["received"] for response in responses] == [16 * MIB] * HEALTHY
        assert not any(task.done() for task in stalled)
        assert len(worker_threads()) <= _threads.READERS.size + _threads.PUMPS.size
        for task in stalled:
            task.cancel()
        await asyncio.wait(stalled)
        assert all(task.cancelled() for task in stalled)
        assert session.pool.open == session.pool.idle


def batches(items: list, size: int) -> list[list]:
    return [items[start : start + size] for start in range(0, len(items), size)]


class SlowDisk(io.RawIOBase):
    """A file of 1 MiB whose reads give 64 KiB each, and only while the gate is open."""

    size = MIB

    def __init__(self, gate: threading.Event, reading: threading.Semaphore) -> None:
        self._gate = gate
        self._reading = reading
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset if whence == 0 else self.size
        return self._position

    def read(self, size: int = -1) -> bytes:
        self._reading.release()
        assert self._gate.wait(20)
        block = bytes(min(size, 64 * KIB, self.size - self._position))
        self._position += len(block)
        return block


@pytest.mark.parametrize("transport", ["plain"], indirect=True)
async def test_a_stalled_disk_leaves_the_loop_and_the_resolver_alone(serve: Serve) -> None:
    """While the disk stalls under 24 uploads, names are resolved and other tasks run."""
    server = serve()
    gate, reading = threading.Event(), threading.Semaphore(0)
    loop = asyncio.get_running_loop()
    async with aioreq.Session(trust_env=False) as session:
        uploads = [asyncio.create_task(session.put(server.url, data=SlowDisk(gate, reading))) for _ in range(24)]
        for _ in range(min(24, _threads.READERS.size)):  # every reader is in a read that does not return
            await asyncio.to_thread(reading.acquire)
        assert await loop.getaddrinfo("localhost", 80)
        assert (await session.get(server.url.replace("127.0.0.1", "localhost"))).ok
        assert not any(upload.done() for upload in uploads)
        gate.set()
        responses = await asyncio.gather(*uploads)
    assert [response.json()["received"] for response in responses] == [MIB] * 24


@pytest.mark.parametrize("transport", ["plain"], indirect=True)
async def test_ten_thousand_calls_at_once_finish(serve: Serve) -> None:
    """10,000 requests gathered on one session finish on its hundred connections, first come, first served."""
    server = serve()
    async with aioreq.Session(timeout=60, trust_env=False) as session:
        responses = await asyncio.gather(*(session.get(server.url) for _ in range(10_000)))
        assert {response.status_code for response in responses} == {200}
        assert session.pool.open <= 100
        assert session.pool.waiting == 0
    assert len(server.connections) <= 100
