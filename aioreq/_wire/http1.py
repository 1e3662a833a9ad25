"""HTTP/1.1 as bytes (RFC 9112).

A request's head becomes bytes with :func:`encode_head`. The bytes of an answer become events:

    Interim*  Head  (bytes)*  End

``Interim`` is a 1xx answer, each ``bytes`` a piece of the body. httptools (llhttp) reads the heads and the
chunked coding; this module finds where a head ends, so that its size can be limited before it is parsed,
and passes bodies of known length on without parsing them.

Whatever is left when an answer is over (:attr:`AnswerParser.surplus`) was sent unasked: no later request may
take it for its own answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httptools

from .._headers import Headers
from ..exceptions import ChunkedEncodingError, RemoteProtocolError

# A head larger than this is no answer but an attack or a mistake; curl allows 300 KB, aiohttp 8 KB a line.
MAX_HEAD = 128 * 1024
# 100 Continue and a few 103 Early Hints are usual; a server that sends them for ever never answers.
MAX_INTERIM = 32


@dataclass(frozen=True, slots=True)
class Interim:
    """A 1xx answer: the final one is still to come (RFC 9110, section 15.2)."""

    status: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Head:
    """Start line and headers of the final answer.

    Attributes:
        length: bytes of the body, or None when only its end will tell.
        keep_alive: whether the connection can be used again once the answer is over (RFC 9112, section 9.3).
    """

    status: int
    reason: str
    version: str
    headers: Headers
    length: int | None
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class End:
    """The answer is whole. ``trailers`` came behind a chunked body (RFC 9112, section 7.1.2)."""

    trailers: Headers


Event = Interim | Head | bytes | End

_NO_TRAILERS = End(Headers())


def encode_head(method: str, path: str, headers: Headers) -> bytes:
    """A request's start line and headers, empty line included (RFC 9112, sections 3 and 5)."""
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1")


def encode_chunk(data: bytes) -> bytes:
    """A piece of a body in chunked coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


class AnswerParser:
    """Reads one answer (interim ones before it included) to a request with ``method``.

    Attributes:
        head: the final head, once it was read.
        done: whether the answer is whole.
        surplus: whether bytes followed that belong to no answer.
        begun: whether any byte of an answer has come.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._feed: Callable[[bytes, list[Event]], bytes] = self._feed_head
        self._held = bytearray()
        self._left = 0
        self._interim = 0
        self._chunked: _Chunked | None = None
        self.head: Head | None = None
        self.done = False
        self.surplus = False
        self.begun = False

    @property
    def reusable(self) -> bool:
        """Whether the answer is whole, and a next one can follow on the same connection."""
        return self.done and not self.surplus and self.head is not None and self.head.keep_alive

    def feed(self, data: bytes) -> list[Event]:
        """The events in the next bytes.

        Raises:
            RemoteProtocolError: they are not HTTP/1.1.
        """
        self.begun = True
        events: list[Event] = []
        while data:
            data = self._feed(data, events)
        return events

    def feed_eof(self) -> list[Event]:
        """The events at the end of the connection.

        Raises:
            RemoteProtocolError: the answer is not whole.
        """
        if self.done:
            return []
        if self.head is None:
            raise RemoteProtocolError(
                "the server closed the connection in the middle of the answer's head"
                if self._held
                else "the server closed the connection without an answer"
            )
        if self._feed == self._feed_until_eof:
            return [self._finish()]
        if self._chunked is not None:
            raise ChunkedEncodingError("the answer was cut short: the last chunk is missing")
        raise RemoteProtocolError(f"the answer was cut short: {self._left} bytes of {self.head.length} are missing")

    def _finish(self, end: End = _NO_TRAILERS) -> End:
        self.done = True
        self._feed = self._feed_surplus
        return end

    def _feed_head(self, data: bytes, events: list[Event]) -> bytes:
        searched = max(0, len(self._held) - 3)  # what was searched before is not searched again
        self._held += data
        end = self._held.find(b"\r\n\r\n", searched) + 4
        if end < 4 or end > MAX_HEAD:
            _check_begin(self._held, searched)
            return b""
        head, rest = bytes(self._held[:end]), bytes(self._held[end:])
        self._held.clear()
        self._read_head(head, events)
        return rest

    def _read_head(self, data: bytes, events: list[Event]) -> None:
        lines = _Lines()
        parser = httptools.HttpResponseParser(lines)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # 101, or an answer that offers an upgrade; what it means is decided below
        except httptools.HttpParserError as error:
            raise RemoteProtocolError(f"the server's answer is not valid HTTP/1.1: {error}") from error
        status = parser.get_status_code()
        if status == 101:
            raise RemoteProtocolError("the server switched protocols, which was not asked for")
        if status < 200:
            self._count_interim()
            events.append(Interim(status, Headers(lines.fields)))
            return
        self._begin_body(parser, lines, status, events)

    def _count_interim(self) -> None:
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise RemoteProtocolError(f"the server sent more than {MAX_INTERIM} interim (1xx) answers")

    def _begin_body(
        self, parser: httptools.HttpResponseParser, lines: _Lines, status: int, events: list[Event]
    ) -> None:
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise RemoteProtocolError(f"the server answered in HTTP/{version}, not HTTP/1.1")
        headers = Headers(lines.fields)
        length = self._framing(parser, lines, headers, status)
        head = Head(
            status=status,
            reason=lines.reason.decode("latin-1"),
            version=f"HTTP/{version}",
            headers=headers,
            length=length,
            keep_alive=(length is not None or self._chunked is not None) and _keeps_alive(version, headers),
        )
        self.head = head
        events.append(head)
        if length == 0:
            events.append(self._finish())

    def _framing(
        self, parser: httptools.HttpResponseParser, lines: _Lines, headers: Headers, status: int
    ) -> int | None:
        """How the body ends (RFC 9112, section 6.3): the length, or None for chunked coding or end of stream."""
        if self._method == "HEAD" or status in (204, 304) or (self._method == "CONNECT" and status < 300):
            return 0
        coding = headers.get("Transfer-Encoding")
        declared = headers.get("Content-Length")
        if coding is not None:
            if declared is not None:
                raise RemoteProtocolError("the answer has both Content-Length and Transfer-Encoding")
            if coding.lower().rpartition(",")[2].strip() == "chunked":
                self._chunked = _Chunked(parser, lines)
                self._feed = self._feed_chunked
            else:
                self._feed = self._feed_until_eof
            return None
        if declared is None:
            self._feed = self._feed_until_eof
            return None
        if not (declared.isascii() and declared.isdigit()):
            raise RemoteProtocolError(f"the answer's Content-Length is {declared!r}, which is no length")
        self._left = int(declared)
        self._feed = self._feed_length
        return self._left

    def _feed_length(self, data: bytes, events: list[Event]) -> bytes:
        if len(data) < self._left:
            self._left -= len(data)
            events.append(data)
            return b""
        rest = data[self._left :]
        events.append(data[: self._left] if rest else data)
        self._left = 0
        events.append(self._finish())
        return rest

    def _feed_until_eof(self, data: bytes, events: list[Event]) -> bytes:
        events.append(data)
        return b""

    def _feed_chunked(self, data: bytes, events: list[Event]) -> bytes:
        assert self._chunked is not None
        events += self._chunked.feed(data)
        if self._chunked.done:
            self.surplus = self._chunked.surplus
            events.append(self._finish(End(Headers(self._chunked.trailers))))
        return b""

    def _feed_surplus(self, _data: bytes, _events: list[Event]) -> bytes:
        self.surplus = True
        return b""


def _keeps_alive(version: str, headers: Headers) -> bool:
    """Whether the server leaves the connection open (RFC 9112, section 9.3)."""
    connection = headers.get("Connection")
    if connection is None:
        return version == "1.1"
    options = {option.strip() for option in connection.lower().split(",")}
    return "close" not in options and (version == "1.1" or "keep-alive" in options)


def _check_begin(data: bytearray, searched: int) -> None:
    """Refuse early what can't become a head any more; the bytes before ``searched`` were looked at before."""
    if len(data) >= MAX_HEAD:
        raise RemoteProtocolError(f"the head of the answer is larger than {MAX_HEAD} bytes")
    if not data.startswith(b"HTTP/1."[: len(data)]):
        raise RemoteProtocolError(f"the server's answer is not HTTP/1.1; it begins {bytes(data[:40])!r}")
    if data.find(b"\n\n", searched) >= 0:
        raise RemoteProtocolError("the head of the answer ends its lines with LF instead of CR LF")


class _Lines:
    """What httptools calls back while it reads a head."""

    __slots__ = ("blocks", "done", "fields", "reason", "surplus")

    def __init__(self) -> None:
        self.reason = b""
        self.fields: list[tuple[str, str]] = []
        self.blocks: list[Event] = []
        self.done = False
        self.surplus = False

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp leaves white space behind a value, which is no part of it (RFC 9110, section 5.5)
        self.fields.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))

    def on_body(self, data: bytes) -> None:
        self.blocks.append(data)

    def on_message_begin(self) -> None:
        self.surplus = self.done

    def on_message_complete(self) -> None:
        self.done = True


class _Chunked:
    """A body in chunked coding: the parser that read the head reads on."""

    def __init__(self, parser: httptools.HttpResponseParser, lines: _Lines) -> None:
        self._parser = parser
        self._lines = lines
        self._head_fields = len(lines.fields)
        self._idle_bytes = 0

    @property
    def done(self) -> bool:
        return self._lines.done

    @property
    def surplus(self) -> bool:
        return self._lines.surplus

    @property
    def trailers(self) -> list[tuple[str, str]]:
        return self._lines.fields[self._head_fields :]

    def feed(self, data: bytes) -> list[Event]:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._lines.surplus = True
        except httptools.HttpParserError as error:
            if not self._lines.done:
                raise ChunkedEncodingError(f"the chunked answer is malformed: {error}") from error
            self._lines.surplus = True  # what follows a whole answer isn't HTTP
        blocks, self._lines.blocks = self._lines.blocks, []
        self._limit_overhead(data, blocks)
        return blocks

    def _limit_overhead(self, data: bytes, blocks: list[Event]) -> None:
        """Chunk extensions and trailers carry no data, so nothing else would end them."""
        self._idle_bytes = 0 if blocks else self._idle_bytes + len(data)
        if self._idle_bytes > MAX_HEAD:
            raise ChunkedEncodingError(f"the chunked answer has more than {MAX_HEAD} bytes of extensions or trailers")
