"""What the clients of the benchmark share: they do one job, told in JSON, and tell in JSON what it took.

    python with_NAME.py '{"operation": "get", "url": "http://127.0.0.1:1234", "count": 1000, "concurrency": 50, ...}'

A program knows its library and how its documentation says to use it; this module knows neither library nor server. The
loops around the requests, the clock, the meters of memory and CPU, and the watch over the event loop are the same for
all. What is measured begins when the connections are there and everything that is loaded on first need is loaded.
"""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import os
import ssl
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self

Answer = tuple[int, bytes]
"""Status and content."""

_TICK = 0.005
_SETTLED = 0.3  # seconds for what goes on behind a client's back, until idle memory is looked at
_OK: Answer = (200, b"ok")


class Unexpected(Exception):
    """The server's answer is not what it always says."""


@dataclass(frozen=True)
class Job:
    """What is to be done, as the harness tells it.

    `folder` has the files of uploads, `warm_path` is a small one to begin with; `size` is what each download has, in
    bytes; `certificate` the path of the authority's certificate, for TLS; `watch` whether to look for stalls.
    """

    operation: str
    url: str
    count: int
    concurrency: int
    folder: str = ""
    warm_path: str = ""
    size: int = 0
    form: dict[str, str] = field(default_factory=dict)
    certificate: str | None = None
    loop: str | None = None
    watch: bool = False

    def paths(self) -> list[str]:
        """The first `count` files of the folder; listing them is no part of what is measured."""
        return sorted(str(path) for path in Path(self.folder).iterdir())[: self.count]


class Client(ABC):
    """One library, used as its documentation advises.

    Args:
        connections: how many will be open at a time at most.
        certificate: the path of a file of CA certificates to trust, for TLS.
    """

    def __init__(self, connections: int, certificate: str | None) -> None:
        self.connections, self.certificate = connections, certificate

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *_: object) -> None: ...

    @abstractmethod
    async def get(self, url: str) -> Answer:
        """GET, and read what comes."""

    @abstractmethod
    async def post_form(self, url: str, fields: dict[str, str]) -> Answer:
        """POST a form, url-encoded."""

    @abstractmethod
    async def post_file(self, url: str, path: str) -> Answer:
        """POST a form of one file, multipart, in the field `file`."""

    @abstractmethod
    async def download(self, url: str) -> tuple[int, int]:
        """GET a large answer, without holding it: status, and number of bytes."""

    async def bulk(self, url: str, paths: Sequence[str], concurrency: int) -> None:
        """Upload many files: gather with a semaphore, as the documentation of most advises."""
        turn = asyncio.Semaphore(concurrency)

        async def one(path: str) -> None:
            async with turn:
                expect(await self.post_file(url, path))

        await asyncio.gather(*(one(path) for path in paths))

    def trust(self) -> ssl.SSLContext | None:
        """For libraries that take an SSLContext."""
        return ssl.create_default_context(cafile=self.certificate) if self.certificate else None


def expect(answer: Answer) -> None:
    """Be sure that the server took the request.

    Raises:
        Unexpected: it did not.
    """
    if answer != _OK:
        raise Unexpected(f"{answer[0]} {answer[1][:100]!r}")


# -- Measuring -----------------------------------------------------------------------------------------------------


def resident(which: str = "VmRSS") -> int:
    """Bytes of memory that this process has (VmRSS), or had at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{which}:")[2].split()[0]) * 1024


def _forget_peak() -> None:
    """Let VmHWM begin anew, see proc(5)."""
    Path("/proc/self/clear_refs").write_text("5")


class Meter:
    """Seconds, CPU seconds and memory between `begin` and `end`."""

    def begin(self) -> None:
        gc.collect()
        _forget_peak()
        self._memory = resident()
        self._cpu, self._began = time.process_time(), time.perf_counter()

    def end(self) -> dict[str, float]:
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
        peak = resident("VmHWM")
        return {"seconds": seconds, "cpu": cpu, "peak": peak, "grown": max(0, peak - self._memory)}


class Watch:
    """How late a tick of 5 ms comes at most: for so long the event loop did nothing else."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(_TICK)
            self.longest = max(self.longest, time.perf_counter() - asked - _TICK)


# -- Doing it, on an event loop ------------------------------------------------------------------------------------


async def _by_workers(concurrency: int, items: Iterable[Any], one: Callable[[Any], Awaitable[None]]) -> None:
    """`one` for each item, so many at a time."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await one(item)

    await asyncio.gather(*(worker() for _ in range(concurrency)))


async def _speed(client: Client, job: Job) -> dict[str, Any]:
    """Warm up, then do what is to be done and measure it."""
    warmed = await _warm_up(client, job)
    items = job.paths() if job.operation in ("file", "bulk") else range(job.count)
    watch, meter = Watch(), Meter()
    watching = asyncio.create_task(watch.run()) if job.watch else None
    await asyncio.sleep(0)
    meter.begin()
    await _run(client, job, items)
    report = meter.end()
    if watching:
        await asyncio.sleep(2 * _TICK)  # a stall that the work ended in is seen by the tick after it
        watching.cancel()
        report["stall"] = watch.longest
    return {**report, "warmed": warmed}


async def _warm_up(client: Client, job: Job) -> int:
    async def get(_: int) -> None:
        expect(await client.get(f"{job.url}/"))

    await _by_workers(job.concurrency, range(4 * job.concurrency), get)
    uploads = job.operation in ("file", "bulk")
    if uploads:
        await _run(client, job, [job.warm_path])
    return 4 * job.concurrency + uploads


async def _run(client: Client, job: Job, items: Sequence[Any]) -> None:
    url = f"{job.url}/"
    if job.operation == "bulk":
        await client.bulk(url, items, job.concurrency)
        return

    async def get(_: int) -> None:
        expect(await client.get(url))

    async def form(_: int) -> None:
        expect(await client.post_form(url, job.form))

    async def file(path: str) -> None:
        expect(await client.post_file(url, path))

    async def download(_: int) -> None:
        status, size = await client.download(f"{job.url}/bytes/{job.size}")
        if (status, size) != (200, job.size):
            raise Unexpected(f"{status}, {size} of {job.size} bytes")

    one: dict[str, Callable[[Any], Awaitable[None]]] = {"get": get, "form": form, "file": file, "download": download}
    await _by_workers(job.concurrency, items, one[job.operation])


async def _idle(client: Client, job: Job) -> dict[str, Any]:
    """Memory of connections that nobody uses: the server answers when all have asked."""
    expect(await client.get(f"{job.url}/"))
    meter = Meter()
    meter.begin()
    before = resident()
    answers = await asyncio.gather(*(client.get(f"{job.url}/hold/{job.count}") for _ in range(job.count)))
    for answer in answers:
        expect(answer)
    del answers, answer
    await asyncio.sleep(_SETTLED)
    gc.collect()
    return {**meter.end(), "each": (resident() - before) / job.count, "warmed": 1}


async def _stalled(client: Client, job: Job) -> NoReturn:
    """Memory of uploads that the server does not read. Told from here: not every library can be cancelled then."""
    expect(await client.post_file(f"{job.url}/", job.warm_path))
    path, others = job.paths()[0], _stalled_so_far(job.url)
    meter = Meter()
    meter.begin()
    before = resident()
    uploads = [asyncio.create_task(client.post_file(f"{job.url}/stall", path)) for _ in range(job.count)]
    while _stalled_so_far(job.url) < others + job.count:
        await asyncio.sleep(_SETTLED)
        for upload in uploads:
            if upload.done():
                raise Unexpected(f"an upload that nobody reads has ended: {upload.exception() or upload.result()}")
    await asyncio.sleep(_SETTLED)
    each = (resident() - before) / job.count
    tell({**meter.end(), "each": each, "warmed": 1})


def _stalled_so_far(url: str) -> int:
    """What the server has counted; over a connection of its own."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        connection.request("GET", "/count")
        return int(json.loads(connection.getresponse().read())["stalled"])
    finally:
        connection.close()


_TASKS: dict[str, Callable[[Client, Job], Coroutine[Any, Any, dict[str, Any]]]] = {
    "idle": _idle,
    "stalled": _stalled,
}


async def _do(kind: Callable[[int, str | None], Client], job: Job) -> dict[str, Any]:
    connections = job.count if job.operation in _TASKS else job.concurrency
    async with kind(connections, job.certificate) as client:
        return await _TASKS.get(job.operation, _speed)(client, job)


def main(kind: Callable[[int, str | None], Client]) -> None:
    """Do the job told in the first argument, and tell what it took."""
    job = Job(**json.loads(sys.argv[1]))
    if job.loop:
        import uvloop

        report = uvloop.run(_do(kind, job))
    else:
        report = asyncio.run(_do(kind, job))
    tell(report)


def tell(report: dict[str, Any]) -> NoReturn:
    """Print the report, and end: not every library ends its threads."""
    print(json.dumps(report), flush=True)
    os._exit(0)


# -- Doing it, in threads ------------------------------------------------------------------------------------------


class ThreadedClient(ABC):
    """A library without asyncio: what `Client` does, in a thread for each request at a time."""

    def __init__(self, connections: int, certificate: str | None) -> None:
        self.connections, self.certificate = connections, certificate

    @abstractmethod
    def get(self, url: str) -> Answer: ...

    @abstractmethod
    def post_form(self, url: str, fields: dict[str, str]) -> Answer: ...

    @abstractmethod
    def post_file(self, url: str, path: str) -> Answer: ...

    @abstractmethod
    def download(self, url: str) -> tuple[int, int]: ...


def main_threaded(kind: Callable[[int, str | None], ThreadedClient]) -> None:
    """What `main` does, for a library without asyncio."""
    job = Job(**json.loads(sys.argv[1]))
    client = kind(job.concurrency, job.certificate)

    def get(_: object) -> None:
        expect(client.get(f"{job.url}/"))

    def form(_: object) -> None:
        expect(client.post_form(f"{job.url}/", job.form))

    def file(path: str) -> None:
        expect(client.post_file(f"{job.url}/", path))

    def download(_: object) -> None:
        status, size = client.download(f"{job.url}/bytes/{job.size}")
        if (status, size) != (200, job.size):
            raise Unexpected(f"{status}, {size} of {job.size} bytes")

    uploads = job.operation in ("file", "bulk")
    one: Callable[[Any], None] = {"get": get, "form": form, "download": download}.get(job.operation, file)
    items: Iterable[Any] = job.paths() if uploads else range(job.count)
    meter = Meter()
    with ThreadPoolExecutor(job.concurrency) as threads:
        _in_threads(threads, job.concurrency, range(4 * job.concurrency), get)
        if uploads:
            file(job.warm_path)
        meter.begin()
        _in_threads(threads, job.concurrency, items, one)
        report = meter.end()
    tell({**report, "warmed": 4 * job.concurrency + uploads})


def _in_threads(
    threads: ThreadPoolExecutor, concurrency: int, items: Iterable[Any], one: Callable[[Any], None]
) -> None:
    left, lock = iter(items), threading.Lock()

    def next_items() -> Iterator[Any]:
        while True:
            with lock:
                item = next(left, _END)
            if item is _END:
                return
            yield item

    def worker() -> None:
        for item in next_items():
            one(item)

    for done in [threads.submit(worker) for _ in range(concurrency)]:
        done.result()


_END = object()
