"""The server: one thread with a loop of its own, so that the client under test has its loop to itself."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aioreq.testing._exchange import ConnectionLog, Exchange, Script, head, note_surplus
from aioreq.testing._request import RequestLog, ViolationError, check_start, parse_head
from aioreq.testing._signals import Gates, Marks, Notice
from aioreq.testing._stream import ClientGoneError, Stream, TLSStream
from aioreq.testing.faults import ok

if TYPE_CHECKING:
    import os
    import ssl
    from types import TracebackType

_BACKLOG = 4096


class FaultServer:
    """An HTTP/1.1 server that does to each request what a script says; started by `with` or `async with`.

    Args:
        route: a script for every request, or a mapping from path to script (other paths are answered 404). By
            default every request is read and answered 200, with a report on it in JSON.
        tls: serve TLS with this server-side context.
        on_connect: a script for each new connection, before TLS and any request: to close, babble or say nothing.
        host: the address to listen on.
        port: 0 for a free one.
        unix_socket: listen on this path instead; it is removed at the end.
        receive_buffer: SO_RCVBUF of each connection in bytes (Linux doubles it): what still fits in while the
            server does not read. (What the client's own kernel holds comes on top: megabytes on Linux, unless
            `segment` is small.)
        segment: TCP_MAXSEG of each connection in bytes: as small as on a real link (1460 for Ethernet), where
            loopback's are of 64 KiB. With them the client's kernel holds kilobytes for a server that does not read.
        keep_body: how many bytes of each body `RequestLog.body` can give back. All are counted and hashed.
        patience: seconds after which waiting fails, for `reached` and for the server to stop.

    Leaving the context closes all connections. It raises what a script raised meanwhile, since that is a bug in
    the script, unless another exception is on its way. A server can be entered again, and then keeps its port and its
    logs: one that was down for a while.

    Raises:
        OSError: on entering, if the address cannot be listened on, or the system can't have such segments.
        ValueError: `segment` along with `unix_socket`, which has none.
    """

    def __init__(
        self,
        route: Script | Mapping[str, Script] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        on_connect: Script | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        unix_socket: str | os.PathLike[str] | None = None,
        receive_buffer: int = 65_536,
        segment: int | None = None,
        keep_body: int = 1 << 20,
        patience: float = 10.0,
    ) -> None:
        self._route = ok() if route is None else route
        self._tls, self._on_connect = tls, on_connect
        if segment is not None and unix_socket is not None:
            raise ValueError("segment= is TCP's: a Unix socket has no segments")
        self._host, self._port, self._receive_buffer, self._segment = host, port, receive_buffer, segment
        self._unix_socket = None if unix_socket is None else Path(unix_socket)
        self._keep_body = keep_body
        self._patience, self._marks = patience, Marks(patience)
        self._requests: list[RequestLog] = []
        self._connections: list[ConnectionLog] = []
        self._failures: list[Exception] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- What a test sees --------------------------------------------------------------------------------------

    @property
    def address(self) -> tuple[str, int] | str:
        """Host and port, or the path of the Unix socket, as `socket.connect` takes them."""
        return str(self._unix_socket) if self._unix_socket else (self._host, self._port)

    @property
    def url(self) -> str:
        """Where the server is, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        scheme = "https" if self._tls else "http"
        return f"{scheme}://localhost" if self._unix_socket else f"{scheme}://{host}:{self._port}"

    @property
    def requests(self) -> list[RequestLog]:
        """Every request whose head has been read, in order."""
        return list(self._requests)

    @property
    def connections(self) -> list[ConnectionLog]:
        """Every connection accepted, in order."""
        return list(self._connections)

    @property
    def violations(self) -> list[str]:
        """Where clients broke HTTP/1.1, in words (bad heads, bad framing, bytes past the end of a body)."""
        return [f"connection {log.number}: {what}" for log in self.connections for what in log.violations]

    def reached(self, name: str, times: int = 1) -> Notice:
        """A notice, to await or to `wait()` for, that the point `name` has been passed `times` times in all.

        Points are the pauses and marks of scripts, and the server's own: `"connection"` accepted, `"request"`
        head read, `"body"` read whole, `"closed"`: a connection has ended, and its log is final.
        """
        return self._marks.notice(name, times)

    def release(self, gate: str | None = None, times: int | None = None) -> None:
        """Let `times` scripts pass `gate`, now or when they come to it; without `times` open it for good.

        Without a `gate` all are opened.

        Raises:
            RuntimeError: the server is not running.
        """
        if self._loop is None:
            raise RuntimeError("the server is not running")
        self._loop.call_soon_threadsafe(self._gates.release, gate, times)

    # -- Start and stop ----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._listener = self._listen()
        self._gates = Gates()
        self._loop = asyncio.SelectorEventLoop()
        self._stop = asyncio.Event()
        self._stopped: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(self._loop,), name="fault-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        self._ask_to_stop()
        try:
            self._stopped.result(self._patience)
        except TimeoutError:
            raise RuntimeError("the server does not stop: a script blocks its thread or ignores cancellation") from None
        self._thread.join()
        if error is None:
            self._raise_failures()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        self._ask_to_stop()
        try:
            await asyncio.wait({asyncio.wrap_future(self._stopped)}, timeout=self._patience)
        finally:
            self.__exit__(_type, error, _traceback)

    def _listen(self) -> socket.socket:
        inet = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        family = socket.AF_UNIX if self._unix_socket else inet
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Connections inherit it, and their handshake derives the window from it: later is too late.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
            if self._segment is not None:
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, self._segment)
            listener.bind(self.address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
        if not self._unix_socket:
            self._port = listener.getsockname()[1]
        return listener

    def _ask_to_stop(self) -> None:
        if self._loop and not self._stopped.done():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._loop = None

    def _raise_failures(self) -> None:
        failures, self._failures = self._failures, []
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise ExceptionGroup("scripts failed", failures)

    # -- In the server's own thread ----------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            # Closing the runner cancels the connections that are left.
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._accept_until_stopped())
        finally:
            self._listener.close()
            if self._unix_socket:
                self._unix_socket.unlink(missing_ok=True)
            self._stopped.set_result(None)

    async def _accept_until_stopped(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listener, self._accept)
        await self._stop.wait()
        loop.remove_reader(self._listener)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # out of descriptors: who connects now waits, and the test is told at its end
            self._failures.append(error)
            asyncio.get_running_loop().remove_reader(self._listener)
            return
        log = ConnectionLog(len(self._connections))
        self._connections.append(log)
        self._marks.hit("connection")
        task = asyncio.get_running_loop().create_task(self._serve(sock, log))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # The task closes the socket itself, unless it is cancelled before it has begun.
        task.add_done_callback(lambda _: sock.close())

    async def _serve(self, sock: socket.socket, log: ConnectionLog) -> None:
        try:
            await self._converse(sock, log)
        except ClientGoneError as gone:
            log.ended = log.ended or str(gone)
        except ViolationError as violation:
            log.violations.append(str(violation))
            log.ended = "violation"
        except asyncio.CancelledError:
            log.ended = log.ended or "server stopped"
            raise
        except Exception as error:  # a bug in the script, for the test to see
            self._failures.append(error)
            log.ended = "script failed"
        finally:
            sock.close()
            self._marks.hit("closed")

    async def _converse(self, sock: socket.socket, log: ConnectionLog) -> None:
        stream = Stream(sock)
        if self._on_connect:
            await self._on_connect(Exchange(stream, log, self._marks, self._gates, None))
        if self._tls and not stream.closed:
            stream = tls = TLSStream(sock, self._tls)
            await tls.handshake()
        request: RequestLog | None = None
        try:
            while not stream.closed:
                request = await self._read_request(stream, log, request)
                await self._handle(Exchange(stream, log, self._marks, self._gates, request), stream)
        except ViolationError:
            with contextlib.suppress(ClientGoneError):
                await stream.send(head(400, (("Connection", "close"), ("Content-Length", "0"))))
            raise

    async def _handle(self, exchange: Exchange, stream: Stream) -> None:
        await self._script_for(exchange.request)(exchange)
        if not stream.closed:
            await exchange.read_body(allow=False)
            if exchange.request.wants_close:
                await exchange.close(notify=True)

    async def _read_request(self, stream: Stream, log: ConnectionLog, last: RequestLog | None) -> RequestLog:
        found = bytearray()
        try:
            await stream.read_until(b"\r\n\r\n", found, lambda found: check_start(found, first=last is None))
        except ViolationError as violation:
            raise ViolationError(note_surplus(last, bytes(found)) if last else str(violation)) from violation
        except (ClientGoneError, asyncio.CancelledError):
            # A method and a space begin a request that was given up; anything else was left over from a body.
            if last and found and b" " not in found:
                log.violations.append(note_surplus(last, bytes(found)))
            raise
        request = parse_head(bytes(found), log.number, self._keep_body)
        log.requests += 1
        self._requests.append(request)
        self._marks.hit("request")
        return request

    def _script_for(self, request: RequestLog) -> Script:
        if isinstance(self._route, Mapping):
            return self._route.get(request.path) or ok(404)
        return self._route
