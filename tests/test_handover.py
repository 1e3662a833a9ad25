"""Small files that the kernel sends from where it has them in memory: what arrives, also when it takes less at once."""

import asyncio
import errno
import os
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import Session
from aioreq import _page_cache as page_cache
from aioreq._body import Body, FileRegion
from aioreq._files import FileSource
from aioreq._net import handover
from aioreq._net.parcel import Parcel
from aioreq.multipart import MultipartParam
from aioreq.testing import Exchange, FaultServer, faults, script
from tests.cached_files import require_device_that_answers
from tests.scripts import held

KIB = 1024
WORTH_IT = handover._WORTH_IT


@pytest.fixture(autouse=True)
def known_device(tmp_path: Path) -> None:
    require_device_that_answers(tmp_path)
    with (tmp_path / "first").open("rb") as file:
        if not page_cache.holds(file.fileno(), 0, 1):
            pytest.skip("needs cachestat: Linux 6.5")


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with Session(trust_env=False) as session:
        yield session


class Sendfile:
    """What `os.sendfile` was asked, and did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[int] = []
        self._sendfile = os.sendfile
        self.at_most: int | None = None
        self.error: OSError | None = None
        monkeypatch.setattr(os, "sendfile", self)

    def __call__(self, out: int, fd: int, offset: int, count: int) -> int:
        if self.error is not None:
            raise self.error
        sent = self._sendfile(out, fd, offset, count if self.at_most is None else min(count, self.at_most))
        self.calls.append(sent)
        return sent


@pytest.fixture
def sendfile(monkeypatch: pytest.MonkeyPatch) -> Sendfile:
    return Sendfile(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_file(tmp_path, 64 * KIB)


def a_file(folder: Path, size: int) -> Path:
    path = folder / f"{size}.bin"
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def is_form_of(request: Any, path: Path) -> bool:
    """Whether a request is a form of this file, byte for byte what the field makes of itself in another way."""
    boundary = request.header("Content-Type").partition("boundary=")[2]
    part = MultipartParam("file", path.read_bytes(), filename=path.name, filetype="application/octet-stream")
    return bool(request.body == part.encode(boundary) + f"--{boundary}--\r\n".encode())


@pytest.mark.parametrize("size", [WORTH_IT, 64 * KIB, 64 * KIB + 1, 255 * KIB, 256 * KIB])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_body_that_is_a_file(session: Session, tmp_path: Path, sendfile: Sendfile, size: int, times: int):
    """On a new connection and on a kept one: the file is sent by the kernel, and all of it arrives."""
    path = a_file(tmp_path, size)
    with FaultServer(faults.ok()) as server:
        for _ in range(times):
            response = await session.put(server.url, data=path)
            assert (response.upload.sent, response.upload.complete) == (size, True)
            assert response.json()["received"] == size
        assert [request.body for request in server.requests] == [path.read_bytes()] * times
        assert len(server.connections) == 1
    assert sendfile.calls == [size] * times


async def test_a_form(session: Session, path: Path, sendfile: Sendfile):
    """What stands before and behind the file goes with it; its fields may be large."""
    field = "x" * 100 * KIB
    with FaultServer(faults.ok()) as server:
        await session.post(server.url, files={"file": path})
        await session.post(server.url, files={"file": path}, data={"before": field})
        await session.post(server.url, files=[("file", path), ("behind", ("b", field.encode()))])
        for request, fields in zip(server.requests, (0, 1, 1), strict=True):
            assert request.complete
            assert request.body.count(path.read_bytes()) == 1
            assert request.body.count(field.encode()) == fields
            assert request.body.endswith(b"--\r\n")
    assert sendfile.calls == [64 * KIB] * 3


async def test_many_at_once(session: Session, tmp_path: Path, sendfile: Sendfile):
    """Each connection gets its own file, and nothing is held back."""
    paths = [a_file(tmp_path, WORTH_IT + 1000 * number) for number in range(60)]
    with FaultServer(faults.ok()) as server:
        for _ in range(2):
            responses = await asyncio.gather(*(session.put(f"{server.url}/{path.name}", data=path) for path in paths))
            assert all(response.upload.complete for response in responses)
        arrived = sorted((request.target, request.body) for request in server.requests)
    assert arrived == sorted([(f"/{path.name}", path.read_bytes()) for path in paths] * 2)
    assert len(sendfile.calls) == 120


class TestLeftToOthers:
    """What the kernel is not asked to send."""

    async def test_what_is_not_worth_it(self, session: Session, tmp_path: Path, sendfile: Sendfile):
        """Small files, several files, and large ones, which a thread pumps."""
        small, other = a_file(tmp_path, WORTH_IT - 1), a_file(tmp_path, 64 * KIB)
        with FaultServer(faults.ok()) as server:
            await session.put(server.url, data=small)
            await session.post(server.url, files={"one": other, "two": small})
            await session.put(server.url, data=b"x" * 64 * KIB)
            assert [request.complete for request in server.requests] == [True] * 3
        assert sendfile.calls == []

    async def test_tls(self, certificates: Any, path: Path, sendfile: Sendfile):
        """Records are made in this process."""
        with FaultServer(faults.ok(), tls=certificates.server_context()) as server:
            async with Session(verify=certificates.authority, trust_env=False) as session:
                await session.put(server.url, data=path)
            assert server.requests[0].body == path.read_bytes()
        assert sendfile.calls == []

    async def test_a_unix_socket(self, tmp_path: Path, path: Path, sendfile: Sendfile):
        """It has no packets to fill."""
        with FaultServer(faults.ok(), unix_socket=tmp_path / "socket") as server:
            async with Session(unix_socket=tmp_path / "socket", trust_env=False) as session:
                await session.put(server.url, data=path)
            assert server.requests[0].body == path.read_bytes()
        assert sendfile.calls == []

    @pytest.mark.parametrize("lacking", ["memory", "the call", "the machine"])
    async def test_without(
        self, session: Session, path: Path, sendfile: Sendfile, lacking: str, monkeypatch: pytest.MonkeyPatch
    ):
        """Files that are not all in memory, and systems that can't tell."""
        if lacking == "memory":
            monkeypatch.setattr(page_cache, "holds", lambda _fd, _start, _size: False)
        elif lacking == "the call":
            monkeypatch.setattr(page_cache, "_CACHESTAT", 1_000_000)
        else:
            monkeypatch.setattr(page_cache, "_syscall", lambda: None)
        with FaultServer(faults.ok()) as server:
            await session.put(server.url, data=path)
            assert server.requests[0].body == path.read_bytes()
        assert sendfile.calls == []

    def test_a_system_that_can_not_tell(self, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch):
        """It is found out once, and no file opened in vain after that."""
        device, opened = path.stat().st_dev, []
        page_cache.forget(device)
        with monkeypatch.context() as patch:
            patch.setattr(page_cache, "_CACHESTAT", 1_000_000)
            require_device_that_answers(tmp_path)
            source = FileSource(str(path), path.stat(), lambda wait: opened.append(wait) or 0)
            assert source.open_cached(64 * KIB) is None
        page_cache.forget(device)
        assert not opened

    def test_what_is_on_its_way_from_the_disk(self, path: Path, monkeypatch: pytest.MonkeyPatch):
        """The system counts such pages as well; they can't be read yet."""

        def not_yet(_fd: int, _buffers: Any, offset: int, _flags: int) -> int:
            assert offset == 64 * KIB - 1
            raise BlockingIOError(errno.EAGAIN, "not yet")

        with path.open("rb") as file:
            monkeypatch.setattr(os, "preadv", not_yet)
            assert not page_cache.holds(file.fileno(), 0, 64 * KIB)

    def test_what_is_in_memory(self, path: Path):
        """The system tells, page by page."""
        with path.open("rb") as file:
            fd = file.fileno()
            assert page_cache.holds(fd, 0, 64 * KIB)
            assert not page_cache.holds(fd, 0, 64 * KIB + 4096)
            assert page_cache.holds(fd, 60 * KIB, 4 * KIB)
            assert not page_cache.holds(fd, 60 * KIB, 8 * KIB)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert not page_cache.holds(fd, 0, 64 * KIB)


class TestAPart:
    """The kernel takes a part; the rest goes the usual way, behind it."""

    @pytest.fixture(params=["put", "form"])
    def arguments(self, request: pytest.FixtureRequest, path: Path) -> dict[str, Any]:
        return {"data": path} if request.param == "put" else {"files": {"file": path}}

    def is_right(self, request: Any, arguments: dict[str, Any], path: Path) -> bool:
        return request.body == path.read_bytes() if "data" in arguments else is_form_of(request, path)

    @pytest.mark.parametrize("at_most", [1, 4096, 40_000, 64 * KIB - 1])
    async def test_of_the_file(
        self, session: Session, path: Path, arguments: dict[str, Any], sendfile: Sendfile, at_most: int
    ):
        """What is left of it is read and sent by the transport."""
        sendfile.at_most = at_most
        with FaultServer(faults.ok()) as server:
            for _ in range(2):
                response = await session.post(server.url, **arguments)
                assert (response.upload.sent, response.upload.complete) == (response.upload.total, True)
            assert [self.is_right(request, arguments, path) for request in server.requests] == [True] * 2
        assert sendfile.calls == [at_most] * 2

    @pytest.mark.parametrize("error", [errno.EAGAIN, errno.EINVAL, errno.EIO, errno.ENOSYS])
    async def test_nothing_of_the_file(
        self, session: Session, path: Path, arguments: dict[str, Any], sendfile: Sendfile, error: int
    ):
        """A full socket, or a file that can't be sent so."""
        sendfile.error = OSError(error, "no")
        with FaultServer(faults.ok()) as server:
            for _ in range(2):
                await session.post(server.url, **arguments)
            assert [self.is_right(request, arguments, path) for request in server.requests] == [True] * 2

    @pytest.mark.parametrize("which", [1, 2], ids=["head", "boundary"])
    @pytest.mark.parametrize("taken", [None, 3])
    async def test_of_what_stands_around_it(
        self, session: Session, path: Path, which: int, taken: int | None, monkeypatch: pytest.MonkeyPatch
    ):
        """Of the head, or of the closing boundary."""
        write, calls = os.write, 0

        def write_less(fd: int, data: bytes) -> int:
            nonlocal calls
            if fd != sock:
                return write(fd, data)  # the loop's own, to itself
            calls += 1
            if calls != which:
                return write(fd, data)
            if taken is None:
                raise BlockingIOError(errno.EAGAIN, "full")
            return write(fd, data[:taken])

        with FaultServer(faults.ok()) as server:
            await session.get(server.url)
            [connection] = session.pool._idle
            sock = connection.stream.fileno()
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", write_less)
                await session.post(server.url, files={"file": path})
            assert is_form_of(server.requests[1], path)
        assert calls == which

    async def test_a_server_that_reads_slowly(self, session: Session, tmp_path: Path, sendfile: Sendfile):
        """Where the socket's buffer really is too small."""
        path = a_file(tmp_path, 256 * KIB)

        @script
        async def read_later(exchange: Exchange) -> None:
            exchange.mark("head")
            await exchange.pause("later")
            await exchange.read_body(chunk=4 * KIB)
            await exchange.answer()

        def small_buffer(event: aioreq.ConnectionEvent) -> None:
            [connection] = session.pool._busy
            connection.stream.about("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * KIB)

        with FaultServer(read_later(), receive_buffer=4 * KIB) as server:
            session_options: dict[str, Any] = {"event_hooks": {"connection": small_buffer}}
            async with Session(trust_env=False, **session_options) as session:
                call = asyncio.create_task(session.put(server.url, data=path))
                await server.reached("head")
                server.release("later")
                response = await call
            assert response.json()["received"] == 256 * KIB
            assert server.requests[0].body == path.read_bytes()
        [sent] = sendfile.calls
        assert 0 < sent < 256 * KIB

    async def test_a_connection_that_is_being_closed(self, session: Session, path: Path, sendfile: Sendfile):
        """It gets nothing any more, though its socket is still there."""
        with FaultServer(faults.ok()) as server:
            await session.get(server.url)
            [connection] = session.pool._idle
            stream = connection.stream
            stream._transport.close()
            assert stream.fileno() >= 0
            parcel = Parcel(b"PUT / HTTP/1.1\r\n\r\n", Body([FileRegion(FileSource.from_path(str(path)))]))
            size = len(parcel)
            assert stream.send_parcel(parcel)
            assert stream.unsent == size
        assert sendfile.calls == []

    async def test_the_connection_breaks(self, session: Session, path: Path, sendfile: Sendfile):
        """The error says what had left, and nothing goes out a second time."""
        sendfile.at_most = 10_000
        with FaultServer(faults.reset_after(5_000)) as server:
            with pytest.raises(aioreq.ConnectionError) as caught:
                await session.post(server.url, data=path)
            assert len(server.requests) == 1
        assert caught.value.sent is not None
        assert caught.value.sent >= 5_000


class TestAFileThatChanges:
    """Between the look at it and its being sent."""

    def shrink_when_looked_at(self, path: Path, monkeypatch: pytest.MonkeyPatch, to: int) -> None:
        holds = page_cache.holds

        def look(fd: int, start: int, size: int) -> bool:
            is_there = holds(fd, start, size)
            os.truncate(path, to)
            return is_there

        monkeypatch.setattr(page_cache, "holds", look)

    @pytest.mark.parametrize("company", [False, True])
    async def test_it_shrinks(self, path: Path, monkeypatch: pytest.MonkeyPatch, company: bool):
        """FileChanged says how much had left; the server gets no end, and the session works on."""
        async with AsyncExitStack() as stack:
            server = stack.enter_context(FaultServer({"/": faults.ok(), "/held": held()}))
            session = await stack.enter_async_context(Session(trust_env=False))
            calls = [asyncio.create_task(session.get(server.url + "/held"))] if company else []
            if company:
                await server.reached("held")
                await session.get(server.url)
            self.shrink_when_looked_at(path, monkeypatch, to=10_000)
            with pytest.raises(aioreq.FileChanged) as caught:
                await session.post(server.url, data=path)
            assert (caught.value.declared, caught.value.seen) == (64 * KIB, 10_000)
            assert caught.value.sent == 10_000
            await server.reached("closed")
            [upload] = [request for request in server.requests if request.method == "POST"]
            assert (upload.complete, upload.received) == (False, 10_000)
            assert (await session.get(server.url)).status_code == 200
            server.release("held")
            for call in calls:
                assert (await call).status_code == 200

    async def test_it_shrank_before(self, session: Session, path: Path, sendfile: Sendfile):
        """Then nothing leaves."""
        request = aioreq.Request("PUT", "", data=path)

        def shrink(event: aioreq.ConnectionEvent) -> None:
            os.truncate(path, 10_000)

        with FaultServer(faults.ok()) as server:
            request.url = server.url
            async with Session(trust_env=False, event_hooks={"connection": shrink}) as session:
                with pytest.raises(aioreq.FileChanged) as caught:
                    await session.send(request)
            assert server.requests == []
        assert caught.value.sent == 0
        assert sendfile.calls == []


async def test_the_socket_is_as_it_was(session: Session, path: Path):
    """What is sent next is not held back (TCP_CORK), and goes at once (TCP_NODELAY)."""
    with FaultServer(faults.ok()) as server:
        await session.put(server.url, data=path)
        [connection] = session.pool._idle
        sock = connection.stream.about("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK) == 0
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_no_descriptor_is_left(session: Session, path: Path, sendfile: Sendfile):
    """Whatever becomes of it."""

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    kinds: list[Callable[[], None]] = [
        lambda: None,
        lambda: setattr(sendfile, "at_most", 5),
        lambda: setattr(sendfile, "error", OSError(errno.EAGAIN, "full")),
    ]
    with FaultServer(faults.ok()) as server:
        await session.put(server.url, data=path)
        before = descriptors()
        for kind in kinds:
            kind()
            await session.put(server.url, data=path)
            assert descriptors() == before
