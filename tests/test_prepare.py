"""From what a caller says to what goes on the wire: headers, query and body put together and checked."""

import io
import json
from collections.abc import AsyncIterator, Iterator
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioreq import MultipartParam, Request, multipart_encode
from aioreq._body import encode_pairs
from aioreq._headers import Headers
from aioreq._message import Letterhead, PreparedRequest
from aioreq._rules import prepare as prepare_module
from aioreq._rules.prepare import Defaults, merged, prepare
from aioreq._url import parse_url
from aioreq.exceptions import FileMissing, InvalidBody, InvalidHeader, InvalidURL, URLRequired

URL = "http://example.org/path"
OWN = Headers({"User-Agent": "own/1", "Accept": "*/*"})


def ready(method: str = "POST", url: Any = URL, *, defaults: Defaults | None = None, **fields: Any) -> PreparedRequest:
    expect = fields.pop("expect_continue", None)
    return prepare(
        Request(method, url, **fields), defaults or Defaults(Headers(), None, None, None), expect_continue=expect
    )


async def content(request: PreparedRequest) -> bytes:
    assert request.body is not None
    return b"".join([chunk async for chunk in request.body])


async def async_blocks() -> AsyncIterator[bytes]:
    yield b"ab"
    yield b"c"


def blocks() -> Iterator[bytes]:
    yield b"ab"
    yield b"c"


class TestHeaders:
    def test_defaults_and_ones_own(self):
        """A call's headers are put over the session's, and those over aioreq's, whatever the case of their names."""
        defaults = Defaults(OWN, {"accept": "text/html", "X-Session": "1"}, None, None)
        request = ready("GET", defaults=defaults, headers={"x-session": "2", "X-Call": "3"})
        assert dict(request.headers) == {
            "Host": "example.org",
            "User-Agent": "own/1",
            "accept": "text/html",
            "x-session": "2",
            "X-Call": "3",
        }

    def test_none_removes(self):
        """None as a value leaves out what would be there, in a session and in a call."""
        defaults = Defaults(OWN, {"accept": None, "X-Session": "1"}, None, None)
        assert dict(defaults.headers) == {"User-Agent": "own/1", "X-Session": "1"}
        request = ready("GET", defaults=defaults, headers={"user-agent": None, "X-Session": None, "X-Other": None})
        assert dict(request.headers) == {"Host": "example.org"}
        assert dict(ready("GET", defaults=defaults).headers)["User-Agent"] == "own/1"

    def test_several_of_a_name(self):
        """Pairs and lists send a field several times; they replace all defaults of that name."""
        base = Headers([("X-A", "old"), ("X-A", "older")])
        assert list(merged(base, [("X-A", "1"), ("x-a", "2")]).items()) == [("X-A", "1"), ("x-a", "2")]
        assert list(merged(base, {"X-A": ["1", "2"]}).items()) == [("X-A", "1"), ("X-A", "2")]
        assert list(merged(base, Headers([("X-A", "1"), ("X-A", "2")])).items()) == [("X-A", "1"), ("X-A", "2")]

    def test_a_host_of_ones_own(self):
        """A Host header replaces the URL's host, and there is one."""
        request = ready("GET", headers={"host": "virtual.example"})
        assert request.headers.getall("Host") == ["virtual.example"]
        assert request.target.host == "example.org"

    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("http://example.org:80/", "example.org"),
            ("https://example.org:443/", "example.org"),
            ("http://example.org:443/", "example.org:443"),
            ("http://[::1]:8000/", "[::1]:8000"),
            ("http://user:password@example.org/", "example.org"),
            ("http://münchen.example/", "xn--mnchen-3ya.example"),
        ],
    )
    def test_host(self, url: str, host: str):
        """Host is what the URL says, without the scheme's own port (RFC 9110, section 7.2), and the first header."""
        assert next(iter(ready("GET", url).headers.items())) == ("Host", host)

    def test_the_request_is_not_changed(self):
        """What the caller passed stays as it was."""
        headers, params = {"X-A": "1"}, {"a": "1"}
        ready("POST", headers=headers, params=params, data=b"x")
        assert (headers, params) == ({"X-A": "1"}, {"a": "1"})

    def test_one_call_does_not_change_the_next(self):
        """Defaults stay as they were."""
        defaults = Defaults(OWN, None, None, None)
        ready("POST", defaults=defaults, data=b"x", headers={"X-A": "1"})
        assert list(defaults.headers) == ["User-Agent", "Accept"]


def on(letterhead: Letterhead, method: str, url: str) -> PreparedRequest:
    """A request that has nothing but its letterhead so far."""
    return PreparedRequest(method, parse_url(url), Headers(letterhead.headers), None, letterhead)


class TestFraming:
    """The fields of a body, which are put on together."""

    @pytest.mark.parametrize("content_type", [None, "text/plain", "text/plain; name=ü", "a\tb", "a\r\nX: 1"])
    def test_as_one_by_one(self, content_type: str | None):
        """They are what they are when each is put on by itself; what has to be looked at is not written down."""
        letterhead = Letterhead(Headers({"Host": "example.org"}))
        together, single = (on(letterhead, "POST", "http://example.org") for _ in "12")
        together.add_framing(12, content_type)
        single.add("Content-Length", "12")
        if content_type is not None:
            single.add("Content-Type", content_type)
        assert list(together.headers.items()) == list(single.headers.items())
        assert together.letterhead is single.letterhead
        assert together.letterhead is None or together.added == single.added

    def test_on_changed_fields(self):
        """Behind fields that somebody has changed they are not written down."""
        request = on(Letterhead(Headers({"Host": "example.org"})), "POST", "http://a.org")
        request.headers["X-New"] = "1"
        request.add_framing(1, None)
        assert request.letterhead is None
        assert request.headers["Content-Length"] == "1"


class TestLetterheads:
    """What requests to a host begin with is made once, until the session's headers change."""

    def test_made_once(self):
        """One letterhead for a host, another for another host, and other ones after a change."""
        defaults = Defaults(Headers({"X-Token": "old"}), None, None, None)
        first = defaults.letterhead("example.org")
        assert defaults.letterhead("example.org") is first
        assert list(defaults.letterhead("other.example").headers) == ["Host", "X-Token"]
        defaults.headers["X-Token"] = "new"
        assert dict(defaults.letterhead("example.org").headers) == {"Host": "example.org", "X-Token": "new"}
        assert first.headers["X-Token"] == "old"

    def test_not_without_bounds(self):
        """A session that talks to very many hosts does not keep them all."""
        defaults = Defaults(Headers(), None, None, None)
        for number in range(2000):
            assert defaults.letterhead(f"{number}.example").headers["Host"] == f"{number}.example"
        assert len(defaults._letterheads) < 1000

    def test_changed_while_one_is_made(self, monkeypatch: pytest.MonkeyPatch):
        """One that a worker thread makes while the headers change is not kept for the requests that come later."""
        defaults = Defaults(Headers({"X-Token": "old"}), None, None, None)
        make = prepare_module._addressed
        meanwhile = [lambda: defaults.headers.update({"X-Token": "new"}), lambda: defaults.letterhead("example.org")]

        def slow(host: str, fields: Headers) -> Headers:
            made = make(host, fields)
            while meanwhile:
                meanwhile.pop(0)()
            return made

        monkeypatch.setattr(prepare_module, "_addressed", slow)
        defaults.letterhead("example.org")
        assert defaults.letterhead("example.org").headers["X-Token"] == "new"


class TestTargets:
    @pytest.mark.parametrize(
        ("session", "own", "query"),
        [
            (None, None, ""),
            (None, {"a": "1"}, "?a=1"),
            ({"a": "1"}, None, "?a=1"),
            ({"a": "1"}, {"b": "2"}, "?a=1&b=2"),
            ({"a": "1", "b": "1"}, {"a": "2"}, "?a=2&b=1"),
            ({"a": "1", "b": "1"}, {"a": None}, "?b=1"),
            ({"a": "1"}, [("a", "2")], "?a=1&a=2"),
            ({"a": "1"}, "raw=2", "?a=1&raw=2"),
            ({"a": None}, {}, ""),
            (None, {"a": ["1", "2"], "b": None, "c": ""}, "?a=1&a=2&c="),
            (None, {"é": "ü &=", "n": 7}, "?%C3%A9=%C3%BC+%26%3D&n=7"),
            (None, b"raw=bytes", "?raw=bytes"),
        ],
    )
    def test_params(self, session: Any, own: Any, query: str):
        """The session's params and the call's are merged by name; None leaves one out, a list repeats the name."""
        request = ready("GET", defaults=Defaults(OWN, None, session, None), params=own)
        assert request.target.path == "/path" + query

    def test_params_and_a_query(self):
        """Params stand behind the URL's own query, and before its fragment."""
        assert ready("GET", URL + "?own=1#top", params={"a": "2"}).url == URL + "?own=1&a=2#top"

    @pytest.mark.parametrize(
        ("base", "url", "whole"),
        [
            ("http://example.org", "/a", "http://example.org/a"),
            ("http://example.org/", "a", "http://example.org/a"),
            ("http://example.org/api", "/a", "http://example.org/api/a"),
            ("http://example.org/api/", "a?b=c", "http://example.org/api/a?b=c"),
            ("http://example.org/api", "", "http://example.org/api/"),
            ("http://example.org/api", "https://other.example/x", "https://other.example/x"),
            (
                "http://example.org",
                "/next?to=http://other.example/",
                "http://example.org/next?to=http://other.example/",
            ),
        ],
    )
    def test_base_url(self, base: str, url: str, whole: str):
        """A relative URL is appended to the base; a whole one is left alone."""
        assert ready("GET", url, defaults=Defaults(OWN, None, None, base)).url == whole

    @pytest.mark.parametrize("base", ["example.org", "/api", "ftp://example.org"])
    def test_a_base_that_is_none(self, base: str):
        """A base is a whole URL, and checked where it is set."""
        with pytest.raises(InvalidURL):
            Defaults(OWN, None, None, base)

    def test_no_url(self):
        """A request without a URL says so."""
        with pytest.raises(URLRequired, match="a request needs a URL"):
            ready("GET", None)

    def test_objects_with_a_text(self):
        """A URL object of any library is taken by its text."""

        class Address:
            def __str__(self) -> str:
                return URL

        assert ready("GET", Address()).url == URL
        assert ready("GET", URL.encode()).url == URL


class TestRawBodies:
    @pytest.mark.parametrize(
        ("data", "sent"),
        [
            ("é", b"\xc3\xa9"),
            (b"abc", b"abc"),
            (bytearray(b"abc"), b"abc"),
            (memoryview(b"abc"), b"abc"),
            (io.BytesIO(b"abc"), b"abc"),
            (io.StringIO("é"), b"\xc3\xa9"),
            ([b"ab", b"c"], b"abc"),
            ((b"ab", bytearray(b"c")), b"abc"),
        ],
    )
    async def test_what_is_sent_as_it_is(self, data: Any, sent: bytes):
        """Text, bytes and files are the body itself: their length is announced, and no type is made up."""
        request = ready(data=data)
        assert request.headers["Content-Length"] == str(len(sent))
        assert "Content-Type" not in request.headers
        assert "Transfer-Encoding" not in request.headers
        assert await content(request) == sent

    async def test_a_path(self, tmp_path: Path):
        """A path is the file there."""
        (tmp_path / "file").write_bytes(b"abc")
        request = ready("PUT", data=tmp_path / "file", headers={"Content-Type": "x/y"})
        assert (request.headers["Content-Length"], request.headers["Content-Type"]) == ("3", "x/y")
        assert await content(request) == b"abc"
        with pytest.raises(FileMissing):
            ready("PUT", data=tmp_path / "missing")

    @pytest.mark.parametrize("data", [None, "", b"", {}, [], ()])
    @pytest.mark.parametrize(("method", "length"), [("POST", "0"), ("PUT", "0"), ("PATCH", "0"), ("GET", None)])
    def test_no_body(self, data: Any, method: str, length: str | None):
        """A method that is meant to have a body says that it has none (RFC 9110, section 8.6); others say nothing."""
        request = ready(method, data=data)
        assert request.body is None
        assert request.headers.get("Content-Length") == length

    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND"])
    async def test_any_method_may_have_a_body(self, method: str):
        """What the caller wants sent is sent."""
        request = ready(method, data=b"abc")
        assert request.headers["Content-Length"] == "3"
        assert await content(request) == b"abc"

    def test_an_empty_file_is_a_body(self):
        """A file of nothing is a body of no bytes."""
        request = ready(data=io.BytesIO())
        assert request.body is not None
        assert request.headers["Content-Length"] == "0"

    @pytest.mark.parametrize("data", [7, 1.5, True])
    def test_a_number(self, data: Any):
        """A number is a field's value, but no body."""
        with pytest.raises(InvalidBody, match=f"{data} is a number, which is no body: pass text or bytes"):
            ready(data=data)


class TestIterators:
    @pytest.mark.parametrize("source", [blocks, async_blocks])
    def test_without_a_length(self, source: Any):
        """An iterator whose length nobody said is refused, and nothing is sent."""
        with pytest.raises(ValueError, match="^No Content-Length"):
            ready(data=source())

    @pytest.mark.parametrize("source", [blocks, async_blocks])
    async def test_with_a_content_length(self, source: Any):
        """The header Content-Length says how long it will be."""
        request = ready(data=source(), headers={"Content-Length": "3"})
        assert request.headers.getall("Content-Length") == ["3"]
        assert await content(request) == b"abc"

    @pytest.mark.parametrize("source", [blocks, async_blocks, lambda: b"abc", lambda: io.BytesIO(b"abc")])
    async def test_chunked_by_the_callers_wish(self, source: Any):
        """Only a caller who sets Transfer-Encoding: chunked himself gets chunked coding."""
        request = ready(data=source(), headers={"Transfer-Encoding": "chunked"})
        assert request.headers["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in request.headers
        assert request.body is not None
        assert request.body.length is None
        assert await content(request) == b"abc"

    async def test_a_form_in_chunks(self):
        """The datagen of a form can be sent chunked as well."""
        datagen, headers = multipart_encode({"a": "b"})
        headers.pop("Content-Length")
        request = ready(data=datagen, headers={**headers, "Transfer-Encoding": "chunked"})
        assert request.headers["Content-Type"] == headers["Content-Type"]
        assert await content(request) == b"".join([chunk async for chunk in datagen])

    @pytest.mark.parametrize(
        ("headers", "data", "message"),
        [
            ({"Transfer-Encoding": "gzip"}, b"x", "can only be 'chunked'"),
            ({"Transfer-Encoding": "gzip, chunked"}, b"x", "can only be 'chunked'"),
            ({"Transfer-Encoding": "chunked"}, None, "on a request with a body"),
            ({"Transfer-Encoding": "chunked", "Content-Length": "1"}, b"x", "and no Content-Length"),
            ({"Transfer-Encoding": "chunked"}, {"a": "b"}, "a form has a length"),
            ({"Content-Length": "4"}, b"abc", "says 4, but the body has 3 bytes"),
            ({"Content-Length": "2"}, b"abc", "says 2, but the body has 3 bytes"),
            ({"Content-Length": "3"}, None, "says 3, but the body has 0 bytes"),
            ({"Content-Length": "-3"}, b"abc", "'-3', not a number of bytes"),
            ({"Content-Length": "+3"}, b"abc", "'\\+3', not a number of bytes"),
            ({"Content-Length": "3.0"}, b"abc", "not a number of bytes"),
            ({"Content-Length": ""}, b"abc", "not a number of bytes"),
            ({"Content-Length": "٣"}, b"abc", "latin-1"),
            ([("Content-Length", "3"), ("Content-Length", "4")], b"abc", "'3, 4', not a number of bytes"),
        ],
    )
    def test_headers_that_contradict_the_body(self, headers: Any, data: Any, message: str):
        """No request leaves whose framing is not true."""
        with pytest.raises(InvalidHeader, match=message):
            ready(data=data, headers=headers)

    @pytest.mark.parametrize("length", [3, "3", "03"])
    def test_a_true_content_length(self, length: Any):
        """A Content-Length that is true is welcome, and there is one."""
        assert ready(data=b"abc", headers={"content-length": length}).headers.getall("Content-Length") == ["3"]


class TestForms:
    @pytest.mark.parametrize(
        ("data", "sent"),
        [
            ({"a": "1", "b": "x y&="}, b"a=1&b=x+y%26%3D"),
            ({"a": ["1", "2"], "b": ("3", "4")}, b"a=1&a=2&b=3&b=4"),
            ({"a": None, "b": ""}, b"b="),
            ([("a", "1"), ("a", "2")], b"a=1&a=2"),
            ((("a", 1), ["b", 2.5]), b"a=1&b=2.5"),
            ({"é": b"\xff"}, b"%C3%A9=%FF"),
        ],
    )
    async def test_a_form_in_the_url_coding(self, data: Any, sent: bytes):
        """A mapping or pairs are a form (application/x-www-form-urlencoded), as in requests."""
        request = ready(data=data)
        assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert request.headers["Content-Length"] == str(len(sent))
        assert await content(request) == sent

    @settings(max_examples=200, derandomize=True, database=None, deadline=None)
    @given(value=st.one_of(st.text(max_size=8), st.binary(max_size=8), st.integers(), st.floats(), st.booleans()))
    def test_words_are_quoted_as_urlencode_does(self, value: Any):
        """Every name and value is written as the standard library's ``urlencode`` writes it."""
        assert encode_pairs([("a", value), (value, "a b")]) == urlencode([("a", value), (value, "a b")])

    @settings(max_examples=200, derandomize=True, database=None, deadline=None)
    @given(
        fields=st.dictionaries(
            st.text("ab", max_size=2), st.text("a1", max_size=2) | st.text(max_size=2) | st.integers(), max_size=3
        )
    )
    def test_a_mapping_is_written_as_urlencode_does(self, fields: dict[str, Any]):
        """Whether all of it is plain words or not."""
        assert encode_pairs(fields) == urlencode(fields)

    @pytest.mark.parametrize("text", ["word", "two words"])
    def test_a_text_that_prints_as_something_else(self, text: str):
        """A member of an enumeration that is text is that text, in a form of either kind."""
        [member] = Enum("Member", {"ONE": text}, type=str)
        assert encode_pairs({"a": member}) == urlencode({"a": text})
        assert MultipartParam("a", member).value == text.encode()

    @pytest.mark.parametrize("value", [io.BytesIO(b"x"), [io.BytesIO(b"x")], async_blocks()])
    def test_a_source_of_bytes_as_a_value(self, value: Any):
        """A file in a form without files would be sent as its repr, and is refused with the way out."""
        with pytest.raises(InvalidBody, match=r"the value of 'a' is a source of bytes .*: pass it in files="):
            ready(data={"a": value})

    async def test_a_type_of_the_callers_own(self):
        """A Content-Type that the caller sets is kept."""
        request = ready(data={"a": "1"}, headers={"content-type": "x/y"})
        assert request.headers.getall("Content-Type") == ["x/y"]

    @pytest.mark.parametrize("files", [{"f": b"x"}, [("f", b"x")], [MultipartParam("f", b"x", filename="f")]])
    async def test_files_are_a_form_with_parts(self, files: Any):
        """files= is a mapping, pairs or MultipartParams: a form of parts with an exact length."""
        request = ready(files=files)
        body = await content(request)
        assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
        assert request.headers["Content-Length"] == str(len(body))
        assert body.count(b'; name="f"; filename="f"') == 1

    async def test_fields_travel_with_files(self):
        """data= fields stand in the same form, before the files."""
        request = ready(data={"a": "1", "b": ["2", "3"], "n": None}, files={"f": ("x.txt", b"x")})
        body = await content(request)
        assert [body.count(b'; name="%c"' % name) for name in b"abnf"] == [1, 2, 0, 1]
        assert body.index(b'name="a"') < body.index(b'name="b"') < body.index(b'name="f"')

    async def test_a_tuple_among_the_fields_is_several_values(self):
        """Beside files a tuple in data= means what it means without them."""
        body = await content(ready(data={"a": ("x", "y"), "b": (1, 2)}, files={"f": b""}))
        assert body.count(b'name="a"\r\n') == body.count(b'name="b"\r\n') == 2
        assert body.count(b"filename=") == 1

    async def test_data_may_be_pairs_or_params(self):
        """Beside files data= may be pairs and MultipartParams, from an iterator too."""
        fields = iter([("a", "1"), MultipartParam("b", "2")])
        body = await content(ready(data=fields, files={"f": b""}))
        assert [body.count(b'; name="%c"' % name) for name in b"abf"] == [1, 1, 1]

    @pytest.mark.parametrize("data", ["text", b"bytes", 7])
    def test_raw_data_and_files(self, data: Any):
        """There is one body: raw data can't stand beside files."""
        with pytest.raises(InvalidBody, match="data= beside files= holds fields"):
            ready(data=data, files={"f": b"x"})

    @pytest.mark.parametrize("files", [{"k": None}, [("k", None)], {"k": ("name", None)}])
    async def test_none_is_no_file(self, files: Any):
        """A file that is None is left out."""
        assert b"name=" not in await content(ready(files=files))

    @pytest.mark.parametrize(
        ("content_type", "sent_as"),
        [
            ("multipart/form-data; boundary=own", "multipart/form-data; boundary=own"),
            ('multipart/form-data; boundary="own"', "multipart/form-data; boundary=own"),
            ("multipart/form-data; Boundary = own; x=y", "multipart/form-data; boundary=own; x=y"),
            ('multipart/form-data; boundary="a b"; x=y', "multipart/form-data; boundary=a+b; x=y"),
            ("multipart/form-data; boundary===1==", "multipart/form-data; boundary=%3D%3D1%3D%3D"),
            ("multipart/related; boundary=own", "multipart/related; boundary=own"),
        ],
    )
    async def test_a_boundary_of_the_callers_own(self, content_type: str, sent_as: str):
        """A boundary in the caller's Content-Type is the form's, and both name it alike."""
        request = ready(files={"f": b"x"}, headers={"Content-Type": content_type})
        assert request.headers.getall("Content-Type") == [sent_as]
        boundary = sent_as.partition("boundary=")[2].partition(";")[0].encode()
        body = await content(request)
        assert body.startswith(b"--" + boundary + b"\r\n")
        assert body.endswith(b"\r\n--" + boundary + b"--\r\n")

    def test_a_boundary_of_the_callers_own_in_a_file(self):
        """It may be in the data, and is looked for there."""
        with pytest.raises(ValueError, match="boundary found in the data of 'f'"):
            ready(files={"f": b"--own"}, headers={"Content-Type": "multipart/form-data; boundary=own"})

    @pytest.mark.parametrize("content_type", ["multipart/form-data", "x/y"])
    def test_a_type_without_a_boundary(self, content_type: str):
        """A Content-Type that names no boundary can't be a form's."""
        with pytest.raises(InvalidHeader, match="names no boundary: leave it out"):
            ready(files={"f": b"x"}, headers={"Content-Type": content_type})

    @pytest.mark.parametrize("boundary", ['""', "x" * 71])
    def test_a_boundary_that_is_none(self, boundary: str):
        """A boundary has 1 to 70 characters."""
        with pytest.raises(ValueError, match="1 to 70 characters|names no boundary"):
            ready(files={"f": b"x"}, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})


class TestLoneFile:
    """A form of one file on disk, which nobody watches, is made on a shorter way."""

    FORMS = (
        {"files": {"file": "photo.jpg"}},
        {"files": {'fi"e\r\n': 'a "quoted"\r\n name.txt'}},
        {"files": {"ä": "ü.tar.gz"}},
        {"files": {"file": "<stdin>"}},
        {"files": {"file": ".txt"}},
        {"files": {"file": "extensionless"}},
        {"files": {"": "photo.jpg"}},
        {"files": {"file": "photo.jpg", "other": "photo.jpg"}},
        {"files": {"file": "photo.jpg"}, "data": {"a": "b"}},
        {"files": {"file": "photo.jpg"}, "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    )

    @staticmethod
    async def sent(watched: bool, **fields: Any) -> tuple[dict[str, str], bytes]:
        """Headers and body; every random boundary is a B."""
        request = prepare(Request("POST", URL, **fields), Defaults(OWN, None, None, None), watched=watched)
        headers, body = dict(request.headers), await content(request)
        assert len(body) == int(headers["Content-Length"])
        boundary = headers["Content-Type"].partition("boundary=")[2]
        return headers | {"Content-Type": "B"}, body.replace(boundary.encode(), b"B")

    @pytest.mark.parametrize("form", FORMS, ids=str)
    @pytest.mark.parametrize("size", [0, 1, 5000])
    async def test_the_same_bytes(self, form: dict[str, Any], size: int, tmp_path: Path):
        """Whoever watches or not, the same goes on the wire."""
        for name in form["files"].values():
            (tmp_path / name).write_bytes(bytes(size))
        form = form | {"files": {field: tmp_path / name for field, name in form["files"].items()}}
        assert await self.sent(False, **form) == await self.sent(True, **form)

    @pytest.mark.parametrize("path", [Path("/nowhere/file"), Path("/"), Path("\0"), Path("/dev/null")], ids=repr)
    def test_the_same_errors(self, path: Path):
        """... and the same is refused, in the same words."""
        refusals = []
        for watched in (False, True):
            with pytest.raises(ValueError) as refused:
                prepare(Request("POST", URL, files={"file": path}), Defaults(OWN, None, None, None), watched=watched)
            refusals.append((type(refused.value), str(refused.value)))
        assert refusals[0] == refusals[1]

    def test_who_watches_sees_the_param(self, tmp_path: Path):
        """Only who watches is told of params."""
        (tmp_path / "photo.jpg").write_bytes(b"x")
        bodies = [
            prepare(
                Request("POST", URL, files={"file": tmp_path / "photo.jpg"}),
                Defaults(OWN, None, None, None),
                watched=watched,
            ).body
            for watched in (True, False)
        ]
        names = [{param.name for param in body.params if param is not None} for body in bodies if body is not None]
        assert names == [{"file"}, set()]


class TestDatagen:
    async def test_what_multipart_encode_gives(self):
        """datagen and headers of multipart_encode are a body and its headers, as with poster."""
        datagen, headers = multipart_encode({"a": "b"})
        request = ready(data=datagen, headers=headers)
        assert request.body is datagen
        assert request.headers["Content-Type"] == headers["Content-Type"]
        assert request.headers["Content-Length"] == headers["Content-Length"]

    async def test_without_its_headers(self):
        """A datagen knows its type and length itself."""
        datagen, headers = multipart_encode({"a": "b"})
        request = ready(data=datagen)
        assert {name: request.headers[name] for name in headers} == headers

    def test_with_headers_of_another(self):
        """A Content-Length that is another form's is refused."""
        datagen, _ = multipart_encode({"a": "b"})
        _, headers = multipart_encode({"a": "bcd"})
        with pytest.raises(InvalidHeader, match="the header Content-Length says"):
            ready(data=datagen, headers=headers)


class TestJSON:
    @pytest.mark.parametrize("value", [{}, [], "", 0, False, {"é": [1, 2.5, None, True]}])
    async def test_json(self, value: Any):
        """json= takes anything with a JSON form, empty values too."""
        request = ready(json=value)
        assert request.headers["Content-Type"] == "application/json"
        assert json.loads(await content(request)) == value

    def test_a_type_of_the_callers_own(self):
        """A Content-Type that the caller sets is kept."""
        request = ready(json={}, headers={"Content-Type": "application/problem+json"})
        assert request.headers["Content-Type"] == "application/problem+json"

    def test_none_is_no_json(self):
        """json=None is no body, as in requests."""
        assert ready(json=None).body is None

    @pytest.mark.parametrize("fields", [{"data": b"x"}, {"data": {"a": "b"}}, {"files": {"a": b"x"}}])
    def test_json_stands_alone(self, fields: dict[str, Any]):
        """A request has one body."""
        with pytest.raises(InvalidBody, match="json= can't go along with data= or files="):
            ready(json={}, **fields)

    @pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", float("nan"), float("inf"), {"a": Path()}])
    def test_what_has_no_json_form(self, value: Any):
        """NaN, infinities and objects have none."""
        with pytest.raises(InvalidBody, match="json= can't be encoded: "):
            ready(json=value)

    def test_a_circle(self):
        """A list that contains itself has none either."""
        value: list[Any] = []
        value.append(value)
        with pytest.raises(InvalidBody, match="json= can't be encoded: "):
            ready(json=value)


class TestExpect:
    @pytest.mark.parametrize("source", [blocks, async_blocks])
    def test_a_body_that_can_be_read_once_asks_first(self, source: Any):
        """A one-shot body would be lost if the server did not want it, so the server is asked."""
        request = ready(data=source(), headers={"Content-Length": "3"})
        assert request.headers["Expect"] == "100-continue"

    def test_a_form_with_such_a_part_asks_first(self):
        """One such part is enough."""
        param = MultipartParam("f", fileobj=blocks(), filesize=3)
        assert ready(files=[param]).headers["Expect"] == "100-continue"

    def test_others_don_t(self):
        """What can be sent again is sent at once."""
        assert "Expect" not in ready(data=b"abc").headers
        assert "Expect" not in ready(data=io.BytesIO(b"abc")).headers

    def test_the_caller_decides(self):
        """expect_continue= says yes or no for any body."""
        assert ready(data=b"abc", expect_continue=True).headers["Expect"] == "100-continue"
        one_shot = ready(data=blocks(), headers={"Content-Length": "3"}, expect_continue=False)
        assert "Expect" not in one_shot.headers

    def test_nothing_to_wait_for(self):
        """Without a byte to send there is nothing to ask about."""
        assert "Expect" not in ready(expect_continue=True).headers
        assert "Expect" not in ready(data=io.BytesIO(), expect_continue=True).headers
