"""What arrived: heads and bodies of requests, read strictly and counted exactly (RFC 9112)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from aioreq.testing._stream import ClientGoneError, Stream

_LIMIT = 1 << 20
_METHOD_LIMIT = 64
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/(1\.[01])")
_FIELD_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_REGISTERED_METHODS = frozenset(
    b"GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT QUERY PROPFIND PROPPATCH MKCOL COPY MOVE LOCK "
    b"UNLOCK REPORT SEARCH PURGE".split()
)

Headers = tuple[tuple[str, str], ...]


class ViolationError(Exception):
    """The client broke HTTP/1.1."""


@dataclass
class RequestLog:
    """One request as it arrived: what was seen, not what was announced. It grows while the server reads."""

    connection: int
    """Number of the connection, from 0 in order of arrival."""
    method: str
    target: str
    version: str
    """`"1.1"` or `"1.0"`."""
    headers: Headers
    """Names and values in order, decoded as Latin-1."""
    declared: int | None
    """Content-Length, 0 without one, or None for a chunked body."""
    received: int = 0
    """Bytes of body read so far, chunk framing not counted."""
    complete: bool = False
    """Whether the body has been read to its end."""
    trailers: Headers = ()
    surplus: bytes = b""
    """What followed the body and begins no other request (the first 64 KiB that were seen)."""
    keep: int = field(default=0, repr=False)
    """How many bytes `body` can give back."""
    _kept: bytearray = field(default_factory=bytearray, repr=False)
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256, repr=False)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def sha256(self) -> str:
        """SHA-256 of the body bytes read so far, in hex."""
        return self._hash.hexdigest()

    @property
    def body(self) -> bytes:
        """The body bytes read so far.

        Raises:
            ValueError: there were more than the server's `keep_body`.
        """
        if self.received > self.keep:
            raise ValueError(f"{self.received} bytes came, {self.keep} were kept: raise keep_body")
        return bytes(self._kept)

    def header(self, name: str) -> str | None:
        """All values of header `name`, joined with commas, or None."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for a 100 before it sends the body (RFC 9110, section 10.1.1)."""
        return (self.header("expect") or "").lower() == "100-continue"

    @property
    def wants_close(self) -> bool:
        """Whether the client will send no further request on this connection."""
        options = (self.header("connection") or "").lower()
        return "close" in options or (self.version == "1.0" and "keep-alive" not in options)

    def count(self, piece: bytes) -> None:
        """Take note of the next bytes of the body."""
        self.received += len(piece)
        self._hash.update(piece)
        self._kept += piece[: max(0, self.keep - len(self._kept))]


def check_start(found: bytes, *, first: bool) -> None:
    """Refuse bytes that cannot begin a request, as soon as that can be told.

    Any token may be the method of a connection's first request. After a body only a registered method is one:
    in `aaaPOST` the token is what a body left behind.
    """
    method, space, _ = found[: _METHOD_LIMIT + 1].partition(b" ")
    if first:
        fine = len(method) <= _METHOD_LIMIT and bool(re.fullmatch(_TOKEN, method))
    elif space:
        fine = method in _REGISTERED_METHODS
    else:
        fine = any(known.startswith(method) for known in _REGISTERED_METHODS)
    if not fine:
        raise ViolationError(f"this begins no request: {found[:200]!r}")
    _check_length(found)


def parse_head(head: bytes, connection: int, keep: int) -> RequestLog:
    """Read a head, with its closing empty line, or raise `ViolationError`."""
    first, *lines = head[:-4].split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if not match:
        raise ViolationError(f"not a request line: {first[:200]!r}")
    method, target, version = (part.decode() for part in match.groups())
    headers = tuple(map(_parse_field, lines))
    if version == "1.1" and sum(name.lower() == "host" for name, _ in headers) != 1:
        raise ViolationError("a request has exactly one Host")
    declared = _framing(headers, version)
    return RequestLog(connection, method, target, version, headers, declared, complete=declared == 0, keep=keep)


def _parse_field(line: bytes) -> tuple[str, str]:
    match = _FIELD_LINE.fullmatch(line)
    if not match:
        raise ViolationError(f"not a header line: {line[:200]!r}")
    return match[1].decode(), match[2].decode("latin-1")


def _framing(headers: Headers, version: str) -> int | None:
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    codings = [value.lower() for name, value in headers if name.lower() == "transfer-encoding"]
    if codings == ["chunked"] and not lengths and version == "1.1":
        return None
    if codings or len(lengths) > 1 or not all(re.fullmatch("[0-9]{1,19}", length) for length in lengths):
        raise ViolationError(f"a body framed by Transfer-Encoding {codings}, Content-Length {lengths}")
    return int(lengths[0]) if lengths else 0


def _check_length(found: bytes) -> None:
    if len(found) > _LIMIT:
        raise ViolationError(f"a line or head of more than {_LIMIT} bytes")


class BodyReader:
    """Takes a request's body off its stream, piece by piece, and logs it."""

    def __init__(self, request: RequestLog, stream: Stream) -> None:
        self._request, self._stream = request, stream
        self._left = request.declared or 0  # of the body, or of the chunk at hand
        self._in_chunks = False

    async def read(self, most: int) -> bool:
        """Wait for at most `most` bytes of the body, or its end; tell whether there is more."""
        request, chunked = self._request, self._request.declared is None
        if chunked and not self._left and not await self._begin_chunk():
            request.complete = True
            return False
        piece = await self._stream.read(min(most, self._left))
        if not piece:
            raise ClientGoneError("client closed")
        self._left -= len(piece)
        request.count(piece)
        request.complete = not chunked and not self._left
        return not request.complete

    async def _begin_chunk(self) -> int:
        if self._in_chunks and await self._line():
            raise ViolationError("a chunk longer than it said")
        self._in_chunks = True
        match = _CHUNK_LINE.fullmatch(line := await self._line())
        if not match:
            raise ViolationError(f"not a chunk size: {line[:200]!r}")
        self._left = int(match[1], 16)
        if not self._left:
            while line := await self._line():
                self._request.trailers += (_parse_field(line),)
        return self._left

    async def _line(self) -> bytes:
        line = bytearray()
        await self._stream.read_until(b"\r\n", line, _check_length)
        return bytes(line[:-2])
