"""Other event loops: whatever holds on asyncio's own loop holds on uvloop, and with aiofastnet's transports on either.

Each test runs once on each loop, and leaves nothing behind there: no task, no error that nobody has looked at, no
descriptor once the loop is closed and the worker threads have ended.
"""

import asyncio
import gc
import hashlib
import io
import os
import random
import select
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import postbin
import pytest

import aioreq
from aioreq._net import http1
from aioreq._net.stream import _HIGH_WATER, ChunkReader, Stream
from aioreq.testing import Exchange, FaultServer, faults, script
from tests.faults.bodies import KIB, KINDS, MIB, USUAL, Kind, Supply, content_of, digest, whole
from tests.servers.certificates import Certificates
from tests.servers.nginx import Nginx
from tests.servers.requirements import require_package
from tests.ways.proxies import tinyproxy

LOOPS = ("asyncio", "uvloop", "asyncio+aiofastnet", "uvloop+aiofastnet")
BOUND = 20.0
"""Seconds after which a call has failed; nothing waits for it."""
LIMIT = 0.2
"""Seconds of silence that a test waits for."""
ETHERNET = 1460
"""Bytes of a segment: the client's kernel then holds little for a server that doesn't read."""
LARGE = 3 * MIB + 7
"""Bytes of a body that the kernels on both sides can't hold together."""

NewLoop = Callable[[], asyncio.AbstractEventLoop]
Run = Callable[[Coroutine[Any, Any, None]], None]


# --- the loops, and what must hold when one is done


def loop_factory(name: str) -> NewLoop:
    """What makes the loop; the test is skipped where a package is missing, or fails under CI."""
    loop, _, transports = name.partition("+")
    new_loop: NewLoop = asyncio.new_event_loop if loop == "asyncio" else require_package("uvloop").new_event_loop
    return require_package("aiofastnet").loop_factory(new_loop) if transports else new_loop


def descriptors() -> dict[str, str]:
    """The process's descriptors and what they lead to, that of the listing itself aside."""
    return {entry.name: str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.exists()}


@pytest.fixture(scope="module", autouse=True)
def young_objects_only() -> Iterator[None]:
    """A full collection is then cheap, and there can be one after each test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def opened_once() -> None:
    """What the packages open once for the process is open from here on; the bin's server takes uvloop where it is."""
    for name in LOOPS:
        with suppress(pytest.skip.Exception), asyncio.Runner(loop_factory=loop_factory(name)) as runner:
            runner.run(asyncio.sleep(0))


@pytest.fixture(params=LOOPS)
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    """Each loop in turn."""
    return loop_factory(request.param)


@pytest.fixture
def run(new_loop: NewLoop) -> Run:
    """Runs a coroutine on the loop, and looks at what is left when it is done."""

    def run(work: Coroutine[Any, Any, None]) -> None:
        unseen: list[dict[str, Any]] = []
        before = descriptors()
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: unseen.append(context))
            runner.run(_nothing_left(work))
        for thread in threading.enumerate():
            if thread.name.startswith("aioreq-"):  # one that reads for a call that was given up comes to its end
                thread.join(BOUND)
        gc.collect()  # a future reports when it is collected, and so does a transport that nobody has closed
        assert unseen == []
        assert descriptors() == before

    return run


async def _nothing_left(work: Coroutine[Any, Any, None]) -> None:
    await work
    await settled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def settled() -> None:
    """Let what has been cancelled or closed end: that takes a few turns of the loop, and no time."""
    for _ in range(10):
        await asyncio.sleep(0)


# --- servers and sessions


@pytest.fixture(scope="module")
def serving(certificates: Certificates) -> ssl.SSLContext:
    return certificates.server_context()


@pytest.fixture(scope="module")
def trusting(certificates: Certificates) -> ssl.SSLContext:
    return certificates.client_context()


class Place:
    """Where a test takes place: its servers speak TLS, or they don't."""

    def __init__(self, serving: ssl.SSLContext | None, trusting: ssl.SSLContext) -> None:
        self.is_tls = serving is not None
        self._serving, self._trusting = serving, trusting

    @asynccontextmanager
    async def serve(self, route: Any = None, *, narrow: bool = True, **options: Any) -> AsyncIterator[FaultServer]:
        """A fault server; whatever it did, the client must have kept to HTTP."""
        options = {"segment": ETHERNET if narrow else None, "patience": BOUND, **options}
        async with FaultServer(route, tls=self._serving, **options) as server:
            yield server
        assert server.violations == []

    @asynccontextmanager
    async def session(self, **options: Any) -> AsyncIterator[aioreq.Session]:
        """A session that keeps no connection when it is closed."""
        options = {"timeout": BOUND, "trust_env": False, "verify": self._trusting, **options}
        async with aioreq.Session(**options) as session:
            yield session
        assert session.pool.open == 0

    @asynccontextmanager
    async def both(self, route: Any = None, **options: Any) -> AsyncIterator[tuple[FaultServer, aioreq.Session]]:
        """A server and a session to talk to it."""
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(self.serve(route, **options))
            yield server, await stack.enter_async_context(self.session())


@pytest.fixture(params=["plain", "tls"])
def place(request: pytest.FixtureRequest, serving: ssl.SSLContext, trusting: ssl.SSLContext) -> Place:
    """Without TLS and with it."""
    return Place(serving if request.param == "tls" else None, trusting)


@pytest.fixture
def plain(trusting: ssl.SSLContext) -> Place:
    """Without TLS, where that makes no difference or there is none."""
    return Place(None, trusting)


@pytest.fixture(scope="module")
def content_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("loops") / "content.bin"
    path.write_bytes(content_of(LARGE))
    return path


@pytest.fixture
def supply(content_file: Path) -> Iterator[Supply]:
    """Content that the kernels can't hold, in memory and on disk."""
    with ExitStack() as closing:
        yield Supply(content_of(LARGE), content_file, closing)


# --- requests and connections


def test_requests_share_a_connection(run: Run, place: Place, nginx: Nginx) -> None:
    """Requests one after another go over one connection, whatever their method."""

    async def main() -> None:
        endpoint = nginx.tls if place.is_tls else nginx.plain
        async with place.session() as session:
            numbers = [(await session.get(endpoint.url("/connection"))).text.split() for _ in range(5)]
            assert (await session.post(endpoint.url("/echo-length"), data={"a": "b"})).text == "POST 3\n"
            assert (await session.put(endpoint.url("/dav/loops"), data=b"kept")).status_code in (201, 204)
            assert (await session.get(endpoint.url("/dav/loops"))).content == b"kept"
            assert session.pool.open == 1
        assert len({connection for connection, _ in numbers}) == 1
        assert [int(nth) for _, nth in numbers] == [1, 2, 3, 4, 5]

    run(main())


def test_many_requests_at_once(run: Run, place: Place, nginx: Nginx) -> None:
    """Two hundred requests at a time each get their own answer."""

    async def main() -> None:
        endpoint = nginx.tls if place.is_tls else nginx.plain
        async with place.session(limits=aioreq.Limits(max_connections=20)) as session:
            calls = (session.post(endpoint.url("/echo-length"), data=b"x" * size) for size in range(1, 201))
            answers = [response.text for response in await asyncio.gather(*calls)]
        assert answers == [f"POST {size}\n" for size in range(1, 201)]

    run(main())


def test_a_connection_that_was_closed_while_idle_is_replaced(run: Run, place: Place) -> None:
    """A pooled connection that the server has closed meanwhile is not used again."""

    async def main() -> None:
        async with place.both(faults.close_idle()) as (server, session):
            for number in range(1, 4):
                assert (await session.post(server.url, data=b"body")).ok
                await server.reached("closed", times=number)
            assert len(server.connections) == 3

    run(main())


def test_a_unix_socket(run: Run, plain: Place, supply: Supply, tmp_path: Path) -> None:
    """Requests and uploads go over a Unix socket, large files too."""

    async def main() -> None:
        path = tmp_path / "socket"
        async with (
            FaultServer(unix_socket=path, patience=BOUND) as server,
            plain.session(unix_socket=path) as session,
        ):
            assert (await session.get(server.url)).ok
            assert (await session.put(server.url, data=supply.path)).upload.complete
            assert whole(server.requests[1], supply.content)
            assert len(server.connections) == 1

    run(main())


def test_a_tunnel(run: Run, place: Place, supply: Supply) -> None:
    """An upload over TLS through a proxy (CONNECT) arrives whole; without TLS the proxy forwards it."""

    async def main() -> None:
        async with place.serve(narrow=False) as server:
            with tinyproxy() as proxy:
                async with place.session(proxy=proxy.url("http")) as session:
                    assert (await session.put(server.url, data=supply.path)).upload.complete
            assert whole(server.requests[0], supply.content)

    run(main())


# --- what is sent is what arrives

SMALL = 10_007
"""Bytes of a body that leaves in one write."""

BODIES = {**KINDS, "bytes_io": Kind("bytes_io", lambda supply: {"data": io.BytesIO(supply.content)})}


@pytest.mark.parametrize("kind", BODIES.values(), ids=repr)
def test_every_body_arrives_exactly(run: Run, place: Place, kind: Kind, supply: Supply, tmp_path: Path) -> None:
    """Whatever a body is made of, its bytes arrive, each once and in order, and the account of it says so."""
    path = tmp_path / "content.bin"
    path.write_bytes(supply.content[:SMALL])
    small = Supply(supply.content[:SMALL], path, supply.closing)

    async def main() -> None:
        async with place.both(narrow=False) as (server, session):
            for source in (small, supply, small):
                upload = (await session.post(server.url, **kind.arguments(source))).upload
                request = server.requests[-1]
                assert whole(request, source.content)
                assert upload.complete
                assert upload.sent == request.received
                assert upload.total == (None if kind.name == "chunked" else request.received)
            assert len(server.connections) == 1
            supply.closing.close()

    run(main())


def test_a_form_arrives_part_by_part(run: Run, plain: Place, supply: Supply) -> None:
    """A server that reads the form finds every field and file in it."""
    small = content_of(1001)

    async def main() -> None:
        async with postbin.serve() as base, plain.session() as session:
            url = (await session.post(base)).url
            files = {"path": supply.path, "bytes": ("b.bin", small), "file": io.BytesIO(small)}
            receipt = (await session.post(url, data={"title": "größe"}, files=files)).json()
        parts = {part["name"]: (part["size"], part["sha256"]) for part in receipt["parts"]}
        assert parts == {
            "title": (7, digest("größe".encode())),
            "path": (LARGE, digest(supply.content)),
            "bytes": (1001, digest(small)),
            "file": (1001, digest(small)),
        }

    run(main())


def test_progress_of_an_upload(run: Run, place: Place, supply: Supply) -> None:
    """Progress grows to the whole, step by step, in bytes that the kernel has taken."""

    async def main() -> None:
        seen: list[int] = []
        async with place.both() as (server, session):
            await session.put(server.url, data=supply.path, progress=lambda progress: seen.append(progress.sent))
            assert whole(server.requests[0], supply.content)
        assert seen == sorted(set(seen))
        assert seen[-1] == LARGE

    run(main())


# --- small files: one write each, from buffers that are used again


def small_files(folder: Path, number: int, largest: int, seed: str) -> list[Path]:
    """Files of different contents and sizes, up to so many bytes."""
    chance = random.Random(seed)
    paths = [folder / f"{seed}-{index}" for index in range(number)]
    for path in paths:
        path.write_bytes(chance.randbytes(chance.randrange(largest // 2, largest)))
    return paths


def arrived(server: FaultServer) -> dict[str, str]:
    """By their paths, the digests of what arrived."""
    return {request.path: request.sha256 for request in server.requests if request.complete}


def expected(paths: list[Path], folder: str = "") -> dict[str, str]:
    return {f"{folder}/{path.name}": digest(path.read_bytes()) for path in paths}


def test_five_hundred_small_files_at_once(run: Run, place: Place, tmp_path: Path) -> None:
    """Buffers are used again for other files only when the last one has left: each arrives with its own bytes."""
    paths = small_files(tmp_path, 500, 40 * KIB, "fast")

    async def main() -> None:
        async with place.serve(narrow=False) as server:
            async with place.session(limits=aioreq.Limits(max_connections=50)) as session:
                await asyncio.gather(*(session.put(f"{server.url}/{path.name}", data=path) for path in paths))
            assert arrived(server) == expected(paths)

    run(main())


def test_small_files_that_the_server_is_slow_to_read(
    run: Run, plain: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A buffer that the transport still holds goes to no other file, however many come meanwhile."""
    slow, fast = small_files(tmp_path, 30, 250 * KIB, "slow"), small_files(tmp_path, 90, 250 * KIB, "fast")
    for path in slow:
        os.truncate(path, 250 * KIB)  # a Unix socket takes less at a time
    held: list[int] = []
    send_parcel = http1.Exchange._send_parcel

    async def watched(exchange: http1.Exchange, *args: Any) -> None:
        await send_parcel(exchange, *args)
        held.append(exchange._stream.unsent)

    @script
    async def later(exchange: Exchange) -> None:
        await exchange.pause("later")
        await exchange.read_body()
        await exchange.answer()

    async def main() -> None:
        socket_path = tmp_path / "socket"
        served = {f"/slow/{path.name}": later() for path in slow} | {f"/fast/{path.name}": faults.ok() for path in fast}
        async with FaultServer(served, unix_socket=socket_path, patience=BOUND) as server:
            async with plain.session(unix_socket=socket_path) as session:
                with monkeypatch.context() as patch:
                    patch.setattr(http1.Exchange, "_send_parcel", watched)
                    puts = [
                        asyncio.create_task(session.put(f"{server.url}/slow/{path.name}", data=path)) for path in slow
                    ]
                    await server.reached("later", times=len(slow))
                assert len(held) == len(slow)
                assert min(held) > 0
                await asyncio.gather(*(session.put(f"{server.url}/fast/{path.name}", data=path) for path in fast))
                server.release("later")
                await asyncio.gather(*puts)
            assert arrived(server) == expected(slow, "/slow") | expected(fast, "/fast")

    run(main())


def test_bulk_upload(run: Run, plain: Place, tmp_path: Path) -> None:
    """Three hundred files are uploaded by bulk_upload, each whole and once, and it is told how long each took."""
    paths = small_files(tmp_path, 300, 20 * KIB, "bulk")

    async def main() -> None:
        async with plain.serve(narrow=False) as server, plain.session() as session:
            items = (
                aioreq.bulk.Upload(path, url=f"{server.url}/{path.name}", method="PUT", field=None) for path in paths
            )
            results = [result async for result in aioreq.bulk_upload(server.url, items, session=session)]
            assert [result.error for result in results] == [None] * 300
            assert all(0 < result.duration <= result.elapsed for result in results)
            assert len(server.requests) == 300
            assert arrived(server) == expected(paths)

    run(main())


# --- early answers, resets and files that change


@pytest.mark.parametrize("ending", ["close", "hold", "reset"])
@pytest.mark.parametrize("kind", [KINDS[name] for name in USUAL], ids=repr)
def test_an_early_refusal_is_the_answer(run: Run, place: Place, kind: Kind, ending: Any, supply: Supply) -> None:
    """A 413 in mid-upload is returned, whatever the server does then, and `upload` says what had left."""

    async def main() -> None:
        async with place.both(faults.early_answer(413, after=64 * KIB, then=ending)) as (server, session):
            calls = [session.post(server.url, **kind.arguments(supply)) for _ in range(4)]
            for response in await asyncio.gather(*calls):
                assert response.status_code == 413
                assert response.json()["received"] <= response.upload.sent <= response.upload.total
                assert not response.upload.complete
            assert session.pool.open == 0
            supply.closing.close()

    run(main())


@script
async def refuse_then_count(exchange: Exchange) -> None:
    """Refuse, read no more until the client has given up, then count all that had left."""
    await exchange.read_body(64 * KIB)
    await exchange.answer(413)
    await exchange.pause("refused")
    await exchange.read_body()


@pytest.mark.parametrize("kind", [KINDS[name] for name in ("bytes", "path", "generator")], ids=repr)
def test_the_account_of_a_refused_upload_is_exact(
    run: Run, plain: Place, kind: Kind, supply: Supply, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte leaves behind the account: `upload.sent` is what arrives if the server reads on just then."""
    abort = Stream.abort

    async def main() -> None:
        async with plain.both(refuse_then_count()) as (server, session):

            def abort_and_wait(stream: Stream) -> None:
                """Come back to the loop only when the kernel would take more."""
                abort(stream)
                server.release("refused")
                with socket.socket(fileno=os.dup(stream.fileno())) as duplicate:
                    assert select.select([], [duplicate], [], BOUND)[1]

            with monkeypatch.context() as patch:
                patch.setattr(Stream, "abort", abort_and_wait)
                response = await session.post(server.url, **kind.arguments(supply))
                server.release("refused")  # where the transport held nothing, nobody has aborted it
                await server.reached("closed")
            assert response.status_code == 413
            assert response.upload.sent == server.requests[0].received < LARGE
            supply.closing.close()

    run(main())


def test_a_reset_along_with_the_last_bytes_is_seen(run: Run, place: Place) -> None:
    """A connection that is reset behind a part of its answer is broken: nobody waits for the rest."""

    async def main() -> None:
        async with place.both(faults.cut_answer(then="reset")) as (server, session):
            for _ in range(10):
                with pytest.raises(aioreq.RemoteProtocolError):
                    await session.get(server.url)

    run(main())


def test_a_file_that_shrinks(run: Run, place: Place, tmp_path: Path) -> None:
    """A file that becomes shorter under its upload is FileChanged, and the session goes on."""
    path = tmp_path / "shrinking"
    path.write_bytes(content_of(2 * LARGE))

    async def main() -> None:
        route = {"/": faults.ok(), "/upload": faults.stall(after=KIB)}
        async with place.both(route) as (server, session):
            call = asyncio.create_task(session.put(f"{server.url}/upload", data=path))
            await server.reached("stalled")
            os.truncate(path, LARGE)
            server.release("stalled")
            with pytest.raises(aioreq.FileChanged):
                await call
            await server.reached("closed")
            assert not server.requests[0].complete
            assert (await session.get(f"{server.url}/")).ok

    run(main())


# --- limits of time


def test_a_silent_server(run: Run, place: Place) -> None:
    """A server that has read everything and says nothing is a ReadTimeout."""

    async def main() -> None:
        async with place.both(faults.silent()) as (server, session):
            with pytest.raises(aioreq.ReadTimeout):
                await session.put(server.url, data=b"body", timeout=aioreq.Timeout(read=LIMIT))
            assert session.pool.open == 0

    run(main())


@pytest.mark.parametrize("kind", [KINDS[name] for name in ("bytes", "path", "async_generator")], ids=repr)
def test_a_server_that_takes_no_more(run: Run, place: Place, kind: Kind, supply: Supply) -> None:
    """A server that stops reading is a WriteTimeout, whatever the body is made of."""

    async def main() -> None:
        async with place.both(faults.stall(after=KIB)) as (server, session):
            with pytest.raises(aioreq.WriteTimeout) as caught:
                await session.put(server.url, timeout=aioreq.Timeout(write=LIMIT), **kind.arguments(supply))
            assert KIB <= caught.value.sent < LARGE
            assert session.pool.open == 0

    run(main())


def test_a_server_that_is_not_reached(run: Run, plain: Place) -> None:
    """A listener whose queue is full is a ConnectTimeout, and a port without one a ConnectionError."""

    async def main() -> None:
        async with plain.session(timeout=aioreq.Timeout(connect=LIMIT)) as session:
            with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
                port = full.getsockname()[1]
                for _ in range(2):  # Linux queues one more than the backlog, and then doesn't answer
                    knocking = waiting.enter_context(socket.socket())
                    knocking.setblocking(False)
                    knocking.connect_ex(full.getsockname())
                with pytest.raises(aioreq.ConnectTimeout):
                    await session.get(f"http://127.0.0.1:{port}/")
            with pytest.raises(aioreq.exceptions.ConnectionError, match="refused"):
                await session.get(f"http://127.0.0.1:{port}/")

    run(main())


# --- ends


@pytest.mark.parametrize("kind", [KINDS[name] for name in USUAL], ids=repr)
def test_an_upload_that_is_cancelled(run: Run, place: Place, kind: Kind, supply: Supply) -> None:
    """A call that is cancelled in mid-upload ends, no thread sends on for it, and the session can be used."""

    async def main() -> None:
        async with place.both({"/": faults.ok(), "/stalled": faults.stall(after=KIB)}) as (server, session):
            call = asyncio.create_task(session.post(f"{server.url}/stalled", **kind.arguments(supply)))
            await server.reached("stalled")
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert session.pool.open == 0
            assert [task for task in asyncio.all_tasks() if task.get_name() == "aioreq upload"] == []
            assert (await session.get(f"{server.url}/")).ok
            supply.closing.close()

    run(main())


def test_a_session_that_is_closed_while_it_uploads(run: Run, place: Place, supply: Supply) -> None:
    """Closing a session ends what is under way on it, with an error."""

    async def main() -> None:
        async with place.both(faults.stall(after=KIB)) as (server, session):
            calls = [asyncio.create_task(session.put(server.url, data=supply.path)) for _ in range(3)]
            await server.reached("stalled", times=3)
            await session.aclose()
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(outcome, aioreq.RequestException)

    run(main())


def test_connections_are_collected_in_any_thread(run: Run, place: Place) -> None:
    """What is left of closed connections is garbage like any other, in whichever thread the collector runs."""

    async def main() -> None:
        gc.disable()
        try:
            async with place.both() as (server, session):
                await asyncio.gather(*(session.get(server.url) for _ in range(5)))
            await asyncio.to_thread(gc.collect)
        finally:
            gc.enable()

    run(main())


# --- downloads

DOWNLOAD = 8 * MIB + 13


@script
async def download(exchange: Exchange) -> None:
    """Answer with much."""
    await exchange.read_body()
    await exchange.answer(200, body=content_of(DOWNLOAD))


def test_a_download_to_a_file(run: Run, place: Place, tmp_path: Path) -> None:
    """A large answer is written as it comes, with progress to its end, and its connection is used again."""

    async def main() -> None:
        seen: list[int] = []
        async with place.both(download(), narrow=False) as (server, session):
            for _ in range(2):
                async with session.stream("GET", server.url) as response:
                    await response.save(tmp_path / "got", progress=lambda progress: seen.append(progress.received))
                assert (tmp_path / "got").read_bytes() == content_of(DOWNLOAD)
            assert len(server.connections) == 1
        assert seen.count(DOWNLOAD) == 2
        assert len(seen) > 2

    run(main())


def test_a_download_that_is_read_slowly(run: Run, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody reads, the socket is left alone when enough waits; nothing is lost when reading goes on."""
    readers: list[ChunkReader] = []
    held: list[int] = []
    is_full = asyncio.Event()
    feed_data = ChunkReader.feed_data

    def watched(reader: ChunkReader, data: bytes) -> None:
        feed_data(reader, data)
        readers.append(reader)
        held.append(reader._held)
        if reader._resting:
            is_full.set()

    monkeypatch.setattr(ChunkReader, "feed_data", watched)

    async def main() -> None:
        got = hashlib.sha256()
        async with (
            place.both(download(), narrow=False) as (server, session),
            session.stream("GET", server.url) as response,
        ):
            pieces = response.iter_content()
            for _ in range(3):
                await is_full.wait()
                is_full.clear()
                while readers[-1]._resting:
                    got.update(await anext(pieces))
            async for piece in pieces:
                got.update(piece)
        assert got.hexdigest() == digest(content_of(DOWNLOAD))
        assert max(held) <= 2 * _HIGH_WATER

    run(main())
