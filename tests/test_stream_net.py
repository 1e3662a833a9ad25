"""The room with the sockets: moments that must not pass, bytes in both directions, and how a connection ends."""

import asyncio
import io
import os
import random
import select
import socket
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import aioreq
from aioreq import Session, Timeout
from aioreq._net.parcel import Parcel
from aioreq._net.stream import ChunkReader, Stream, StreamProtocol, _poll_for
from aioreq._net.watch import Watch
from aioreq._wire.tls import TLS
from aioreq.testing import Exchange, FaultServer, faults, script
from tests.instant_loop import InstantLoop
from tests.servers.certificates import Certificates

KIB = 1024
MIB = 1024 * KIB


class TestWatch:
    """Watch: looks again and again, without a timer for each wait."""

    @pytest.fixture
    def check(self) -> Iterator[Callable[[Any], None]]:
        """Run a coroutine function with a watch and the moments at which it looked."""

        async def with_watch(use: Any) -> None:
            loop = asyncio.get_running_loop()
            looks: list[float] = []
            watch = Watch(loop, lambda _: looks.append(loop.time()), None)
            await use(watch, looks)
            watch.close()

        with asyncio.Runner(loop_factory=InstantLoop) as runner:
            yield lambda use: runner.run(with_watch(use))

    def test_it_looks_at_intervals(self, check: Any):
        """It looks once in each interval until it is stopped."""

        async def use(watch: Watch, looks: list[float]) -> None:
            watch.start(5)
            await asyncio.sleep(16)
            watch.stop()
            await asyncio.sleep(100)
            assert looks == pytest.approx([5, 10, 15])

        check(use)

    def test_a_look_is_never_early(self, check: Any):
        """Started while its timer runs, it looks when a whole interval has passed, and within two."""

        async def use(watch: Watch, looks: list[float]) -> None:
            watch.start(5)
            await asyncio.sleep(3)
            watch.stop()
            watch.start(5)
            await asyncio.sleep(8)
            assert looks == pytest.approx([10])

        check(use)

    def test_restarted_without_end(self, check: Any):
        """Started again and again within an interval, it does not look."""

        async def use(watch: Watch, looks: list[float]) -> None:
            for _ in range(10):
                watch.start(5)
                await asyncio.sleep(4)
            assert looks == []

        check(use)

    @pytest.mark.parametrize("interval", [1, 50])
    def test_another_interval(self, check: Any, interval: float):
        """Started with another interval, it goes by that one from then on."""

        async def use(watch: Watch, looks: list[float]) -> None:
            watch.start(5)
            watch.start(interval)
            await asyncio.sleep(interval * 1.5)
            assert looks == pytest.approx([interval])

        check(use)

    @pytest.mark.parametrize("end", [Watch.stop, Watch.close])
    def test_it_ends(self, check: Any, end: Callable[[Watch], None]):
        """Stopped, or closed, it does not look, and the loop keeps no timer for long."""

        async def use(watch: Watch, looks: list[float]) -> None:
            loop: Any = asyncio.get_running_loop()
            watch.start(5)
            end(watch)
            await asyncio.sleep(100)
            assert looks == []
            assert [timer for timer in loop._scheduled if not timer.cancelled()] == []

        check(use)

    def test_one_timer(self, check: Any):
        """However often it is started, the loop has one timer of it."""

        async def use(watch: Watch, looks: list[float]) -> None:
            loop: Any = asyncio.get_running_loop()
            for _ in range(1000):
                watch.start(5)
                watch.stop()
            assert len(loop._scheduled) == 1

        check(use)


class FakeTransport(asyncio.ReadTransport):
    """Notes whether reading goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False


class TestChunkReader:
    """ChunkReader: received pieces as they came."""

    @pytest.fixture
    async def reader(self) -> ChunkReader:
        return ChunkReader(asyncio.get_running_loop())

    async def test_pieces_are_not_touched(self, reader: ChunkReader):
        """Each read gives one piece, the very object that was fed; then the end, as often as asked."""
        pieces = [b"one", b"two", bytes(100_000)]
        for piece in pieces:
            reader.feed_data(piece)
        reader.feed_eof()
        assert not reader.at_eof()
        for piece in pieces:
            assert await reader.read() is piece
        assert reader.at_eof()
        assert [await reader.read(), await reader.read()] == [b"", b""]

    async def test_waiting(self, reader: ChunkReader):
        """A read waits for a piece; one that is cancelled loses nothing."""
        cancelled = asyncio.create_task(reader.read())
        await asyncio.sleep(0)
        assert reader.waited_for
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        waiting = asyncio.create_task(reader.read())
        await asyncio.sleep(0)
        reader.feed_data(b"piece")
        assert await waiting == b"piece"

    async def test_failure(self, reader: ChunkReader):
        """A failure is raised once all pieces have been read, and for who waits; the first one counts."""
        reader.feed_data(b"piece")
        reader.fail(LookupError("first"))
        reader.fail(LookupError("second"))
        assert await reader.read() == b"piece"
        for _ in range(2):
            with pytest.raises(LookupError, match="first"):
                await reader.read()

    async def test_back_pressure(self, reader: ChunkReader):
        """Beyond 1 MiB reading from the socket pauses, and goes on once half of that has been taken."""
        transport = FakeTransport()
        reader.set_transport(transport)
        for _ in range(4):
            reader.feed_data(bytes(256 * KIB))
        assert transport.reading
        reader.feed_data(b"x")
        assert not transport.reading
        reader.take()
        reader.take()
        assert not transport.reading
        reader.take()
        assert transport.reading


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected TCP sockets, ours and the server's."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        ours = stack.enter_context(socket.create_connection(listener.getsockname()))
        theirs = stack.enter_context(listener.accept()[0])
        yield ours, theirs


@pytest.fixture
async def stream(ends: tuple[socket.socket, socket.socket]) -> AsyncIterator[Stream]:
    """A stream on our end."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(lambda: StreamProtocol(loop), sock=ends[0])
    stream = Stream(loop, transport, protocol)
    yield stream
    await stream.aclose()


async def _shake_hands(stream: Stream, end: socket.socket, server: TLS, trusting: ssl.SSLContext) -> bytes:
    """Put TLS on a stream; returns the session tickets, which the server has not sent."""
    loop = asyncio.get_running_loop()
    end.setblocking(False)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # each piece arrives as it is sent
    shaking = asyncio.create_task(stream.start_tls(trusting, "localhost"))
    while True:
        _, to_send = server.receive_handshake(await loop.sock_recv(end, 64 * KIB))
        if server.ready:
            await shaking
            return to_send
        end.sendall(to_send)


async def _send_to(stream: Stream, end: socket.socket, data: bytes, *, seen: bool) -> None:
    """Send, and give the loop time to receive it where it is to be ``seen``."""
    end.sendall(data)
    while seen and select.select([stream.fileno()], [], [], 0)[0]:
        await asyncio.sleep(0)


class Disturbance(asyncio.Event):
    """Set when the stream that it watches tells of something."""

    def disturbed(self) -> None:
        self.set()


class TestStream:
    """Stream over a real socket, with the server's end in the test's hands."""

    async def test_both_ways(self, stream: Stream, ends: Any):
        """What is written arrives, and what is sent is received; then the end."""
        stream.write(b"request")
        await stream.drain()
        assert ends[1].recv(100) == b"request"
        ends[1].sendall(b"answer")
        assert await stream.receive() == b"answer"
        ends[1].shutdown(socket.SHUT_WR)
        assert await stream.receive() == b""
        assert stream.ended_cleanly

    async def test_a_lone_one_goes_on_at_once(self, stream: Stream, ends: Any):
        """Who waits alone in his loop goes on in the call that receives, at each of his pieces."""
        going: list[str] = []
        receive = stream._protocol.buffer_updated

        async def listen() -> None:
            for _ in range(3):
                going.append((await stream.receive()).decode())

        def watched(nbytes: int) -> None:
            going.append("begin")
            receive(nbytes)
            going.append("end")

        stream._protocol.buffer_updated = watched  # type: ignore[method-assign]
        stream._transport.set_protocol(stream._protocol)  # it looks the method up anew
        listening = asyncio.create_task(listen())
        for piece in (b"1", b"2", b"3"):
            await asyncio.sleep(0)
            await _send_to(stream, ends[1], piece, seen=True)
        await listening
        assert going == [step for piece in "123" for step in ("begin", piece, "end")]

    async def test_records_that_come_together(self, stream: Stream, ends: Any, certificates: Certificates):
        """Who goes on with the first of two records that came in one piece sees that there is another one."""
        server = TLS(certificates.server_context(), None, server_side=True)
        tickets = await _shake_hands(stream, ends[1], server, certificates.client_context())

        async def listen() -> tuple[bytes, bool]:
            return await stream.receive(), stream.untouched

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        ends[1].sendall(tickets + server.encrypt(b"first") + server.encrypt(b"second"))
        assert await listening == (b"first", False)
        assert await stream.receive() == b"second"

    async def test_untouched(self, stream: Stream, ends: Any):
        """A stream is untouched until bytes lie in the kernel, even before the loop has seen them."""
        assert stream.untouched
        ends[1].sendall(b"stray")
        assert not stream.untouched
        assert await stream.receive() == b"stray"
        assert stream.untouched
        ends[1].close()
        assert not stream.untouched

    async def test_watching(self, stream: Stream, ends: Any):
        """Whoever watches an idle stream is told of bytes and of the end, until watching ends."""
        disturbed = Disturbance()
        stream.watch(disturbed)
        ends[1].sendall(b"stray")
        await disturbed.wait()
        disturbed.clear()
        ends[1].shutdown(socket.SHUT_WR)
        await disturbed.wait()
        stream.watch(None)

    @pytest.mark.parametrize("seen", [True, False])
    async def test_tickets_are_no_disturbance(self, stream: Stream, ends: Any, certificates: Certificates, seen: bool):
        """TLS 1.3 session tickets that arrive late leave an idle connection as it was; what follows them does not.

        Whether the loop has ``seen`` them already or they still lie in the kernel makes no difference.
        """
        server = TLS(certificates.server_context(), None, server_side=True)
        disturbed = Disturbance()
        tickets = await _shake_hands(stream, ends[1], server, certificates.client_context())
        assert tickets
        stream.watch(disturbed)
        await _send_to(stream, ends[1], tickets, seen=seen)
        assert stream.untouched
        assert not disturbed.is_set()
        await _send_to(stream, ends[1], server.encrypt(b"stray"), seen=seen)
        assert not stream.untouched
        assert disturbed.is_set()

    @pytest.mark.parametrize("stray", [b"\x17\x03\x03\x00\x05wrong", b"\x17\x03\x03\x00\x20half", b"\x15"])
    async def test_a_broken_record_is_a_disturbance(
        self, stream: Stream, ends: Any, certificates: Certificates, stray: bytes
    ):
        """What is no record of this connection, or not a whole one, disturbs an idle connection."""
        disturbed = Disturbance()
        server = TLS(certificates.server_context(), None, server_side=True)
        await _shake_hands(stream, ends[1], server, certificates.client_context())
        stream.watch(disturbed)
        ends[1].sendall(stray)
        await disturbed.wait()

    @pytest.mark.parametrize("writes", [True, False], ids=["the thread writes on", "it is given back"])
    async def test_what_tls_says_while_it_is_lent(
        self, stream: Stream, ends: Any, certificates: Certificates, writes: bool
    ):
        """TLS's own words while a thread writes leave behind the thread's records: with the next ones, or at last."""
        asking, trusting = certificates.asking_late()
        server = TLS(asking, None, server_side=True)
        tickets = await _shake_hands(stream, ends[1], server, trusting)
        encrypt = stream.lend()
        records = bytes(encrypt(memoryview(b"before ")))
        server.object.verify_client_post_handshake()
        asked = server.handshake() + server.encrypt(b"answer")
        await _send_to(stream, ends[1], tickets + asked, seen=True)
        assert await stream.receive() == b"answer"
        assert not select.select([ends[1]], [], [], 0)[0]
        if writes:
            os.write(stream.fileno(), records + bytes(encrypt(memoryview(b"behind"))))
            stream.give_back(b"")
        else:
            stream.give_back(records)
            stream.write(b"behind")
        said = b""
        while not said.endswith(b"behind"):
            said += b"".join(server.decrypt(await asyncio.get_running_loop().sock_recv(ends[1], 64 * KIB)))
        assert said == b"before behind"
        assert server.object.getpeercert()

    async def test_drain_waits_for_the_kernel(self, stream: Stream, ends: Any):
        """drain() returns when the kernel has all, and not while the other side reads nothing."""
        data = bytes(16 * MIB)
        stream.write(data)
        assert stream.unsent > 0
        draining = asyncio.create_task(stream.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        received = await asyncio.to_thread(_receive_exactly, ends[1], len(data))
        await draining
        assert received == len(data)
        assert stream.unsent == 0

    async def test_a_reset_when_the_kernel_has_taken_the_rest(self, stream: Stream, ends: Any):
        """The account of a connection that breaks knows of what left after the last look at it."""
        theirs = ends[1]
        theirs.setblocking(False)
        stream.write(bytes(16 * MIB))
        assert 0 < stream.unsent < 16 * MIB
        left = 16 * MIB
        while left:
            left -= len(await asyncio.get_running_loop().sock_recv(theirs, MIB))
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()  # RST
        assert await stream.receive() == b""
        assert not stream.ended_cleanly
        assert stream.unsent == 0
        stream.write(b"more")
        assert stream.unsent == 4

    @pytest.mark.parametrize("last", [b"answer", bytes(MIB)])
    async def test_much_comes_in(self, stream: Stream, ends: Any, last: bytes):
        """Much that comes in at once arrives whole and in order, and so do small answers before and behind it."""
        received = bytearray()
        for answer in (b"answer", random.Random(1).randbytes(8 * MIB), b"answer", last):
            sending = asyncio.create_task(asyncio.to_thread(ends[1].sendall, answer))
            del received[:]
            while len(received) < len(answer):
                received += await stream.receive()
            await sending
            assert received == answer
            assert stream.untouched
        ends[1].close()
        assert await stream.receive() == b""
        assert stream.ended_cleanly

    async def test_a_reset_while_much_comes_in(self, stream: Stream, ends: Any):
        """What had arrived before a reset in the middle of it is received; only then it has ended, badly."""
        sent = random.Random(2).randbytes(2 * MIB)
        stream.write(b"request")
        await stream.drain()
        received = bytearray()
        theirs = ends[1]
        sending = asyncio.create_task(asyncio.to_thread(theirs.sendall, sent))
        while len(received) < len(sent):
            received += await stream.receive()
        await sending
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.sendall(b"last")
        theirs.close()  # with the request unread: RST
        assert received == sent
        assert await stream.receive() == b"last"
        assert await stream.receive() == b""
        assert not stream.ended_cleanly

    @pytest.mark.parametrize("size", [KIB, 64 * KIB, 65 * KIB, 128 * KIB])
    @pytest.mark.parametrize("is_reset", [False, True])
    async def test_what_is_there_comes_at_once(self, size: int, is_reset: bool):
        """One turn of the loop takes all that is there, in pieces, and how it ends is told behind them."""
        loop = asyncio.get_running_loop()
        sent = random.Random(3).randbytes(size)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            if is_reset:
                ours.sendall(b"request")  # which nobody reads: closing resets
            theirs.sendall(sent)
            theirs.close()
            transport, protocol = await loop.create_connection(lambda: StreamProtocol(loop), sock=ours)
            stream = Stream(loop, transport, protocol)
            received = await stream.receive()
            while len(received) < size:
                assert not stream.untouched
                received += await stream.receive()
            assert received == sent
            assert await stream.receive() == b""
            assert stream.ended_cleanly is not is_reset
            await stream.aclose()

    async def test_others_have_their_turn(self, stream: Stream, ends: Any):
        """However much there is, a turn of the loop takes 512 KiB of it at most."""
        loop = asyncio.get_running_loop()
        turn, taken = 0, Counter[int]()

        def count_turns() -> None:
            nonlocal turn
            turn += 1
            loop.call_soon(count_turns)

        count_turns()
        sending = asyncio.create_task(asyncio.to_thread(ends[1].sendall, bytes(32 * MIB)))
        while taken.total() < 32 * MIB:
            data = await stream.receive()
            taken[turn] += len(data)
        await sending
        assert max(taken.values()) <= 512 * KIB

    async def test_drain_while_much_comes_in(self, stream: Stream, ends: Any):
        """Writing waits for the kernel then as ever."""
        upload, download = bytes(32 * MIB), bytes(16 * MIB)
        sending = asyncio.create_task(asyncio.to_thread(ends[1].sendall, download))
        received = 0
        while received < 4 * MIB:
            received += len(await stream.receive())
        stream.write(upload)
        draining = asyncio.create_task(stream.drain())
        while received < len(download):
            received += len(await stream.receive())
        await sending
        assert stream.unsent
        assert await asyncio.to_thread(_receive_exactly, ends[1], len(upload)) == len(upload)
        await draining
        assert not stream.unsent

    async def test_what_was_said_before_a_reset(self, stream: Stream, ends: Any):
        """An answer that arrived before the connection was reset is received; only then it has ended, badly."""
        stream.write(b"request")
        await stream.drain()
        theirs = ends[1]
        theirs.sendall(b"answer")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()  # with the request unread: RST
        assert await stream.receive() == b"answer"
        assert await stream.receive() == b""
        assert not stream.ended_cleanly

    async def test_writing_to_who_has_gone(self, stream: Stream, ends: Any):
        """Writing into a connection that was reset is a ConnectionError from drain(), and the answer stays."""
        theirs = ends[1]
        theirs.sendall(b"answer")
        theirs.close()

        async def write_on() -> None:
            while True:
                stream.write(bytes(64 * KIB))
                await stream.drain()
                await asyncio.sleep(0)

        with pytest.raises(aioreq.ConnectionError, match="the connection broke"):
            await write_on()
        assert await stream.receive() == b"answer"
        assert await stream.receive() == b""

    async def test_read_limit(self, stream: Stream, ends: Any):
        """A server that says nothing for too long is a ReadTimeout; each byte begins the time anew."""
        stream.limit(0.05, None)
        ends[1].sendall(b"some")
        assert await stream.receive() == b"some"
        with pytest.raises(aioreq.ReadTimeout, match=r"the server was silent for 0\.05 seconds"):
            await stream.receive()

    async def test_another_read_limit(self, stream: Stream, ends: Any):
        """A limit that is set while none was, or another one was, is the one that counts from then on."""
        stream.limit(None, None)
        waiting = asyncio.create_task(stream.receive())
        await asyncio.sleep(0)
        ends[1].sendall(b"some")
        assert await waiting == b"some"
        stream.limit(60, None)
        waiting = asyncio.create_task(stream.receive())
        await asyncio.sleep(0)
        ends[1].sendall(b"more")
        assert await waiting == b"more"
        stream.limit(0.05, None)
        with pytest.raises(aioreq.ReadTimeout, match=r"silent for 0\.05 seconds"):
            await stream.receive()

    async def test_no_limit_any_more(self, stream: Stream, ends: Any):
        """What an old limit would have ended, no limit lets go on."""
        stream.limit(0.02, 0.02)
        stream.write(bytes(16 * MIB))
        stream.limit(None, None)
        assert stream.unsent > 0
        waiting = asyncio.create_task(stream.receive())
        done, _ = await asyncio.wait((waiting,), timeout=0.1)
        assert not done
        assert stream.lost is None
        ends[1].sendall(b"more")
        assert await waiting == b"more"

    async def test_another_write_limit(self, stream: Stream):
        """The same of what is written: the limit of the last write counts, and it begins with it."""
        stream.limit(None, 60)
        stream.write(bytes(16 * MIB))
        stream.limit(None, 0.05)
        stream.write(b"more")
        with pytest.raises(aioreq.WriteTimeout, match=r"for 0\.05 seconds"):
            await stream.receive()

    async def test_a_socket_that_is_gone(self):
        """Where a transport shows no socket, nothing counts as untouched."""
        assert _poll_for(-1)()

    async def test_closing(self, stream: Stream, ends: Any):
        """aclose() sends the end, not a reset, and can be called again."""
        await stream.aclose()
        await stream.aclose()
        assert ends[1].recv(100) == b""

    async def test_aborting(self, stream: Stream, ends: Any):
        """abort() drops what was not sent."""
        stream.write(bytes(16 * MIB))
        stream.abort()
        await stream.aclose()
        received = await asyncio.to_thread(_receive_until_end, ends[1])
        assert received < 16 * MIB


def _receive_exactly(sock: socket.socket, count: int) -> int:
    received = 0
    while received < count and (chunk := sock.recv(MIB)):
        received += len(chunk)
    return received


def _receive_until_end(sock: socket.socket) -> int:
    received = 0
    try:
        while chunk := sock.recv(MIB):
            received += len(chunk)
    except ConnectionResetError:
        pass
    return received


@pytest.fixture(params=["plain", "tls"])
def server_context(request: pytest.FixtureRequest, certificates: Certificates) -> ssl.SSLContext | None:
    """None for plain HTTP, or what a server speaks TLS with."""
    return certificates.server_context() if request.param == "tls" else None


@pytest.fixture
async def session(certificates: Certificates) -> AsyncIterator[Session]:
    async with Session(verify=certificates.authority) as session:
        yield session


class TestTimeouts:
    """Limits on silence, and on the whole."""

    async def test_a_silent_server(self, server_context: Any, session: Session):
        """A server that answers nothing is a ReadTimeout, which says what was sent; the connection is closed."""
        with FaultServer(faults.silent(), tls=server_context) as server:
            with pytest.raises(aioreq.ReadTimeout, match=r"silent for 0\.05 seconds") as caught:
                await session.post(server.url, data=b"body", timeout=Timeout(read=0.05))
            assert caught.value.sent == 4
            assert caught.value.request.url == server.url + "/"
            assert session.pool.open == 0

    @pytest.mark.parametrize("coded", ["length", "chunked"])
    async def test_silence_in_the_middle(self, coded: str, server_context: Any, session: Session):
        """Silence in the middle of an answer is a ReadTimeout too."""
        fault = faults.cut_answer(then="hold") if coded == "length" else faults.cut_chunked(then="hold")
        with FaultServer(fault, tls=server_context) as server:
            with pytest.raises(aioreq.ReadTimeout):
                await session.get(server.url, timeout=Timeout(read=0.05))
            async with session.stream("GET", server.url, timeout=Timeout(read=0.05)) as response:
                assert response.status_code == 200
                with pytest.raises(aioreq.ReadTimeout):
                    await response.read()
            assert session.pool.open == 0

    @pytest.mark.parametrize("kind", ["memory", "file"])
    async def test_a_server_that_takes_nothing(self, kind: str, server_context: Any, session: Session, tmp_path: Any):
        """A server that stops reading is a WriteTimeout, which says how much had left."""
        (tmp_path / "file").write_bytes(bytes(20 * MIB))
        body = bytes(20 * MIB) if kind == "memory" else tmp_path / "file"
        with FaultServer(faults.stall(after=1000), tls=server_context) as server:
            with pytest.raises(aioreq.WriteTimeout, match=r"for 0\.1 seconds") as caught:
                await session.post(server.url, data=body, timeout=Timeout(write=0.1))
            assert 1000 <= caught.value.sent < 20 * MIB
            assert session.pool.open == 0

    async def test_a_slow_server(self, server_context: Any, session: Session):
        """An upload that is slow but moves is never given up, however long it takes in all."""
        with FaultServer(faults.read_slowly(128 * KIB, pace=0.01), tls=server_context) as server:
            response = await session.post(server.url, data=bytes(8 * MIB), timeout=Timeout(read=0.5, write=0.5))
            assert response.json()["received"] == 8 * MIB

    async def test_in_all(self, server_context: Any, session: Session):
        """total limits the whole call, whatever it waits for."""
        with FaultServer(faults.endless_body(), tls=server_context) as server:
            with pytest.raises(aioreq.exceptions.Timeout, match=r"the call took longer than 0\.1 seconds in all"):
                await session.get(server.url, timeout=Timeout(total=0.1))
            assert session.pool.open == 0

    async def test_total_covers_retries(self, session: Session):
        """... and pauses between attempts are part of it."""
        with FaultServer(faults.ok(503)) as server:
            with pytest.raises(aioreq.exceptions.Timeout, match="in all"):
                await session.get(server.url, timeout=Timeout(total=0.1), retry=aioreq.Retry(5, backoff=60))
            assert len(server.requests) == 1

    async def test_who_cancels_is_not_a_timeout(self, session: Session):
        """A limit of the caller's own around a call is his TimeoutError, not ours."""
        with FaultServer(faults.silent()) as server:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.05):
                    await session.get(server.url, timeout=Timeout(total=60))
            assert not isinstance(caught.value, aioreq.RequestException)

    async def test_nobody_accepts(self, session: Session):
        """A port whose queue is full answers no knock: ConnectTimeout, and nothing is left of it."""
        with ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(4):
                knock = stack.enter_context(socket.socket())
                knock.setblocking(False)
                knock.connect_ex(listener.getsockname())
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            with pytest.raises(aioreq.ConnectTimeout, match=r"no connection to http://127.* within 0\.05") as caught:
                await session.get(url, timeout=Timeout(connect=0.05))
            assert isinstance(caught.value, aioreq.ConnectionError)
            assert isinstance(caught.value, TimeoutError)
            assert session.pool.open == 0

    async def test_nobody_listens(self, session: Session):
        """A port where nobody listens is a ConnectionError that says so."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(aioreq.ConnectionError, match="nobody listens there") as caught:
            await session.get(f"http://127.0.0.1:{port}/")
        assert isinstance(caught.value, OSError)
        assert caught.value.request is not None

    async def test_no_limits(self, session: Session):
        """timeout=None waits for as long as it takes."""
        with FaultServer(faults.silent()) as server:
            call = asyncio.create_task(session.get(server.url, timeout=None))
            await server.reached("silent")
            server.release("silent")
            assert (await call).status_code == 200


@script
async def until_the_end(exchange: Exchange, notify: bool) -> None:
    """Answer with a body that ends with the connection, in TLS with or without saying goodbye."""
    await exchange.read_body()
    await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
    exchange.mark("answered")
    await exchange.pause("held")
    await exchange.close(notify=notify)


class TestEnds:
    """How an answer, and a connection, may end."""

    async def test_with_the_connection(self, server_context: Any, session: Session):
        """An answer without a length ends with the connection."""
        with FaultServer(until_the_end(notify=True), tls=server_context) as server:
            server.release("held")
            assert (await session.get(server.url)).content == b"some"
            assert session.pool.open == 0

    async def test_cut_off_in_tls(self, certificates: Certificates, session: Session):
        """In TLS such an answer must end with a goodbye: anybody on the way could have cut it (RFC 9112, 9.8)."""
        with FaultServer(until_the_end(notify=False), tls=certificates.server_context()) as server:
            server.release("held")
            with pytest.raises(aioreq.RemoteProtocolError, match="in the middle of the answer"):
                await session.get(server.url)
            assert session.pool.open == 0

    async def test_cut_off(self, server_context: Any, session: Session):
        """An answer that ends before its time is a RemoteProtocolError."""
        with FaultServer({"/": faults.cut_answer(), "/chunked": faults.cut_chunked()}, tls=server_context) as server:
            with pytest.raises(aioreq.RemoteProtocolError):
                await session.get(server.url)
            with pytest.raises(aioreq.RemoteProtocolError):
                await session.get(server.url + "/chunked")
        assert session.pool.open == 0

    async def test_cut_off_in_chunks(self, session: Session):
        """In plain HTTP a chunked answer without its last chunk is ChunkedEncodingError."""
        with FaultServer(faults.cut_chunked()) as server, pytest.raises(aioreq.ChunkedEncodingError) as caught:
            await session.get(server.url)
        assert "the last chunk is missing" in str(caught.value)

    async def test_no_answer_at_all(self, server_context: Any, session: Session):
        """A connection that ends without an answer is ServerDisconnected, closed or reset."""
        routes = {"/": faults.reset_after(0), "/closed": faults.garbage(b"")}
        with FaultServer(routes, tls=server_context) as server:
            with pytest.raises(aioreq.ServerDisconnected, match="broke the connection off without an answer"):
                await session.get(server.url)
            with pytest.raises(aioreq.ServerDisconnected, match="closed the connection without an answer"):
                await session.get(server.url + "/closed")

    async def test_given_up_by_another_task(self, server_context: Any, session: Session):
        """A reader whose answer another task gives up gets an error, not an end that looks like the answer's own."""
        with FaultServer(until_the_end(notify=True), tls=server_context) as server:
            async with session.stream("GET", server.url) as response:
                pieces = response.iter_content()
                assert await anext(pieces) == b"some"
                reading = asyncio.ensure_future(anext(pieces))
                await asyncio.sleep(0)
            with pytest.raises(aioreq.StreamConsumedError, match="given up before its end"):
                await reading
            assert session.pool.open == 0

    async def test_given_up_as_the_end_comes(self, session: Session):
        """The same when the last bytes have just arrived: the connection is given back once."""
        with FaultServer(faults.cut_answer(declared=8, sent=4, then="hold")) as server:
            async with session.stream("GET", server.url) as response:
                pieces = response.iter_content()
                assert await anext(pieces) == b"xxxx"
                reading = asyncio.ensure_future(anext(pieces))
                await asyncio.sleep(0)
                response._stream._stream._reader.feed_data(b"xxxx")  # type: ignore[union-attr]
                await response.aclose()
            with pytest.raises(aioreq.StreamConsumedError):
                await reading
            assert session.pool.open == 0

    async def test_a_session_closed_in_the_middle(self, server_context: Any, certificates: Certificates):
        """Closing a session ends what is under way with SessionClosed: waiting, uploading and reading."""
        routes = {"/silent": faults.silent(), "/stall": faults.stall(after=1000), "/endless": faults.endless_body()}
        with FaultServer(routes, tls=server_context) as server:
            session = Session(verify=certificates.authority)
            async with session:
                waiting = asyncio.create_task(session.get(server.url + "/silent"))
                uploading = asyncio.create_task(session.post(server.url + "/stall", data=bytes(20 * MIB)))
                await server.reached("silent")
                await server.reached("stalled")
            for call in (waiting, uploading):
                with pytest.raises(aioreq.SessionClosed, match="in the middle of the exchange"):
                    await call
            assert (session.pool.open, session.pool.idle) == (0, 0)

    async def test_a_byte_at_a_time(self, server_context: Any, session: Session):
        """An answer that trickles in byte by byte is read like any other."""

        async def trickle(exchange: Exchange) -> None:
            await exchange.read_body()
            answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Trailer: 1\r\n\r\n"
            await exchange.send(answer, chunk=1)

        with FaultServer(trickle, tls=server_context) as server:
            for _ in range(2):
                response = await session.get(server.url)
                assert response.content == b"body"
                assert response.trailers["x-trailer"] == "1"
            assert len(server.connections) == 1


STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"


@script
async def speak_unasked(exchange: Exchange, how: str) -> None:
    """Answer, and later send an answer that nobody asked for, or close the connection."""
    await exchange.read_body()
    await exchange.answer()
    await exchange.pause("unasked")
    await (exchange.send(STRAY) if how == "stray" else exchange.close(notify=True))
    exchange.mark("spoken")


class TestUnasked:
    """What comes on a kept connection before a request has left is no answer to it (RFC 9112, section 9.2).

    Between taking the connection and writing to it a file may be read, and the caller's functions may be asked.
    """

    @pytest.fixture(params=["stray", "end"])
    def server(self, request: pytest.FixtureRequest, server_context: Any) -> Iterator[FaultServer]:
        routes = {"/": speak_unasked(request.param), "/upload": faults.ok()}
        with FaultServer(routes, tls=server_context) as server:
            yield server

    async def upload_on_a_kept_connection(
        self, session: Session, server: FaultServer, body: Any, begun: threading.Event, go_on: threading.Event
    ) -> None:
        """Take a kept connection, have the server speak before the request leaves, and hold the answer to be right."""
        await session.get(server.url)
        call = asyncio.create_task(session.post(server.url + "/upload", data=body))
        await asyncio.to_thread(begun.wait, 10)
        [connection] = session.pool._busy
        server.release("unasked")
        await server.reached("spoken")
        while connection.stream.quiet and connection in session.pool._busy:
            await asyncio.sleep(0)
        go_on.set()
        response = await call
        assert (response.json()["target"], response.json()["received"]) == ("/upload", 1000)
        assert response.upload.sent == 1000
        assert [request.target for request in server.requests] == ["/", "/upload"]
        assert len(server.connections) == 2

    async def test_while_a_small_file_is_read(
        self, session: Session, server: FaultServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ):
        """Not while a file is packed into one write: the upload goes out anew, since nothing of it has left."""
        begun, go_on = threading.Event(), threading.Event()

        pack = Parcel.pack

        def pack_slowly(parcel: Parcel, *, wait: bool = True) -> bool:
            if not wait:
                return False
            begun.set()
            assert go_on.wait(10)
            return pack(parcel)

        monkeypatch.setattr(Parcel, "pack", pack_slowly)
        (tmp_path / "file").write_bytes(bytes(1000))
        await self.upload_on_a_kept_connection(session, server, tmp_path / "file", begun, go_on)

    async def test_before_the_first_block(self, session: Session, server: FaultServer):
        """Not while the first block of a body is waited for."""
        begun, go_on = threading.Event(), threading.Event()

        class SlowFile(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                begun.set()
                assert go_on.wait(10)
                return super().read(size)

        await self.upload_on_a_kept_connection(session, server, SlowFile(bytes(1000)), begun, go_on)

    async def test_while_a_hook_is_asked(self, server: FaultServer, certificates: Certificates):
        """Not while the caller's function is told of the connection, which is then told of the next one."""
        begun, go_on = threading.Event(), threading.Event()
        told: list[bool] = []

        async def look(event: aioreq.ConnectionEvent) -> None:
            told.append(event.reused)
            if event.reused:
                begun.set()
                await asyncio.to_thread(go_on.wait, 10)

        async with Session(verify=certificates.authority, event_hooks={"connection": look}) as session:
            await self.upload_on_a_kept_connection(session, server, bytes(1000), begun, go_on)
        assert told == [False, True, False]
