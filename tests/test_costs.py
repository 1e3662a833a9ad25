"""What requests cost, counted: the same on every machine and in every run, so that a change for the worse is seen.

Speed itself is for `make bench`, on a quiet machine. Here a program (tests/costs) sends requests of one kind, N of them
and 2N; the difference, divided by N, is what each of the later ones costs, whatever the start did. The bounds are a
little above what it was when they were set: who makes something cheaper may lower them, and what grows with the number
of requests breaks them.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

import aioreq
from tests.cached_files import require_device_that_answers
from tests.test_outbox import OK, Server, came

PROGRAM = Path(__file__).with_name("costs") / "program.py"
N = 100
KINDS = ("get", "form", "file", "bulk")
SIZES = {"file": 65_536, "bulk": 4096}

# The files are in memory, and the loop itself reads them. In bulk, when results are fetched is a matter of timing: its
# bounds leave more room.
BOUNDS: dict[str, dict[str, float]] = {
    "get": {"callbacks": 1, "polls": 1, "hops": 0, "calls": 165, "allocations": 70, "syscalls": 6},
    "form": {"callbacks": 1, "polls": 1, "hops": 0, "calls": 205, "allocations": 118, "syscalls": 6},
    "file": {"callbacks": 1, "polls": 1, "hops": 0, "calls": 326, "allocations": 240, "syscalls": 16},
    "bulk": {"callbacks": 3, "polls": 3, "hops": 0.02, "calls": 390, "allocations": 205, "syscalls": 12},
}


@dataclass(frozen=True)
class Costs:
    """How to run the program."""

    url: str
    folder: Path

    def count(
        self, kind: str, measure: str, number: int = N, environment: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[dict[str, int], dict[str, int]]:
        """What so many requests took, and what twice as many did."""
        once, twice = (
            json.loads(self._run([], environment, kind, str(count), measure)) for count in (number, 2 * number)
        )
        return once, twice

    def system_calls(self, kind: str) -> tuple[int, int]:
        """Futexes aside: whether one thread has to wait for another is chance."""
        told = self.folder / "strace"
        before = ["strace", "-f", "-c", "-e", "trace=!futex", "-o", str(told)]
        found = []
        for count in (N, 2 * N):
            self._run(before, {}, kind, str(count))
            total = re.search(r"(\d+)(?:\s+\d+)? total$", told.read_text(), re.MULTILINE)
            assert total is not None
            found.append(int(total[1]))
        return found[0], found[1]

    def _run(self, before: list[str], environment: Mapping[str, str], kind: str, *arguments: str) -> str:
        path = self.folder / kind
        path.write_bytes(bytes(SIZES.get(kind, 0)))
        command = [*before, sys.executable, str(PROGRAM), kind, self.url, str(path), *arguments]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COV_CORE")}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env={**inherited, **environment}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def answer(connection: socket.socket) -> None:
    """Answer requests when they are whole, each with one write: what the client has to do is then always the same."""
    with connection:
        held = b""
        while True:
            while b"\r\n\r\n" not in held:
                if not (more := connection.recv(65_536)):
                    return
                held += more
            head, _, held = held.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            left = (int(length[1]) if length else 0) - len(held)
            while left > 0:
                left -= len(connection.recv(1024 * 1024))
            held = b""
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Costs]:
    folder = tmp_path_factory.mktemp("costs")
    require_device_that_answers(folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                if stopping.is_set():
                    connection.close()
                    return
                threading.Thread(target=answer, args=(connection,)).start()

        stopping = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        yield Costs(f"http://127.0.0.1:{listener.getsockname()[1]}/", folder)
        stopping.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join()


def require(kind: str, what: str, once: int, twice: int) -> None:
    """The second hundred requests cost no more each than the bound."""
    each, bound = (twice - once) / N, BOUNDS[kind][what]
    assert each <= bound, f"{kind}: {each} {what} for each request, and {bound} is the bound"


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_takes_few_turns_of_the_loop(costs: Costs, kind: str) -> None:
    """Callbacks, looks at what is ready, and hops to threads: few, and as many for each request however many there are.

    Only the first small files go to a thread, which finds out that the next need not.
    """
    once, twice = costs.count(kind, "turns")
    for what in ("callbacks", "polls", "hops"):
        require(kind, what, once.get(what, 0), twice.get(what, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_takes_few_calls(costs: Costs, kind: str) -> None:
    """Calls of functions are what Python's time is made of; they are counted in the loop's thread."""
    once, twice = costs.count(kind, "calls")
    require(kind, "calls", once["calls"], twice["calls"])


def test_waiting_costs_the_same_however_many_wait(costs: Costs) -> None:
    """A request takes as many calls among eight hundred that wait for a connection as among two hundred.

    The looks that the loop takes at its sockets are counted, too, and vary a little.
    """
    each = []
    for number in (N, 4 * N):
        once, twice = costs.count("queue", "calls", number)
        each.append((twice["calls"] - once["calls"]) / number)
    few, many = each
    assert many <= 1.1 * few


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_leaves_nothing_behind(costs: Costs, kind: str) -> None:
    """No block of memory stays, and no object is left to the collector of cycles."""
    once, twice = costs.count(kind, "memory")
    for what in ("kept", "cyclic"):
        assert (twice[what] - once[what]) / N <= 0.1, what


@pytest.fixture(scope="module")
def counting_allocator(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a program whose requests for memory are counted."""
    if platform.libc_ver()[0] != "glibc" or not (compiler := shutil.which("cc")):
        if os.environ.get("CI"):
            pytest.fail("counting allocations needs glibc and a C compiler")
        pytest.skip("needs glibc and a C compiler")
    library = tmp_path_factory.mktemp("allocations") / "allocations.so"
    source = PROGRAM.with_name("allocations.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    return {"LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_asks_seldom_for_memory(costs: Costs, counting_allocator: dict[str, str], kind: str) -> None:
    """What CPython keeps at hand aside (small tuples, floats, frames)."""
    once, twice = costs.count(kind, "allocations", environment=counting_allocator)
    require(kind, "allocations", once["allocations"], twice["allocations"])


@functools.cache
def can_trace() -> bool:
    """Whether strace is there, and may do it."""
    return bool(shutil.which("strace")) and not subprocess.run(["strace", "-c", "true"], capture_output=True).returncode


@pytest.mark.skipif(not os.environ.get("CI") and not can_trace(), reason="needs strace, and leave to use it")
@pytest.mark.parametrize("kind", KINDS)
def test_a_request_takes_few_system_calls(costs: Costs, kind: str) -> None:
    """One to send, one to receive, and little besides; a small file is opened, sent and closed beside that."""
    require(kind, "syscalls", *costs.system_calls(kind))


async def test_a_lone_request_leaves_in_the_turn_of_its_call() -> None:
    """A request on a kept connection is with the kernel when its call waits for the first time: no turn later."""
    with Server() as server:
        async with aioreq.Session(trust_env=False) as session:
            [connection] = await server.keep(session, 1)
            call = asyncio.create_task(session.get(server.url))
            await asyncio.sleep(0)
            assert (came(connection) or b"").startswith(b"GET / HTTP/1.1\r\n")
            connection.sendall(OK)
            await call


async def test_many_requests_leave_within_two_turns() -> None:
    """Of 50 that are made in one turn of the loop, most leave in it, and the others in the next one."""
    with Server() as server:
        async with aioreq.Session(trust_env=False) as session:
            connections = await server.keep(session, 50)
            calls = [asyncio.create_task(session.get(server.url)) for _ in connections]
            await asyncio.sleep(0)
            first = [came(connection) for connection in connections]
            await asyncio.sleep(0)
            second = [came(connection) for connection in connections]
            assert 50 - first.count(None) > 18  # no more than 31 wait for others
            assert all((one is None) != (other is None) for one, other in zip(first, second, strict=True))
            for connection in connections:
                connection.sendall(OK)
            await asyncio.gather(*calls)
