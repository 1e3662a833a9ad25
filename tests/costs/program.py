"""The program whose costs are counted: requests of one kind, one after another, in a process of its own.

    python program.py KIND URL PATH COUNT [MEASURE]

KIND is one of get, form, file, bulk, and queue: GETs that wait for four connections, all at once. PATH is the file that
goes up. With MEASURE it prints as JSON what COUNT requests took of that, after some to warm up; without, the requests
are all it does, for somebody who counts from outside.

- turns: callbacks that the event loop ran; work handed to threads; times the loop asked the kernel what is ready
- calls: calls of functions in the loop's thread, Python's and C's
- memory: blocks of memory kept that were not there before; objects that only the collector of cycles could free
- allocations: how often memory was asked for, by whatever thread; for this allocations.c must have been loaded
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import ctypes
import gc
import json
import selectors
import sys
from asyncio.events import Handle
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aioreq
from aioreq.bulk import bulk_upload

_WARM_UP = 40
_FORM = {"title": "Holiday", "place": "Lisbon", "year": "2024", "public": "yes"}

Work = Callable[[int], Awaitable[None]]
"""Do so many requests."""


def requests(kind: str, session: aioreq.Session, url: str, path: str) -> Work:
    if kind == "bulk":

        async def bulk(count: int) -> None:
            async for result in bulk_upload(url, [path] * count, session=session, concurrency=1):
                assert result.ok, result.problem

        return bulk

    ways: dict[str, Callable[[], Awaitable[aioreq.Response]]] = {
        "get": lambda: session.get(url),
        "form": lambda: session.post(url, data=_FORM),
        "file": lambda: session.post(url, files={"file": Path(path)}),
    }
    if kind == "queue":

        async def at_once(count: int) -> None:
            await asyncio.gather(*(session.get(url) for _ in range(count)))

        return at_once

    one = ways[kind]

    async def several(count: int) -> None:
        for _ in range(count):
            response = await one()
            assert response.content == b"ok"

    return several


# -- Counting ------------------------------------------------------------------------------------------------------


@contextmanager
def counted(owner: Any, name: str, counts: Counter[str], what: str) -> Iterator[None]:
    """Count the calls of a method."""
    original = getattr(owner, name)

    def counting(*args: Any, **options: Any) -> Any:
        counts[what] += 1
        return original(*args, **options)

    setattr(owner, name, counting)
    try:
        yield
    finally:
        setattr(owner, name, original)


async def turns(work: Work, count: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    with (
        counted(Handle, "_run", counts, "callbacks"),
        counted(concurrent.futures.ThreadPoolExecutor, "submit", counts, "hops"),
        counted(selectors.DefaultSelector, "select", counts, "polls"),
    ):
        await work(count)
    return counts


async def calls(work: Work, count: int) -> Counter[str]:
    counts: Counter[str] = Counter()

    def note(_: object, event: str, __: object) -> None:
        if event in ("call", "c_call"):
            counts["calls"] += 1

    sys.setprofile(note)
    try:
        await work(count)
    finally:
        sys.setprofile(None)
    return counts


async def memory(work: Work, count: int) -> Counter[str]:
    gc.collect()
    gc.disable()
    before = sys.getallocatedblocks()
    await work(count)
    cyclic = gc.collect()
    return Counter(kept=sys.getallocatedblocks() - before, cyclic=cyclic)


async def allocations(work: Work, count: int) -> Counter[str]:
    made = ctypes.CDLL(None).allocations
    made.restype = ctypes.c_ulong
    before = made()
    await work(count)
    return Counter(allocations=made() - before)


_MEASURES = {"turns": turns, "calls": calls, "memory": memory, "allocations": allocations}


async def main(kind: str, url: str, path: str, count: int, measure: str | None) -> None:
    limits = aioreq.Limits(max_connections=4) if kind == "queue" else None
    async with aioreq.Session(trust_env=False, limits=limits) as session:
        work = requests(kind, session, url, path)
        await work(_WARM_UP)
        if measure:
            print(json.dumps(await _MEASURES[measure](work, count)))
        else:
            await work(count)


if __name__ == "__main__":
    kind, url, path, count, *measure = sys.argv[1:]
    asyncio.run(main(kind, url, path, int(count), measure[0] if measure else None))
