"""Memory of a bulk upload of 100,000 files of 1 KiB, and whether each arrived once, in the order that was told.

    python benchmarks/bulk_memory.py [--files 100000] [--size 1024] [--journal]

The files go to the bin (examples/postbin.py) in a process of its own. While they go, memory is noted at every tenth: at
its peak it is less than 80 MiB above the start, and behind the first tenth it grows by less than 4 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aioreq
from aioreq.bulk import bulk_upload, walk

IN_A_FOLDER = 1000
CONCURRENCY = 16


def memory(what: str) -> float:
    """MiB that this process holds (VmRSS), or has held at most (VmHWM)."""
    return int(re.findall(rf"{what}:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024


def make_files(folder: Path, number: int, size: int) -> None:
    for index in range(number):
        if index % IN_A_FOLDER == 0:
            inner = folder / f"{index // IN_A_FOLDER:04}"
            inner.mkdir()
        (inner / f"{index:07}.bin").write_bytes((b"%016d" % index * (size // 16 + 1))[:size])


@contextmanager
def running_bin() -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).parents[1] / "examples" / "postbin.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[0]
        finally:
            server.terminate()


async def measure(base: str, folder: Path, options: argparse.Namespace) -> None:
    async with aioreq.Session(trust_env=False) as session:
        url = (await session.post(base)).url
    journal = folder.parent / "job.db" if options.journal else None
    start, begun = memory("VmRSS"), time.perf_counter()
    number = failed = out_of_order = 0
    noted: list[float] = []
    async for result in bulk_upload(url, walk(folder), journal=journal, concurrency=CONCURRENCY):
        number += 1
        if not result.ok or result.response is None:
            failed += 1
            continue
        # The bin counts arrivals; results may change places only with those that were on the way beside them.
        out_of_order = max(out_of_order, abs(result.response.json()["number"] - number))
        if number % (options.files // 10) == 0:
            noted.append(memory("VmRSS") - start)
            print(f"{number:>9,} files: +{noted[-1]:.1f} MiB", flush=True)
    seconds = time.perf_counter() - begun
    async with aioreq.Session(trust_env=False) as session:
        totals = (await session.get(f"{url}/totals")).json()
    print(f"{number:,} results, {failed} failed, {number / seconds:,.0f} files/s")
    print(f"peak {memory('VmHWM') - start:.1f} MiB above the start ({start:.1f} MiB)")
    print(f"the bin has {totals['uploads']:,} uploads; the furthest that a result was out of place: {out_of_order}")
    assert totals["uploads"] == totals["files"] == number == options.files
    assert failed == 0
    assert out_of_order <= 2 * CONCURRENCY
    assert memory("VmHWM") - start < 80
    assert noted[-1] - noted[0] < 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--journal", action="store_true", help="with a journal")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aioreq-bulk-") as place, running_bin() as base:
        folder = Path(place, "files")
        folder.mkdir()
        make_files(folder, options.files, options.size)
        os.sync()
        asyncio.run(measure(base, folder, options))


if __name__ == "__main__":
    main()
