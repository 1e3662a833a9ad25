"""Transports without a socket: a function that answers, or an ASGI app called in the same loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from json import dumps
from typing import Any
from urllib.parse import unquote, urlsplit

from aioreq._headers import Headers
from aioreq._message import PreparedRequest, Response
from aioreq._net.http1 import Terms
from aioreq._progress import Meter, Upload
from aioreq.exceptions import RemoteProtocolError


def answer(
    request: PreparedRequest,
    status: int = 200,
    content: bytes | str = b"",
    *,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
) -> Response:
    """A whole answer to a request, for a :class:`MockTransport`'s function.

    Args:
        request: what is answered.
        status: the status code.
        content: the body; text becomes UTF-8.
        headers: header fields; Content-Length is added.
        json: a body made with ``json.dumps``, instead of ``content``.
    """
    fields = Headers(headers or {})
    if json is not None:
        content = dumps(json)
        fields.setdefault("Content-Type", "application/json")
    body = content.encode() if isinstance(content, str) else content
    fields.setdefault("Content-Length", str(len(body)))
    upload = Upload(request.body.length if request.body is not None else 0)
    upload.sent = upload.total or 0
    upload.complete = True
    return Response(
        status_code=status,
        reason="",
        headers=fields,
        http_version="HTTP/1.1",
        request=request,
        upload=upload,
        content=b"" if request.method == "HEAD" else body,
    )


class MockTransport:
    """Answers with a function instead of the network.

        async def server(request, body):
            return answer(request, 201, json={"received": len(body)})

        async with aioreq.Session(transport=MockTransport(server)) as session: ...

    Args:
        function: called with the PreparedRequest and its whole body (bytes), plain or async; returns a Response, as
            :func:`answer` makes one. What it raises reaches the caller.

    Attributes:
        requests: the requests so far.
    """

    def __init__(self, function: Callable[[PreparedRequest, bytes], Response | Awaitable[Response]]) -> None:
        self._function = function
        self.requests: list[PreparedRequest] = []

    async def exchange(self, request: PreparedRequest, terms: Terms) -> Response:
        """See :class:`aioreq._net.transport.Transport`."""
        self.requests.append(request)
        body = b"".join([chunk async for chunk in _body(request, terms)])
        answered = self._function(request, body)
        return await answered if inspect.isawaitable(answered) else answered

    async def aclose(self) -> None:
        """Nothing is open."""


async def _body(request: PreparedRequest, terms: Terms) -> Any:
    if request.body is None:
        return
    meter = Meter(request.body, terms.progress, terms.attempt)
    for segment in request.body.segments:
        async for chunk in segment.chunks():
            meter.advance(len(chunk))
            yield chunk


class ASGITransport:
    """Calls an ASGI 3 app (Starlette, FastAPI, Django, Quart) in this loop, without a socket.

    The body goes in as the app asks for it, and the answer comes out as the app sends it. Lifespan events are the
    caller's: enter the app's lifespan first where it has one.

    Args:
        app: the application.
        client: the address that the app sees.
        root_path: where the app is mounted.
    """

    def __init__(self, app: Any, *, client: tuple[str, int] = ("127.0.0.1", 50000), root_path: str = "") -> None:
        self._app = app
        self._client = client
        self._root_path = root_path
        self._running: set[asyncio.Task[None]] = set()

    async def exchange(self, request: PreparedRequest, terms: Terms) -> Response:
        """See :class:`aioreq._net.transport.Transport`."""
        call = _Call(request, terms)
        task = asyncio.create_task(call.run(self._app, self._scope(request)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        call.task = task
        try:
            return await call.head()
        except BaseException:
            await call.aclose()
            raise

    def _scope(self, request: PreparedRequest) -> dict[str, Any]:
        parts = urlsplit(request.target.path)
        scheme, host, port = request.target.origin
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": scheme,
            "path": unquote(parts.path),
            "raw_path": parts.path.encode("ascii"),
            "query_string": parts.query.encode("ascii"),
            "root_path": self._root_path,
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()
            ],
            "client": self._client,
            "server": (host, port),
        }

    async def aclose(self) -> None:
        """End the calls that are still running."""
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))


class _Call:
    """One call of an app: its ``receive`` and ``send``, and the answer's body as a stream."""

    def __init__(self, request: PreparedRequest, terms: Terms) -> None:
        self._request = request
        self._chunks = _body(request, terms)
        self._upload = Upload(request.body.length if request.body is not None else 0)
        terms.upload = None if request.body is None else self._upload
        self._messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(maxsize=4)
        self._gone = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            await self._chunks.aclose()
            if not self._gone.is_set():
                await self._messages.put(None)

    async def _receive(self) -> dict[str, Any]:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            if not self._upload.complete:
                self._upload.complete = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}
        self._upload.sent += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def _send(self, message: dict[str, Any]) -> None:
        if not self._gone.is_set():
            await self._messages.put(message)

    async def head(self) -> Response:
        message = await self._next()
        if message["type"] != "http.response.start":
            raise RemoteProtocolError(f"the app sent {message['type']!r} before it began an answer")
        return Response(
            status_code=message["status"],
            reason="",
            headers=Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]),
            http_version="HTTP/1.1",
            request=self._request,
            upload=self._upload,
            stream=self,
        )

    async def _next(self) -> dict[str, Any]:
        message = await self._messages.get()
        if message is None:
            assert self.task is not None
            await self.task  # what the app raised is raised here
            raise RemoteProtocolError("the app returned in the middle of its answer")
        return message

    async def receive(self) -> bytes:
        """The next bytes of the answer."""
        while not self._gone.is_set():
            message = await self._next()
            body: bytes = message.get("body", b"")
            if not message.get("more_body", False):
                self._gone.set()
                assert self.task is not None
                await self.task  # what the app does behind its answer is part of the call
            if body and self._request.method != "HEAD":
                return body
        return b""

    async def aclose(self) -> None:
        """The client goes: the app is told, and ended."""
        self._gone.set()
        if self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.wait((self.task,))
