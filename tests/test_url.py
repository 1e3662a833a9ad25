"""URLs: what is kept as it was written, what is quoted, what is taken apart, and what is refused."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aioreq._url import Target, parse_url, with_params
from aioreq.exceptions import InvalidURL, URLRequired

PRESIGNED = (
    "https://bucket.s3.example.com/a%2Fb/c%20d.iso?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AK%2F20261124%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=a%2bB%3D%3d&x=1,2;3:4!$'()*@/?"
)


class TestQuoting:
    """What is quoted stays; what may not stand in a URL is quoted."""

    @pytest.mark.parametrize(
        "url",
        [
            PRESIGNED,
            "http://h/%2F%2f%20?x=%20y%26#%23",
            "http://h/a+b?c+d=e+f",
            "http://h//a//b/",
            "http://h/a/../b/./c",
            "http://h/;v=1/a:b@c?a?b=/c",
            "http://h/~user/-._!$&'()*+,;=:@",
            "http://h/a[b]?c[]=d",
        ],
    )
    def test_what_is_quoted_stays(self, url: str):
        """A URL of allowed characters does not change by a byte, a presigned one least of all."""
        assert parse_url(url).url == url

    @pytest.mark.parametrize(
        ("written", "sent"),
        [
            ("/a b", "/a%20b"),
            ("/ü?ü=é", "/%C3%BC?%C3%BC=%C3%A9"),
            ("/€/😀", "/%E2%82%AC/%F0%9F%98%80"),
            ('/^|{}<>"`\\', "/%5E%7C%7B%7D%3C%3E%22%60%5C"),
            ("/100%", "/100%25"),
            ("/%zz%4", "/%25zz%254"),
            ("/%2F%", "/%2F%25"),
            ("/x\u2028y\x85z", "/x%E2%80%A8y%C2%85z"),
        ],
    )
    def test_what_may_not_stand_there_is_quoted(self, written: str, sent: str):
        """Blanks, other characters and a per cent sign that quotes nothing are quoted, as UTF-8."""
        assert parse_url(f"http://h{written}").path == sent

    def test_surrounding_blanks(self):
        """Blanks around a URL, as copied from a page, are no part of it."""
        assert parse_url("  http://h/a \n").url == "http://h/a"


class TestParts:
    """Scheme, host, port, user info, path, fragment."""

    @pytest.mark.parametrize(
        ("url", "origin", "host"),
        [
            ("http://example.org/", ("http", "example.org", 80), "example.org"),
            ("HTTP://Example.ORG/", ("http", "example.org", 80), "example.org"),
            ("https://h", ("https", "h", 443), "h"),
            ("http://h:80/", ("http", "h", 80), "h"),
            ("https://h:443/", ("https", "h", 443), "h"),
            ("http://h:443/", ("http", "h", 443), "h:443"),
            ("https://h:80/", ("https", "h", 80), "h:80"),
            ("http://h:8080/", ("http", "h", 8080), "h:8080"),
            ("http://h:00080/", ("http", "h", 80), "h"),
            ("http://h:/x", ("http", "h", 80), "h"),
            ("http://h:65535/", ("http", "h", 65535), "h:65535"),
            ("http://a.example./", ("http", "a.example.", 80), "a.example."),
            ("http://a_b-c.example/", ("http", "a_b-c.example", 80), "a_b-c.example"),
            ("http://127.0.0.1:81/", ("http", "127.0.0.1", 81), "127.0.0.1:81"),
            ("http://[::1]/", ("http", "::1", 80), "[::1]"),
            ("http://[2001:DB8::1]:8080/", ("http", "2001:db8::1", 8080), "[2001:db8::1]:8080"),
            ("http://[fe80::1%eth0]/", ("http", "fe80::1%eth0", 80), "[fe80::1%eth0]"),
        ],
    )
    def test_origin_and_host(self, url: str, origin: tuple[str, str, int], host: str):
        """The origin has the port in any case; the Host header only where it is not the scheme's own."""
        target = parse_url(url)
        assert (target.origin, target.host, target.scheme) == (origin, host, origin[0])

    @pytest.mark.parametrize(
        ("name", "in_dns"),
        [
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("faß.example", "xn--fa-hia.example"),  # IDNA 2008, not 2003, which says "fass"
            ("☃.example", "xn--n3h.example"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("ＥＸＡＭＰＬＥ.com", "example.com"),
        ],
    )
    def test_names_of_other_scripts(self, name: str, in_dns: str):
        """A host of any script is written as DNS knows it (IDNA 2008, RFC 5891)."""
        target = parse_url(f"http://{name}:81/")
        assert target.origin == ("http", in_dns, 81)
        assert target.host == f"{in_dns}:81"

    @pytest.mark.parametrize(
        ("user_info", "credentials"),
        [
            ("user:pass@", ("user", "pass")),
            ("user@", ("user", "")),
            (":pass@", ("", "pass")),
            ("us%40er:p%3Aw%25@", ("us@er", "p:w%")),
            ("user:a:b@", ("user", "a:b")),
            ("%C3%BC:%F0%9F%98%80@", ("ü", "😀")),
            ("@", None),
            ("", None),
        ],
    )
    def test_user_info(self, user_info: str, credentials: tuple[str, str] | None):
        """User and password are taken out, unquoted, and are no part of the URL any more."""
        target = parse_url(f"http://{user_info}h/x")
        assert target.credentials == credentials
        assert (target.url, target.host) == ("http://h/x", "h")

    @pytest.mark.parametrize(
        ("url", "path", "fragment"),
        [
            ("http://h", "/", ""),
            ("http://h?a=1", "/?a=1", ""),
            ("http://h#f", "/", "f"),
            ("http://h/a?b#c", "/a?b", "c"),
            ("http://h/a#b?c", "/a", "b?c"),
            ("http://h/#a#b c", "/", "a#b%20c"),
        ],
    )
    def test_path_and_fragment(self, url: str, path: str, fragment: str):
        """The path on the request line is never empty, and never holds the fragment."""
        target = parse_url(url)
        assert (target.path, target.fragment) == (path, fragment)

    def test_the_place_for_logs(self):
        """What is logged of a URL has neither its query nor its fragment nor its password."""
        assert parse_url("http://u:secret@h:81/a/b?token=secret#secret").place == "http://h:81/a/b"


class TestRefusals:
    """A URL that can't be requested is refused with a sentence that says why."""

    @pytest.mark.parametrize("text", ["", " ", "\t\r\n"])
    def test_empty(self, text: str):
        """No URL is URLRequired."""
        with pytest.raises(URLRequired, match="a request needs a URL"):
            parse_url(text)

    @pytest.mark.parametrize(
        ("url", "sentence"),
        [
            ("h/x", r"the URL 'h/x' has no scheme; did you mean 'http://h/x'\?"),
            ("//h/x", r"the URL '//h/x' has no scheme; did you mean 'http://h/x'\?"),
            ("1http://h/", "has no scheme"),
            ("://h/", "has no scheme"),
            ("/x", "has no host: give it whole, or make a Session with base_url="),
            ("ws://h/", "the URL 'ws://h/' has the scheme 'ws'; only http and https can be requested"),
            ("HTTPX://h/", "has the scheme 'HTTPX'"),
            ("http:///x", "the URL 'http:///x' has no host"),
            ("http://user@/x", "is not a valid URL"),
            ("http://h\\@other/", "is not a valid URL.*backslash"),
            ("http://[::1/", "is not a valid URL.*IPv6"),
            ("http://[::1]x/", "is not a valid URL"),
            ("http://[1.2.3.4]/", "is not a valid URL"),
            ("http://[v1.x]/", "has a host that no host can be called"),
            ("http://h h/", "has a host that no host can be called"),
            ("http://%68/", "has a host that no host can be called"),
            ("http://h,h/", "has a host that no host can be called"),
            ("http://h..h/", "has a host that no host can be called"),
            ("http://h:0/", "the URL 'http://h:0/' has a port outside of 1 to 65535"),
            ("http://h:65536/", "is not a valid URL"),
            ("http://h:8o/", "is not a valid URL"),
            ("http://h/\ud800", "holds a lone surrogate, which has no form in UTF-8"),
        ],
    )
    def test_sentences(self, url: str, sentence: str):
        """Each refusal is InvalidURL, which is a ValueError."""
        with pytest.raises(InvalidURL, match=sentence) as caught:
            parse_url(url)
        assert isinstance(caught.value, ValueError)

    @pytest.mark.parametrize("control", [chr(code) for code in (*range(0x20), 0x7F)])
    def test_control_characters(self, control: str):
        """No control character in a URL passes, wherever it stands: it could end the request line."""
        for url in (f"http://h/a{control}b", f"http://h/?a{control}b", f"http://h{control}h/", f"ht{control}tp://h/"):
            with pytest.raises(InvalidURL, match="holds control characters; quote them"):
                parse_url(url)


class TestJoins:
    """Where a Location leads (RFC 3986, section 5)."""

    BASE = parse_url("http://user:pass@h:81/a/b?q#f")

    @pytest.mark.parametrize(
        ("reference", "url"),
        [
            ("c", "http://h:81/a/c#f"),
            ("./c/", "http://h:81/a/c/#f"),
            ("../c", "http://h:81/c#f"),
            ("../../../c", "http://h:81/c#f"),
            ("/c", "http://h:81/c#f"),
            ("?x=1", "http://h:81/a/b?x=1#f"),
            ("#g", "http://h:81/a/b?q#g"),
            ("", "http://h:81/a/b?q#f"),
            ("//other/c", "http://other/c#f"),
            ("https://other/", "https://other/#f"),
            ("https://other/#g", "https://other/#g"),
            ("c%2Fd?e=%20", "http://h:81/a/c%2Fd?e=%20#f"),
            ("c d/ü", "http://h:81/a/c%20d/%C3%BC#f"),
            (" /c\t", "http://h:81/c#f"),
            (PRESIGNED, f"{PRESIGNED}#f"),
        ],
    )
    def test_references(self, reference: str, url: str):
        """A reference is resolved and quoted, and inherits the fragment unless it has one (RFC 9110, 10.2.2)."""
        assert self.BASE.join(reference).url == url

    def test_no_user_info(self):
        """The user info of the first URL is not carried along."""
        assert self.BASE.join("/c").credentials is None

    @pytest.mark.parametrize("reference", ["http://", "//", "http:///x", "ftp://h/", "http://h:0/", "http://[::1/"])
    def test_refusals(self, reference: str):
        """A reference that leads nowhere is InvalidURL."""
        with pytest.raises(InvalidURL):
            self.BASE.join(reference)


class TestParams:
    """What ``params=`` adds to a query."""

    @pytest.mark.parametrize(
        ("params", "query"),
        [
            ({"a": 1, "b": "x y"}, "a=1&b=x+y"),
            ({"a": [1, "2"], "b": (3,)}, "a=1&a=2&b=3"),
            ({"a": None, "b": [None, 1]}, "b=1"),
            ([("a", 1), ("a", 2)], "a=1&a=2"),
            (iter([("a", 1)]), "a=1"),
            ({"ü": "&=#"}, "%C3%BC=%26%3D%23"),
            ({b"a": b"\xff"}, "a=%FF"),
            ("a=1&b", "a=1&b"),
            (b"a=1", "a=1"),
        ],
    )
    def test_kinds(self, params: Any, query: str):
        """Mappings, pairs, one-shot pairs, text and bytes make a query; lists repeat a name, None leaves it out."""
        assert with_params("http://h/", params) == f"http://h/?{query}"

    @pytest.mark.parametrize("params", [{}, [], "", b"", {"a": None}, {"a": []}])
    def test_nothing(self, params: Any):
        """Params that hold nothing leave the URL as it is."""
        assert with_params("http://h/?x#f", params) == "http://h/?x#f"

    @pytest.mark.parametrize(
        ("url", "together"),
        [
            ("http://h/", "http://h/?a=1"),
            ("http://h/?b=2", "http://h/?b=2&a=1"),
            ("http://h/#f", "http://h/?a=1#f"),
            ("http://h/?b=%2F#f?g", "http://h/?b=%2F&a=1#f?g"),
            ("http://h/?", "http://h/?a=1"),
        ],
    )
    def test_where(self, url: str, together: str):
        """They stand behind the URL's own query, which stays as it is, and before its fragment."""
        assert with_params(url, {"a": 1}) == together


# What tends to break parsers of URLs, between what does not.
_PIECES = st.lists(
    st.one_of(
        st.sampled_from([*"/?#%:@[]\\&=;.. ", "%2F", "%2", "%00", "..", "//", "ü", "例", "\u2028", "h"]), st.text()
    ),
    max_size=8,
).map("".join)
_HOSTS = st.one_of(st.sampled_from(["h", "example.org", "[::1]", "bücher.example", "127.0.0.1", "u:p@h"]), _PIECES)
_ON_THE_WIRE = re.compile(r"[!-~]+")  # no blank, no control character, nothing beyond ASCII


def is_sound(target: Target) -> bool:
    """Whether nothing in it could end, or split, the request line or the Host header."""
    return all(_ON_THE_WIRE.fullmatch(text) for text in (target.path, target.host, target.url))


@given(
    scheme=st.sampled_from(["http", "https", "HTTP"]),
    host=_HOSTS,
    port=st.sampled_from(["", ":80", ":443", ":8080", ":", ":0", ":x"]),
    rest=_PIECES,
)
@example(scheme="http", host="[fe80::1%25eth0]", port="", rest="/")
@example(scheme="http", host="[v1.x]", port="", rest="/")
def test_whatever_is_accepted_is_sound(scheme: str, host: str, port: str, rest: str):
    """A URL is refused with InvalidURL, or it makes a sound request line, and reading it again changes nothing."""
    text = f"{scheme}://{host}{port}/{rest}"
    try:
        target = parse_url(text)
    except InvalidURL:
        return
    assert is_sound(target)
    assert target.path.startswith("/")
    again = parse_url(target.url)
    assert (again.url, again.origin, again.host, again.path, again.fragment) == (
        target.url,
        target.origin,
        target.host,
        target.path,
        target.fragment,
    )
    assert again.credentials is None


@given(path=_PIECES, reference=_PIECES)
def test_whatever_is_joined_is_sound(path: str, reference: str):
    """A Location of any text leads to a sound request, or is refused with InvalidURL."""
    try:
        target = parse_url(f"http://h/{path}").join(reference)
    except (InvalidURL, URLRequired):
        return
    assert is_sound(target)
    assert parse_url(target.url).url == target.url


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.none(), st.lists(st.text()))))
def test_any_params_are_sound(params: dict[str, Any]):
    """Params of any text make a sound query, and leave the path and the fragment alone."""
    target = parse_url(with_params("http://h/p#f", params))
    assert is_sound(target)
    assert target.path.partition("?")[0] == "/p"
    assert target.fragment == "f"
