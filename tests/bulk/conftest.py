"""What the tests of bulk uploads share: files, a bin, and a look at what is left when a test is over."""

import asyncio
import gc
import hashlib
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from postbin import running_bin

import aioreq
from aioreq.bulk import UploadResult

MakeFiles = Callable[..., list[Path]]


@pytest.fixture
def make_files(tmp_path: Path) -> MakeFiles:
    """A function that makes so many files of different contents, of `size` bytes each."""

    def make(number: int, size: int = 100, folder: str = "files") -> list[Path]:
        directory = tmp_path / folder
        directory.mkdir(exist_ok=True)
        paths = [directory / f"{index:05}.bin" for index in range(number)]
        for index, path in enumerate(paths):
            path.write_bytes((b"%08d" % index * (size // 8 + 1))[:size])
        return paths

    return make


async def all_of(run: AsyncIterable[UploadResult]) -> list[UploadResult]:
    """Every result, in the order of landing."""
    return [result async for result in run]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Bin:
    """A bin of its own on the test run's server."""

    url: str

    async def receipts(self) -> list[dict[str, Any]]:
        """What arrived, newest first."""
        receipts: list[dict[str, Any]] = (await aioreq.get(f"{self.url}?format=json")).json()
        return receipts

    async def totals(self) -> dict[str, int]:
        totals: dict[str, int] = (await aioreq.get(f"{self.url}/totals")).json()
        return totals


@pytest.fixture(scope="session")
def postbin() -> Iterator[str]:
    """The bin's server."""
    with running_bin() as url:
        yield url


@pytest.fixture
async def new_bin(postbin: str) -> Bin:
    return Bin((await aioreq.post(postbin)).url)


@pytest.fixture(scope="module")
def unseen() -> Iterator[list[dict[str, Any]]]:
    """Errors that a loop reports because nobody looked at them; there are none when the module is over."""
    reports: list[dict[str, Any]] = []
    yield reports
    gc.collect()
    assert reports == []


@pytest.fixture(autouse=True)
async def nothing_left(unseen: list[dict[str, Any]]) -> AsyncIterator[None]:
    """After each test: no task of the run is left, no thread that takes items, and no error that nobody looked at."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    yield
    await settled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    while any(thread.name == "aioreq-items" for thread in threading.enumerate()):
        await asyncio.sleep(0)  # it has told of its end, and is about to end
    gc.collect(1)
    assert unseen == []


async def settled() -> None:
    """Let what has been cancelled or closed end: that takes a few turns of the loop, and no time."""
    for _ in range(10):
        await asyncio.sleep(0)
