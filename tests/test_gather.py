"""Small uploads in one buffer: what is in it, who has it next, and that no upload ever holds another one's bytes."""

import asyncio
import hashlib
import random
import ssl
import threading
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import Session, Timeout
from aioreq._body import Body, Bytes, FileRegion
from aioreq._files import FileSource
from aioreq._net import gather as gathering
from aioreq._net import http1
from aioreq._net.gather import LARGEST, gather, give_back
from aioreq.testing import Exchange, FaultServer, faults
from tests.servers.certificates import Certificates

KIB = 1024
HEAD = b"POST / HTTP/1.1\r\n\r\n"


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[bytearray]]:
    """The buffers that nobody uses, by size; none at first."""
    free: defaultdict[int, list[bytearray]] = defaultdict(list)
    monkeypatch.setattr(gathering, "_free", free)
    return free


def kept(free: dict[int, list[bytearray]]) -> int:
    return sum(map(len, free.values()))


def body_of(path: Path, content: bytes) -> Body:
    path.write_bytes(content)
    return Body((Bytes(b"before "), FileRegion(FileSource.from_path(str(path))), Bytes(b""), Bytes(b" behind")))


class TestBuffers:
    @pytest.mark.parametrize("size", [0, 1, 4096, LARGEST])
    def test_head_and_body(self, size: int, tmp_path: Path):
        """Head and segments stand one behind the other, and nothing else is there."""
        content = random.Random(size).randbytes(size)
        assert gather(HEAD, body_of(tmp_path / "file", content)) == HEAD + b"before " + content + b" behind"

    def test_a_buffer_is_used_again(self, tmp_path: Path):
        """One that was given back is taken for the next upload of about its size, which sees nothing of the last."""
        first = gather(HEAD, body_of(tmp_path / "file", b"x" * 2000))
        buffer = first.obj
        give_back(first)
        second = gather(HEAD, body_of(tmp_path / "file", b"y" * 1500))
        assert second.obj is buffer
        assert second == HEAD + b"before " + b"y" * 1500 + b" behind"

    def test_one_in_use_is_not(self, tmp_path: Path):
        """One that was not given back is nobody else's."""
        first = gather(HEAD, body_of(tmp_path / "file", b"x" * 1000))
        second = gather(HEAD, body_of(tmp_path / "file", b"y" * 1000))
        assert first.obj is not second.obj
        assert bytes(first).count(b"x") == 1000

    def test_what_was_given_back_can_not_be_read(self, tmp_path: Path):
        """Who gives a buffer back has no hold of it any more."""
        view = gather(HEAD, body_of(tmp_path / "file", b"x"))
        give_back(view)
        with pytest.raises(ValueError, match="released"):
            view[0]

    def test_an_empty_file_that_is_gone(self, tmp_path: Path):
        """A file is opened even if it has no byte: it could be gone."""
        body = body_of(tmp_path / "file", b"")
        (tmp_path / "file").unlink()
        with pytest.raises(aioreq.FileMissing):
            gather(HEAD, body)

    def test_not_all_are_kept(self, free: dict[int, list[bytearray]], tmp_path: Path):
        """However many were in use at a time, 4 MiB of each size are kept."""
        body = body_of(tmp_path / "file", bytes(200 * KIB))
        for view in [gather(HEAD, body) for _ in range(40)]:
            give_back(view)
        assert {size: len(buffers) for size, buffers in free.items() if buffers} == {256 * KIB: 16}

    @pytest.mark.parametrize("left", [0, 500])
    def test_a_file_that_shrinks(self, free: dict[int, list[bytearray]], tmp_path: Path, left: int):
        """It is an error, however much is left of it, and its buffer is not used again: a traceback may hold it."""
        body = body_of(tmp_path / "file", b"x" * 1000)
        (tmp_path / "file").write_bytes(b"y" * left)
        with pytest.raises(aioreq.FileChanged):
            gather(HEAD, body)
        assert kept(free) == 0


@pytest.fixture(params=["plain", "tls"])
def server_context(request: pytest.FixtureRequest, certificates: Certificates) -> ssl.SSLContext | None:
    """None for plain HTTP, or what a server speaks TLS with."""
    return certificates.server_context() if request.param == "tls" else None


@pytest.fixture
async def session(certificates: Certificates) -> AsyncIterator[Session]:
    async with Session(verify=certificates.authority, trust_env=False) as session:
        yield session


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One that is still small, and more than a Unix socket holds for a server that does not read."""
    path = tmp_path / "file"
    path.write_bytes(random.Random(1).randbytes(LARGEST))
    return path


@pytest.fixture
async def narrow(tmp_path: Path) -> AsyncIterator[Any]:
    """Start a server behind a Unix socket, and a session that leads there."""
    async with AsyncExitStack() as stack:

        async def start(fault: Any) -> tuple[FaultServer, Session]:
            server = stack.enter_context(FaultServer(fault, unix_socket=tmp_path / "socket"))
            session = Session(unix_socket=tmp_path / "socket", trust_env=False)
            return server, await stack.enter_async_context(session)

        yield start


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Files of several sizes, each of a content of its own."""
    paths = [tmp_path / f"{number}" for number in range(60)]
    for number, path in enumerate(paths):
        draw = random.Random(number)
        path.write_bytes(draw.randbytes(draw.choice((10, 3 * KIB, 60 * KIB, 200 * KIB))))
    return paths


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestUploads:
    async def test_no_upload_lands_in_another(self, server_context: Any, session: Session, files: list[Path]):
        """Uploads to a server that reads slowly, a third of them cancelled: what arrives whole is what was sent."""

        async def read_in_pieces(exchange: Exchange) -> None:
            await exchange.read_body(chunk=8 * KIB, pace=0.0005)
            await exchange.answer()

        async def upload(number: int, path: Path) -> str:
            response = await session.post(server.url, data=path, headers={"X-Token": digest(path)})
            assert response.json()["sha256"] == digest(path)
            assert response.upload.complete
            return "sent"

        async def upload_and_cancel(number: int, path: Path) -> str:
            task = asyncio.create_task(upload(number, path))
            for _ in range(random.Random(number).randrange(40)):
                await asyncio.sleep(0)
            task.cancel()
            try:
                return await task
            except asyncio.CancelledError:
                return "cancelled"

        async def worker() -> list[str]:
            return [await (upload_and_cancel if number % 3 else upload)(number, path) for number, path in numbered]

        with FaultServer(read_in_pieces, tls=server_context, receive_buffer=4 * KIB, segment=1460) as server:
            numbered = iter(list(enumerate(files * 3)))
            outcomes = [one for some in await asyncio.gather(*(worker() for _ in range(20))) for one in some]
        assert outcomes.count("sent") >= len(files)
        assert outcomes.count("cancelled") > 0
        whole = [request for request in server.requests if request.complete]
        assert len(whole) >= len(files)
        assert [request.sha256 for request in whole] == [request.header("X-Token") for request in whole]

    async def test_a_buffer_that_is_still_held(self, free: dict[int, list[bytearray]], narrow: Any, file: Path):
        """A buffer that the kernel did not take at once is left to the transport; one that it took comes back."""
        server, session = await narrow(faults.read_slowly(100 * KIB))
        call = asyncio.create_task(session.post(server.url, data=file))
        await server.reached("slow")
        server.release("slow")
        assert (await call).json()["sha256"] == digest(file)
        assert kept(free) == 0
        file.write_bytes(b"small")
        assert (await session.post(server.url, data=file)).json()["received"] == 5
        assert kept(free) == 1

    async def test_given_up(self, free: dict[int, list[bytearray]], narrow: Any, file: Path):
        """A buffer whose upload was cancelled, or took too long, is not used again either."""
        server, session = await narrow(faults.stall())
        with pytest.raises(aioreq.WriteTimeout) as caught:
            await session.post(server.url, data=file, timeout=Timeout(write=0.05))
        assert 0 < caught.value.sent < len(file.read_bytes())
        call = asyncio.create_task(session.post(server.url, data=file))
        await server.reached("stalled", times=2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert kept(free) == 0

    @pytest.mark.parametrize("change", ["shrinks", "goes"])
    async def test_nothing_has_left(self, server_context: Any, certificates: Certificates, tmp_path: Path, change: str):
        """When a file can't be read, not a byte of the request has left, and the error says so."""
        path = tmp_path / "file"
        path.write_bytes(b"x" * 1000)

        def change_it(event: aioreq.ConnectionEvent) -> None:
            path.write_bytes(b"") if change == "shrinks" else path.unlink()

        hooks = {"connection": change_it}
        with FaultServer(faults.ok(), tls=server_context) as server:
            async with Session(verify=certificates.authority, trust_env=False, event_hooks=hooks) as session:
                with pytest.raises(aioreq.FileChanged if change == "shrinks" else aioreq.FileUnreadable) as caught:
                    await session.post(server.url, data=path)
                assert session.pool.open == 0
        assert caught.value.sent == 0
        assert server.requests == []

    async def test_time_is_over_before_anything_has_left(
        self, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """... and the same when the time is over while the file is still read."""
        over = threading.Event()

        def read_for_ever(head: bytes, body: Body) -> Any:
            over.wait(10)
            return gather(head, body)

        monkeypatch.setattr(http1, "gather", read_for_ever)
        (tmp_path / "file").write_bytes(bytes(1000))
        with FaultServer(faults.ok()) as server:
            with pytest.raises(aioreq.exceptions.Timeout, match="in all") as caught:
                await session.post(server.url, data=tmp_path / "file", timeout=Timeout(total=0.05))
            over.set()
        assert caught.value.sent == 0
        assert server.requests == []
