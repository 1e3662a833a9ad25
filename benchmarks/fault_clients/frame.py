"""What the client programs share: they do one job each, told in JSON, and report in JSON what happened.

    python with_NAME.py '{"task": "form", "url": "http://127.0.0.1:1234/upload", ...}'

A program knows its library and nothing of the faults; this module knows neither. Sources of bytes, the watch over the
event loop and the report are the same for all, so that only the library differs from one column to the next.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

_TICK = 0.005
_BLOCK = 65_536
_MEMORY_LIMIT = 3 * 1024**3  # a body that is gathered for ever must not take the machine with it
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024

_CLOSING_TIME = 0.05  # a library that closes the caller's file may do so in a thread, a little later

# The slow disk: each read of 64 KiB takes 50 ms.
_SECONDS_PER_BLOCK = 0.05


class NotOffered(Exception):
    """The library's documentation has no way to do this."""


@dataclass(frozen=True)
class FilePart:
    """A file of a form: what each library's tuple for it is made of."""

    file: Any
    filename: str = "upload.bin"
    content_type: str = "application/octet-stream"


class Client(ABC):
    """One library, used as its documentation advises.

    `seconds` is the longest silence the caller would bear, to be set wherever the library has a limit for it;
    `connections` how many may be open at a time. Each method returns the answer's status and content.
    """

    package: ClassVar[str]
    lacks: ClassVar[dict[str, str]] = {}
    """What the library does not offer, and what it has instead, in words for the table."""

    def __init__(self, *, seconds: float | None, connections: int | None) -> None:
        self.seconds, self.connections = seconds, connections

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *_: object) -> None: ...

    @abstractmethod
    async def get(self, url: str, token: str) -> tuple[int, bytes]:
        """GET with the header X-Token."""

    @abstractmethod
    async def send_form(self, url: str, fields: dict[str, str], part: FilePart) -> tuple[int, bytes]:
        """POST a form of text fields and one file, in the field `file`."""

    @abstractmethod
    async def send_stream(
        self, url: str, source: AsyncIterator[bytes], length: int | None, *, expect: bool
    ) -> tuple[int, bytes]:
        """POST what an async generator gives, with its length declared, or chunked if that is None.

        With `expect`, the body waits for 100.
        """


class SlowFile(io.FileIO):
    """A file on a slow disk. Whoever reads it has to wait, in a thread or in the event loop."""

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(-1 if size is None else size) or b""
        time.sleep(_SECONDS_PER_BLOCK * -(-len(found) // _BLOCK))
        return found

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        found = self.read(len(memoryview(buffer).cast("B")))
        buffer[: len(found)] = found
        return len(found)


async def blocks(length: int | None) -> AsyncIterator[bytes]:
    """`length` bytes, 64 KiB at a time; without a length, for ever."""
    left = sys.maxsize if length is None else length
    while left:
        block = bytes(min(_BLOCK, left))
        left -= len(block)
        yield block


@dataclass
class Report:
    """What a program tells. `hung` stays true if the watchdog has to speak for it."""

    library: str
    started: float
    attempts: list[dict[str, Any]]
    next: dict[str, Any] | None = None
    hung: bool = True
    stall_ms: float = 0.0
    lookup_ms: float = 0.0
    file_closed: bool | None = None
    memory_growth: int = 0
    not_offered: str | None = None
    lacks: dict[str, str] | None = None


class Job:
    """One run: the job as told, the client, and the report as it grows."""

    def __init__(self, kind: type[Client], told: dict[str, Any]) -> None:
        self.told = told
        self.client = kind(seconds=told.get("seconds"), connections=told.get("connections"))
        self.report = Report(library=kind.package, started=time.monotonic(), attempts=[], lacks=kind.lacks)
        self._memory_before = _most_memory()
        self._last_tick = self.report.started

    # -- Doing it ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        ticker = asyncio.create_task(self._tick())
        try:
            async with self.client:
                await _TASKS[self.told["task"]](self)
        except NotOffered as error:
            self.report.not_offered = str(error) or "not offered"
        finally:
            ticker.cancel()
        self.report.hung = False

    async def attempt(self, request: Awaitable[tuple[int, bytes]]) -> None:
        """Await one request, and note its answer or its exception."""
        self.report.attempts.append(await self._outcome(request))

    async def try_next(self) -> None:
        """A plain request on the same session: does it work, and is the answer its own?"""
        if url := self.told.get("next_url"):
            self.report.next = await self._outcome(self.client.get(url, "next"))

    async def _outcome(self, request: Awaitable[tuple[int, bytes]]) -> dict[str, Any]:
        began = time.monotonic()
        outcome: dict[str, Any]
        try:
            status, content = await request
        except NotOffered:
            raise
        except Exception as error:
            outcome = {"exception": type(error).__name__, "module": type(error).__module__, "message": str(error)[:300]}
        else:
            outcome = {"status": status, "content": content[:1000].decode("utf-8", "replace")}
        outcome["elapsed"] = time.monotonic() - began
        return outcome

    # -- Watching it -------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            self._last_tick = time.monotonic()
            await asyncio.sleep(_TICK)
            self._note_stall()

    def _note_stall(self) -> None:
        late = time.monotonic() - self._last_tick - _TICK
        self.report.stall_ms = max(self.report.stall_ms, late * 1000)

    def tell(self) -> None:
        """Print the report, in one line."""
        self.report.memory_growth = _most_memory() - self._memory_before
        print(json.dumps(vars(self.report)), flush=True)

    def tell_after(self, seconds: float) -> None:
        """Speak for a run that takes longer; in a thread, since a frozen loop could not."""
        time.sleep(seconds)
        self._note_stall()
        self.tell()
        os._exit(0)

    async def rendezvous(self, name: str) -> None:
        """Tell the script where we are, and wait for its word, while the event loop runs on."""
        print(json.dumps({"at": name}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


# -- The tasks -----------------------------------------------------------------------------------------------------


async def _stream(job: Job) -> None:
    told = job.told
    for _ in range(told.get("runs", 1)):
        source = blocks(None if told.get("endless") else told["length"])
        length = None if told.get("chunked") else told["length"]
        await job.attempt(job.client.send_stream(told["url"], source, length, expect=told.get("expect", False)))
    await job.try_next()


async def _form(job: Job) -> None:
    told = job.told
    details = {name: told[name] for name in ("filename", "content_type") if name in told}
    for _ in range(told.get("runs", 1)):
        with open(told["path"], "rb") as file:
            await job.attempt(job.client.send_form(told["url"], told.get("fields", {}), FilePart(file, **details)))
            await asyncio.sleep(_CLOSING_TIME)
            job.report.file_closed = file.closed
    await job.try_next()


async def _aiofiles_form(job: Job) -> None:
    import aiofiles

    async with aiofiles.open(job.told["path"], "rb") as file:
        await job.attempt(job.client.send_form(job.told["url"], {}, FilePart(file)))


async def _slow_forms(job: Job) -> None:
    lookups = asyncio.create_task(_look_up_names(job))
    await asyncio.gather(*(_slow_form(job) for _ in range(job.told["uploads"])))
    lookups.cancel()


async def _slow_form(job: Job) -> None:
    with SlowFile(job.told["path"], "rb") as file:
        await job.attempt(job.client.send_form(job.told["url"], {}, FilePart(file)))


async def _look_up_names(job: Job) -> None:
    """What any new connection needs: getaddrinfo, in the loop's default executor."""
    while True:
        began = time.monotonic()
        await asyncio.get_running_loop().getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
        job.report.lookup_ms = max(job.report.lookup_ms, (time.monotonic() - began) * 1000)
        await asyncio.sleep(0.02)


async def _two_requests(job: Job) -> None:
    await job.attempt(job.client.get(job.told["url"], "first"))
    if job.told.get("rendezvous"):
        await job.rendezvous("idle")
    await job.try_next()


async def _cancel_while_connecting(job: Job) -> None:
    for _ in range(job.told["runs"]):
        connecting = asyncio.create_task(job.client.get(job.told["url"], "given up"))
        await asyncio.sleep(0.2)
        job.report.attempts.append({"cancelled": connecting.cancel()})
        await asyncio.gather(connecting, return_exceptions=True)
    await job.rendezvous("cancelled")
    await job.try_next()


_TASKS: dict[str, Callable[[Job], Coroutine[Any, Any, None]]] = {
    "stream": _stream,
    "form": _form,
    "aiofiles form": _aiofiles_form,
    "slow forms": _slow_forms,
    "two requests": _two_requests,
    "cancel while connecting": _cancel_while_connecting,
}


def _most_memory() -> int:
    """The most memory this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # where a child process's ru_maxrss begins at its parent's
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


def main(kind: type[Client]) -> None:
    """Do the job told in the first argument and print the report."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    told = json.loads(sys.argv[1])
    job = Job(kind, told)
    threading.Thread(target=job.tell_after, args=(told["limit"],), daemon=True).start()
    asyncio.run(job.run())
    job.tell()
    # Not every library ends its threads; the report is out, and nobody waits for them.
    os._exit(0)
