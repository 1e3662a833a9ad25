"""The outbox: small requests of one turn of the loop leave together, and none of them when it must not.

The server's end of each connection is a socket in the test's hands, so that every moment between a request's being
ready and its leaving is there to be used.
"""

import asyncio
import gc
import select
import socket
import ssl
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import NamedTuple

import pytest

import aioreq
from aioreq._net.outbox import Outbox, outbox_of
from aioreq._net.stream import Stream, StreamProtocol
from aioreq._wire.tls import TLS
from tests.servers.certificates import Certificates
from tests.test_loops import LOOPS, loop_factory
from tests.test_stream_net import Disturbance

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
RESET_ON_CLOSE = b"\1\0\0\0\0\0\0\0"


class Letter:
    """Something to be sent, which notes in a list that it was.

    Attributes:
        loop: where; a letter keeps its loop, as a stream does.
    """

    def __init__(self, name: int, sent: list[int], loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._name = name
        self._sent = sent

    def send_posted(self) -> None:
        self._sent.append(self._name)


class TestOutbox:
    """Outbox: what was added in one turn of the loop is sent in the next one, before anything else."""

    @pytest.mark.parametrize("count", [1, 2, 32])
    async def test_together(self, count: int):
        """Nothing is sent at once; in the next turn all is, in the order of adding."""
        loop = asyncio.get_running_loop()
        sent: list[int] = []
        outbox = Outbox()
        for name in range(count):
            outbox.add(Letter(name, sent, loop), loop)
        assert sent == []
        await asyncio.sleep(0)
        assert sent == list(range(count))

    @pytest.mark.parametrize("count", [33, 65, 100])
    async def test_not_too_many(self, count: int):
        """None waits for more than 31 others; each is sent once, in the order of adding."""
        loop = asyncio.get_running_loop()
        outbox = Outbox()
        sent: list[int] = []
        for name in range(count):
            outbox.add(Letter(name, sent, loop), loop)
            assert name - len(sent) < 32
        assert sent
        await asyncio.sleep(0)
        assert sent == list(range(count))

    async def test_turn_by_turn(self):
        """It is the same in the next turn, and in one that comes while letters of the last one are sent."""
        loop = asyncio.get_running_loop()
        outbox = Outbox()
        sent: list[int] = []

        class Answered(Letter):
            def send_posted(self) -> None:
                super().send_posted()
                outbox.add(Letter(10 + self._name, sent, loop), loop)

        for name in (1, 2):
            outbox.add(Answered(name, sent, loop), loop)
        await asyncio.sleep(0)
        assert sent == [1, 2]
        await asyncio.sleep(0)
        assert sent == [1, 2, 11, 12]

    def test_one_for_each_loop(self):
        """The streams of a loop have one outbox, and those of another loop in another thread have another."""

        async def outboxes() -> list[Outbox]:
            loop = asyncio.get_running_loop()
            return [outbox_of(loop), outbox_of(loop)]

        found: list[Outbox] = []
        threads = [threading.Thread(target=lambda: found.extend(asyncio.run(outboxes()))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 6
        assert len(set(found)) == 3

    def test_a_loop_that_was_left(self):
        """A loop that was closed with something posted is not kept for that."""
        loop = asyncio.new_event_loop()
        outbox = outbox_of(loop)
        outbox.add(Letter(1, [], loop), loop)
        loop.close()
        closed = weakref.ref(loop)
        del loop, outbox
        gc.collect()
        assert closed() is None


# --- streams


class Ends:
    """Connections with our ends as streams, and the server's as sockets that don't block."""

    def __init__(self) -> None:
        self._closing = AsyncExitStack()
        self._listener = self._closing.enter_context(socket.create_server(("127.0.0.1", 0)))

    async def __aenter__(self) -> "Ends":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def connect(self) -> tuple[Stream, socket.socket]:
        """One more connection."""
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(lambda: StreamProtocol(loop), *self._listener.getsockname())
        stream = Stream(loop, transport, protocol)
        self._closing.push_async_callback(stream.aclose)
        theirs = self._closing.enter_context(self._listener.accept()[0])
        theirs.setblocking(False)
        return stream, theirs


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    async with Ends() as ends:
        yield ends


@pytest.fixture
async def others(ends: Ends) -> AsyncIterator[None]:
    """Another exchange is under way in this loop, so that what is posted waits for the end of the turn."""
    stream, _ = await ends.connect()
    waiting = asyncio.create_task(stream.receive())
    await asyncio.sleep(0)
    yield
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting


def came(theirs: socket.socket) -> bytes | None:
    """What the server has got, without waiting; None when that is nothing."""
    try:
        return theirs.recv(1024 * 1024)
    except BlockingIOError:
        return None


async def exchange(stream: Stream, request: bytes = b"request") -> bytes:
    """What an exchange does: nothing comes between posting and receiving."""
    stream.post(request)
    return await stream.receive()


def speak_and_reset(theirs: socket.socket, words: bytes) -> None:
    theirs.sendall(words)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    theirs.close()


async def given_up(stream: Stream) -> None:
    """Abort a stream, and wait until its socket is closed."""
    stream.abort()
    await stream.aclose()


async def turn_with(arriving: Callable[[], object]) -> None:
    """Have something arrive which the loop comes to when the caller waits next: its kernel has told it by then."""
    arriving()
    await asyncio.sleep(0)


class TestAlone:
    async def test_it_leaves_at_once(self, ends: Ends):
        """What is posted while nobody else waits for a server is with the kernel when post() returns."""
        stream, theirs = await ends.connect()
        stream.post(b"request")
        assert came(theirs) == b"request"
        assert stream.unsent == 0

    async def test_after_something_came(self, ends: Ends):
        """What came before can't be an answer to it: it never leaves."""
        stream, theirs = await ends.connect()
        told = Disturbance()
        stream.watch(told)
        theirs.sendall(b"stray")
        await told.wait()
        assert await exchange(stream) == b"stray"
        await asyncio.sleep(0)
        assert stream.unsent == len(b"request")
        await given_up(stream)
        assert stream.unsent == len(b"request")
        assert came(theirs) == b""


@pytest.mark.usefixtures("others")
class TestTogether:
    """While others wait for their servers, what is posted leaves a moment later."""

    async def test_it_leaves_in_the_next_turn(self, ends: Ends):
        """It is unsent until then; then it is with the kernel, and its answer is received."""
        stream, theirs = await ends.connect()
        answer = asyncio.create_task(exchange(stream))
        await asyncio.sleep(0)
        assert came(theirs) is None
        assert stream.unsent == len(b"request")
        assert not stream.quiet
        assert not stream.is_flushed
        await asyncio.sleep(0)
        assert came(theirs) == b"request"
        assert stream.unsent == 0
        theirs.sendall(b"answer")
        assert await answer == b"answer"
        assert stream.quiet

    async def test_each_once(self, ends: Ends):
        """However many are posted in a turn, each arrives once and whole at its own server."""
        connections = [await ends.connect() for _ in range(50)]
        answers = [
            asyncio.create_task(exchange(stream, b"request %d" % number))
            for number, (stream, _) in enumerate(connections)
        ]
        for number, (_, theirs) in enumerate(connections):
            assert await asyncio.get_running_loop().sock_recv(theirs, 100) == b"request %d" % number
            theirs.sendall(b"answer %d" % number)
        assert await asyncio.gather(*answers) == [b"answer %d" % number for number in range(50)]
        assert [came(theirs) for _, theirs in connections] == [None] * 50

    async def test_what_came_before_it_left(self, ends: Ends):
        """What came meanwhile is received, and the request never leaves; nothing else does behind it."""
        stream, theirs = await ends.connect()
        await turn_with(lambda: theirs.sendall(b"stray"))
        assert await exchange(stream) == b"stray"
        stream.write(b"behind it")
        await asyncio.sleep(0)
        assert stream.unsent >= len(b"request")
        await given_up(stream)
        assert stream.unsent >= len(b"request")
        assert came(theirs) == b""

    async def test_the_end_came_before_it_left(self, ends: Ends):
        """So it is with the end."""
        stream, theirs = await ends.connect()
        await turn_with(lambda: theirs.shutdown(socket.SHUT_WR))
        assert await exchange(stream) == b""
        await asyncio.sleep(0)
        assert stream.unsent == len(b"request")
        assert came(theirs) is None

    async def test_a_server_that_has_gone(self, ends: Ends):
        """What a broken connection is given has not left, and what the server had said is received all the same."""
        stream, theirs = await ends.connect()
        receiving = asyncio.create_task(exchange(stream))
        asyncio.get_running_loop().call_soon(speak_and_reset, theirs, b"stray")
        assert await receiving == b"stray"
        assert stream.unsent == len(b"request")
        assert await stream.receive() == b""
        assert not stream.ended_cleanly
        assert stream.unsent == len(b"request")

    @pytest.mark.parametrize("before", [0, 1])
    async def test_cancelled_before_it_left(self, ends: Ends, before: int):
        """A request whose caller was cancelled in the turn in which it was ready, never leaves."""
        stream, theirs = await ends.connect()
        exchanging = asyncio.create_task(exchange(stream))
        asyncio.get_running_loop().call_soon(exchanging.cancel)
        with pytest.raises(asyncio.CancelledError):
            await exchanging
        for _ in range(before):
            await asyncio.sleep(0)
        assert stream.unsent == len(b"request")
        await given_up(stream)
        assert came(theirs) == b""

    @pytest.mark.parametrize("end", [Stream.abort, Stream.close])
    async def test_closed_before_it_left(self, ends: Ends, end: Callable[[Stream], None]):
        """A stream that is closed takes with it what was posted, and says that it has not left."""
        stream, theirs = await ends.connect()
        stream.post(b"request")
        end(stream)
        assert stream.unsent == len(b"request")
        await stream.aclose()
        assert stream.unsent == len(b"request")
        assert came(theirs) == b""

    async def test_failed_before_it_left(self, ends: Ends):
        """Nor does it leave when whoever waits was told of a failure."""
        stream, theirs = await ends.connect()
        answer = asyncio.create_task(exchange(stream))
        asyncio.get_running_loop().call_soon(stream.fail, LookupError("no more"))
        with pytest.raises(LookupError, match="no more"):
            await answer
        assert stream.unsent == len(b"request")
        assert came(theirs) is None

    async def test_a_transport_that_raises(self, ends: Ends, monkeypatch: pytest.MonkeyPatch):
        """What a transport raises is raised to the one who posted, and the others' requests leave."""
        connections = [await ends.connect() for _ in range(3)]

        def refuse(_: object) -> None:
            raise RuntimeError("the handler is closed")

        monkeypatch.setattr(connections[1][0]._transport, "write", refuse)
        answers = [asyncio.create_task(exchange(stream)) for stream, _ in connections]
        with pytest.raises(RuntimeError, match="the handler is closed"):
            await answers[1]
        assert [stream.unsent for stream, _ in connections] == [0, len(b"request"), 0]
        for place in (0, 2):
            theirs = connections[place][1]
            assert came(theirs) == b"request"
            theirs.sendall(b"answer")
            assert await answers[place] == b"answer"

    async def test_its_time_counts_from_when_it_left(self, ends: Ends):
        """The limit on the server's silence holds for a request that was posted, as for any other."""
        stream, theirs = await ends.connect()
        stream.limit(0.05, 0.05)
        with pytest.raises(aioreq.ReadTimeout, match=r"silent for 0\.05 seconds"):
            await exchange(stream)
        assert came(theirs) == b"request"


class Secured(NamedTuple):
    """A connection with TLS on it, and the session tickets that the server has not sent."""

    stream: Stream
    theirs: socket.socket
    server: TLS
    tickets: bytes


@pytest.mark.usefixtures("others")
class TestRecords:
    """With TLS what is posted is encrypted when it is ready: its records have their place among the others."""

    @pytest.fixture
    async def secured(self, ends: Ends, certificates: Certificates) -> Secured:
        """A stream with TLS on it."""
        stream, theirs = await ends.connect()
        server = TLS(certificates.server_context(), None, server_side=True)
        tickets = await shake_hands(stream, theirs, server, certificates.client_context())
        return Secured(stream, theirs, server, tickets)

    async def test_in_order(self, secured: Secured):
        """What is written behind what was posted leaves behind it, and both are read."""
        stream, theirs, server, tickets = secured
        answer = asyncio.create_task(exchange(stream, b"posted"))
        asyncio.get_running_loop().call_soon(stream.write, b"written")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert server.decrypt(came(theirs) or b"") == [b"posted", b"written"]
        theirs.sendall(tickets + server.encrypt(b"answer"))
        assert await answer == b"answer"
        assert stream.unsent == 0

    async def test_no_goodbye_behind_a_gap(self, secured: Secured):
        """Where records never left, none follow: the server sees the connection end, and no broken record."""
        stream, theirs, server, tickets = secured
        await turn_with(lambda: theirs.sendall(tickets + server.encrypt(b"stray")))
        assert await exchange(stream, b"posted") == b"stray"
        assert stream.unsent > len(b"posted")
        await stream.aclose()
        assert came(theirs) == b""

    async def test_housekeeping_keeps_nothing_back(self, secured: Secured):
        """Session tickets that come meanwhile are no answer and no end: the request leaves."""
        stream, theirs, server, tickets = secured
        assert tickets
        await turn_with(lambda: theirs.sendall(tickets))
        answer = asyncio.create_task(exchange(stream, b"posted"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert server.decrypt(came(theirs) or b"") == [b"posted"]
        theirs.sendall(server.encrypt(b"answer"))
        assert await answer == b"answer"


async def shake_hands(stream: Stream, theirs: socket.socket, server: TLS, trusting: ssl.SSLContext) -> bytes:
    """Put TLS on a stream; returns the session tickets, which the server has not sent."""
    loop = asyncio.get_running_loop()
    shaking = asyncio.create_task(stream.start_tls(trusting, "localhost"))
    while True:
        _, to_send = server.receive_handshake(await loop.sock_recv(theirs, 65_536))
        if server.ready:
            await shaking
            return to_send
        await loop.sock_sendall(theirs, to_send)


# --- sessions


class Server:
    """A server whose connections are in the test's hands.

    Attributes:
        url: where it is.
    """

    def __init__(self) -> None:
        self._closing = ExitStack()
        self._listener = self._closing.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    async def accept(self) -> socket.socket:
        """The next connection."""
        connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        return self._closing.enter_context(connection)

    async def keep(self, session: aioreq.Session, count: int) -> list[socket.socket]:
        """Have the session keep so many connections."""
        calls = [asyncio.create_task(session.get(self.url)) for _ in range(count)]
        connections = [await self.accept() for _ in calls]
        for connection in connections:
            await requested(connection)
            connection.sendall(OK)
        await asyncio.gather(*calls)
        return connections


async def requested(theirs: socket.socket) -> bytes:
    """The next request on a connection."""
    return await asyncio.get_running_loop().sock_recv(theirs, 65_536)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


class Busy(NamedTuple):
    """A session with two connections: on one a call waits for its answer, the other is idle."""

    session: aioreq.Session
    call: asyncio.Task[aioreq.Response]
    waiting: socket.socket
    idle: socket.socket
    resent: list[aioreq.ResendEvent]


@pytest.fixture
async def busy(server: Server) -> AsyncIterator[Busy]:
    resent: list[aioreq.ResendEvent] = []
    hooks = {"resend": resent.append}
    async with aioreq.Session(trust_env=False, timeout=10, event_hooks=hooks) as session:
        connections = await server.keep(session, 2)
        call = asyncio.create_task(session.get(server.url))
        while not (asked := select.select(connections, [], [], 0)[0]):
            await asyncio.sleep(0)
        [waiting] = asked
        await requested(waiting)
        [idle] = set(connections) - {waiting}
        yield Busy(session, call, waiting, idle, resent)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


class TestCalls:
    """Calls whose request is ready and has not left."""

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("words", [b"", TIMED_OUT, OK])
    async def test_sent_again_on_another_connection(self, server: Server, busy: Busy, method: str, words: bytes):
        """What the server said before it broke the connection off is no answer to a request that never left.

        Nobody has got it, so it is sent on another connection, whatever its method.
        """
        call = asyncio.create_task(busy.session.request(method, server.url, data=b"body"))
        asyncio.get_running_loop().call_soon(speak_and_reset, busy.idle, words)
        other = await server.accept()
        assert (await requested(other)).endswith(b"\r\n\r\nbody")
        other.sendall(OK)
        response = await call
        assert (response.status_code, response.text) == (200, "ok")
        assert (response.upload.sent, response.upload.complete) == (4, True)
        [resend] = busy.resent
        assert resend.error.sent == 0

    async def test_cancelled(self, server: Server, busy: Busy):
        """A call that is cancelled before its request has left sends nothing."""
        call = asyncio.create_task(busy.session.get(server.url))
        asyncio.get_running_loop().call_soon(call.cancel)
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await requested(busy.idle) == b""
        assert busy.session.pool.open == 1

    async def test_out_of_time(self, server: Server, busy: Busy):
        """Nor does one whose time is over."""
        with pytest.raises(aioreq.exceptions.Timeout) as caught:
            await busy.session.post(server.url, data=b"body", timeout=aioreq.Timeout(total=1e-9))
        assert caught.value.sent == 0
        assert await requested(busy.idle) == b""

    async def test_closed(self, server: Server, busy: Busy):
        """Nor does one whose session is closed."""
        call = asyncio.create_task(busy.session.post(server.url, data=b"body"))
        closing = asyncio.create_task(busy.session.aclose())
        with pytest.raises(aioreq.SessionClosed) as caught:
            await call
        assert caught.value.sent == 0
        await closing
        assert await requested(busy.idle) == b""
        with pytest.raises(aioreq.SessionClosed):
            await busy.call

    async def test_cancelled_with_the_answer_in_its_hands(self, server: Server, busy: Busy):
        """A call that is cancelled between the coming of its answer and its own turn takes its connection with it."""
        call = asyncio.create_task(busy.session.get(server.url))
        await requested(busy.idle)
        place = busy.idle.getpeername()
        [stream] = [each.stream for each in busy.session.pool._busy if each.stream.about("sockname") == place]
        busy.idle.sendall(OK)
        while stream._reader.waited_for:
            await asyncio.sleep(0)
        assert not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await requested(busy.idle) == b""
        assert busy.session.pool.open == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks(server: Server):
    """Tasks that begin when they are made send their requests as others do."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    async with aioreq.Session(trust_env=False, timeout=10) as session:
        connections = await server.keep(session, 20)
        calls = [asyncio.create_task(session.get(server.url)) for _ in range(20)]
        for connection in connections:
            assert (await requested(connection)).count(b"GET / ") == 1
            connection.sendall(OK)
        assert [response.text for response in await asyncio.gather(*calls)] == ["ok"] * 20


@pytest.mark.parametrize("loop", LOOPS)
def test_each_gets_its_own_answer(loop: str):
    """On every loop, with many calls at once of which some are cancelled at some moment, no answer is another's."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                name = (await reader.readuntil(b"\r\n\r\n")).split()[1]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name))
                await writer.drain()
        writer.close()

    async def ask(session: aioreq.Session, url: str, number: int) -> None:
        call = asyncio.create_task(session.get(f"{url}/{number}"))
        if number % 7 == 0:
            for _ in range(number // 7 % 5):
                await asyncio.sleep(0)
            call.cancel()
        with suppress(asyncio.CancelledError):
            assert (await call).text == f"/{number}"

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, aioreq.Session(trust_env=False, timeout=10) as session:
            for start in range(0, 600, 60):
                await asyncio.gather(*(ask(session, url, number) for number in range(start, start + 60)))
            assert outbox_of(asyncio.get_running_loop()).waiting == 0
            assert session.pool.idle == session.pool.open

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(main())
