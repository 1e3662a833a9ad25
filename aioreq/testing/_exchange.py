"""One request and what a script does about it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from aioreq.testing._request import BodyReader, Headers, RequestLog, ViolationError, check_start
from aioreq.testing._stream import PIECE, ClientGoneError, Stream

if TYPE_CHECKING:
    from aioreq.testing._signals import Gates, Marks

P = ParamSpec("P")

_SURPLUS_KEPT = 65_536
_REASONS = {int(status): status.phrase for status in HTTPStatus}
_BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


@dataclass
class ConnectionLog:
    """One connection, and how it ended."""

    number: int
    requests: int = 0
    """Heads read so far."""
    ended: str | None = None
    """None while it is open, then `"client closed"`, `"client reset"`, `"server closed"`, `"server reset"`,
    `"server stopped"`, `"violation"`, `"script failed"`, or what went wrong in TLS."""
    violations: list[str] = field(default_factory=list)
    """Where the client broke HTTP/1.1."""


class Exchange:
    """What a script acts on: one request, its connection, and the means to treat it well or badly.

    When the client has gone or the script has closed, the next thing done here ends the script.
    """

    def __init__(
        self, stream: Stream, connection: ConnectionLog, marks: Marks, gates: Gates, request: RequestLog | None
    ) -> None:
        self.connection = connection
        self._stream, self._marks, self._gates, self._request = stream, marks, gates, request
        self._body = BodyReader(request, stream) if request else None
        self._client_waits = bool(request and request.expects_continue)
        self._body_marked = False

    @property
    def request(self) -> RequestLog:
        """The request at hand; in `on_connect`, where none has been read, this is a `LookupError`."""
        if self._request is None:
            raise LookupError("on_connect comes before any request: it can only send, pause and close")
        return self._request

    async def read_body(
        self, limit: int | None = None, *, chunk: int = PIECE, pace: str | float = 0, allow: bool = True
    ) -> None:
        """Read until `limit` bytes of the body have been received in all, or to its end.

        Args:
            limit: bytes; None for the whole body.
            chunk: bytes to read at a time.
            pace: what comes between two chunks: a pause of that name, or a wait of that many seconds.
            allow: send 100 first if the client waits for it and has had no answer.
        """
        request, body = self.request, self._body
        assert body
        if allow and self._client_waits and limit != 0:
            await self.interim(100)
        goal = sys.maxsize if limit is None else limit
        stop, more = request.received + chunk, not request.complete
        while more and request.received < goal:
            more = await body.read(min(PIECE, goal - request.received, stop - request.received))
            if more and request.received == stop < goal:
                stop += chunk
                await self._wait(pace)
        if request.complete and not self._body_marked:
            self._body_marked = True
            self.mark("body")

    async def body_due(self) -> None:
        """Wait, reading nothing, until more of the body is here, unless the client waits for an answer first."""
        if not self.request.complete and not self._client_waits:
            await self._stream.unread()

    async def interim(self, status: int, headers: Headers = ()) -> None:
        """Send an interim answer, asked for or not (RFC 9110, section 15.2)."""
        self._client_waits = self._client_waits and status != HTTPStatus.CONTINUE
        await self.send(head(status, headers))

    async def answer(
        self, status: int = 200, headers: Headers = (), body: bytes | None = None, *, then: bytes = b""
    ) -> None:
        """Send an answer with a Content-Length, and along with it the bytes `then`.

        It says `Connection: close` if the client did. Without a `body` it reports on the request in JSON:
        `method`, `target`, `received` (bytes), `sha256`, `complete`, and `token`, its X-Token header.
        """
        if body is None:
            body, headers = self._report(), (*headers, ("Content-Type", "application/json"))
        if self.request.wants_close:
            headers = (*headers, ("Connection", "close"))
        if status in _BODILESS:
            body = b""
        else:
            headers = (*headers, ("Content-Length", str(len(body))))
        self._client_waits = False
        await self.send(head(status, headers) + (b"" if self.request.method == "HEAD" else body) + then)

    async def send(self, data: bytes, *, chunk: int | None = None, pace: str | float = 0) -> None:
        """Send `data` as it is: at once, or `chunk` bytes at a time with `pace` between them, as in `read_body`."""
        chunk = chunk or len(data) or 1
        for start in range(0, len(data), chunk):
            if start:
                await self._wait(pace)
            await self._stream.send(data[start : start + chunk])

    async def send_forever(self, data: bytes) -> None:
        """Send `data` again and again, until the client has had enough."""
        block = data * (PIECE // len(data) + 1)
        while True:
            await self._stream.send(block)
            await asyncio.sleep(0)  # a client that reads as fast must not keep the others waiting

    def mark(self, name: str) -> None:
        """Let those who wait for `server.reached(name)` know."""
        self._marks.hit(name)

    async def pause(self, name: str) -> None:
        """Mark `name`, then wait for `server.release(name)`, reading nothing.

        A client that closes its side ends the pause, but only if the whole body has been read: unread bytes hide
        the end.
        """
        self.mark(name)
        passage = asyncio.ensure_future(self._gates.passage(name))
        leaving = asyncio.ensure_future(self._client_leaves())
        try:
            await asyncio.wait({passage, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not passage.done():
                leaving.result()
        finally:
            passage.cancel()
            leaving.cancel()
            await asyncio.gather(passage, leaving, return_exceptions=True)

    async def half_close(self, *, notify: bool = False) -> None:
        """Send FIN, in TLS after close_notify only if `notify`; reading goes on."""
        if notify:
            await self._stream.notify_close()
        self._stream.half_close()

    async def close(self, *, notify: bool = False) -> None:
        """Close at once, in TLS with close_notify only if `notify`; unread bytes make the kernel send RST."""
        await self._look_for_surplus()
        if notify:
            await self._stream.notify_close()
        self.connection.ended = "server closed"
        self._stream.close()

    async def reset(self) -> None:
        """Close with RST."""
        await self._look_for_surplus()
        self.connection.ended = "server reset"
        self._stream.reset()

    def _report(self) -> bytes:
        facts = {name: getattr(self.request, name) for name in ("method", "target", "received", "sha256", "complete")}
        return json.dumps({**facts, "token": self.request.header("x-token")}).encode()

    async def _wait(self, pace: str | float) -> None:
        await (self.pause(pace) if isinstance(pace, str) else asyncio.sleep(pace))

    async def _client_leaves(self) -> None:
        watched = self._request is not None and self._request.complete
        if watched and not await self._stream.peek():
            raise ClientGoneError("client closed")
        await asyncio.get_running_loop().create_future()

    async def _look_for_surplus(self) -> None:
        if self._request and self._request.complete and (found := await self._stream.glance()):
            try:
                check_start(found, first=False)
            except ViolationError:
                self.connection.violations.append(note_surplus(self._request, found))


def head(status: int, headers: Headers) -> bytes:
    """The head of an answer."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def note_surplus(request: RequestLog, found: bytes) -> str:
    """Log what followed `request` on its connection and begins no other, and put it in words."""
    request.surplus = found[:_SURPLUS_KEPT]
    return f"{len(found)} or more bytes after the body of {request.method} {request.target}: {found[:40]!r}"


Script = Callable[[Exchange], Awaitable[None]]
"""What the server does about one request."""


def script(steps: Callable[Concatenate[Exchange, P], Awaitable[None]]) -> Callable[P, Script]:
    """Make a script with parameters: `steps(exchange, 413)` becomes `steps(413)`, a script that shows its name."""

    @functools.wraps(steps)
    def bind(*args: P.args, **kwargs: P.kwargs) -> Script:
        async def bound(exchange: Exchange) -> None:
            await steps(exchange, *args, **kwargs)

        shown = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
        bound.__name__ = bound.__qualname__ = f"{steps.__name__}({', '.join(shown)})"
        return bound

    signature = inspect.signature(steps)
    _, *parameters = signature.parameters.values()
    bind.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return bind
