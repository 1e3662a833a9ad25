"""Answers as bytes: a corpus that is fed whole, cut at every place, and byte by byte, and what no answer is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioreq._headers import Headers
from aioreq._wire import http1
from aioreq._wire.http1 import (
    LAST_CHUNK,
    MAX_HEAD,
    MAX_INTERIM,
    AnswerParser,
    End,
    Event,
    Head,
    Interim,
    encode_chunk,
    encode_fields,
    encode_head,
    whole_answer,
)
from aioreq.exceptions import ChunkedEncodingError, RemoteProtocolError

EVERY_BYTE = bytes(range(256))


@dataclass
class Reading:
    """What a parser made of an answer."""

    interim: list[int] = field(default_factory=list)
    head: Head | None = None
    body: bytes = b""
    trailers: list[tuple[str, str]] | None = None
    surplus: bool = False
    reusable: bool = False
    error: type[Exception] | None = None


def read(
    data: bytes, cuts: Sequence[int] = (), method: str = "GET", *, eof: bool = False, passing: bool = False
) -> Reading:
    """Feed an answer in pieces cut at ascending offsets; at the end, that of the connection if so wanted.

    With ``passing``, pieces that need not be fed are not.
    """
    parser = AnswerParser(method)
    reading = Reading()
    try:
        for start, end in pairwise([0, *cuts, len(data)]):
            piece = data[start:end]
            if passing and parser.passes(piece):
                _note(reading, [piece])
            elif piece:
                _note(reading, parser.feed(piece))
        if eof:
            _note(reading, parser.feed_eof())
    except RemoteProtocolError as error:
        return Reading(error=type(error))
    assert parser.done is (reading.trailers is not None)
    assert parser.head is reading.head
    assert parser.begun is bool(data)
    reading.surplus, reading.reusable = parser.surplus, parser.reusable
    return reading


def _note(reading: Reading, events: list[Event]) -> None:
    for event in events:
        assert reading.trailers is None, "an event behind the end"
        match event:
            case Interim():
                assert reading.head is None
                reading.interim.append(event.status)
            case Head():
                assert reading.head is None
                reading.head = event
            case End():
                reading.trailers = list(event.trailers.items())
            case _:
                assert reading.head is not None
                assert event, "an empty piece of a body"
                reading.body += event


def error_of(data: bytes, method: str = "GET", *, eof: bool = False) -> RemoteProtocolError:
    """The error that an answer raises, fed whole."""
    parser = AnswerParser(method)

    def feed() -> None:
        parser.feed(data)
        if eof:
            parser.feed_eof()

    with pytest.raises(RemoteProtocolError) as caught:
        feed()
    return caught.value


# name: (method, the answer up to its end, what it is; whether its end is that of the connection)
CORPUS: dict[str, tuple[str, bytes, bytes, bool]] = {
    "length": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    "length 0": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", False),
    "length with zeros": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0005\r\n\r\nhello", b"hello", False),
    "any case and white space": ("GET", b"HTTP/1.1 200 OK\r\ncONTENT-lENGTH:\t 5 \t\r\n\r\nhello", b"hello", False),
    "no reason": ("GET", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    "no reason and no space": ("GET", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    "error": ("POST", b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig", b"big", False),
    "unknown status": ("GET", b"HTTP/1.1 799 Odd\r\nContent-Length: 3\r\n\r\nodd", b"odd", False),
    "body like a head": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nHTTP\r\n\r\n", b"HTTP\r\n\r\n", False),
    "every byte": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 256\r\n\r\n" + EVERY_BYTE, EVERY_BYTE, False),
    "latin-1 header": ("GET", b"HTTP/1.1 200 OK\r\nX: caf\xe9\r\nContent-Length: 0\r\n\r\n", b"", False),
    "repeated header": ("GET", b"HTTP/1.1 200 OK\r\nVary: A\r\nVary: B\r\nContent-Length: 0\r\n\r\n", b"", False),
    "empty header": ("GET", b"HTTP/1.1 200 OK\r\nX:\r\nContent-Length: 0\r\n\r\n", b"", False),
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"", False),
    "HEAD chunked": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"", False),
    "HEAD without length": ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", b"", False),
    "204": ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", b"", False),
    "204 with length": ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b"", False),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: x\r\n\r\n", b"", False),
    "CONNECT": ("CONNECT", b"HTTP/1.1 200 Connection established\r\n\r\n", b"", False),
    "CONNECT refused": ("CONNECT", b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno", b"no", False),
    "100 before": (
        "POST",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"ok",
        False,
    ),
    "many 1xx": (
        "POST",
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx"
        ),
        b"x",
        False,
    ),
    "chunked": (
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n006\r\n world\r\n0\r\n\r\n",
        b"hello world",
        False,
    ),
    "chunked and empty": ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"", False),
    "chunked in capitals": (
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        b"0123456789",
        False,
    ),
    "chunk extensions": (
        "GET",
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b;c="d"\r\nok\r\n0;last\r\n\r\n',
        b"ok",
        False,
    ),
    "trailers": (
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n",
        b"ok",
        False,
    ),
    "chunks like chunks": (
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n",
        b"0\r\n\r\n",
        False,
    ),
    "to the end": ("GET", b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end", True),
    "to the end, coded": ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nzzz", b"zzz", True),
    "to the end, empty": ("GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"", True),
    "HTTP/1.0": ("GET", b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold", b"old", True),
    "HTTP/1.0 with length": ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", b"old", False),
    "HTTP/1.0 keep-alive": (
        "GET",
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 3\r\n\r\nold",
        b"old",
        False,
    ),
    "an offer to upgrade": (
        "GET",
        b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok",
        b"ok",
        False,
    ),
    "426": (
        "GET",
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nno",
        b"no",
        False,
    ),
    "upgrade, chunked": (
        "GET",
        b"HTTP/1.1 200\r\nUpgrade: x\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"ok",
        False,
    ),
}
ENTRIES = pytest.mark.parametrize(("method", "data", "body", "to_end"), CORPUS.values(), ids=list(CORPUS))


class TestCorpus:
    @ENTRIES
    def test_an_answer_is_read(self, method: str, data: bytes, body: bytes, to_end: bool):
        """The body is what the answer says it is, and the answer is whole at its last byte."""
        reading = read(data, method=method, eof=to_end)
        assert reading.error is None
        assert reading.body == body
        assert reading.trailers is not None
        assert not reading.surplus

    @ENTRIES
    def test_cuts_make_no_difference(self, method: str, data: bytes, body: bytes, to_end: bool):
        """Cut in two at any place, in three, or fed byte by byte, an answer is the same."""
        whole = read(data, method=method, eof=to_end)
        for cut in range(1, len(data)):
            assert read(data, [cut], method, eof=to_end) == whole, cut
            assert read(data, [cut // 2, cut], method, eof=to_end) == whole, cut
        assert read(data, range(1, len(data)), method, eof=to_end) == whole

    @ENTRIES
    def test_what_need_not_be_fed(self, method: str, data: bytes, body: bytes, to_end: bool):
        """A piece that passes as it stands makes no difference to one that is fed, wherever it is cut."""
        whole = read(data, method=method, eof=to_end)
        for cut in range(1, len(data)):
            assert read(data, [cut // 2, cut], method, eof=to_end, passing=True) == whole, cut
        assert read(data, range(1, len(data)), method, eof=to_end, passing=True) == whole

    def test_the_middle_of_a_body_passes(self):
        """What ends a body, or is none, has to be fed; what is between passes."""
        parser = AnswerParser("GET")
        assert not parser.passes(b"HTTP/1.1 200 OK\r\n")
        parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\na")
        assert [parser.passes(piece) for piece in (b"", b"bcdef", b"bcdefg", b"bc", b"d", b"ef")] == [
            False, False, False, True, True, False,
        ]  # fmt: skip
        assert isinstance(parser.feed(b"ef")[-1], End)
        assert not parser.passes(b"x")

    @ENTRIES
    def test_a_cut_answer_is_an_error(self, method: str, data: bytes, body: bytes, to_end: bool):
        """An answer that ends too early never passes for a whole one, unless only its end would tell."""
        head_ends = data.rindex(b"\r\n\r\n", 0, len(data) - len(body)) + 4 if to_end else len(data)
        for end in range(len(data)):
            reading = read(data[:end], method=method, eof=True)
            if end < head_ends:
                assert reading.error is not None, end
            else:
                assert reading.body == body[: end - head_ends]

    @ENTRIES
    @pytest.mark.parametrize("more", [b"x", b"HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 5\r\n\r\nstray", b"\0\xff"])
    def test_bytes_behind_an_answer_are_surplus(self, method: str, data: bytes, body: bytes, to_end: bool, more: bytes):
        """What follows a whole answer was sent unasked: it changes nothing, and the connection can't be used again."""
        if to_end:
            assert read(data + more, method=method, eof=True).body == body + more
            return
        for cuts in ([], [len(data)], range(1, len(data + more))):
            reading = read(data + more, cuts, method)
            assert (reading.error, reading.body, reading.surplus) == (None, body, True)
            assert reading.trailers == read(data, cuts[: len(data)], method).trailers
            assert not reading.reusable

    @ENTRIES
    def test_the_end_of_the_connection_adds_nothing_to_a_whole_answer(
        self, method: str, data: bytes, body: bytes, to_end: bool
    ):
        """An answer that was whole stays so when the connection ends."""
        assert read(data, method=method, eof=True) == read(data, method=method, eof=to_end)


class TestHead:
    def test_what_a_head_says(self):
        """Status, reason, version, headers in their order, and the length of the body."""
        head = read(b"HTTP/1.1 404 Not Found\r\nA: 1\r\nb: 2\r\nA: 3\r\nContent-Length: 7\r\n\r\n").head
        assert head is not None
        assert (head.status, head.reason, head.version, head.length) == (404, "Not Found", "HTTP/1.1", 7)
        assert list(head.headers.items()) == [("A", "1"), ("b", "2"), ("A", "3"), ("Content-Length", "7")]

    def test_a_length_nobody_knows(self):
        """The length of a chunked body, and of one that ends with the connection, is None."""
        for data in (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"):
            head = read(data).head
            assert head is not None
            assert head.length is None

    def test_white_space_around_a_value_is_no_part_of_it(self):
        """Blanks and tabs around a value are left out (RFC 9110, section 5.5)."""
        head = read(b"HTTP/1.1 200 OK\r\nX:\t a \t b \t\r\nY:  \r\nContent-Length: 0\t\r\n\r\n").head
        assert head is not None
        assert (head.headers["X"], head.headers["Y"], head.length) == ("a \t b", "", 0)

    def test_interim_answers(self):
        """Each 1xx answer is an event with its headers, before the final head."""
        parser = AnswerParser("POST")
        [interim] = parser.feed(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
        assert interim == Interim(103, Headers({"Link": "</a>; rel=preload"}))
        assert parser.head is None
        assert not parser.done

    def test_trailers(self):
        """Fields behind a chunked body are in the end event, and not among the headers."""
        _, data, _, _ = CORPUS["trailers"]
        reading = read(data)
        assert reading.trailers == [("X-Sum", "1"), ("X-B", "2")]
        assert reading.head is not None
        assert "X-Sum" not in reading.head.headers

    def test_the_reason_is_latin_1(self):
        """A reason in any bytes is text."""
        head = read(b"HTTP/1.1 200 caf\xe9\r\nContent-Length: 0\r\n\r\n").head
        assert head is not None
        assert head.reason == "café"


@pytest.mark.parametrize(
    ("data", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: foo, CLOSE\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: foo\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", True),
        (
            # HTTP/1.0 has no chunked coding: where such an answer ends is in doubt (RFC 9112, section 6.1)
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
            False,
        ),
        (b"HTTP/1.0 204 No Content\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"", False),
    ],
)
def test_when_a_connection_can_be_used_again(data: bytes, reusable: bool):
    """When the answer is whole and the server leaves the connection open (RFC 9112, section 9.3)."""
    assert read(data).reusable is reusable


def test_a_connection_that_ends_with_its_answer_is_not_used_again():
    """An answer that ends with the connection leaves nothing to use."""
    assert not read(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\nbody", eof=True).reusable


class TestWhatIsNoAnswer:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"SSH-2.0-OpenSSH_9.6\r\n", "is not HTTP/1.1; it begins b'SSH-2.0"),
            (b"\x15\x03\x01\x00\x02\x02\x16", "is not HTTP/1.1; it begins"),
            (b"<html>", "is not HTTP/1.1; it begins b'<html>'"),
            (b"HTTP/2 200\r\n\r\n", "is not HTTP/1.1|not valid HTTP/1.1|in HTTP/2, not HTTP/1.1"),
            (b"HTTP/1.2 200 OK\r\n\r\n", "HTTP/1.1"),
            (b"HTTP/2.0 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1"),
            (b"HTTP/1.1 abc OK\r\n\r\n", "not valid HTTP/1.1"),
            (b"HTTP/1.1 20 OK\r\n\r\n", "not valid HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n", "not valid HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\nBad name: x\r\n\r\n", "not valid HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "not valid HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "not valid HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", "not valid HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\nX: \x85\r\nNo colon\r\n\r\n", "not valid HTTP/1.1: 'No colon"),
            (b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "not valid HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\n: a\r\n\r\n", "not valid HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\n X: folded\r\n\r\n", "not valid HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", "not valid HTTP/1.1"),
            (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "ends its lines with LF"),
            (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "switched protocols"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1|Content-Length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", "HTTP/1.1|Content-Length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", "HTTP/1.1|Content-Length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5 5\r\n\r\nhello", "HTTP/1.1|Content-Length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", "HTTP/1.1|Content-Length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n", "HTTP/1.1|Content-Length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", "HTTP/1.1|Content-Length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "HTTP/1.1|Content-Length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "HTTP/1.1|Content-Length"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
                "both Content-Length and Transfer-Encoding|Transfer-Encoding can't be present",
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
                "both Content-Length and Transfer-Encoding|Content-Length can't be present",
            ),
        ],
    )
    def test_it_is_told_why(self, data: bytes, message: str):
        """What is no answer, or could be read in two ways, is refused, whole and byte by byte."""
        error = error_of(data)
        assert any(part in str(error) for part in message.split("|")), str(error)
        assert read(data, range(1, len(data))).error is type(error)

    @pytest.mark.parametrize(
        ("data", "method", "message"),
        [
            (b"", "GET", "closed the connection without an answer"),
            (b"HTTP/1.1 200 OK\r\nContent-", "GET", "in the middle of the answer's head"),
            (b"HTTP/1.1 100 Continue\r\n\r\n", "POST", "without an answer"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "GET", "cut short: 7 bytes of 10 are missing"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "GET", "the last chunk is missing"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "GET", "the last chunk is missing"),
        ],
    )
    def test_a_cut_answer_tells_what_is_missing(self, data: bytes, method: str, message: str):
        """An answer that was cut short says how."""
        assert message in str(error_of(data, method, eof=True))

    @pytest.mark.parametrize(
        "chunks",
        [
            b"x\r\n",
            b"-1\r\n",
            b"0x1\r\na\r\n",
            b"2\r\nabc\r\n",
            b"2\r\nab0\r\n\r\n",
            b"FFFFFFFFFFFFFFFFF\r\n",
            b"\r\n",
            b"0\r\nBad trailer\r\n\r\n",
        ],
    )
    def test_malformed_chunks(self, chunks: bytes):
        """Chunked coding that is none is a ChunkedEncodingError, which is a RemoteProtocolError."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for cuts in ([], [len(head)], range(1, len(head + chunks))):
            assert read(head + chunks, cuts).error is ChunkedEncodingError
        with pytest.raises(ChunkedEncodingError, match="the chunked answer is malformed"):
            AnswerParser("GET").feed(head + chunks)

    def test_the_answer_before_a_bad_chunk_is_seen(self):
        """What came before a malformed chunk was an event by then."""
        parser = AnswerParser("GET")
        events = parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        assert isinstance(events[0], Head)
        assert events[1] == b"ok"
        with pytest.raises(ChunkedEncodingError):
            parser.feed(b"no size")


WITH_BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


def head_of(size: int) -> bytes:
    """An answer's head of this size."""
    begin, end = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", b"\r\n\r\n"
    line = b"X: " + b"x" * 997
    filled = b""
    while len(begin + filled + end) + len(line) + 2 < size - 10:
        filled += line + b"\r\n"
    return begin + filled + b"Y: ".ljust(size - len(begin + filled + end), b"y") + end


class TestLimits:
    @pytest.mark.parametrize("step", [1, 1000, 2 * MAX_HEAD])
    def test_a_head_may_have_128_kib(self, step: int):
        """A head of the largest size is read, one byte more is refused, however it arrives."""
        largest = head_of(MAX_HEAD)
        assert len(largest) == MAX_HEAD
        reading = read(largest, range(step, MAX_HEAD, step))
        assert reading.trailers == []
        larger = head_of(MAX_HEAD + 1)
        assert read(larger, range(step, MAX_HEAD + 1, step)).error is RemoteProtocolError
        assert f"larger than {MAX_HEAD} bytes" in str(error_of(larger))

    def test_a_head_that_never_ends(self):
        """It is refused at the limit, not kept for ever."""
        parser = AnswerParser("GET")
        parser.feed(b"HTTP/1.1 200 OK\r\n")
        line = b"X: " + b"x" * 995 + b"\r\n"

        def feed_for_ever() -> None:
            for _ in range(MAX_HEAD):
                parser.feed(line)

        with pytest.raises(RemoteProtocolError, match=f"larger than {MAX_HEAD} bytes"):
            feed_for_ever()

    @pytest.mark.parametrize("filling", [b" ", b"\t", b"X", b"\r\n ", b"X:\r\n ", b"\xff"], ids=repr)
    @pytest.mark.parametrize("begin", [b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX:"], ids=repr)
    @pytest.mark.parametrize("end", [b"\0", b"\0\r\n\r\n", b"\r\n\r\n"], ids=repr)
    def test_no_head_takes_long(self, begin: bytes, filling: bytes, end: bytes):
        """A head of the largest size, whatever is in it, is read or refused in much less than a second."""
        data = begin + filling * ((MAX_HEAD - len(begin + end)) // len(filling)) + end
        started = time.process_time()
        read(data, eof=True)
        assert time.process_time() - started < 1

    def test_garbage_is_refused_at_its_first_byte(self):
        """Nothing waits for an end of what can't become an answer."""
        with pytest.raises(RemoteProtocolError):
            AnswerParser("GET").feed(b"X")
        with pytest.raises(RemoteProtocolError):
            AnswerParser("GET").feed(b"HTTP/3")
        assert AnswerParser("GET").feed(b"HTTP/1.") == []

    def test_interim_answers_have_an_end(self):
        """A server that sends 1xx answers for ever is refused."""
        interim = b"HTTP/1.1 102 Processing\r\n\r\n"
        final = b"HTTP/1.1 204 No Content\r\n\r\n"
        assert read(interim * MAX_INTERIM + final).interim == [102] * MAX_INTERIM
        error = error_of(interim * (MAX_INTERIM + 1))
        assert f"more than {MAX_INTERIM} interim (1xx) answers" in str(error)

    @pytest.mark.parametrize("endless", [b"1;" + b"x" * 1000, b"0\r\nX: " + b"x" * 1000])
    def test_extensions_and_trailers_have_an_end(self, endless: bytes):
        """Chunk extensions and trailers carry no data, and are refused beyond the limit of a head."""
        parser = AnswerParser("GET")
        parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + endless)

        def feed_for_ever() -> None:
            for _ in range(MAX_HEAD):
                parser.feed(b"x" * 1000)

        with pytest.raises(ChunkedEncodingError, match="bytes of extensions or trailers"):
            feed_for_ever()

    def test_what_follows_has_no_limit(self):
        """However much follows a whole answer, it stays whole."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for surplus in (b"x" * (MAX_HEAD + 1), WITH_BODY + b"x" * MAX_HEAD):
            reading = read(head + b"0\r\n\r\n" + surplus, [len(head)])
            assert (reading.error, reading.body, reading.trailers, reading.surplus) == (None, b"", [], True)

    def test_a_long_body_has_no_limit(self):
        """Data counts for no limit."""
        parser = AnswerParser("GET")
        parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            assert parser.feed(b"400\r\n" + bytes(1024) + b"\r\n")

    def test_a_known_body_is_passed_on_uncopied(self):
        """A piece of a body of known length is the object that was fed."""
        parser = AnswerParser("GET")
        parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n")
        piece = bytes(1000)
        assert parser.feed(piece)[0] is piece


answers = st.sampled_from([(method, data) for method, data, _, _ in CORPUS.values()])
offsets = st.lists(st.integers(0, 400), max_size=6)


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(data=st.binary(max_size=200), cuts=offsets, begins=st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n"]))
def test_any_bytes_are_an_answer_or_a_protocol_error(data: bytes, cuts: list[int], begins: bytes):
    """Whatever a server sends, nothing but RemoteProtocolError is raised, and cuts make no difference."""
    data = begins + data
    whole = read(data, eof=True)
    assert read(data, sorted(min(cut, len(data)) for cut in cuts), eof=True) == whole


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(answer=answers, damage=st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3)), max_size=3), cuts=offsets)
def test_a_damaged_answer_is_an_answer_or_a_protocol_error(
    answer: tuple[str, bytes], damage: list[tuple[int, bytes]], cuts: list[int]
):
    """An answer with bytes changed here and there raises nothing but RemoteProtocolError, however it is cut."""
    method, data = answer
    for at, replacement in damage:
        data = data[:at] + replacement + data[at + 1 :]
    whole = read(data, method=method, eof=True)
    cut = read(data, sorted(min(cut, len(data)) for cut in cuts), method, eof=True)
    assert (cut.error is None) is (whole.error is None)
    if whole.error is None:
        assert (cut.head, cut.body, cut.trailers) == (whole.head, whole.body, whole.trailers)


class TestWholeAnswers:
    """The short way for an answer in one piece says the same as the parser, or nothing."""

    def test_a_usual_answer(self):
        """An answer whose length is said, and is that of what came, is whole."""
        answer = b"HTTP/1.1 404 Not Found\r\nA: 1\r\ncontent-length: 5\r\nA: 2 \r\n\r\nhello"
        headers = Headers([("A", "1"), ("content-length", "5"), ("A", "2")])
        assert whole_answer("GET", answer) == (404, "Not Found", headers, b"hello")

    @pytest.mark.parametrize(
        ("method", "data"),
        [
            ("GET", b""),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r"),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok+"),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 02\r\n\r\nok"),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok"),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"),
            ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"),
            ("GET", b"HTTP/1.1 200 OK\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n"),
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ("CONNECT", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ("GET", b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"),
            ("GET", b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n"),
            ("GET", b"SSH-2.0\r\n\r\n"),
        ],
    )
    def test_what_is_left_to_the_parser(self, method: str, data: bytes):
        """What is not whole, or not simple, or leaves no connection behind, is not taken."""
        assert whole_answer(method, data) is None

    def test_a_head_that_comes_again(self):
        """It is the answers' own each time: who changes the fields of one changes those of no other."""
        answer = b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\n\r\n"
        first = whole_answer("GET", answer + b"ok")
        assert first is not None
        first[2]["A"] = "changed"
        first[2]["B"] = "added"
        again = whole_answer("GET", answer + b"so")
        assert again == (200, "OK", Headers([("A", "1"), ("Content-Length", "2")]), b"so")
        assert whole_answer("HEAD", answer + b"ok") is None
        assert whole_answer("GET", answer + b"o") is None
        assert whole_answer("GET", answer + b"ok+") is None

    def test_what_is_kept_of_heads(self):
        """A few small ones, for a while; none that tells a secret."""
        http1._read_before.clear()
        whole_answer("GET", b"HTTP/1.1 200 OK\r\nSet-Cookie: secret=1\r\nContent-Length: 0\r\n\r\n")
        whole_answer("GET", b"HTTP/1.1 200 OK\r\nA: %b\r\nContent-Length: 0\r\n\r\n" % bytes(1024).replace(b"\0", b"a"))
        assert http1._read_before == {}
        for number in range(1000):
            whole_answer("GET", b"HTTP/1.1 200 OK\r\nA: %d\r\nContent-Length: 0\r\n\r\n" % number)
            assert 0 < len(http1._read_before) <= 64

    def test_what_is_no_head(self):
        """A head that is none is refused at once."""
        with pytest.raises(RemoteProtocolError, match="not valid HTTP/1.1: 'No colon"):
            whole_answer("GET", b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n")


def agree(method: str, data: bytes) -> bool:
    """Hold the two ways of reading against each other; whether the short one took the answer."""
    parsed = read(data, method=method)
    try:
        whole = whole_answer(method, data)
    except RemoteProtocolError:
        assert parsed.error is RemoteProtocolError
        return False
    if whole is None:
        return False
    head = parsed.head
    assert head is not None
    status, reason, headers, content = whole
    assert (head.status, head.reason, head.version, head.headers) == (status, reason, "HTTP/1.1", headers)
    assert list(head.headers.items()) == list(headers.items())
    assert (parsed.body, parsed.trailers, parsed.interim) == (content, [], [])
    assert parsed.reusable
    return True


# What answers are made of, and what they are spoilt with.
_LINES = st.sampled_from([
    b"Content-Length: 0", b"Content-Length: 1", b"content-length:2", b"Content-Length: 2 \t", b"Content-Length: +2",
    b"Content-Length: 2, 2", b"Content-Length: 02", b"Content-Length : 2", b"Content-Length:\r\n 2", b" 2", b"\t",
    b"Transfer-Encoding: chunked", b"transfer-encoding: gzip", b"Connection: close", b"Connection: x, Close",
    b"Connection: Keep-Alive", b"Connection:", b"Upgrade: h2c", b"X: caf\xe9", b"X: \x85", b"X:", b"X", b":",
    b"X: a\rb", b"X: a\nY: b", b"X: \0", b"", b"\xa0X: 1", b"X\t: 1", b"X: 1\n", b"X: \x0b\x0c\x1c",
])  # fmt: skip
_STARTS = st.sampled_from([
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No", b"HTTP/1.1 304 -",
    b"HTTP/1.1 100 Continue", b"HTTP/1.1 101 Switch", b"HTTP/1.1 500 \xff", b"HTTP/1.1  200 OK", b"HTTP/1.1 2000 OK",
    b"HTTP/2 200 OK", b"HTTP/1.9 100 OK", b"http/1.1 200 OK", b"HTTP/1.1 \xb2\xb2\xb2 OK", b" HTTP/1.1 200 OK", b"",
])  # fmt: skip
_METHODS = st.sampled_from(["GET", "POST", "HEAD", "CONNECT", "DELETE"])


@settings(max_examples=500, derandomize=True, database=None, deadline=None)
@given(
    method=_METHODS,
    start=st.one_of(st.just(b"HTTP/1.1 200 OK"), _STARTS),
    lines=st.lists(_LINES, max_size=4),
    ends=st.sampled_from([b"\r\n\r\n", b"\r\n\r\n", b"\n\n", b"\r\n", b"\r\r\n\r\n"]),
    body=st.sampled_from([b"", b"o", b"ok", b"ok+", b"\r\n", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]),
)
def test_both_ways_agree(method: str, start: bytes, lines: list[bytes], ends: bytes, body: bytes):
    """Whatever a server puts together, what the short way takes is what the parser says; cuts change nothing."""
    data = b"\r\n".join([start, *lines]) + ends + body
    agree(method, data)
    whole = read(data, method=method, eof=True)
    assert read(data, range(1, len(data)), method, eof=True) == whole


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(answer=answers, damage=st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3)), max_size=2))
def test_both_ways_agree_on_damaged_answers(answer: tuple[str, bytes], damage: list[tuple[int, bytes]]):
    """The same of answers with bytes changed here and there."""
    method, data = answer
    for at, replacement in damage:
        data = data[:at] + replacement + data[at + 1 :]
    agree(method, data)


def test_the_short_way_takes_what_is_usual():
    """Of the corpus it takes the plain answers of known length."""
    taken = {name for name, (method, data, _, _) in CORPUS.items() if agree(method, data)}
    assert {"length", "length 0", "any case and white space", "error", "every byte", "no reason"} <= taken
    assert not {name for name in taken if "chunk" in name or "HTTP/1.0" in name or "to the end" in name}


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(chunks=st.lists(st.binary(min_size=1, max_size=50)), cuts=offsets)
def test_what_is_sent_in_chunks_is_read_in_chunks(chunks: list[bytes], cuts: list[int]):
    """The chunked coding that requests are sent with is read back by the parser of answers."""
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(map(encode_chunk, chunks)) + LAST_CHUNK
    reading = read(data, sorted(min(cut, len(data)) for cut in cuts))
    assert reading.body == b"".join(chunks)
    assert reading.reusable


def test_a_requests_head():
    """Start line, fields in their order and spelling, empty line (RFC 9112, sections 3 and 5)."""
    headers = Headers([("Host", "example.org"), ("x-Case", "1"), ("X-Name", "café"), ("x-case", "2")])
    assert encode_head("PUT", "/a?b=c", encode_fields(headers)) == (
        b"PUT /a?b=c HTTP/1.1\r\nHost: example.org\r\nx-Case: 1\r\nX-Name: caf\xe9\r\nx-case: 2\r\n\r\n"
    )
