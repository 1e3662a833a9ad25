"""Large bodies pass through: memory stays small, and the loop is free for others."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers.certificates import Certificates

MIB = 1024 * 1024
GIB = 1024 * MIB

MEMORY_ALLOWED = 64 * MIB
"""Bytes by which a program may grow while a body passes."""
STALL_ALLOWED = 0.1
"""Seconds of its own processor time for which the loop may be busy with one thing; a few milliseconds are usual."""

CLIENT = """
import asyncio, json, pathlib, resource, sys, time
import aioreq

url, path, authority, kind = sys.argv[1:]


def peak():
    # The kernel's high-water mark of this program alone: ru_maxrss begins with that of the program that started it.
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024


async def watch(stalls):
    # By the loop's own processor time: on the clock a busy machine stalls everything.
    last = time.perf_counter(), time.thread_time()
    while True:
        await asyncio.sleep(0.001)
        now = time.perf_counter(), time.thread_time()
        stalls["by_clock"] = max(stalls["by_clock"], now[0] - last[0] - 0.001)
        stalls["stall"] = max(stalls["stall"], now[1] - last[1])
        last = now


async def transfer(session, path):
    if kind == "raw":
        return (await session.put(url, data=path)).json()
    if kind == "form":
        return (await session.post(url, data={"field": "value"}, files={"file": path})).json()
    async with session.stream("GET", url) as response:
        return {"received": sum([len(piece) async for piece in response.iter_content()])}


async def main():
    small = pathlib.Path(path).with_name("small")
    stalls = {"by_clock": 0.0, "stall": 0.0}
    async with aioreq.Session(verify=authority) as session:
        if kind != "download":
            await transfer(session, small)  # what is imported and started once does not count
        watching = asyncio.create_task(watch(stalls))
        await asyncio.sleep(0)
        before = peak()
        told = await transfer(session, pathlib.Path(path))
        after = peak()
        watching.cancel()
    print(json.dumps({**told, **stalls, "grown": after - before}))


asyncio.run(main())
"""


@dataclass
class Report:
    """What a client's transfer was like."""

    received: int
    grown: int
    stall: float
    by_clock: float
    ending: str = ""
    """The last bytes that the server saw."""


Handler = Callable[[socket.socket], None]


def sink(connection: socket.socket) -> None:
    """Take uploads, throwing away what comes as fast as it comes; tell how many bytes came, and the last of them."""
    while head := _read_head(connection):
        length = int(re.search(rb"content-length: (\d+)", head.lower())[1])  # type: ignore[index]
        _discard(connection, max(0, length - 100))
        ending = b""
        while len(ending) < min(length, 100):
            ending += connection.recv(100)
        body = json.dumps({"received": length, "ending": ending.decode("latin-1")}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def _read_head(connection: socket.socket) -> bytes:
    """A head, read byte by byte so that none of the body is taken with it; nothing when the client has gone."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def _discard(connection: socket.socket, count: int) -> None:
    # On Linux, TCP takes MSG_TRUNC to mean that nothing need be copied out of the kernel.
    plain = not isinstance(connection, ssl.SSLSocket)
    flags = socket.MSG_TRUNC if plain and sys.platform == "linux" else 0
    buffer = bytearray(MIB)
    while count:
        received = connection.recv_into(buffer, min(count, len(buffer)), flags)
        if not received:
            raise ConnectionError("the client has gone in the middle of a body")
        count -= received


def source(size: int) -> Handler:
    """Answer a request with so many bytes."""

    def serve(connection: socket.socket) -> None:
        while _read_head(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            block = bytes(MIB)
            for _ in range(size // len(block)):
                connection.sendall(block)

    return serve


@contextmanager
def serving(handler: Handler, context: ssl.SSLContext | None) -> Iterator[str]:
    """Serve one connection in a thread; its URL."""
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            connection, _ = listener.accept()
            with connection if context is None else context.wrap_socket(connection, server_side=True) as connection:
                handler(connection)
        except BaseException as failure:
            failures.append(failure)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=serve)
        thread.start()
        scheme = "http" if context is None else "https"
        try:
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            thread.join()
    assert failures == []


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a sparse file is read quickly: in memory, if there is such a place. A disk's cache would fill up first."""
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared_memory) as folder:
        yield Path(folder)


@pytest.fixture
def transfer(folder: Path, certificates: Certificates) -> Callable[..., Report]:
    """Have a program of its own send a file of zeros, or receive, and report on itself."""

    def run(kind: str, size: int, *, tls: bool = False) -> Report:
        (folder / "small").write_bytes(b"small")
        with (folder / "large").open("wb") as file:
            file.truncate(size)
        handler = source(size) if kind == "download" else sink
        with serving(handler, certificates.server_context() if tls else None) as url:
            arguments = [url, str(folder / "large"), str(certificates.authority), kind]
            command = [sys.executable, "-W", "error", "-c", CLIENT, *arguments]
            ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
        report = Report(**json.loads(ran.stdout))
        stalls = f"{report.stall * 1000:.1f} ms ({report.by_clock * 1000:.1f} by the clock)"
        print(f"\n{kind}: {report.grown / MIB:.1f} MiB more, the loop stood still for {stalls} at most")
        return report

    return run


def check(report: Report) -> None:
    assert report.grown < MEMORY_ALLOWED
    assert report.stall < STALL_ALLOWED


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["raw", "form"])
def test_an_upload_of_three_gibibytes(kind: str, transfer: Any):
    """A file of 3 GiB, larger than what fits into 32 bits, goes up with little memory and the loop free."""
    report = transfer(kind, 3 * GIB)
    check(report)
    if kind == "raw":
        assert report.received == 3 * GIB
    else:
        assert 3 * GIB < report.received < 3 * GIB + 1000
        assert re.search(r"\0\r\n--[0-9a-f]{32}--\r\n$", report.ending)


@pytest.mark.slow
def test_an_upload_over_tls(transfer: Any):
    """The same holds where the file must be read and encrypted by us."""
    report = transfer("form", 512 * MIB, tls=True)
    check(report)
    assert 512 * MIB < report.received < 512 * MIB + 1000
    assert re.search(r"\0\r\n--[0-9a-f]{32}--\r\n$", report.ending)


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_download(tls: bool, transfer: Any):
    """... and for an answer that is read in pieces."""
    report = transfer("download", 512 * MIB, tls=tls)
    check(report)
    assert report.received == 512 * MIB
