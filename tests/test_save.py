"""Downloads to files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

import aioreq
from aioreq.testing import Exchange, FaultServer, MockTransport, answer, faults, script

Starter = Callable[..., FaultServer]
CONTENT = bytes(range(256)) * 12_000


@script
async def download(exchange: Exchange) -> None:
    """Answer with CONTENT."""
    await exchange.read_body()
    await exchange.answer(200, body=CONTENT)


async def test_a_download_is_written_as_it_arrives(fault_server: Starter, tmp_path: Path) -> None:
    """save() writes the body, tells of its progress to the end, and leaves nothing else behind."""
    server = fault_server(download())
    seen: list[aioreq.DownloadProgress] = []
    async with aioreq.Session() as session, session.stream("GET", server.url) as response:
        assert await response.save(tmp_path / "got", progress=seen.append) == len(CONTENT)
    assert (tmp_path / "got").read_bytes() == CONTENT
    assert seen[-1] == aioreq.DownloadProgress(len(CONTENT), len(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == ["got"]


async def test_a_download_cut_short_leaves_no_file(fault_server: Starter, tmp_path: Path) -> None:
    """What did not arrive whole does not appear under its name, and what was there before stays."""
    server = fault_server(faults.cut_answer(declared=100_000, sent=50_000))
    (tmp_path / "got").write_bytes(b"before")
    async with aioreq.Session() as session, session.stream("GET", server.url) as response:
        with pytest.raises(aioreq.RemoteProtocolError):
            await response.save(tmp_path / "got")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("got", b"before")]


async def test_a_progress_function_can_end_a_download(fault_server: Starter, tmp_path: Path) -> None:
    """What it raises reaches the caller, and no file is left."""

    def stop(_progress: aioreq.DownloadProgress) -> None:
        raise LookupError("enough")

    server = fault_server(download())
    async with aioreq.Session() as session, session.stream("GET", server.url) as response:
        with pytest.raises(LookupError, match="enough"):
            await response.save(tmp_path / "got", progress=stop)
    assert not list(tmp_path.iterdir())


async def test_a_place_that_can_not_be_written_is_told(fault_server: Starter, tmp_path: Path) -> None:
    """The error names the file, and is the operating system's kind of error too."""
    server = fault_server(download())
    async with aioreq.Session() as session, session.stream("GET", server.url) as response:
        with pytest.raises(aioreq.FileUnreadable, match="can't write") as caught:
            await response.save(tmp_path / "no folder" / "got")
    assert isinstance(caught.value, OSError)
    assert caught.value.filename == str(tmp_path / "no folder" / "got")


async def test_an_answer_that_was_read_can_be_saved_too(tmp_path: Path) -> None:
    """A coded body is saved decoded; its length is not known beforehand."""
    seen: list[aioreq.DownloadProgress] = []
    transport = MockTransport(
        lambda request, _body: answer(request, 200, gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"})
    )
    async with aioreq.Session(transport=transport) as session:
        response = await session.get("http://nowhere.example/")
        await response.save(tmp_path / "got", progress=seen.append)
    assert (tmp_path / "got").read_bytes() == CONTENT
    assert seen[-1] == aioreq.DownloadProgress(len(CONTENT), None)
