"""Small uploads in one buffer: what is in it, who has it next, and that no upload ever holds another one's bytes."""

import asyncio
import errno
import hashlib
import itertools
import os
import random
import ssl
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import Session, Timeout
from aioreq import _page_cache as page_cache
from aioreq._body import SMALL, Body, Bytes, FileRegion
from aioreq._files import FileSource
from aioreq._net import parcel as parcels
from aioreq._net.parcel import Parcel
from aioreq._net.stall import LOOKS
from aioreq._net.stream import Stream
from aioreq._net.watch import Watch
from aioreq.testing import Exchange, FaultServer, faults, script
from tests.cached_files import require_device_that_answers
from tests.scripts import cancelled_after, held
from tests.servers.certificates import Certificates

KIB = 1024
HEAD = b"POST / HTTP/1.1\r\n\r\n"


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[bytearray]]:
    """The buffers that nobody uses, by size; none at first."""
    free: defaultdict[int, list[bytearray]] = defaultdict(list)
    monkeypatch.setattr(parcels, "_free", free)
    return free


def kept_buffers(free: dict[int, list[bytearray]]) -> int:
    return sum(map(len, free.values()))


def body_of(path: Path, content: bytes) -> Body:
    path.write_bytes(content)
    return Body((Bytes(b"before "), FileRegion(FileSource.from_path(str(path))), Bytes(b""), Bytes(b" behind")))


@pytest.fixture(params=[True, False], ids=["by a thread", "by the loop"])
def wait(request: pytest.FixtureRequest, tmp_path: Path) -> bool:
    """How parcels are packed; files that were just written are in memory."""
    if not request.param:
        require_device_that_answers(tmp_path)
    return bool(request.param)


def packed(body: Body, *, wait: bool) -> Parcel:
    parcel = Parcel(HEAD, body)
    assert parcel.pack(wait=wait)
    return parcel


class TestBuffers:
    @pytest.mark.parametrize("size", [0, 1, 4096, SMALL])
    def test_head_and_body(self, size: int, tmp_path: Path, wait: bool):
        """Head and segments stand one behind the other, and nothing else is there."""
        content = random.Random(size).randbytes(size)
        parcel = packed(body_of(tmp_path / "file", content), wait=wait)
        assert parcel.packed == HEAD + b"before " + content + b" behind"
        assert len(parcel) == len(parcel.packed)

    def test_a_buffer_is_used_again(self, tmp_path: Path, wait: bool):
        """One that was given back is taken for the next upload of about its size, which sees nothing of the last."""
        first = packed(body_of(tmp_path / "file", b"x" * 2000), wait=wait)
        buffer = first.packed.obj
        first.give_back()
        second = packed(body_of(tmp_path / "file", b"y" * 1500), wait=wait)
        assert second.packed.obj is buffer
        assert second.packed == HEAD + b"before " + b"y" * 1500 + b" behind"

    def test_one_in_use_is_not(self, tmp_path: Path, wait: bool):
        """One that was not given back is nobody else's."""
        first = packed(body_of(tmp_path / "file", b"x" * 1000), wait=wait)
        second = packed(body_of(tmp_path / "file", b"y" * 1000), wait=wait)
        assert first.packed.obj is not second.packed.obj
        assert bytes(first.packed).count(b"x") == 1000

    def test_what_was_given_back_can_not_be_read(self, tmp_path: Path, wait: bool):
        """Who gives a buffer back has no hold of it any more."""
        parcel = packed(body_of(tmp_path / "file", b"x"), wait=wait)
        parcel.give_back()
        with pytest.raises(ValueError, match="released"):
            parcel.packed[0]

    def test_an_empty_file_that_is_gone(self, tmp_path: Path, wait: bool):
        """A file is opened even if it has no byte: it could be gone."""
        body = body_of(tmp_path / "file", b"")
        (tmp_path / "file").unlink()
        parcel = Parcel(HEAD, body)
        if not wait:
            assert not parcel.pack(wait=False)  # why not is a thread's to find out
        with pytest.raises(aioreq.FileMissing):
            parcel.pack()

    def test_not_all_are_kept(self, free: dict[int, list[bytearray]], tmp_path: Path, wait: bool):
        """However many were in use at a time, 4 MiB of each size are kept."""
        body = body_of(tmp_path / "file", bytes(200 * KIB))
        for parcel in [packed(body, wait=wait) for _ in range(40)]:
            parcel.give_back()
        assert {size: len(buffers) for size, buffers in free.items() if buffers} == {256 * KIB: 16}

    @pytest.mark.parametrize("left", [0, 500])
    def test_a_file_that_shrinks(self, free: dict[int, list[bytearray]], tmp_path: Path, left: int, wait: bool):
        """It is an error, however much is left of it, and its buffer is not used again: a traceback may hold it."""
        body = body_of(tmp_path / "file", b"x" * 1000)
        (tmp_path / "file").write_bytes(b"y" * left)
        with pytest.raises(aioreq.FileChanged):
            packed(body, wait=wait)
        assert kept_buffers(free) == 0

    def test_a_pipe_in_the_place_of_a_file(self, tmp_path: Path, wait: bool):
        """Nobody waits for somebody to write to it."""
        body = body_of(tmp_path / "file", b"x")
        (tmp_path / "file").unlink()
        os.mkfifo(tmp_path / "file")
        with pytest.raises(aioreq.FileChanged):
            packed(body, wait=wait)


class TestWithoutWaiting:
    """What the loop does not read is left to a thread, and the buffer that was taken for it to others."""

    @pytest.fixture(autouse=True)
    def known_device(self, tmp_path: Path) -> Iterator[None]:
        device = require_device_that_answers(tmp_path)
        yield
        page_cache.forget(device)

    def left_to_a_thread(self, body: Body, free: dict[int, list[bytearray]]) -> bool:
        parcel = Parcel(HEAD, body)
        left = not parcel.pack(wait=False)
        assert kept_buffers(free) == left
        assert parcel.pack()
        return left

    def test_what_must_come_from_the_disk(self, free: dict[int, list[bytearray]], tmp_path: Path):
        """A file that the system has not in memory, or not all of it."""
        body = body_of(tmp_path / "file", random.Random(1).randbytes(100 * KIB))
        drop_from_memory(tmp_path / "file", keep=0)
        assert self.left_to_a_thread(body, free)
        free.clear()
        drop_from_memory(tmp_path / "file", keep=8 * KIB)
        assert self.left_to_a_thread(body, free)
        free.clear()
        assert not self.left_to_a_thread(body, free)

    def test_a_large_form(self, tmp_path: Path):
        """A form of many files, which would hold the loop for long."""
        path = tmp_path / "file"
        path.write_bytes(b"x")
        parcel = Parcel(HEAD, Body([FileRegion(FileSource.from_path(str(path)))] * 25))
        assert not parcel.pack(wait=False)
        assert parcel.pack()

    @pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL, errno.EIO])
    def test_a_device_that_can_not_be_asked(
        self, error: int, free: dict[int, list[bytearray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """One that does not know the call is not asked again, though its number was that of one that does."""
        device, asked = tmp_path.stat().st_dev, []
        body = body_of(tmp_path / "file", b"x" * 1000)
        preadv = os.preadv

        def preadv_of_another(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
            if not flags:
                return preadv(fd, buffers, offset)
            asked.append(flags)
            raise OSError(error, "not here")

        with monkeypatch.context() as patch:
            patch.setattr(os, "preadv", preadv_of_another)
            assert self.left_to_a_thread(body, free)
            assert not page_cache.answers(device)
            for _ in range(3):
                assert not Parcel(HEAD, body).pack(wait=False)
        assert asked == [os.RWF_NOWAIT] * 2  # by the loop, and by the thread, which had to look anew

    def test_a_device_that_nobody_has_read_from(self, tmp_path: Path):
        """... is not opened in the loop: a filesystem of the network would ask somebody else."""
        page_cache.forget(tmp_path.stat().st_dev)
        opened = []
        source = FileSource("far", tmp_path.stat(), lambda wait: opened.append(wait) or 0)
        assert not source.read_cached_into(memoryview(bytearray(1)))
        assert source.open_cached(1) is None
        assert not opened


def drop_from_memory(path: Path, keep: int) -> None:
    """Have the system forget a file, but for its first bytes."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, keep, 0, os.POSIX_FADV_DONTNEED)
        if os.preadv(fd, [bytearray(1)], path.stat().st_size - 1, os.RWF_NOWAIT):
            pytest.skip("the system keeps the file in memory")
    except BlockingIOError:
        pass
    finally:
        os.close(fd)


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
    path.write_bytes(random.Random(1).randbytes(SMALL))
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


class SlowDisk:
    """Parcels are left to a thread, which stays in its work until `done` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.done, self.left = threading.Event(), threading.Event(), threading.Event()
        self._pack = Parcel.pack
        monkeypatch.setattr(page_cache, "holds", lambda _fd, _start, _size: False)
        monkeypatch.setattr(Parcel, "pack", lambda parcel, wait=True: wait and self.pack(parcel))

    def pack(self, parcel: Parcel) -> bool:
        self.begun.set()
        try:
            assert self.done.wait(10)
            return self._pack(parcel)
        finally:
            self.left.set()


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    disk = SlowDisk(monkeypatch)
    yield disk
    disk.done.set()


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
            return await cancelled_after(random.Random(number).randrange(40), upload(number, path))

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
        assert kept_buffers(free) == 0
        file.write_bytes(b"small")
        assert (await session.post(server.url, data=file)).json()["received"] == 5
        assert kept_buffers(free) == 1

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
        assert kept_buffers(free) == 0

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

    async def test_the_server_refuses_while_a_thread_reads(
        self, certificates: Certificates, tmp_path: Path, slow_disk: SlowDisk
    ):
        """TLS can't be spoken any more when the file has been read: nothing of it has left, and the error says so."""
        path = tmp_path / "file"
        path.write_bytes(b"x" * 1000)
        context = certificates.server_context()
        context.load_verify_locations(certificates.authority)
        context.verify_mode = ssl.CERT_REQUIRED
        with FaultServer(faults.ok(), tls=context) as server:
            async with Session(verify=certificates.authority, trust_env=False) as session:
                call = asyncio.create_task(session.post(server.url, data=path))
                await asyncio.to_thread(slow_disk.begun.wait, 10)
                [connection] = session.pool._busy
                while connection.stream._reader.untouched:
                    await asyncio.sleep(0)
                slow_disk.done.set()
                with pytest.raises(aioreq.SSLError) as caught:
                    await call
        assert caught.value.sent == 0
        assert server.requests == []

    async def test_time_is_over_before_anything_has_left(
        self, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """... and the same when the time is over while the file is still read."""
        over = threading.Event()

        pack = Parcel.pack

        def read_for_ever(parcel: Parcel, *, wait: bool = True) -> bool:
            return wait and over.wait(10) and pack(parcel)

        monkeypatch.setattr(Parcel, "pack", read_for_ever)
        (tmp_path / "file").write_bytes(bytes(1000))
        with FaultServer(faults.ok()) as server:
            with pytest.raises(aioreq.exceptions.Timeout, match="in all") as caught:
                await session.post(server.url, data=tmp_path / "file", timeout=Timeout(total=0.05))
            over.set()
        assert caught.value.sent == 0
        assert server.requests == []


@dataclass(frozen=True)
class Kept:
    server: FaultServer
    session: Session

    @property
    def uploads(self) -> list[Any]:
        return [request for request in self.server.requests if request.method == "POST"]

    def upload(self, path: Path, **options: Any) -> asyncio.Task[aioreq.Response]:
        return asyncio.create_task(self.session.post(self.server.url, data=path, **options))


@pytest.fixture
async def kept(server_context: Any, session: Session) -> AsyncIterator[Kept]:
    """A kept connection, and a call on another one that goes on until it is told to end."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(FaultServer({"/": faults.ok(), "/held": held()}, tls=server_context))
        company = asyncio.create_task(session.get(server.url + "/held"))
        await server.reached("held")
        await session.get(server.url)
        yield Kept(server, session)
        server.release("held")
        assert (await company).status_code == 200


@script
async def asks_for_a_certificate(exchange: Exchange) -> None:
    """Answer, and when the test says so, ask for the client's certificate in the middle of the connection's life."""
    await exchange.read_body()
    await exchange.answer()
    if exchange.request.method == "GET":
        await exchange.pause("ask")
        tls = exchange._stream._tls
        tls.verify_client_post_handshake()
        tls.do_handshake()
        await exchange._stream._flush()


class TestAmongOthers:
    """On a kept connection, while others wait for their server: the answer is waited for before the file is read."""

    @pytest.mark.parametrize("cached", ["all", "some", "none"])
    async def test_each_is_what_was_sent(
        self, kept: Kept, files: list[Path], cached: str, monkeypatch: pytest.MonkeyPatch
    ):
        """Files in memory are read by the loop, others by a thread, and none lands in another's upload."""
        require_device_that_answers(files[0].parent)
        read, draw = page_cache.read, random.Random(1)
        threads = []

        def read_some(fd: int, device: int, place: memoryview) -> bool:
            is_cached = cached == "all" or (cached == "some" and draw.random() < 0.5)
            return is_cached and read(fd, device, place)

        pack = Parcel.pack

        def note_thread(parcel: Parcel, *, wait: bool = True) -> bool:
            if wait:
                threads.append(threading.current_thread().name)
            return pack(parcel, wait=wait)

        monkeypatch.setattr(page_cache, "holds", lambda _fd, _start, _size: False)
        monkeypatch.setattr(page_cache, "read", read_some)
        monkeypatch.setattr(Parcel, "pack", note_thread)
        for _ in range(2):
            responses = await asyncio.gather(*map(kept.upload, files))
            assert [response.json()["sha256"] for response in responses] == list(map(digest, files))
            assert all(response.upload.complete for response in responses)
        assert sorted(upload.sha256 for upload in kept.uploads) == sorted(list(map(digest, files)) * 2)
        assert {"all": not threads, "some": 0 < len(threads) < 120, "none": len(threads) == 120}[cached]
        assert all(name.startswith("aioreq-reader") for name in threads)

    @pytest.mark.parametrize("reader", ["loop", "thread"])
    async def test_a_file_that_shrinks(
        self, kept: Kept, files: list[Path], reader: str, monkeypatch: pytest.MonkeyPatch
    ):
        """Its upload ends with the error before a byte has left; the others are not disturbed."""
        require_device_that_answers(files[0].parent)
        if reader == "thread":
            monkeypatch.setattr(page_cache, "holds", lambda _fd, _start, _size: False)
            monkeypatch.setattr(page_cache, "read", lambda *_: False)
        uploads = list(map(kept.upload, files[:5]))
        check = FileSource._check

        def shrink(source: FileSource, status: os.stat_result) -> None:
            if source.name == str(files[2]):
                files[2].write_bytes(b"")
                status = files[2].stat()
            check(source, status)

        monkeypatch.setattr(FileSource, "_check", shrink)
        shrunk = await asyncio.gather(*uploads, return_exceptions=True)
        [error] = [outcome for outcome in shrunk if isinstance(outcome, Exception)]
        assert isinstance(error, aioreq.FileChanged)
        assert (error.sent, error.path) == (0, str(files[2]))
        assert len(kept.uploads) == 4

    async def test_given_up_while_a_thread_reads(self, kept: Kept, files: list[Path], slow_disk: SlowDisk):
        """What the thread brings then is sent to nobody, and the next upload is not disturbed."""
        call = kept.upload(files[0])
        await asyncio.to_thread(slow_disk.begun.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        slow_disk.done.set()
        await asyncio.to_thread(slow_disk.left.wait, 10)
        assert (await kept.upload(files[1])).json()["sha256"] == digest(files[1])
        assert [upload.sha256 for upload in kept.uploads] == [digest(files[1])]

    async def test_a_slow_disk_is_no_silent_server(
        self, kept: Kept, files: list[Path], slow_disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
    ):
        """The limits on the server's silence don't run while the file is read, nor does one that ran before."""
        looks = itertools.count()
        [connection] = kept.session.pool._idle
        connection.stream._write_limit = 0.02
        connection.stream._watch_writing(0.02)
        due = Watch.due

        def counted(watch: Watch) -> None:
            if next(looks) == 3 * LOOKS:
                slow_disk.done.set()
            due(watch)

        monkeypatch.setattr(Watch, "due", counted)
        response = await kept.upload(files[0], timeout=Timeout(read=0.02, write=0.02))
        assert response.json()["sha256"] == digest(files[0])
        assert next(looks) > 3 * LOOKS

    async def test_tls_has_to_say_something_meanwhile(
        self, certificates: Certificates, tmp_path: Path, slow_disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
    ):
        """The upload is not taken for sent by that."""
        path = tmp_path / "file"
        path.write_bytes(b"x" * 1000)
        server_context, client_context = certificates.asking_late()
        answered = asyncio.Event()
        send = Stream._send

        def watched(stream: Stream, data: bytes | memoryview) -> None:
            send(stream, data)
            if stream._parcel is not None:
                answered.set()

        async with AsyncExitStack() as stack:
            served = {"/": asks_for_a_certificate(), "/held": held()}
            server = stack.enter_context(FaultServer(served, tls=server_context))
            session = await stack.enter_async_context(Session(verify=client_context, trust_env=False))
            company = asyncio.create_task(session.get(server.url + "/held"))
            await server.reached("held")
            await session.get(server.url)
            [connection] = session.pool._idle
            call = asyncio.create_task(session.post(server.url, data=path))
            await asyncio.to_thread(slow_disk.begun.wait, 10)
            unsent = connection.stream.unsent
            assert unsent > 1000
            with monkeypatch.context() as patch:
                patch.setattr(Stream, "_send", watched)
                server.release("ask")
                await asyncio.wait_for(answered.wait(), 10)
                assert connection.stream.unsent == unsent
            slow_disk.done.set()
            assert (await call).json()["received"] == 1000
            server.release("held")
            await company
        assert [request.complete for request in server.requests if request.method == "POST"] == [True]

    async def test_the_server_goes_while_a_thread_reads(self, kept: Kept, files: list[Path], slow_disk: SlowDisk):
        """The upload goes out anew, on another connection: nothing of it has left on that one."""
        call = kept.upload(files[0])
        await asyncio.to_thread(slow_disk.begun.wait, 10)
        [upload_connection] = [one for one in kept.session.pool._busy if one.exchanges > 1]
        upload_connection.stream._protocol.connection_lost(ConnectionResetError("gone"))
        slow_disk.done.set()
        response = await call
        assert response.json()["sha256"] == digest(files[0])
        assert response.upload.sent == response.upload.total
        assert len(kept.uploads) == 1
