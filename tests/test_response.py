"""Answers and requests as values: what they tell, how a body is read, and what can't be asked of them."""

import codecs
import copy
import io
import json
import pickle
import time
from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from http import HTTPMethod
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import Request, Response
from aioreq._body import Bytes
from aioreq._headers import Headers
from aioreq._message import attach, parse_links
from aioreq._progress import Upload
from aioreq._source import describe
from aioreq._wire.http1 import encode_head
from aioreq.exceptions import (
    HTTPError,
    InvalidBody,
    InvalidMethod,
    JSONDecodeError,
    RemoteProtocolError,
    RequestException,
    ResponseNotRead,
    StreamConsumedError,
    UnrewindableBodyError,
)
from aioreq.multipart import multipart_encode
from aioreq.testing import FaultServer, faults
from tests.talks import answer, prepared


class Arriving:
    """A body on its way in: pieces, and an error at its end if one is given."""

    def __init__(self, pieces: Iterable[bytes], error: Exception | None = None) -> None:
        self._pieces = list(pieces)
        self._error = error
        self.closed = 0

    async def receive(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if self._error is not None:
            raise self._error
        return b""

    async def aclose(self) -> None:
        self.closed += 1


def streamed(*pieces: bytes, headers: Any = (), error: Exception | None = None) -> tuple[Response, Arriving]:
    """An answer whose body is not read yet, and where that comes from."""
    stream = Arriving(pieces, error)
    response = Response(
        status_code=200,
        reason="OK",
        headers=Headers(headers),
        http_version="HTTP/1.1",
        request=prepared(),
        upload=Upload(0),
        stream=stream,
    )
    return response, stream


def read(content: bytes = b"", status: int = 200, **headers: str) -> Response:
    """An answer whose body is here."""
    return answer(prepared(), status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


class TestWhatItTells:
    def test_attributes(self):
        """Status, reason, version, URL, request, upload, history and cookies are there."""
        response, _ = streamed(headers={"X": "y"})
        assert (response.status_code, response.reason, response.http_version) == (200, "OK", "HTTP/1.1")
        assert response.url == response.request.url == "http://example.org/"
        assert response.headers["x"] == "y"
        assert response.history == []
        assert dict(response.cookies) == {}
        assert response.upload.complete
        assert response.elapsed == timedelta(0)
        assert repr(response) == "<Response [200]>"

    @pytest.mark.parametrize(
        ("status", "ok"), [(200, True), (204, True), (302, True), (399, True), (400, False), (500, False)]
    )
    def test_ok(self, status: int, ok: bool):
        """An answer below 400 is a success."""
        assert read(status=status).ok is ok

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_is_redirect(self, status: int):
        """A redirect is one that says where to."""
        assert read(status=status, Location="/").is_redirect
        assert not read(status=status).is_redirect
        assert not read(status=201, Location="/").is_redirect

    @pytest.mark.parametrize("status", [200, 302])
    def test_raise_for_status_of_a_success(self, status: int):
        """A success returns itself."""
        response = read(status=status)
        assert response.raise_for_status() is response

    @pytest.mark.parametrize(("status", "side"), [(404, "Client"), (503, "Server")])
    def test_raise_for_status_of_an_error(self, status: int, side: str):
        """An answer of 400 and more raises HTTPError with the answer, and the beginning of what it says."""
        response = answer(prepared(), status, content=b"no such thing " * 100)
        response.reason = "Because"
        with pytest.raises(HTTPError) as caught:
            response.raise_for_status()
        message = str(caught.value)
        assert message.startswith(f"{status} {side} Error: Because for url: http://example.org/: no such thing")
        assert len(message) < 300
        assert caught.value.response is response
        assert caught.value.request is response.request

    def test_raise_for_status_of_an_unread_error(self):
        """It works on a streamed answer too."""
        response, _ = streamed(b"body")
        response.status_code = 500
        with pytest.raises(HTTPError, match="500 Server Error"):
            response.raise_for_status()


class TestContent:
    def test_it_is_bytes(self):
        """content is the body."""
        assert read(b"\xff\x00").content == b"\xff\x00"

    async def test_a_streamed_answer_is_not_read_yet(self):
        """Until it is read, asking for content, text or JSON says what to do; headers are there."""
        response, _ = streamed(b"[1]", headers={"X": "y"})
        for ask in (lambda: response.content, lambda: response.text, response.json):
            with pytest.raises(ResponseNotRead, match="'await response.read\\(\\)' first") as caught:
                ask()
            assert caught.value.response is response
        assert await response.read() == b"[1]"
        assert response.content == b"[1]"
        assert response.json() == [1]

    async def test_reading_twice(self):
        """read() keeps what it read, and gives it again."""
        response, stream = streamed(b"ab", b"c")
        assert await response.read() == b"abc"
        assert await response.read() == b"abc"
        assert stream.closed == 1
        assert [chunk async for chunk in response.iter_content()] == [b"abc"]

    async def test_an_empty_body(self):
        """A body of nothing can be read."""
        response, _ = streamed()
        assert await response.read() == b""
        assert [chunk async for chunk in response.iter_content()] == []
        assert [chunk async for chunk in read().iter_content(10)] == []


class TestIteration:
    @pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
    async def test_pieces_of_a_size(self, size: int):
        """Pieces have the size that was asked for, the last one what is left, however the body arrives."""
        data = b"0123456789"
        wanted = [data[start : start + size] for start in range(0, 10, size)]
        for pieces in ([data], [data[:3], data[3:4], data[4:]], [bytes([byte]) for byte in data]):
            response, _ = streamed(*pieces)
            assert [chunk async for chunk in response.iter_content(size)] == wanted
        assert [chunk async for chunk in read(data).iter_content(size)] == wanted

    async def test_pieces_as_they_come(self):
        """Without a size they are passed on as they arrive."""
        response, stream = streamed(b"ab", b"c", b"def")
        assert [chunk async for chunk in response.iter_content()] == [b"ab", b"c", b"def"]
        assert stream.closed == 1

    @pytest.mark.parametrize("size", [0, -1])
    async def test_a_size_that_makes_no_sense(self, size: int):
        """A size is one byte at least."""
        with pytest.raises(ValueError, match="size is a number of bytes, 1 or more"):
            await anext(read(b"x").iter_content(size))

    async def test_a_second_time(self):
        """What was read in pieces is not kept: StreamConsumedError, which is a TypeError as in requests."""
        response, _ = streamed(b"abc")
        assert [chunk async for chunk in response.iter_content()] == [b"abc"]
        with pytest.raises(StreamConsumedError, match="read in pieces or closed before, and is not kept"):
            await anext(response.iter_content())
        with pytest.raises(StreamConsumedError):
            await response.read()
        with pytest.raises(StreamConsumedError) as caught:
            response.content  # noqa: B018
        assert isinstance(caught.value, TypeError)

    async def test_a_second_time_before_the_first_has_ended(self):
        """Two iterations can't share one body."""
        response, _ = streamed(b"a", b"b")
        first = response.iter_content()
        assert await anext(first) == b"a"
        with pytest.raises(StreamConsumedError):
            await anext(response.iter_content())
        await first.aclose()

    async def test_giving_it_up(self):
        """aclose() gives up what is not read; an iteration that is broken off does so when it is closed."""
        response, stream = streamed(b"a", b"b")
        await response.aclose()
        assert stream.closed == 1
        await response.aclose()
        assert stream.closed == 1
        with pytest.raises(StreamConsumedError):
            await response.read()

        for iterate in (Response.iter_content, lambda response: response.iter_content(1), Response.iter_lines):
            response, stream = streamed(b"a\n", b"b")
            chunks = iterate(response)
            await anext(chunks)
            await chunks.aclose()
            assert stream.closed == 1

    async def test_giving_it_up_in_the_middle_of_a_loop(self):
        """aclose() works after a loop that was left with break."""
        response, stream = streamed(b"a", b"b")
        chunks = response.iter_content()
        await anext(chunks)
        await response.aclose()
        assert stream.closed == 1
        await chunks.aclose()

    async def test_an_error_on_the_way(self):
        """What goes wrong while it arrives is raised, and the connection is given up."""
        for ask in ("read", "iterate"):
            response, stream = streamed(b"ab", error=RemoteProtocolError("cut short"))
            with pytest.raises(RemoteProtocolError, match="cut short"):
                await (response.read() if ask == "read" else joined(response))
            assert stream.closed == 1

    @pytest.mark.parametrize(("limit", "kept"), [(6, True), (7, True), (5, False), (0, False)])
    async def test_reading_up_to_a_limit(self, limit: int, kept: bool):
        """A small body that nobody asked for is kept; a large one is given up."""
        response, stream = streamed(b"abc", b"def")
        await response.read_up_to(limit)
        if kept:
            assert response.content == b"abcdef"
        else:
            assert stream.closed == 1
            with pytest.raises(StreamConsumedError):
                response.content  # noqa: B018


async def joined(response: Response) -> bytes:
    return b"".join([chunk async for chunk in response.iter_content()])


class TestLines:
    @pytest.mark.parametrize(
        ("content", "lines"),
        [
            (b"", []),
            (b"a", ["a"]),
            (b"a\n", ["a"]),
            (b"a\nb", ["a", "b"]),
            (b"a\r\nb\r\n", ["a", "b"]),
            (b"a\rb\r", ["a", "b"]),
            (b"a\n\n\r\n\rb", ["a", "", "", "", "b"]),
            (b"\n", [""]),
            ("é\n😀\u2028x\x0b\n".encode(), ["é", "😀\u2028x\x0b"]),
        ],
    )
    async def test_lines(self, content: bytes, lines: list[str]):
        """Lines end with CR, LF or CR LF, and with nothing else, wherever the body is cut."""
        for pieces in ([content], [bytes([byte]) for byte in content]):
            response, _ = streamed(*pieces)
            assert [line async for line in response.iter_lines()] == lines
        assert [line async for line in read(content).iter_lines()] == lines

    async def test_lines_of_another_encoding(self):
        """Lines are text in the answer's encoding; bytes that don't fit become U+FFFD."""
        content = "é\n日本\n".encode("utf-16-le")
        response, _ = streamed(content[:3], content[3:], headers={"Content-Type": "text/plain; charset=utf-16-le"})
        assert [line async for line in response.iter_lines()] == ["é", "日本"]
        response, _ = streamed(b"a\xffb\n", headers={"Content-Type": "text/plain; charset=utf-8"})
        assert [line async for line in response.iter_lines()] == ["a\ufffdb"]


class TestText:
    @pytest.mark.parametrize(
        ("content_type", "content", "encoding", "text"),
        [
            (None, "é".encode(), "utf-8", "é"),
            ("text/plain", "é".encode(), "utf-8", "é"),
            ("text/plain; charset=iso-8859-1", b"\xe9", "iso8859-1", "é"),
            ('text/plain; charset="UTF-8"', "é".encode(), "utf-8", "é"),
            ("text/plain;Charset='koi8-r'", b"\xc1", "koi8-r", "а"),
            ("text/plain; charset=utf-16", "é".encode("utf-16"), "utf-16", "é"),
            ("text/plain; charset=unknown-1", "é".encode(), "utf-8", "é"),
            (None, codecs.BOM_UTF8 + "é".encode(), "utf-8-sig", "é"),
            (None, codecs.BOM_UTF16_LE + "é".encode("utf-16-le"), "utf-16", "é"),
            (None, codecs.BOM_UTF32_BE + "é".encode("utf-32-be"), "utf-32", "é"),
            ("text/plain; charset=utf-8", b"a\xff", "utf-8", "a\ufffd"),
            (None, b"", "utf-8", ""),
        ],
    )
    def test_text_and_its_encoding(self, content_type: str | None, content: bytes, encoding: str, text: str):
        """The header's charset counts, else a byte order mark, else UTF-8; what does not fit becomes U+FFFD."""
        response = read(content, **({"Content_Type": content_type} if content_type else {}))
        assert response.encoding == encoding
        assert response.text == text

    @pytest.mark.parametrize(
        "charset", ["hex", "base64", "zlib", "rot13", "idna", "punycode", "undefined", "bz2", "\xff", "a" * 999]
    )
    def test_a_charset_that_is_none(self, charset: str):
        """Whatever a server calls its encoding, text can be asked for."""
        assert read(b"a\xc3\xa9", Content_Type=f"text/plain; charset={charset}").text == "aé"

    def test_an_encoding_of_ones_own(self):
        """The encoding can be set, to one that Python knows."""
        response = read(b"\xe9", Content_Type="text/plain; charset=utf-8")
        response.encoding = "latin-1"
        assert response.text == "é"
        with pytest.raises(LookupError):
            response.encoding = "no-such-encoding"

    async def test_the_encoding_is_looked_for_when_the_body_is_here(self):
        """Asking for the encoding before the body is read does not settle it."""
        response, _ = streamed(codecs.BOM_UTF16_LE + "é".encode("utf-16-le"))
        assert response.encoding == "utf-8"
        await response.read()
        assert response.text == "é"


class TestJSON:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
    def test_json_in_each_of_its_encodings(self, encoding: str):
        """JSON is UTF-8, or what its first bytes say, whatever the header's charset."""
        content = json.dumps({"é": [1, None]}, ensure_ascii=False).encode(encoding)
        assert read(content, Content_Type="application/json; charset=latin-1").json() == {"é": [1, None]}

    def test_options(self):
        """json() passes its options on."""
        assert read(b"1.5").json(parse_float=str) == "1.5"

    @pytest.mark.parametrize(
        "content",
        [b"", b"<html>", b"{", b"[1,]", b"\xff\xfe\xff", b'"\xff"', b"1" * 5000, b"[" * 100_000],
        ids=["empty", "html", "cut", "comma", "utf-16", "latin-1", "huge number", "deep"],
    )
    def test_what_is_no_json(self, content: bytes):
        """Anything else is JSONDecodeError, which is a ValueError and json's own error too, with the answer in it."""
        response = read(content)
        with pytest.raises(JSONDecodeError, match="the answer of http://example.org/ is not JSON") as caught:
            response.json()
        assert isinstance(caught.value, json.JSONDecodeError)
        assert isinstance(caught.value, RequestException)
        assert caught.value.response is response
        assert len(str(caught.value)) < 300

    def test_the_message_shows_the_beginning(self):
        """The error shows how the body begins: mostly it is an error page."""
        with pytest.raises(JSONDecodeError, match=r"Expecting value\); it begins '<html><title>Bad Gateway") as caught:
            read(b"<html><title>Bad Gateway</title>").json()
        assert caught.value.pos == 0


class TestLinks:
    @pytest.mark.parametrize(
        ("header", "links"),
        [
            ("", {}),
            ("nonsense", {}),
            ('</2>; rel="next"', {"next": {"url": "/2", "rel": "next"}}),
            (
                '<http://a/?p=2,3;4>; rel=next; title="a b", </1>;rel="prev"',
                {
                    "next": {"url": "http://a/?p=2,3;4", "rel": "next", "title": "a b"},
                    "prev": {"url": "/1", "rel": "prev"},
                },
            ),
            ("</a>", {"/a": {"url": "/a"}}),
            ("< /a >; REL='x'", {"x": {"url": "/a", "rel": "x"}}),
            (
                '</1>; title="a, b; rel=no <x>; c"; rel="one", </2>; rel=two',
                {
                    "one": {"url": "/1", "title": "a, b; rel=no <x>; c", "rel": "one"},
                    "two": {"url": "/2", "rel": "two"},
                },
            ),
            (r'</1>; title="say \"<b>\", \\"; rel=x', {"x": {"url": "/1", "title": 'say "<b>", \\', "rel": "x"}}),
            ('</1> ; rel = "x" ;\ttitle = y,</2>', {"x": {"url": "/1", "rel": "x", "title": "y"}, "/2": {"url": "/2"}}),
            ("</1>; rel=first; rel=second; url=/other; flag", {"first": {"url": "/1", "rel": "first"}}),
            (
                '</1>; rel="never closed, </2>; rel=x',
                {"never closed, </2>; rel=x": {"url": "/1", "rel": "never closed, </2>; rel=x"}},
            ),
            ('</1>; title="', {"/1": {"url": "/1", "title": ""}}),
            ("<1 <2>; rel=x, 3>", {"x": {"url": "2", "rel": "x"}}),
        ],
    )
    def test_links(self, header: str, links: dict[str, Any]):
        """The links of the Link header are found by relation, or by URL."""
        assert parse_links(header) == links

    @pytest.mark.parametrize("text", ["<", "</>;", "</>;a", '</>;a="', '</>;a="\\";', "</> ", "</>;a=b;", "</>; a = "])
    def test_a_long_header(self, text: str):
        """The time grows with the header's length, and no faster: 128 KiB of anything are read in a moment."""
        for header in (text * (131_072 // len(text)), text[:3] + text[3:] * (131_072 // len(text))):
            started = time.process_time()
            parse_links(header)
            assert time.process_time() - started < 2

    def test_links_of_an_answer(self):
        """Several Link headers are one."""
        response = answer(prepared(), 200, [("Link", "</1>; rel=prev"), ("Link", "</3>; rel=next")])
        assert {relation: link["url"] for relation, link in response.links.items()} == {"prev": "/1", "next": "/3"}
        assert read().links == {}


class TestAsASource:
    """An answer can be sent on as the body of an upload."""

    async def test_one_that_is_read(self):
        """Its content is sent, as often as wanted."""
        segment = describe(read(b"content"))
        assert isinstance(segment, Bytes)
        assert segment.length == 7

    async def test_one_that_is_streamed(self):
        """It is sent as it arrives, once, with the length that its server announced."""
        response, _ = streamed(b"con", b"tent", headers={"Content-Length": "7"})
        segment = describe(response)
        assert segment.length == 7
        assert b"".join([chunk async for chunk in segment.chunks()]) == b"content"
        with pytest.raises(UnrewindableBodyError):
            segment.require_fresh()

    async def test_in_a_form(self):
        """It can be a file of a form."""
        response, _ = streamed(b"content", headers={"Content-Length": "7"})
        datagen, headers = multipart_encode({"file": ("name.bin", response)})
        body = b"".join([chunk async for chunk in datagen])
        assert b'; filename="name.bin"\r\n' in body
        assert b"\r\n\r\ncontent\r\n--" in body
        assert headers["Content-Length"] == str(len(body))

    @pytest.mark.parametrize(
        "headers", [{}, {"Content-Length": "x"}, {"Content-Length": "7", "Content-Encoding": "gzip"}]
    )
    def test_one_whose_length_is_not_known(self, headers: dict[str, str]):
        """A chunked or coded answer has no length that could be announced."""
        response, _ = streamed(b"content", headers=headers)
        with pytest.raises(InvalidBody, match="the length of this response is not known: 'await response.read\\(\\)'"):
            describe(response)

    async def test_one_whose_length_is_declared(self):
        """The caller may know it."""
        response, _ = streamed(b"content")
        assert b"".join([chunk async for chunk in describe(response, 7).chunks()]) == b"content"


class TestRequest:
    def test_as_in_requests_0_2_1(self):
        """Request() has attributes that are filled one by one."""
        request = Request()
        assert (request.method, request.url, request.response, request.sent) == ("GET", None, None, False)
        request.method = "post"
        request.url = "http://example.org/"
        assert repr(request) == "<Request [POST]>"

    def test_nothing_is_shared(self):
        """No two requests share a default."""
        one, other = Request(), Request()
        fields = ("headers", "params", "data", "files", "cookies")
        assert all(getattr(one, name) is None or getattr(one, name) is not getattr(other, name) for name in fields)

    @pytest.mark.parametrize("method", ["", "GET ", "G\r\n", "GÉT", "a(b)", None, 7, b"GET", ["GET"]])
    def test_a_method_that_is_none(self, method: Any):
        """What is no token is refused, where it is set."""
        with pytest.raises(InvalidMethod, match="can't be a method"):
            Request(method)
        request = Request()
        with pytest.raises(InvalidMethod):
            request.method = method
        assert request.method == "GET"

    @pytest.mark.parametrize("method", [HTTPMethod.POST, *Enum("Verb", {"POST": "POST"}, type=str)])
    def test_a_method_out_of_an_enumeration(self, method: Any):
        """A member of an enumeration that is text is that text."""
        assert encode_head(Request(method).method, "/", "").startswith(b"POST / ")

    @pytest.mark.parametrize(("method", "kept"), [("get", "GET"), ("Propfind", "PROPFIND"), ("M-SEARCH", "M-SEARCH")])
    def test_a_method(self, method: str, kept: str):
        """Any token is a method, in upper case."""
        assert Request(method).method == kept

    def test_a_prepared_request(self):
        """What goes out can be copied and changed without changing the original."""
        request = prepared("PUT", "http://user:pw@example.org/x", data=b"x")
        copy = request.copy()
        copy.headers["X"] = "y"
        copy.method = "GET"
        assert "X" not in request.headers
        assert request.method == "PUT"
        assert copy.body is request.body
        assert request.url == "http://example.org/x"
        assert repr(request) == "<PreparedRequest [PUT]>"


def test_an_error_says_which_request_it_is_about():
    """attach puts the request into an error that has none, and leaves one that has."""
    one, other = prepared(), prepared()
    error = RequestException("no")
    attach(error, one)
    attach(error, other)
    assert error.request is one


def test_an_upload_tells_how_much_has_left():
    """The account of an upload has a repr for people."""
    upload = Upload(100)
    upload.sent = 40
    assert repr(upload) == "<Upload [40 of 100 bytes]>"
    upload.complete = True
    assert repr(upload) == "<Upload [40 of 100 bytes, complete]>"
    assert repr(Upload(None)) == "<Upload [0 of ? bytes]>"
    assert Upload(0).complete
    assert aioreq.Upload is Upload


class TestPickling:
    """Requests and responses go to another process, as far as they are data."""

    def test_a_prepared_request(self):
        """A request is the same afterwards; its body goes along where it is in memory."""
        request = prepared("POST", "http://user:secret@example.org/x?y#z", data={"a": "1"})
        for copied in (pickle.loads(pickle.dumps(request)), copy.copy(request)):
            assert (copied.method, copied.target, copied.headers) == (request.method, request.target, request.headers)
            assert copied.body is not None
            assert copied.body.read_now() == b"a=1"
        with_file = prepared("POST", files={"f": ("name", io.BytesIO(b"content"))})
        assert b"content" in pickle.loads(pickle.dumps(with_file)).body.read_now()

    def test_a_body_that_stays_behind(self, tmp_path: Path):
        """Files and iterators stay behind; a copy within the process has them."""
        (tmp_path / "file").write_bytes(b"content")
        for data in (tmp_path / "file", iter([b"content"])):
            request = prepared("PUT", data=data, headers={"Content-Length": "7"})
            assert pickle.loads(pickle.dumps(request)).body is None
            assert copy.copy(request).body is request.body

    async def test_a_response(self):
        """An answer has all it had: history, cookies, encoding, time, and how much was sent."""
        routes = {
            "/": faults.ok(302, headers=(("Location", "/there"),)),
            "/there": faults.ok(headers=(("Set-Cookie", "a=1"), ("Link", "</x>; rel=next"))),
        }
        with FaultServer(routes) as server:
            async with aioreq.Session() as session:
                response = await session.put(f"{server.url}/", data=b"body")
        response.encoding = "latin-1"
        copied = pickle.loads(pickle.dumps(response))
        for name in ("status_code", "reason", "headers", "url", "content", "text", "encoding", "elapsed", "links",
                     "http_version", "trailers", "ok"):  # fmt: skip
            assert getattr(copied, name) == getattr(response, name)
        assert dict(copied.cookies) == {"a": "1"}
        assert [earlier.status_code for earlier in copied.history] == [302]
        assert (copied.upload.sent, copied.upload.complete) == (4, True)
        assert copied.request.method == "PUT"

    async def test_a_response_that_is_not_read(self):
        """What was not read stays behind: the copy says so, and the answer itself can still be read."""
        with FaultServer() as server:
            async with aioreq.Session() as session, session.stream("GET", server.url) as response:
                copied = pickle.loads(pickle.dumps(response))
                with pytest.raises(StreamConsumedError, match="is not kept"):
                    copied.content  # noqa: B018
                assert await response.read()


def test_json_errors_can_be_pickled():
    """An error may cross to another process."""
    with pytest.raises(JSONDecodeError) as caught:
        read(b"<").json()
    error = pickle.loads(pickle.dumps(caught.value))
    assert type(error) is JSONDecodeError
    assert str(error) == str(caught.value)
