"""HTTP/1.1 as bytes (RFC 9112).

A request's head becomes bytes with :func:`encode_head`. The bytes of an answer become events:

    Interim*  Head  (bytes)*  End

``Interim`` is a 1xx answer, each ``bytes`` a piece of the body. httptools (llhttp) reads the chunked coding; heads
are limited in size before they are read, and bodies of known length pass on without being looked at.

Whatever is left when an answer is over (:attr:`AnswerParser.surplus`) was sent unasked: no later request may
take it for its own answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from .._headers import Headers
from ..exceptions import ChunkedEncodingError, RemoteProtocolError

# A head larger than this is no answer but an attack or a mistake; curl allows 300 KB, aiohttp 8 KB a line.
MAX_HEAD = 128 * 1024
# 100 Continue and a few 103 Early Hints are usual; a server that sends them for ever never answers.
MAX_INTERIM = 32
_BODILESS = frozenset((204, 304))
_ASKS_FOR_NO_BODY = frozenset(("HEAD", "CONNECT"))
# More than any body has, and less than what int() refuses to read.
_LENGTH_DIGITS = 18


class Interim(NamedTuple):
    """A 1xx answer: the final one is still to come (RFC 9110, section 15.2)."""

    status: int
    headers: Headers


class Head(NamedTuple):
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


class End(NamedTuple):
    """The answer is whole. ``trailers`` came behind a chunked body (RFC 9112, section 7.1.2)."""

    trailers: Headers


Event = Interim | Head | bytes | End

_NO_TRAILERS = End(Headers())


def encode_fields(headers: Headers) -> str:
    """The field lines of a head, for :func:`encode_head` (RFC 9112, section 5)."""
    return "\r\n".join(map(": ".join, headers.items()))


def encode_head(method: str, path: str, fields: str) -> bytes:
    """A request's start line and field lines, empty line included (RFC 9112, section 3)."""
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode("latin-1")


def encode_chunk(data: bytes) -> bytes:
    """A piece of a body in chunked coding (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


# A status line (RFC 9112, section 4) and a field line (section 5). Read this way, a head of eight fields costs half of
# what it does with a callback for each, and nothing gets through that is not exactly so: a name is a token with the
# colon right behind it, a value holds no CR, LF or NUL, a line ends with CR LF and is not folded (section 5.2 would
# have folded lines read, but two readers may take them for two things). What was matched is not tried shorter: a server
# could make that take minutes. As text: re compiles them with the first answer, and keeps them.
# The first status line is the one that an answer has which needs no parser.
_USUAL_STATUS_LINE = r"HTTP/1\.1 ([2-9][0-9]{2})(?: ([^\r\n\0]*+))?\r\n"
_STATUS_LINE = r"HTTP/([0-9](?:\.[0-9])?) ([1-9][0-9]{2})(?: ([^\r\n\0]*+))?\r\n"
_FIELD_LINE = r"(?m)^([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[ \t]*+([^\r\n\0]*+)\r\n"


# An answer that came in one piece, as most small ones do: status, reason, headers, content.
Whole = tuple[int, str, Headers, bytes]


def whole_answer(method: str, data: bytes) -> Whole | None:
    """The answer to a request with ``method`` if ``data`` is one, from its first byte to its last; else None.

    Its connection can be used again.

    Whatever is in the least unusual is None: that is for :class:`AnswerParser`, which says the same of this one in
    three events and three times the work.

    Raises:
        RemoteProtocolError: the head is not HTTP/1.1.
    """
    end = data.find(b"\r\n\r\n") + 4
    if end < 4 or end > MAX_HEAD or method in _ASKS_FOR_NO_BODY:
        return None
    read = data[:end]
    head = _read_before.get(read) or _read_usual(read)
    if head is None:
        return None
    status, reason, headers, length = head
    return (status, reason, Headers(headers), data[end:]) if length == len(data) - end else None


class _UsualHead(NamedTuple):
    """The head of an answer whose length it says, and behind which the connection stays open."""

    status: int
    reason: str
    headers: Headers
    length: int


# A server says the same head again and again, but for the second in its Date: what it means is kept, which saves a
# seventh of the time that a small request takes. Cookies are not kept, nor what is large.
_read_before: dict[bytes, _UsualHead] = {}
_HEADS_KEPT = 64
_LARGEST_KEPT = 1024


def _read_usual(data: bytes) -> _UsualHead | None:
    """A head, if it is a usual one."""
    text = data.decode("latin-1")
    line = re.match(_USUAL_STATUS_LINE, text)
    if line is None:
        return None
    code, reason = line.groups("")
    headers = _fields(text, line.end())
    lengths = headers.getall("Content-Length", ())
    if "Transfer-Encoding" in headers or len(lengths) != 1 or not _is_plain_number(lengths[0]):
        return None
    status = int(code)
    if status in _BODILESS or not _keeps_alive("1.1", headers):
        return None
    head = _UsualHead(status, reason, headers, int(lengths[0]))
    if len(data) <= _LARGEST_KEPT and "Set-Cookie" not in headers:
        if len(_read_before) >= _HEADS_KEPT:
            _read_before.clear()
        _read_before[data] = head
    return head


def _is_plain_number(text: str) -> bool:
    """Whether it is a number of bytes as everybody writes it: nothing but digits, and none too many."""
    return text.isascii() and text.isdigit() and (text[0] != "0" or text == "0") and len(text) <= _LENGTH_DIGITS


class AnswerParser:
    """Reads one answer (interim ones before it included) to a request with ``method``.

    Attributes:
        head: the final head, once it was read.
        done: whether the answer is whole.
        surplus: whether bytes followed that belong to no answer.
        begun: whether any byte of an answer has come.
    """

    head: Head | None = None
    done = False
    surplus = False
    begun = False
    _left = 0
    _interim = 0
    _held: bytearray | None = None
    _chunked: _Chunked | None = None

    def __init__(self, method: str) -> None:
        self._method = method
        # What the next bytes are: a function, not a method, which would be a circle for the collector to find.
        self._feed: Callable[[AnswerParser, bytes, list[Event]], bytes] = AnswerParser._feed_head

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
            data = self._feed(self, data, events)
        return events

    def passes(self, data: bytes) -> bool:
        """Whether these bytes are a piece of the body as they stand, and more is to come: they need not be fed then."""
        if not 0 < len(data) < self._left or self._feed is not AnswerParser._feed_length:
            return False
        self._left -= len(data)
        return True

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
        if self._feed is AnswerParser._feed_until_eof:
            return [self._finish()]
        if self._chunked is not None:
            raise ChunkedEncodingError("the answer was cut short: the last chunk is missing")
        raise RemoteProtocolError(f"the answer was cut short: {self._left} bytes of {self.head.length} are missing")

    def _finish(self, end: End = _NO_TRAILERS) -> End:
        self.done = True
        self._feed = AnswerParser._feed_surplus
        return end

    def _feed_head(self, data: bytes, events: list[Event]) -> bytes:
        if self._held is not None:
            return self._feed_more_head(data, events)
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > MAX_HEAD:
            _check_begin(data, 0)
            self._held = bytearray(data)
            return b""
        self._read_head(data[:end].decode("latin-1"), events)
        return data[end:]

    def _feed_more_head(self, data: bytes, events: list[Event]) -> bytes:
        """A head that comes in pieces."""
        held = self._held
        assert held is not None
        searched = max(0, len(held) - 3)  # what was searched before is not searched again
        held += data
        end = held.find(b"\r\n\r\n", searched) + 4
        if end < 4 or end > MAX_HEAD:
            _check_begin(held, searched)
            return b""
        self._held = None
        self._read_head(held[:end].decode("latin-1"), events)
        return bytes(held[end:])

    def _read_head(self, text: str, events: list[Event]) -> None:
        line = re.match(_STATUS_LINE, text)
        if line is None:
            raise RemoteProtocolError(f"the server's answer is not valid HTTP/1.1; it begins {text[:40]!r}")
        version, code, reason = line.groups("")
        if version not in ("1.1", "1.0"):
            raise RemoteProtocolError(f"the server answered in HTTP/{version}, not HTTP/1.1")
        headers = _fields(text, line.end())
        status = int(code)
        if status >= 200:
            self._begin_body(version, status, reason, headers, events)
        elif status == 101:
            raise RemoteProtocolError("the server switched protocols, which was not asked for")
        else:
            self._count_interim()
            events.append(Interim(status, headers))

    def _count_interim(self) -> None:
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise RemoteProtocolError(f"the server sent more than {MAX_INTERIM} interim (1xx) answers")

    def _begin_body(self, version: str, status: int, reason: str, headers: Headers, events: list[Event]) -> None:
        length = self._framing(headers, status)
        keep_alive = (length is not None or self._chunked is not None) and _keeps_alive(version, headers)
        self.head = head = Head(status, reason, "HTTP/" + version, headers, length, keep_alive)
        events.append(head)
        if length == 0:
            events.append(self._finish())

    def _framing(self, headers: Headers, status: int) -> int | None:
        """How the body ends (RFC 9112, section 6.3): the length, or None for chunked coding or end of stream."""
        if self._method == "HEAD" or status in _BODILESS or (self._method == "CONNECT" and status < 300):
            return 0
        if "Transfer-Encoding" in headers:
            self._begin_coded(headers)
            return None
        if "Content-Length" not in headers:
            self._feed = AnswerParser._feed_until_eof
            return None
        declared: str = headers["Content-Length"]
        if not (declared.isascii() and declared.isdigit() and len(declared) <= _LENGTH_DIGITS):
            raise RemoteProtocolError(f"the answer's Content-Length is {declared[:40]!r}, which is no length")
        self._left = int(declared)
        self._feed = AnswerParser._feed_length
        return self._left

    def _begin_coded(self, headers: Headers) -> None:
        if "Content-Length" in headers:
            raise RemoteProtocolError("the answer has both Content-Length and Transfer-Encoding")
        if headers["Transfer-Encoding"].lower().rpartition(",")[2].strip(" \t") == "chunked":
            self._chunked = _Chunked()
            self._feed = AnswerParser._feed_chunked
        else:
            self._feed = AnswerParser._feed_until_eof

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
    if "Connection" not in headers:
        return version == "1.1"
    if version == "1.0" and "Transfer-Encoding" in headers:  # which it has not: where such an answer ends is in doubt
        return False
    connection: str = headers["Connection"].lower()
    if connection == "keep-alive":
        return True
    options = {option.strip() for option in connection.split(",")}
    return "close" not in options and (version == "1.1" or "keep-alive" in options)


def _fields(text: str, start: int) -> Headers:
    """The field lines of a head, from ``start`` to the empty line that ends it."""
    fields = re.compile(_FIELD_LINE).findall(text, start)
    if len(fields) != text.count("\n", start) - 1:
        raise RemoteProtocolError(f"the head of the answer is not valid HTTP/1.1: {_odd_line(text, start)!r}")
    if " \r\n" in text or "\t\r\n" in text:  # white space behind a value is no part of it (RFC 9110, section 5.5)
        fields = [(name, value.rstrip(" \t")) for name, value in fields]
    return Headers(fields)


def _odd_line(text: str, start: int) -> str:
    """The first line that is no field line, as far as an error message needs it."""
    lines = [line + "\n" for line in text[start:].split("\n")]
    return next(line for line in lines if re.fullmatch(_FIELD_LINE, line) is None)[:80]


def _check_begin(data: bytes | bytearray, searched: int) -> None:
    """Refuse early what can't become a head any more; the bytes before ``searched`` were looked at before."""
    if len(data) >= MAX_HEAD:
        raise RemoteProtocolError(f"the head of the answer is larger than {MAX_HEAD} bytes")
    if not data.startswith(b"HTTP/1."[: len(data)]):
        raise RemoteProtocolError(f"the server's answer is not HTTP/1.1; it begins {bytes(data[:40])!r}")
    if data.find(b"\n\n", searched) >= 0:
        raise RemoteProtocolError("the head of the answer ends its lines with LF instead of CR LF")


class _Chunked:
    """A body in chunked coding, read by httptools (llhttp).

    What follows it in the same piece is read, too, as another answer: of that, nothing is taken.
    """

    def __init__(self) -> None:
        import httptools  # not before the first chunked answer

        self._upgrade, self._error = httptools.HttpParserUpgrade, httptools.HttpParserError
        self._parser = httptools.HttpResponseParser(self)
        self._blocks: list[Event] = []
        self._idle_bytes = 0
        self.trailers: list[tuple[str, str]] = []
        self.done = False
        self.surplus = False
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.trailers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.done:
            # llhttp leaves white space behind a value, which is no part of it (RFC 9110, section 5.5)
            self.trailers.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))

    def on_body(self, data: bytes) -> None:
        if not self.done:
            self._blocks.append(data)

    def on_message_begin(self) -> None:
        self.surplus = self.done

    def on_message_complete(self) -> None:
        self.done = True

    def feed(self, data: bytes) -> list[Event]:
        try:
            self._parser.feed_data(data)
        except self._upgrade:
            self.surplus = True
        except self._error as error:
            if not self.done:
                raise ChunkedEncodingError(f"the chunked answer is malformed: {error}") from error
            self.surplus = True  # what follows a whole answer isn't HTTP
        blocks, self._blocks = self._blocks, []
        self._limit_overhead(data, blocks)
        return blocks

    def _limit_overhead(self, data: bytes, blocks: list[Event]) -> None:
        """Chunk extensions and trailers carry no data, so nothing else would end them."""
        self._idle_bytes = 0 if blocks or self.done else self._idle_bytes + len(data)
        if self._idle_bytes > MAX_HEAD:
            raise ChunkedEncodingError(f"the chunked answer has more than {MAX_HEAD} bytes of extensions or trailers")
