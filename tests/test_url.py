"""URLs: taken apart once, quoted where they must be, and otherwise left as they were written."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioreq._url import is_absolute, parse_url, with_params
from aioreq.exceptions import InvalidURL, URLRequired


class TestParts:
    def test_all_of_them(self):
        """A URL has origin, host, path with query, fragment and credentials."""
        target = parse_url("http://us%65r:p%40ss@Example.ORG:8080/a/b?c=d&e#top")
        assert target.origin == ("http", "example.org", 8080)
        assert target.scheme == "http"
        assert target.host == "example.org:8080"
        assert target.path == "/a/b?c=d&e"
        assert target.fragment == "top"
        assert target.credentials == ("user", "p@ss")
        assert target.url == "http://example.org:8080/a/b?c=d&e#top"

    @pytest.mark.parametrize(
        ("url", "origin", "host"),
        [
            ("http://example.org", ("http", "example.org", 80), "example.org"),
            ("https://example.org", ("https", "example.org", 443), "example.org"),
            ("HTTPS://EXAMPLE.org:443/", ("https", "example.org", 443), "example.org"),
            ("http://example.org:443", ("http", "example.org", 443), "example.org:443"),
            ("http://127.0.0.1:1", ("http", "127.0.0.1", 1), "127.0.0.1:1"),
            ("http://[::1]", ("http", "::1", 80), "[::1]"),
            ("http://[2001:DB8::1]:8000/", ("http", "2001:db8::1", 8000), "[2001:db8::1]:8000"),
            ("http://münchen.example/", ("http", "xn--mnchen-3ya.example", 80), "xn--mnchen-3ya.example"),
            ("http://xn--mnchen-3ya.example/", ("http", "xn--mnchen-3ya.example", 80), "xn--mnchen-3ya.example"),
            ("http://日本.example/", ("http", "xn--wgv71a.example", 80), "xn--wgv71a.example"),
            ("http://under_score.example/", ("http", "under_score.example", 80), "under_score.example"),
            ("http://localhost:65535", ("http", "localhost", 65535), "localhost:65535"),
            ("http://example.org./", ("http", "example.org.", 80), "example.org."),
        ],
    )
    def test_origins(self, url: str, origin: tuple[str, str, int], host: str):
        """An origin is scheme, host in DNS's form and port (RFC 6454); Host leaves the scheme's own port out."""
        target = parse_url(url)
        assert (target.origin, target.host) == (origin, host)
        assert target.path == "/"

    @pytest.mark.parametrize(
        ("url", "credentials"),
        [
            ("http://example.org/", None),
            ("http://user@example.org/", ("user", "")),
            ("http://user:@example.org/", ("user", "")),
            ("http://:password@example.org/", ("", "password")),
            ("http://a%3Ab:c%2Fd@example.org/", ("a:b", "c/d")),
        ],
    )
    def test_credentials(self, url: str, credentials: tuple[str, str] | None):
        """User info is unquoted, and stands in no other part."""
        target = parse_url(url)
        assert target.credentials == credentials
        assert target.url == "http://example.org/"

    def test_a_place_for_logs(self):
        """`place` is the URL without what may be secret: user info, query and fragment."""
        assert parse_url("http://user:pw@example.org/a?token=secret#x").place == "http://example.org/a"


class TestQuoting:
    @pytest.mark.parametrize(
        ("written", "sent"),
        [
            ("/", "/"),
            ("", "/"),
            ("?q", "/?q"),
            ("/a b", "/a%20b"),
            ("/é/日本", "/%C3%A9/%E6%97%A5%E6%9C%AC"),
            ("/😀?q=😀", "/%F0%9F%98%80?q=%F0%9F%98%80"),
            ("/%C3%A9", "/%C3%A9"),
            ("/%c3%a9", "/%c3%a9"),
            ("/%2F%2f%41", "/%2F%2f%41"),
            ("/100%", "/100%25"),
            ("/%zz%4", "/%25zz%254"),
            ('/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
            ("/a;b,c:d@e!$&'()*+=~-._", "/a;b,c:d@e!$&'()*+=~-._"),
            ("/?a=b&c=/?:@", "/?a=b&c=/?:@"),
            ("/?a[]=1&b+c", "/?a[]=1&b+c"),
            ("//double//slashes/", "//double//slashes/"),
            ("/a/../b/./c", "/a/../b/./c"),
        ],
    )
    def test_what_must_be_quoted_is(self, written: str, sent: str):
        """What may not stand in a URL is quoted in UTF-8; what is quoted, or need not be, stays as it was written."""
        assert parse_url("http://example.org" + written).path == sent

    def test_a_presigned_url_does_not_change_by_a_byte(self):
        """A URL that was signed is sent exactly as it was given."""
        url = (
            "https://bucket.s3.example.com/a%2Fb/c+d%20e.txt?X-Amz-Credential=AKIA%2F2013%2Fus-east-1%2Fs3%2Faws4_request"
            "&X-Amz-SignedHeaders=host%3Bx&X-Amz-Signature=ab%c3~.-_&empty=&flag"
        )
        assert parse_url(url).url == url
        assert parse_url(parse_url(url).url) == parse_url(url)

    def test_a_fragment_is_quoted_and_not_sent(self):
        """The fragment is for the caller alone."""
        target = parse_url("http://example.org/a#b c")
        assert (target.fragment, target.path) == ("b%20c", "/a")

    def test_white_space_around_is_left_out(self):
        """A URL out of a file's line may have blanks and line ends around it."""
        assert parse_url("  http://example.org/a \n").url == "http://example.org/a"


class TestWhatIsNoURL:
    @pytest.mark.parametrize("url", ["", " ", "\n"])
    def test_nothing(self, url: str):
        """An empty URL is URLRequired, which is a ValueError."""
        with pytest.raises(URLRequired, match="a request needs a URL"):
            parse_url(url)

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("example.org", "has no scheme; did you mean 'http://example.org'"),
            ("//example.org/x", "has no scheme; did you mean 'http://example.org/x'"),
            ("/path", "has no host: give it whole, or make a Session with base_url="),
            ("mailto:a@b", "has no scheme"),
            ("ftp://example.org", "has the scheme 'ftp'; only http and https"),
            ("ht tp://example.org", "has no scheme"),
            ("http://", "has no host"),
            ("http://?q", "has no host"),
            ("http://#f", "has no host"),
            ("http://user@/", ""),
            ("http://example.org:0/", "port outside of 1 to 65535"),
            ("http://example.org:65536/", ""),
            ("http://example.org:-1/", ""),
            ("http://example.org:http/", ""),
            ("http://exa mple.org/", "a host that no host can be called"),
            ("http://a..b/", "a host that no host can be called"),
            (f"http://{'a' * 64}/", "a host that no host can be called"),
            ("http://exa<mple.org/", ""),
            ("http://[::1", ""),
            ("http://[nonsense]/", ""),
            ("http://example.org/a\r\nHost: evil", "holds control characters"),
            ("http://example.org/\0", "holds control characters"),
            ("http://example.org/\ud800", "holds a lone surrogate"),
        ],
    )
    def test_invalid(self, url: str, message: str):
        """Anything else that can't be requested is InvalidURL, with a sentence on what is wrong."""
        with pytest.raises(InvalidURL) as caught:
            parse_url(url)
        assert message in str(caught.value)
        assert isinstance(caught.value, ValueError)


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(st.one_of(st.text(max_size=30), st.text(max_size=20).map("http://".__add__), st.text().map("http://a/".__add__)))
def test_any_text_is_a_url_or_a_value_error(text: str):
    """Whatever text is given, it is InvalidURL or URLRequired, or goes on the wire in ASCII without blanks."""
    try:
        target = parse_url(text)
    except (InvalidURL, URLRequired):
        return
    line = f"GET {target.path} HTTP/1.1"
    assert line.isascii()
    assert line.isprintable()
    assert line.count(" ") == 2
    assert target.host.isascii()
    assert parse_url(target.url).path == target.path


class TestJoining:
    def test_the_examples_of_rfc_3986(self):
        """The references of RFC 3986, section 5.4, that http can have."""
        base = parse_url("http://a/b/c/d;p?q")
        wanted = {
            "g": "/b/c/g", "./g": "/b/c/g", "g/": "/b/c/g/", "/g": "/g", "?y": "/b/c/d;p?y", "g?y": "/b/c/g?y",
            "": "/b/c/d;p?q", ";x": "/b/c/;x", "g;x": "/b/c/g;x", ".": "/b/c/", "./": "/b/c/", "..": "/b/",
            "../": "/b/", "../g": "/b/g", "../..": "/", "../../g": "/g", "../../../g": "/g", "/./g": "/g",
            "/../g": "/g", "g.": "/b/c/g.", ".g": "/b/c/.g", "g..": "/b/c/g..", "./../g": "/b/g", "./g/.": "/b/c/g/",
            "g/./h": "/b/c/g/h", "g/../h": "/b/c/h", "g;x=1/./y": "/b/c/g;x=1/y", "g?y/./x": "/b/c/g?y/./x",
        }  # fmt: skip
        assert {reference: base.join(reference).path for reference in wanted} == wanted
        assert base.join("//g").url == "http://g/"

    def test_the_scheme_of_the_base(self):
        """A reference without a scheme has the base's."""
        assert parse_url("https://a/").join("//b:444/c").origin == ("https", "b", 444)

    def test_a_reference_without_anything_wrong_in_it(self):
        """A whole URL as a query's value is no absolute reference."""
        assert parse_url("http://a/").join("/login?next=http://b/").url == "http://a/login?next=http://b/"

    def test_user_info_does_not_follow(self):
        """The base's credentials are not the joined URL's."""
        assert parse_url("http://user:pw@a/").join("/x").credentials is None

    @pytest.mark.parametrize(
        ("url", "absolute"), [("http://a", True), ("x-y+z://a", True), ("//a", False), ("a?b=c://d", False)]
    )
    def test_is_absolute(self, url: str, absolute: bool):
        """A URL with scheme and authority needs no base."""
        assert is_absolute(url) is absolute


class TestParams:
    @pytest.mark.parametrize(
        ("url", "params", "whole"),
        [
            ("http://a/", {"b": "c"}, "http://a/?b=c"),
            ("http://a/?x=y", {"b": "c"}, "http://a/?x=y&b=c"),
            ("http://a/?", {"b": "c"}, "http://a/?b=c"),
            ("http://a/?x=y&", {"b": "c"}, "http://a/?x=y&b=c"),
            ("http://a/#f", {"b": "c"}, "http://a/?b=c#f"),
            ("http://a/?x#f?g", {"b": "c"}, "http://a/?x&b=c#f?g"),
            ("http://a/", {}, "http://a/"),
            ("http://a/", {"b": None}, "http://a/"),
            ("http://a/", [("b", "1"), ("b", "2")], "http://a/?b=1&b=2"),
            ("http://a/", {"b": ["1", "2"], "c": ("3",)}, "http://a/?b=1&b=2&c=3"),
            ("http://a/", {"b": "é /&=?#%"}, "http://a/?b=%C3%A9+%2F%26%3D%3F%23%25"),
            ("http://a/", {"b": 1, "c": 2.5, "d": True}, "http://a/?b=1&c=2.5&d=True"),
            ("http://a/", {"b": b"\xff"}, "http://a/?b=%FF"),
            ("http://a/", "raw=%20&x", "http://a/?raw=%20&x"),
            ("http://a/", b"raw", "http://a/?raw"),
            ("http://a/", "", "http://a/"),
        ],
    )
    def test_params_are_added(self, url: str, params: Any, whole: str):
        """Params stand behind the URL's own query and before its fragment, encoded as requests does it."""
        assert with_params(url, params) == whole

    @pytest.mark.parametrize("params", [7, ["abc"], [("a", "b", "c")], b"\xff"])
    def test_what_is_no_query(self, params: Any):
        """Anything else is refused."""
        with pytest.raises(InvalidURL, match="params= can't be made into a query"):
            with_params("http://a/", params)
