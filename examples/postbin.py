"""The bin: a server that takes uploads and tells exactly what arrived.

Start it, open the address it prints in a browser, make a bin, and send something::

    python examples/postbin.py --port 8000
    curl -F title=hello -F file=@photo.jpg http://127.0.0.1:8000/<the bin's name>

The sender gets a receipt as JSON: how many bytes came, and the SHA-256 of the whole body and of each part of
it. The bin's page shows every receipt as it is written.

From Python, the bin runs in a thread with an event loop of its own, so that a client can be tested or timed
without sharing its loop with the server::

    with running_bin() as url: ...
    async with serve() as url: ...

How an upload is read: chunks go from the socket through a push parser into hashes, and are then forgotten.
Nothing of a body is kept but the values of small text fields, so a bin keeps its size, whatever is thrown
into it.

Beside the bins there are a few addresses that behave on demand, named as on httpbin.org: ``/get``,
``/status/{code}``, ``/redirect/{code}?to=/path`` and ``/basic-auth/{user}/{password}``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import logging
import os
import re
import secrets
import socket
import threading
from collections import deque
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict
from urllib.parse import unquote_to_bytes

import uvicorn
from python_multipart import MultipartParser, QuerystringParser
from python_multipart.exceptions import FormParserError, MultipartParseError, QuerystringParseError
from python_multipart.multipart import parse_options_header
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MAX_BINS = 1_000  # the oldest makes room for the next
KEPT_UPLOADS = 2_000  # receipts a bin remembers; its totals go on counting
KEPT_BYTES = 16 * 1024 * 1024  # and what those receipts may weigh, for uploads of very many parts
PAGE_ROWS = 200  # what the page shows, and the most that one event carries

MAX_PARTS = 100_000  # in one upload
MAX_PART_HEADERS = 32
MAX_NAME = 16 * 1024  # bytes of a header line of a part, or of a urlencoded name
MAX_VALUE = 1024  # bytes of a text field that its receipt repeats

EVENT_INTERVAL = 0.2  # seconds between two events of a stream: a burst of uploads arrives as one
HEARTBEAT = 15.0  # seconds of silence after which a stream shows that it is alive
GRACE = 1.0  # seconds that a shutdown waits for uploads under way
KEEP_ALIVE = 75  # seconds that an idle connection stays open
BACKLOG = 2048  # connections the kernel may hold for us: a thousand clients can knock at once


# What came in -----------------------------------------------------------------------------------------------


class PartReceipt(TypedDict):
    """What arrived as one part of a body: a field, a file, or the whole of a body that is not a form.

    ``name``, ``filename`` and ``content_type`` are as they were on the wire (read as UTF-8, with U+FFFD for
    what is not), or None where the sender gave none. ``value`` is there for small text fields only.
    """

    name: str | None
    filename: str | None
    content_type: str | None
    size: int
    sha256: str
    value: NotRequired[str]


class Upload(TypedDict):
    """What arrived as one request.

    ``length`` is the declared Content-Length (None: the body was chunked), ``received`` the bytes that came,
    ``sha256`` that of the whole body.
    """

    time: str
    method: str
    content_type: str | None
    idempotency_key: str | None
    length: int | None
    received: int
    sha256: str
    parts: list[PartReceipt]


class Receipt(Upload):
    """An upload in its bin: the answer to it, and an item of the bin's list. ``number`` counts from 1."""

    bin: str
    number: int


class Totals(TypedDict):
    """What came into a bin since it was made, also what its list has forgotten.

    ``bytes`` are those of whole bodies. ``aborted`` uploads ended before their time, ``malformed`` ones could
    not be read; neither is counted anywhere else, nor listed.
    """

    uploads: int
    files: int
    bytes: int
    aborted: int
    malformed: int


class Bin:
    """The receipts of the uploads to one address: the last ones in full, all of them in numbers.

    Receipts are kept as the JSON that was sent as the answer, for that is how they are asked for again, and a
    string takes a quarter of the memory of the dictionaries it came from.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.totals = Totals(uploads=0, files=0, bytes=0, aborted=0, malformed=0)
        self.closed = False
        self.changed = asyncio.Event()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0

    def add(self, upload: Upload) -> bytes:
        """Count an upload, keep its receipt, and return that as JSON."""
        self.totals["uploads"] += 1
        self.totals["files"] += sum(map(_is_file, upload["parts"]))
        self.totals["bytes"] += upload["received"]
        receipt: Receipt = {"bin": self.token, "number": self.totals["uploads"], **upload}
        encoded = _encode_json(receipt)
        self._keep(encoded)
        self._announce()
        return encoded

    def count_aborted(self) -> None:
        """An upload ended before its last byte came."""
        self.totals["aborted"] += 1
        self._announce()

    def count_malformed(self) -> None:
        """An upload could not be read."""
        self.totals["malformed"] += 1
        self._announce()

    def close(self) -> None:
        """End the event streams of this bin."""
        self.closed = True
        self._announce()

    def newest(self, count: int = KEPT_UPLOADS) -> bytes:
        """A JSON list of the last receipts, newest first."""
        return b"[" + b",".join(islice(reversed(self._kept), count)) + b"]"

    def summary(self, after: int = 0) -> bytes:
        """A JSON object of the totals, and of the last receipts with a number above `after`."""
        fresh = min(max(self.totals["uploads"] - after, 0), PAGE_ROWS)
        return b'{"totals":%b,"uploads":%b}' % (_encode_json(self.totals), self.newest(fresh))

    def _keep(self, encoded: bytes) -> None:
        self._kept.append(encoded)
        self._kept_bytes += len(encoded)
        while len(self._kept) > KEPT_UPLOADS or self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft())

    def _announce(self) -> None:
        """Wake every event stream. Each waits on the event that was current when it last looked."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class Shelf:
    """The bins of one server, by their tokens."""

    def __init__(self) -> None:
        self._bins: dict[str, Bin] = {}

    def open_bin(self) -> Bin:
        """A new bin under a token that cannot be guessed."""
        if len(self._bins) >= MAX_BINS:
            self._bins.pop(next(iter(self._bins))).close()
        opened = Bin(secrets.token_hex(8))
        self._bins[opened.token] = opened
        return opened

    def find(self, token: str) -> Bin:
        """The bin of this token, or HTTPException 404."""
        if token not in self._bins:
            raise HTTPException(404, f"there is no bin {token!r}")
        return self._bins[token]

    def close(self) -> None:
        """End the event streams of all bins."""
        for each in self._bins.values():
            each.close()


def _is_file(part: PartReceipt) -> bool:
    """A file has a filename, or no name at all: then it is a body that is not a form."""
    return part["filename"] is not None or part["name"] is None


def _encode_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# Reading forms as they come ---------------------------------------------------------------------------------


class FormReader(Protocol):
    """Takes the body of a form in chunks cut anywhere, and gives a receipt for each part of it."""

    def feed(self, chunk: bytes) -> None:
        """Read on. Raises FormParserError where the body cannot be read."""

    def finish(self) -> list[PartReceipt]:
        """The parts, once the body has ended. Raises FormParserError if it ended too early."""


def form_reader(content_type: str | None) -> FormReader | None:
    """The reader for a body of this Content-Type; None if it is not a form.

    Raises:
        FormParserError: multipart/form-data with no boundary, or one that is too long.
    """
    media_type, options = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        return MultipartReader(options.get(b"boundary", b""))
    if media_type == b"application/x-www-form-urlencoded":
        return UrlencodedReader()
    return None


class _OpenPart:
    """A part of which more may come."""

    def __init__(self, name: str, filename: str | None = None, content_type: str | None = None) -> None:
        self._name = name
        self._filename = filename
        self._content_type = content_type
        self._size = 0
        self._digest = hashlib.sha256()
        self._start = bytearray()  # one byte more than a value may have shows that it is too long

    def write(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._size += len(data)
        if len(self._start) <= MAX_VALUE:
            self._start += data[: MAX_VALUE + 1 - len(self._start)]

    def close(self) -> PartReceipt:
        receipt = PartReceipt(
            name=self._name,
            filename=self._filename,
            content_type=self._content_type,
            size=self._size,
            sha256=self._digest.hexdigest(),
        )
        if self._filename is None and self._size <= MAX_VALUE:
            with suppress(UnicodeDecodeError):
                receipt["value"] = self._start.decode()
        return receipt


class MultipartReader:
    """Reads multipart/form-data (RFC 7578)."""

    def __init__(self, boundary: bytes) -> None:
        if not boundary:
            raise MultipartParseError("multipart/form-data without a boundary")
        self._receipts: list[PartReceipt] = []
        self._part = _OpenPart("")
        self._headers: dict[bytes, bytes] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_begin": self._begin_header,
                "on_header_field": self._read_header_name,
                "on_header_value": self._read_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._open_part,
                "on_part_data": self._read_data,
                "on_part_end": self._close_part,
                "on_end": self._end,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_NAME,
        )

    def feed(self, chunk: bytes) -> None:
        """Read on. Raises FormParserError where the body cannot be read."""
        self._parser.write(chunk)

    def finish(self) -> list[PartReceipt]:
        """The parts, in their order. Raises FormParserError if the closing boundary never came."""
        if not self._complete:
            raise MultipartParseError("the body ended before its closing boundary")
        return self._receipts

    def _begin_header(self) -> None:
        self._header_name.clear()
        self._header_value.clear()

    def _read_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _read_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)

    def _open_part(self) -> None:
        _check_room(self._receipts)
        name, filename = parse_content_disposition(self._headers.get(b"content-disposition", b""))
        content_type = self._headers.get(b"content-type")
        self._part = _OpenPart(name, filename, None if content_type is None else _text(content_type))

    def _read_data(self, data: bytes, start: int, end: int) -> None:
        self._part.write(memoryview(data)[start:end])

    def _close_part(self) -> None:
        self._receipts.append(self._part.close())

    def _end(self) -> None:
        self._complete = True


class UrlencodedReader:
    """Reads application/x-www-form-urlencoded (WHATWG URL, section 5.1). Receipts tell of decoded values."""

    def __init__(self) -> None:
        self._receipts: list[PartReceipt] = []
        self._part: _OpenPart | None = None
        self._name = bytearray()
        self._value = _PercentDecoder()
        self._parser = QuerystringParser(
            {
                "on_field_start": self._begin_field,
                "on_field_name": self._read_name,
                "on_field_data": self._read_value,
                "on_field_end": self._end_field,
            }
        )

    def feed(self, chunk: bytes) -> None:
        """Read on. Raises FormParserError if a name is too long, or the fields are too many."""
        self._parser.write(chunk)

    def finish(self) -> list[PartReceipt]:
        """The fields, in their order."""
        self._parser.finalize()
        return self._receipts

    def _begin_field(self) -> None:
        _check_room(self._receipts)
        self._name.clear()
        self._part = None

    def _read_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        if len(self._name) > MAX_NAME:
            raise QuerystringParseError(f"a field's name is longer than {MAX_NAME} bytes")

    def _read_value(self, data: bytes, start: int, end: int) -> None:
        self._open_part().write(self._value.decode(data[start:end]))

    def _end_field(self) -> None:
        part = self._open_part()
        part.write(self._value.flush())
        self._receipts.append(part.close())

    def _open_part(self) -> _OpenPart:
        """The part of this field, whose name is complete when the first byte of its value comes."""
        if self._part is None:
            self._part = _OpenPart(_text(unquote_to_bytes(bytes(self._name.replace(b"+", b" ")))))
        return self._part


class _PercentDecoder:
    """Undoes percent-encoding in chunks that may be cut in the middle of an escape."""

    def __init__(self) -> None:
        self._cut = b""

    def decode(self, chunk: bytes) -> bytes:
        chunk = self._cut + chunk.replace(b"+", b" ")
        escape = chunk.find(b"%", max(len(chunk) - 2, 0))
        whole = len(chunk) if escape < 0 else escape
        self._cut = chunk[whole:]
        return unquote_to_bytes(chunk[:whole])

    def flush(self) -> bytes:
        """What is left stands for itself: it was the beginning of an escape that never came."""
        left, self._cut = self._cut, b""
        return left


_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"(?P<quoted>.*?)"(?=[ \t]*(?:;|\Z))'
_PARAMETER = re.compile(
    rb"[ \t]*;[ \t]*(?P<key>%b)[ \t]*=[ \t]*(?:%b|(?P<bare>%b))" % (_TOKEN, _QUOTED, _TOKEN), re.DOTALL
)


def parse_content_disposition(header: bytes) -> tuple[str, str | None]:
    r"""The name and filename of a part, exactly as they stand between their quotes.

    Browsers write ``"`` as %22 and leave a backslash alone (WHATWG HTML, "multipart/form-data encoding
    algorithm"), so a backslash escapes nothing here: ``C:\dir\file`` keeps its folders, and ``dir\`` does not
    swallow its closing quote, as they would in a general parser of header options. A quote closes the string
    only where a parameter can end, so that the ``\"`` of older clients is shown as it was sent, too.
    ``filename*`` does not count (RFC 7578, section 4.2).

    Raises:
        MultipartParseError: this is not a form-data header with a name.
    """
    disposition = re.match(_TOKEN, header)
    if disposition is None or disposition[0].lower() != b"form-data":
        raise MultipartParseError("a part without 'Content-Disposition: form-data'")
    parameters: dict[bytes, bytes] = {}
    position = disposition.end()
    while parameter := _PARAMETER.match(header, position):
        value = parameter["bare"] if parameter["quoted"] is None else parameter["quoted"]
        parameters.setdefault(parameter["key"].lower(), value)
        position = parameter.end()
    if header[position:].strip(b"; \t") or b"name" not in parameters:
        raise MultipartParseError(f"a Content-Disposition that cannot be read: {_text(header)}")
    filename = parameters.get(b"filename")
    return _text(parameters[b"name"]), None if filename is None else _text(filename)


def _check_room(receipts: list[PartReceipt]) -> None:
    if len(receipts) >= MAX_PARTS:
        raise FormParserError(f"more than {MAX_PARTS} parts")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


# The bins' addresses ----------------------------------------------------------------------------------------

_START_PAGE = Path(__file__).with_name("postbin_start.html").read_text("utf-8")
_BIN_PAGE = Path(__file__).with_name("postbin_page.html").read_text("utf-8")


async def show_start(_request: Request) -> Response:
    """GET /"""
    return _page(_START_PAGE)


async def make_bin(request: Request) -> Response:
    """POST / makes a bin and sends the client to it."""
    return RedirectResponse(f"/{_shelf(request).open_bin().token}", status_code=303)


async def receive_upload(request: Request) -> Response:
    """POST or PUT /{token}, PUT /{token}/{filename}: take an upload, answer with its receipt.

    An upload that breaks off, or that cannot be read, is counted but not listed: the list tells what is here.
    """
    target = _find_bin(request)
    try:
        upload = await _read_upload(request)
    except ClientDisconnect:
        target.count_aborted()
        return Response(status_code=400)  # goes nowhere, but ASGI wants an answer
    except FormParserError as malformed:
        target.count_malformed()
        raise HTTPException(400, str(malformed)) from malformed
    return Response(target.add(upload), 201, media_type="application/json")


async def _read_upload(request: Request) -> Upload:
    content_type = request.headers.get("content-type")
    length = request.headers.get("content-length")
    form = form_reader(content_type)
    digest = hashlib.sha256()
    received = 0
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            digest.update(chunk)
            received += len(chunk)
            if form is not None:
                form.feed(chunk)
    sha256 = digest.hexdigest()
    parts = [_whole_body(request, received, sha256)] if form is None else form.finish()
    return Upload(
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        method=request.method,
        content_type=content_type,
        idempotency_key=request.headers.get("idempotency-key"),
        length=None if length is None else int(length),
        received=received,
        sha256=sha256,
        parts=parts,
    )


def _whole_body(request: Request, size: int, sha256: str) -> PartReceipt:
    return PartReceipt(
        name=None,
        filename=request.path_params.get("filename") or None,
        content_type=request.headers.get("content-type"),
        size=size,
        sha256=sha256,
    )


async def show_bin(request: Request) -> Response:
    """GET /{token}: what came in, newest first; a list for ``Accept: application/json``, else the page."""
    shown = _find_bin(request)
    wants_json = request.query_params.get("format") == "json"
    if wants_json or "application/json" in request.headers.get("accept", ""):
        return _json(shown.newest())
    # Inside <script>, "<" is the one character that could end the data or begin a comment.
    state = shown.summary().replace(b"<", b"\\u003c").decode()
    return _page(_BIN_PAGE, token=shown.token, rows=str(PAGE_ROWS), state=state)


async def show_totals(request: Request) -> Response:
    """GET /{token}/totals: the counts of all that came in, as JSON."""
    return _json(_encode_json(_find_bin(request).totals))


async def stream_events(request: Request) -> Response:
    """GET /{token}/events: totals and new receipts as server-sent events.

    The first event comes at once. It carries the receipts after the number in ``Last-Event-ID`` or in
    ``?after=``; without either, none.
    """
    watched = _find_bin(request)
    seen = request.headers.get("last-event-id") or request.query_params.get("after", "")
    after = int(seen) if re.fullmatch("[0-9]{1,18}", seen) else watched.totals["uploads"]
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(watched, after), headers=headers, media_type="text/event-stream")


async def _events(watched: Bin, after: int) -> AsyncIterator[bytes]:
    """Each event tells what happened since the one before: a slow reader gets fewer and larger ones."""
    yield b"retry: 1000\n"
    while True:
        changed = watched.changed
        event = b"id: %d\ndata: %b\n\n" % (watched.totals["uploads"], watched.summary(after))
        after = watched.totals["uploads"]
        yield event
        if watched.closed:
            return
        await asyncio.sleep(EVENT_INTERVAL)
        while not changed.is_set():
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await changed.wait()
            except TimeoutError:
                yield b": nothing new\n\n"


def _shelf(request: Request) -> Shelf:
    shelf: Shelf = request.app.state.shelf
    return shelf


def _find_bin(request: Request) -> Bin:
    return _shelf(request).find(request.path_params["token"])


def _page(template: str, **fields: str) -> Response:
    """Fill in a page. It may run its own script and style, and load nothing."""
    nonce = secrets.token_urlsafe(16)
    fields["nonce"] = nonce
    # In one pass: a file may be named {{nonce}}.
    page = re.sub(r"\{\{(\w+)\}\}", lambda field: fields[field[1]], template)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store", "Vary": "Accept"}
    return HTMLResponse(page, headers=headers)


def _json(encoded: bytes) -> Response:
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    return Response(encoded, headers=headers, media_type="application/json")


# Addresses that behave on demand, as on httpbin.org ---------------------------------------------------------


async def echo_request(request: Request) -> Response:
    """/get: the request as it was understood, names of headers in lower case.

    An argument that was given once is a string, one that was given more often a list of them.
    """
    query = {name: request.query_params.getlist(name) for name in request.query_params}
    args = {name: values[0] if len(values) == 1 else values for name, values in query.items()}
    headers = {name: ", ".join(request.headers.getlist(name)) for name in request.headers}
    return JSONResponse({"method": request.method, "url": str(request.url), "args": args, "headers": headers})


async def answer_status(request: Request) -> Response:
    """/status/{code}: an empty answer of this status, given before the body is read."""
    code = request.path_params["code"]
    if not 200 <= code <= 599:
        raise HTTPException(400, "a final status is between 200 and 599")
    return Response(status_code=code)


async def redirect(request: Request) -> Response:
    """/redirect/{code}?to=/path: go there, given before the body is read. Only to a path of this server."""
    code = request.path_params["code"]
    to = request.query_params.get("to", "")
    if code not in {301, 302, 303, 307, 308}:
        raise HTTPException(400, "a redirect is 301, 302, 303, 307 or 308")
    if not to.startswith("/") or to.startswith("//") or "\\" in to:
        raise HTTPException(400, "?to= takes a path on this server")
    return RedirectResponse(to, status_code=code)


async def check_basic_auth(request: Request) -> Response:
    """/basic-auth/{user}/{password}: 200 for just these credentials (RFC 7617), else 401."""
    user, password = request.path_params["user"], request.path_params["password"]
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    given = b""
    with suppress(ValueError):
        given = base64.b64decode(encoded.strip(), validate=True)
    if scheme.lower() != "basic" or not secrets.compare_digest(given, f"{user}:{password}".encode()):
        challenge = {"WWW-Authenticate": 'Basic realm="bin", charset="UTF-8"'}
        raise HTTPException(401, "these are not the credentials", challenge)
    return JSONResponse({"authenticated": True, "user": user})


# The server -------------------------------------------------------------------------------------------------


def create_app() -> Starlette:
    """The bin as an ASGI application. Its bins live as long as the application."""
    any_method = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    routes = [
        Route("/", show_start),
        Route("/", make_bin, methods=["POST"]),
        Route("/get", echo_request),
        Route("/status/{code:int}", answer_status, methods=any_method),
        Route("/redirect/{code:int}", redirect, methods=any_method),
        Route("/basic-auth/{user}/{password}", check_basic_auth, methods=any_method),
        Route("/{token}", show_bin),
        Route("/{token}", receive_upload, methods=["POST", "PUT"]),
        Route("/{token}/events", stream_events),
        Route("/{token}/totals", show_totals),
        Route("/{token}/{filename:path}", receive_upload, methods=["PUT"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _explain})
    app.state.shelf = Shelf()
    return app


async def _explain(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


class _BinServer(uvicorn.Server):
    """uvicorn, which would wait for ever for event streams and stalled uploads to end by themselves."""

    def __init__(self, config: uvicorn.Config, shelf: Shelf) -> None:
        super().__init__(config)
        self._shelf = shelf

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._shelf.close()
        deadline = asyncio.get_running_loop().call_later(GRACE, self._hang_up)
        try:
            await super().shutdown(sockets)
        finally:
            deadline.cancel()

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class _BoundServer:
    """A server and the socket it is bound to: its address is known, and open to clients, before it runs."""

    def __init__(
        self,
        host: str,
        port: int,
        ssl_certfile: str | os.PathLike[str] | None,
        ssl_keyfile: str | os.PathLike[str] | None,
    ) -> None:
        app = create_app()
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
        )
        config.load()  # here, so that a bad certificate is the caller's error and not the thread's
        self._socket = _bind(host, port)
        self._server = _BinServer(config, app.state.shelf)
        shown_host = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if config.is_ssl else 'http'}://{shown_host}:{self._socket.getsockname()[1]}"

    def run(self) -> None:
        """Serve until stopped; in the main thread, until SIGINT or SIGTERM."""
        with self._socket:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Tell a server that runs in another thread to end."""
        self._server.should_exit = True


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, as `socket.create_server` does not: asyncio turns Nagle's algorithm off only for
    # connections that say they are TCP, and with it on, each answer waits 40 ms for a delayed ACK.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


class _ServerThread(threading.Thread):
    def __init__(self, server: _BoundServer) -> None:
        super().__init__(name="postbin", target=server.run, daemon=True)
        self._server = server

    def stop(self) -> None:
        self._server.stop()
        self.join()


@contextmanager
def running_bin(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ssl_certfile: str | os.PathLike[str] | None = None,
    ssl_keyfile: str | os.PathLike[str] | None = None,
) -> Iterator[str]:
    """Run the bin in a thread, with an event loop of its own; yield its base URL, without a slash at the end.

    At the end, idle connections and event streams are closed, and uploads under way have a second to finish.

    Args:
        host: the address to bind, IPv4 or IPv6, or a name.
        port: 0 for one that is free.
        ssl_certfile: a PEM file of the certificate and its chain; makes the URL https.
        ssl_keyfile: a PEM file of its key, if that is not in the same file.

    Raises:
        OSError: the address cannot be bound, or a file cannot be read.
    """
    server = _BoundServer(host, port, ssl_certfile, ssl_keyfile)
    thread = _ServerThread(server)
    thread.start()
    try:
        yield server.url
    finally:
        thread.stop()


@asynccontextmanager
async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ssl_certfile: str | os.PathLike[str] | None = None,
    ssl_keyfile: str | os.PathLike[str] | None = None,
) -> AsyncIterator[str]:
    """`running_bin` for async code: the caller's loop is free while the server ends."""
    server = _BoundServer(host, port, ssl_certfile, ssl_keyfile)
    thread = _ServerThread(server)
    thread.start()
    try:
        yield server.url
    finally:
        await asyncio.to_thread(thread.stop)


# The command line -------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="Take uploads, and tell exactly what arrived.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--certfile", help="PEM file of a certificate: serve https")
    parser.add_argument("--keyfile", help="PEM file of its key, if not in the same file")
    options = parser.parse_args()
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a malformed body is its sender's concern
    _allow_many_connections()
    try:
        server = _BoundServer(options.host, options.port, options.certfile, options.keyfile)
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    with suppress(KeyboardInterrupt):
        # The address stands first on the first line, for programs that start this one.
        print(f"{server.url} is open for uploads. Ctrl-C closes it.", flush=True)
        server.run()


def _allow_many_connections() -> None:
    """Each connection is a descriptor, and many systems give a program no more than 256 or 1,024 of them."""
    with suppress(ImportError, ValueError, OSError):  # no such module on Windows, no such limit elsewhere
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
