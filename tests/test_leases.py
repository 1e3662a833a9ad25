"""Files under another program's lease: who opens them waits until it is given up (fcntl(2), F_SETLEASE)."""

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aioreq
from aioreq.bulk import bulk_upload
from aioreq.testing import FaultServer, faults

pytestmark = pytest.mark.skipif(not hasattr(fcntl, "F_SETLEASE"), reason="leases are Linux's")

HOLDER = """
import fcntl, os, signal, sys

def give_up(*_):
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    print("given up", flush=True)

fd = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGIO, give_up)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def leased(tmp_path: Path) -> Iterator[Path]:
    """A file that another process has a lease on, which it gives up as soon as it is asked to."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 20_000)
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != "held\n":
            pytest.skip("this filesystem has no leases")
        yield path
        assert holder.stdout.readline() == "given up\n"


@pytest.mark.parametrize("is_known", [False, True])
async def test_an_upload(leased: Path, is_known: bool):
    """A thread waits for it, not the loop."""
    (leased.parent / "first").write_bytes(b"x")
    with FaultServer(faults.ok()) as server:
        async with aioreq.Session(trust_env=False) as session:
            if is_known:  # the device is one that the loop may read from
                await session.put(server.url, data=leased.parent / "first")
            response = await session.put(server.url, data=leased)
        assert response.json()["received"] == 20_000


@pytest.mark.parametrize("before", [0, 100])
async def test_in_bulk(leased: Path, before: int):
    """... by a thread in the first batch, and by the loop's leaving it to one later."""
    first = leased.parent / "first"
    first.write_bytes(b"x")
    with FaultServer(faults.ok()) as server:
        results = [result async for result in bulk_upload(server.url, [first] * before + [leased])]
    assert [result.error for result in results if not result.ok] == []
    assert len(results) == before + 1
