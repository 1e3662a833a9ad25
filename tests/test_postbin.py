"""The bin of the examples, driven with the standard library's sockets and HTTP client."""

import hashlib
import http.client
import json
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlsplit

import postbin
import pytest
import trustme
from python_multipart.exceptions import FormParserError

EVERY_BYTE = bytes(range(256))
MULTIPART = {"Content-Type": "multipart/form-data; boundary=B"}
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}


# Means ------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)


@contextmanager
def connection(url: str) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)) as opened:
        yield opened


def exchange(opened: http.client.HTTPConnection, method: str, url: str, body=None, headers=None) -> Answer:
    address = urlsplit(url)
    target = f"{address.path or '/'}?{address.query}" if address.query else address.path or "/"
    opened.request(method, target, body, headers or {})
    response = opened.getresponse()
    return Answer(response.status, response.headers, response.read())


def send(method: str, url: str, body=None, headers=None) -> Answer:
    with connection(url) as opened:
        return exchange(opened, method, url, body, headers)


def new_bin(url: str) -> str:
    return url + send("POST", url).headers["Location"]


def listing(bin_url: str) -> list[dict]:
    return send("GET", bin_url, headers={"Accept": "application/json"}).json()


def totals(bin_url: str) -> dict:
    return send("GET", f"{bin_url}/totals").json()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def form_part(disposition: bytes, content: bytes, *headers: bytes) -> bytes:
    head = b"\r\n".join([b"Content-Disposition: " + disposition, *headers])
    return b"--B\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--B--\r\n"


class Events:
    """Server-sent events, one at a time."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self._unread = b""

    def next(self) -> dict | None:
        """The next event's data, or None when the server has ended the stream in good order."""
        data = None
        while line := self._line():
            if line == b"\n" and data is not None:
                return data
            if line.startswith(b"data: "):
                data = json.loads(line.removeprefix(b"data: "))
        return None

    def _line(self) -> bytes:
        # Not HTTPResponse.readline(): that takes a connection which was cut off for the end of the stream.
        while b"\n" not in self._unread:
            piece = self._response.read1(65536)
            if not piece:
                return b""
            self._unread += piece
        line, newline, self._unread = self._unread.partition(b"\n")
        return line + newline

    def until(self, name: str, value: int) -> dict:
        """The first event in which this total has this value."""
        while event := self.next():
            if event["totals"][name] == value:
                return event
        raise AssertionError(f"the stream ended before {name} became {value}")


@contextmanager
def events(bin_url: str, query: str = "", headers=None) -> Iterator[Events]:
    with connection(bin_url) as opened:
        opened.request("GET", f"{urlsplit(bin_url).path}/events{query}", headers=headers or {})
        with opened.getresponse() as response:
            assert response.headers.get_content_type() == "text/event-stream"
            yield Events(response)


HALF_AN_UPLOAD = form_part(b'form-data; name="a"', b"1") + form_part(b'form-data; name="b"', b"half")
THE_OTHER_HALF = form(form_part(b'form-data; name="c"', b"done"))


@contextmanager
def half_an_upload(bin_url: str) -> Iterator[socket.socket]:
    """A socket on which an upload has begun, and stalls before THE_OTHER_HALF."""
    address = urlsplit(bin_url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as sender:
        head = f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        sender.sendall(f"{head}Content-Type: {MULTIPART['Content-Type']}\r\n".encode())
        length = len(HALF_AN_UPLOAD + THE_OTHER_HALF)
        sender.sendall(f"Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n".encode())
        assert sender.recv(100).startswith(b"HTTP/1.1 100 ")  # the bin is reading the body now
        sender.sendall(HALF_AN_UPLOAD)
        yield sender


def finish_when_ended(stream: Events, sender: socket.socket) -> None:
    """Send the rest of an upload once a stream of events has ended."""
    while stream.next():
        pass
    sender.sendall(THE_OTHER_HALF)


class PageState(HTMLParser):
    """What the page hands to its script, and every element that is on the page before the script runs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.state = ""
        self._in_state = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self._in_state = ("id", "state") in attrs

    def handle_data(self, data):
        if self._in_state:
            self.state += data

    def handle_endtag(self, tag):
        self._in_state = False


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postbin.running_bin() as base:
        yield base


@pytest.fixture
def bin_url(url: str) -> str:
    return new_bin(url)


# Bins -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_start_page(url, method):
    """The address itself answers with a page that makes bins."""
    answer = send(method, url)
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/html")
    assert (b"<form" in answer.body) is (method == "GET")


def test_making_a_bin(url):
    """POST / makes a bin and redirects to it with 303; each time it is another one."""
    made = send("POST", url, b"anything")
    assert made.status == 303
    page = send("GET", url + made.headers["Location"])
    assert (page.status, page.headers.get_content_type()) == (200, "text/html")
    assert send("POST", url).headers["Location"] != made.headers["Location"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/none"), ("POST", "/none"), ("PUT", "/none/file"), ("GET", "/none/events"), ("GET", "/none/totals")],
)
def test_unknown_bin(url, method, path):
    """Where there is no bin, the answer is 404 and says so."""
    answer = send(method, url + path, b"x" if method != "GET" else None)
    assert answer.status == 404
    assert answer.json() == {"error": "there is no bin 'none'"}


def test_oldest_bin_makes_room(monkeypatch):
    """A server holds so many bins; the oldest makes room, and its event streams end."""
    monkeypatch.setattr(postbin, "MAX_BINS", 2)
    with postbin.running_bin() as base:
        oldest, second = new_bin(base), new_bin(base)
        with events(oldest) as stream:
            stream.next()
            third = new_bin(base)
            assert [send("GET", each).status for each in (oldest, second, third)] == [404, 200, 200]
            while stream.next():
                pass


# Receipts ---------------------------------------------------------------------------------------------------


def test_multipart_receipt(bin_url):
    """The receipt of a form tells each part as it was sent, in order, with its size and hash."""
    content = EVERY_BYTE * 8192
    body = form(
        form_part(b'form-data; name="title"', "größer ☃".encode()),
        form_part(b'form-data; name="file"; filename="a b.bin"', content, b"Content-Type: application/x-thing"),
        form_part(b'form-data; name="file"; filename=""', b"", b"Content-Type: application/octet-stream"),
    )
    answer = send("POST", bin_url, body, MULTIPART | {"Idempotency-Key": "k1"})
    assert answer.status == 201
    receipt = answer.json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", receipt.pop("time"))
    assert receipt == {
        "bin": bin_url.rpartition("/")[2],
        "number": 1,
        "method": "POST",
        "content_type": MULTIPART["Content-Type"],
        "idempotency_key": "k1",
        "length": len(body),
        "received": len(body),
        "sha256": sha256(body),
        "parts": [
            {
                "name": "title",
                "filename": None,
                "content_type": None,
                "size": 12,
                "sha256": sha256("größer ☃".encode()),
                "value": "größer ☃",
            },
            {
                "name": "file",
                "filename": "a b.bin",
                "content_type": "application/x-thing",
                "size": len(content),
                "sha256": sha256(content),
            },
            {
                "name": "file",
                "filename": "",
                "content_type": "application/octet-stream",
                "size": 0,
                "sha256": sha256(b""),
            },
        ],
    }
    assert totals(bin_url) == {"uploads": 1, "files": 2, "bytes": len(body), "aborted": 0, "malformed": 0}


def test_empty_form(bin_url):
    """A form may have no parts."""
    assert send("POST", bin_url, form(), MULTIPART).json()["parts"] == []


def test_urlencoded_receipt(bin_url):
    """A urlencoded form has a part for each field; name, value, size and hash are those of the decoded field."""
    body = b"a=1&gr%C3%B6%C3%9Fe=x+y%26z&&flag&=nameless&raw=%ff"
    receipt = send("PUT", bin_url, body, URLENCODED).json()
    assert receipt["sha256"] == sha256(body)
    assert [(part["name"], part.get("value"), part["size"]) for part in receipt["parts"]] == [
        ("a", "1", 1),
        ("größe", "x y&z", 5),
        ("flag", "", 0),
        ("", "nameless", 8),
        ("raw", None, 1),
    ]
    assert receipt["parts"][-1]["sha256"] == sha256(b"\xff")
    assert totals(bin_url)["files"] == 0


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        pytest.param(b"v" * 1024, True, id="1 KiB"),
        pytest.param(b"v" * 1025, False, id="more"),
        pytest.param(b"\xff", False, id="not UTF-8"),
        pytest.param(b"", True, id="empty"),
    ],
)
def test_value(bin_url, content, shown):
    """The value of a text field is told if it is UTF-8 and no longer than 1 KiB."""
    answer = send("POST", bin_url, form(form_part(b'form-data; name="a"', content)), MULTIPART)
    (part,) = answer.json()["parts"]
    assert part.get("value") == (content.decode() if shown else None)
    assert (part["size"], part["sha256"]) == (len(content), sha256(content))


@pytest.mark.parametrize("name", ["photo.jpg", "folder/events", "größer ☃ ?#%.txt", "totals"])
def test_put_with_a_name(bin_url, name):
    """What is not a form is one part without a name, and takes its filename from the path."""
    answer = send("PUT", f"{bin_url}/{quote(name)}", EVERY_BYTE, {"Content-Type": "image/jpeg"})
    assert answer.json()["parts"] == [
        {
            "name": None,
            "filename": name,
            "content_type": "image/jpeg",
            "size": 256,
            "sha256": sha256(EVERY_BYTE),
        }
    ]


@pytest.mark.parametrize(("method", "slash"), [("POST", ""), ("PUT", ""), ("PUT", "/")])
def test_body_without_a_name(bin_url, method, slash):
    """Without a name in the path there is none; an empty body is a body, too."""
    receipt = send(method, bin_url + slash, b"").json()
    assert (receipt["method"], receipt["length"], receipt["received"]) == (method, 0, 0)
    assert receipt["parts"] == [
        {"name": None, "filename": None, "content_type": None, "size": 0, "sha256": sha256(b"")}
    ]


def test_chunked(bin_url):
    """A chunked body has no declared length."""
    receipt = send("POST", bin_url, iter([b"one", b"two"])).json()
    assert (receipt["length"], receipt["received"], receipt["sha256"]) == (None, 6, sha256(b"onetwo"))


@pytest.mark.parametrize(
    "raw",
    [
        "plain.txt",
        r"C:\dir\file.txt",
        r"\\server\share\file.txt",
        "dir\\",
        r"two\\back",
        "quote%22cr%0Dlf%0A.txt",
        r"older\"clients",
        "semi;colon; filename=x",
        " spaces around ",
        "grüße 😀.txt",
        "=",
        "",
    ],
)
def test_names_as_sent(raw):
    """Names and filenames are told as they stand between their quotes: no escape is undone, no path cut off."""
    header = f'form-data; name="{raw}"; filename="{raw}"; size=3'.encode()
    assert postbin.parse_content_disposition(header) == (raw, raw)
    assert postbin.parse_content_disposition(f'form-data; filename="{raw}"; name="{raw}"'.encode()) == (raw, raw)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"form-data; name=bare; filename=file.txt", ("bare", "file.txt")),
        (b'Form-Data ;NAME = "a";', ("a", None)),
        (b'form-data; name="a"; name="b"', ("a", None)),
        (b"form-data; name=\"a\"; filename*=utf-8''x.txt", ("a", None)),
        (b'form-data; name="\xff"', ("�", None)),
    ],
)
def test_content_disposition(header, expected):
    """Parameters may be bare tokens, in any case; the first of a kind counts, and extended ones do not."""
    assert postbin.parse_content_disposition(header) == expected


MALFORMED_DISPOSITIONS = [
    b"",
    b"form-data",
    b'attachment; name="a"',
    b'form-data; filename="a"',
    b'form-data; name="a',
    b'form-data; name="a" x',
    b'form-data name="a"',
]


@pytest.mark.parametrize("header", MALFORMED_DISPOSITIONS)
def test_malformed_content_disposition(header):
    """A part that is no form-data, has no name, or whose header cannot be read, is malformed."""
    with pytest.raises(FormParserError):
        postbin.parse_content_disposition(header)


# Bodies that come in pieces ---------------------------------------------------------------------------------

SPLIT_BODIES = [
    pytest.param(
        MULTIPART["Content-Type"],
        form(
            form_part(b'form-data; name="a"', b"\r\n--B\r--B--"),
            form_part(b'form-data; name="f"; filename="x"', b"\r\n--\r\n--C\r\n\0\xff", b"Content-Type: a/b"),
            form_part(b'form-data; name="e"', b""),
        ),
        id="multipart",
    ),
    pytest.param(URLENCODED["Content-Type"], b"a=%41+%2B&b%20c=%4&d=%&e=%%41&&flag&=x&f=%C3%B6%zz", id="urlencoded"),
]


def read_in_pieces(content_type: str, pieces: list[bytes]) -> list[postbin.PartReceipt]:
    reader = postbin.form_reader(content_type)
    assert reader is not None
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


@pytest.mark.parametrize(("content_type", "body"), SPLIT_BODIES)
def test_cut_anywhere(content_type, body):
    """A form reads the same whole, cut in two at any byte, and byte by byte."""
    whole = read_in_pieces(content_type, [body])
    assert len(whole) > 2
    for cut in range(len(body) + 1):
        assert read_in_pieces(content_type, [body[:cut], body[cut:]]) == whole
    assert read_in_pieces(content_type, [bytes([byte]) for byte in body]) == whole


def test_what_a_cut_form_says():
    """Escapes that are no escapes stand for themselves, and near-boundaries are content."""
    (_, multipart_body), (_, urlencoded_body) = (case.values for case in SPLIT_BODIES)
    parts = read_in_pieces(MULTIPART["Content-Type"], [multipart_body])
    assert [part["sha256"] for part in parts] == [
        sha256(b"\r\n--B\r--B--"),
        sha256(b"\r\n--\r\n--C\r\n\0\xff"),
        sha256(b""),
    ]
    fields = read_in_pieces(URLENCODED["Content-Type"], [urlencoded_body])
    assert [(field["name"], field["value"]) for field in fields] == [
        ("a", "A +"),
        ("b c", "%4"),
        ("d", "%"),
        ("e", "%A"),
        ("flag", ""),
        ("", "x"),
        ("f", "ö%zz"),
    ]


# Bodies that are wrong --------------------------------------------------------------------------------------

MALFORMED_BODIES = [
    pytest.param("multipart/form-data", form(), id="no boundary"),
    pytest.param(f"multipart/form-data; boundary={'b' * 300}", form(), id="boundary too long"),
    pytest.param(MULTIPART["Content-Type"], b"", id="empty"),
    pytest.param(MULTIPART["Content-Type"], form_part(b'form-data; name="a"', b"1"), id="not closed"),
    pytest.param(MULTIPART["Content-Type"], b"--C--\r\n", id="another boundary"),
    pytest.param(MULTIPART["Content-Type"], form(b"--B\r\nbad header\r\n\r\n\r\n"), id="bad header"),
    pytest.param(MULTIPART["Content-Type"], form(b"--B\r\n\r\n1\r\n"), id="no disposition"),
    pytest.param(
        MULTIPART["Content-Type"],
        form(form_part(b'form-data; name="a"', b"", *[b"X: y"] * 40)),
        id="too many headers",
    ),
    pytest.param(
        MULTIPART["Content-Type"], form(form_part(b'form-data; name="%b"' % (b"n" * 20_000), b"")), id="long name"
    ),
    pytest.param(URLENCODED["Content-Type"], b"n" * 20_000 + b"=1", id="long urlencoded name"),
]


@pytest.mark.parametrize(("content_type", "body"), MALFORMED_BODIES)
def test_malformed(bin_url, caplog, content_type, body):
    """A malformed body is answered with 400 and a reason; it is counted, not listed, and nothing else breaks."""
    with connection(bin_url) as opened:
        refused = exchange(opened, "POST", bin_url, body, {"Content-Type": content_type})
        assert refused.status == 400
        assert refused.json()["error"]
        assert exchange(opened, "POST", bin_url, b"next").status == 201
    assert [receipt["received"] for receipt in listing(bin_url)] == [4]
    assert totals(bin_url) == {"uploads": 1, "files": 1, "bytes": 4, "aborted": 0, "malformed": 1}
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(("headers", "field"), [(MULTIPART, None), (URLENCODED, b"a=1&")])
def test_too_many_parts(bin_url, monkeypatch, headers, field):
    """The parts of a form are limited, for each takes memory."""
    monkeypatch.setattr(postbin, "MAX_PARTS", 3)

    def body(count):
        return field * count if field else form(*[form_part(b'form-data; name="a"', b"1")] * count)

    assert send("POST", bin_url, body(3), headers).status == 201
    refused = send("POST", bin_url, body(4), headers)
    assert (refused.status, refused.json()) == (400, {"error": "more than 3 parts"})


@pytest.mark.parametrize("way", ["closed", "reset"])
def test_broken_off(bin_url, caplog, way):
    """An upload that breaks off is counted as such, not listed, and leaves no traceback."""
    with events(bin_url) as stream:
        with half_an_upload(bin_url) as sender:
            if way == "reset":
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.until("aborted", 1)
    assert listing(bin_url) == []
    assert totals(bin_url) == {"uploads": 0, "files": 0, "bytes": 0, "aborted": 1, "malformed": 0}
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# What a bin shows -------------------------------------------------------------------------------------------


def test_listing(bin_url):
    """The bin lists its receipts as they were given, newest first, for Accept: application/json or ?format=json."""
    receipts = [send("POST", bin_url, text).json() for text in (b"one", b"two", b"three")]
    assert [receipt["number"] for receipt in receipts] == [1, 2, 3]
    assert listing(bin_url) == receipts[::-1]
    assert send("GET", f"{bin_url}?format=json").json() == receipts[::-1]


def test_bins_are_apart(bin_url, url):
    """What comes into one bin does not show in another."""
    send("POST", bin_url, b"x")
    assert listing(new_bin(url)) == []


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "<!--<script>", "{{nonce}}"]
)
def test_names_are_never_markup(bin_url, name):
    """Whatever the names in an upload, the page has the same elements, and its script gets the names as sent."""
    untouched = PageState(send("GET", bin_url).body.decode())
    disposition = f'form-data; name="{name}"; filename="{name}"'.encode()
    send("POST", bin_url, form(form_part(disposition, b"1", f"Content-Type: {name}".encode())), MULTIPART)
    page = PageState(send("GET", bin_url).body.decode())
    assert page.elements == untouched.elements
    (part,) = json.loads(page.state)["uploads"][0]["parts"]
    assert (part["name"], part["filename"], part["content_type"]) == (name, name, name)


def test_page_runs_only_its_own_script(bin_url):
    """The policy of the page lets nothing run but the script and the style that carry this answer's nonce."""
    first, second = send("GET", bin_url), send("GET", bin_url)
    policies = [answer.headers["Content-Security-Policy"] for answer in (first, second)]
    nonces = [re.search(r"script-src 'nonce-([\w-]+)';", policy)[1] for policy in policies]
    assert nonces[0] != nonces[1]
    assert policies[0].startswith("default-src 'none';")
    assert first.body.decode().count(f'nonce="{nonces[0]}"') == 2


def test_page_shows_the_newest(bin_url, monkeypatch):
    """The page shows a limited number of uploads, and the totals of all."""
    monkeypatch.setattr(postbin, "PAGE_ROWS", 2)
    for text in (b"one", b"two", b"three"):
        send("POST", bin_url, text)
    state = json.loads(PageState(send("GET", bin_url).body.decode()).state)
    assert [upload["number"] for upload in state["uploads"]] == [3, 2]
    assert state["totals"]["uploads"] == 3


def test_a_bin_forgets(monkeypatch):
    """A bin keeps so many receipts, and so many bytes of them; its totals go on counting."""
    upload = postbin.Upload(
        time="", method="PUT", content_type=None, idempotency_key=None, length=1, received=1, sha256="", parts=[]
    )
    full = postbin.Bin("token")
    for _ in range(postbin.KEPT_UPLOADS + 5):
        weight = len(full.add(upload))
    kept = json.loads(full.newest())
    assert len(kept) == postbin.KEPT_UPLOADS
    assert (kept[0]["number"], kept[-1]["number"]) == (postbin.KEPT_UPLOADS + 5, 6)
    assert full.totals["bytes"] == full.totals["uploads"] == postbin.KEPT_UPLOADS + 5

    monkeypatch.setattr(postbin, "KEPT_BYTES", 3 * weight)
    full.add(upload)
    assert [each["number"] for each in json.loads(full.newest())] == [2006, 2005, 2004]


# Events -----------------------------------------------------------------------------------------------------


def test_events(bin_url):
    """A stream of events begins with the totals as they are, and goes on with what comes in."""
    send("POST", bin_url, b"before")
    with events(bin_url) as stream:
        assert stream.next() == {"totals": totals(bin_url), "uploads": []}
        receipt = send("POST", bin_url, b"after").json()
        assert stream.next() == {"totals": totals(bin_url), "uploads": [receipt]}


def test_events_come_in_bursts(bin_url):
    """Uploads that come fast share events; together these carry each of them once, in order."""
    with events(bin_url) as stream, connection(bin_url) as opened:
        for _ in range(50):
            exchange(opened, "POST", bin_url, b"x")
        numbers = []
        while len(numbers) < 50:
            numbers += [upload["number"] for upload in reversed(stream.next()["uploads"])]
        assert numbers == list(range(1, 51))


@pytest.mark.parametrize(
    ("query", "headers"),
    [("?after=1", {}), ("?after=0", {"Last-Event-ID": "1"}), ("?after=none", {"Last-Event-ID": "1"})],
)
def test_events_resume(bin_url, query, headers):
    """A stream takes up after ?after=, and after a lost connection where Last-Event-ID says."""
    receipts = [send("POST", bin_url, text).json() for text in (b"one", b"two", b"three")]
    with events(bin_url, query, headers) as stream:
        assert stream.next()["uploads"] == [receipts[2], receipts[1]]


def test_events_without_news(bin_url, monkeypatch):
    """A stream with nothing to tell shows that it is alive."""
    monkeypatch.setattr(postbin, "HEARTBEAT", 0.01)
    with connection(bin_url) as opened:
        opened.request("GET", f"{urlsplit(bin_url).path}/events")
        with opened.getresponse() as response:
            lines = [response.readline() for _ in range(8)]
    assert lines[4::2] == [b": nothing new\n", b": nothing new\n"]


# Addresses that behave on demand ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("code", [200, 204, 304, 404, 413, 503, 599])
def test_status(url, method, code):
    """/status/{code} answers any method with this status and no body."""
    answer = send(method, f"{url}/status/{code}")
    assert (answer.status, answer.body) == (code, b"")


@pytest.mark.parametrize("code", [0, 100, 199, 600])
def test_no_such_status(url, code):
    """A status that cannot be a final one is 400."""
    assert send("GET", f"{url}/status/{code}").status == 400


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect(url, method, code):
    """/redirect/{code}?to= redirects any method to a path on this server."""
    answer = send(method, f"{url}/redirect/{code}?to=/get%3Fa=1", b"" if method != "GET" else None)
    assert (answer.status, answer.headers["Location"]) == (code, "/get?a=1")


@pytest.mark.parametrize(
    "query", ["", "?to=", "?to=get", "?to=//elsewhere.example/", "?to=/%5Celsewhere.example", "?to=http://x.example/"]
)
def test_redirect_stays_here(url, query):
    """A redirect to anywhere else is refused."""
    assert send("GET", f"{url}/redirect/302{query}").status == 400


@pytest.mark.parametrize("code", [200, 300, 304])
def test_redirect_code(url, code):
    """A redirect with a status that does not redirect is refused."""
    assert send("GET", f"{url}/redirect/{code}?to=/").status == 400


@pytest.mark.parametrize(
    ("credentials", "status"),
    [
        ("Basic " + b64encode("Aladdin:öffne:dich".encode()).decode(), 200),
        ("basic  " + b64encode("Aladdin:öffne:dich".encode()).decode(), 200),
        ("Basic " + b64encode(b"Aladdin:other").decode(), 401),
        ("Bearer " + b64encode("Aladdin:öffne:dich".encode()).decode(), 401),
        ("Basic not base64!", 401),
        ("Basic", 401),
        (None, 401),
    ],
)
def test_basic_auth(url, credentials, status):
    """/basic-auth/{user}/{password} lets in just these credentials, and challenges all others."""
    headers = {"Authorization": credentials} if credentials else {}
    answer = send("GET", f"{url}/basic-auth/Aladdin/{quote('öffne:dich')}", headers=headers)
    assert answer.status == status
    assert ("Basic realm=" in answer.headers.get("WWW-Authenticate", "")) is (status == 401)


def test_get(url):
    """/get echoes the method, the address, the arguments and the headers."""
    with connection(url) as opened:
        opened.putrequest("GET", "/get?a=1&b=2&b=&c=%C3%B6")
        opened.putheader("X-One", "1")
        opened.putheader("X-Two", "1")
        opened.putheader("x-two", "2")
        opened.endheaders()
        response = opened.getresponse()
        echo = json.loads(response.read())
    assert echo["method"] == "GET"
    assert echo["url"] == f"{url}/get?a=1&b=2&b=&c=%C3%B6"
    assert echo["args"] == {"a": "1", "b": ["2", ""], "c": "ö"}
    assert (echo["headers"]["x-one"], echo["headers"]["x-two"]) == ("1", "1, 2")


# The server -------------------------------------------------------------------------------------------------


async def test_serve_has_its_own_loop():
    """serve() answers a caller who blocks the event loop it was started from."""
    async with postbin.serve() as base:
        assert send("GET", base).status == 200
    with pytest.raises(ConnectionRefusedError):
        send("GET", base)


def test_tls(tmp_path):
    """With a certificate the bin speaks HTTPS."""
    authority = trustme.CA()
    chain = tmp_path / "chain.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with postbin.running_bin(ssl_certfile=chain) as base:
        assert base.startswith("https://127.0.0.1:")
        with closing(http.client.HTTPSConnection(base[8:], context=context, timeout=20)) as opened:
            assert exchange(opened, "GET", f"{base}/get").json()["url"] == f"{base}/get"


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_ipv6():
    """An IPv6 address stands in brackets in the URL."""
    with postbin.running_bin("::1") as base:
        assert base.startswith("http://[::1]:")
        assert send("GET", base).status == 200


def test_what_keeps_it_from_starting(tmp_path):
    """An address that is taken, or a missing certificate, is the caller's error."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="in use"),
        postbin.running_bin(port=taken.getsockname()[1]),
    ):
        pass
    with pytest.raises(FileNotFoundError), postbin.running_bin(ssl_certfile=tmp_path / "none.pem"):
        pass


def test_nagle_is_off():
    """The socket says that it is TCP, for asyncio sets TCP_NODELAY only then."""
    with postbin._bind("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP


def test_shutdown_ends_event_streams():
    """A server that stops ends its event streams in good order."""
    with ExitStack() as clients:
        with postbin.running_bin() as base:
            stream = clients.enter_context(events(new_bin(base)))
            assert stream.next()
        while stream.next():
            pass


def test_shutdown_lets_uploads_finish():
    """A server that stops answers an upload that is still under way."""
    with ExitStack() as clients:
        with postbin.running_bin() as base:
            bin_url = new_bin(base)
            stream = clients.enter_context(events(bin_url))
            sender = clients.enter_context(half_an_upload(bin_url))
            # The end of the event stream shows that the server is stopping; it still takes the rest.
            finish = threading.Thread(target=finish_when_ended, args=(stream, sender))
            clients.callback(finish.join)
            finish.start()
        assert sender.recv(100).startswith(b"HTTP/1.1 201 ")


def test_shutdown_hangs_up_on_stalled_uploads(monkeypatch, caplog):
    """A server that stops does not wait for an upload that stalls, and says nothing about it."""
    monkeypatch.setattr(postbin, "GRACE", 0.05)
    with ExitStack() as clients:
        with postbin.running_bin() as base:
            sender = clients.enter_context(half_an_upload(new_bin(base)))
        with suppress(ConnectionResetError):
            assert sender.recv(1) == b""
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_command_line():
    """As a program it tells its URL first, and stops at Ctrl-C without a word, event streams or not."""
    program = Path(postbin.__file__)
    with subprocess.Popen(
        [sys.executable, program, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            base = process.stdout.readline().split()[0]
            bin_url = new_bin(base)
            assert send("POST", bin_url, b"--", MULTIPART).status == 400
            with events(bin_url) as stream:
                stream.next()
                process.send_signal(signal.SIGINT)
                while stream.next():
                    pass
            assert process.communicate(timeout=20) == ("", "")
            assert process.returncode == 0
        finally:
            process.kill()


def test_command_line_cannot_listen():
    """As a program it says in a line why it cannot start."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, postbin.__file__, "--port", port],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"postbin\.py: .*in use.*\n", ended.stderr)
