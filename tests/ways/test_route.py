"""What a route says of requests, and what it keeps to itself."""

import base64
import pickle

import pytest

from aioreq import Headers, InvalidURL
from aioreq._rules.route import Proxy, Route
from aioreq._url import parse_url

SECRET = "s3cr3t"
HTTP, HTTPS = ("http", "example.org", 80), ("https", "example.org", 443)


def proxy(url: str = f"http://me:{SECRET}@proxy.example:3128") -> Proxy:
    return Proxy.parse(url)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class TestProxy:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://proxy.example", ("http", "proxy.example", 80)),
            ("https://proxy.example/", ("https", "proxy.example", 443)),
            ("socks4://proxy.example", ("socks4", "proxy.example", 1080)),
            ("socks4a://proxy.example", ("socks4a", "proxy.example", 1080)),
            ("socks5://proxy.example", ("socks5", "proxy.example", 1080)),
            ("socks5h://proxy.example:9", ("socks5h", "proxy.example", 9)),
            ("socks://proxy.example", ("socks5", "proxy.example", 1080)),
            ("proxy.example:3128", ("http", "proxy.example", 3128)),
            (" HTTP://Proxy.Example:3128 ", ("http", "proxy.example", 3128)),
            ("http://[::1]:3128", ("http", "::1", 3128)),
            ("http://bücher.example", ("http", "xn--bcher-kva.example", 80)),
        ],
    )
    def test_a_url_names_it(self, url: str, expected: tuple[str, str, int]) -> None:
        """A proxy is scheme, host and port; without a scheme it is an HTTP proxy, without a port its scheme's own."""
        parsed = Proxy.parse(url)
        assert (parsed.scheme, parsed.host, parsed.port) == expected

    def test_credentials_are_unquoted(self) -> None:
        """User and password stand in the URL with %-escapes."""
        assert Proxy.parse("http://m%40e:p%3A%2F%23ss@proxy.example").credentials == ("m@e", "p:/#ss")

    def test_credentials_become_basic_authentication_in_utf8(self) -> None:
        """Proxy-Authorization is Basic, with user and password in UTF-8."""
        assert Proxy.parse("http://jürgen:grün@proxy.example").authorization == basic("jürgen", "grün")

    def test_without_credentials_there_is_no_authorization(self) -> None:
        """No user, no Proxy-Authorization."""
        assert Proxy.parse("http://proxy.example").authorization is None

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "http://",
            "ftp://me:s3cr3t@proxy.example",
            "http://me:s3cr3t@proxy.example:0",
            "http://me:s3cr3t@proxy.example:70000",
            "http://me:s3cr3t@proxy.example:x",
            "http://me:s3c/r3t@proxy.example:3128",
            "http://me:s3c#r3t@proxy.example:3128",
            "http://me:s3c?r3t@proxy.example:3128",
            "http://me:s3cr3t@proxy.example/path",
            "http://me:s3cr3t@proxy.example?query",
            "http://me:s3cr3t@pro xy.example",
            "http://me:s3cr3t@proxy.example\r\nX: y",
            "http://m%3Ae:s3cr3t@proxy.example",
            "socks5://jürgen:s3cr3t@proxy.example",
            f"socks5://me:{'s3cr3t' * 50}@proxy.example",
            "socks4://m%00e@proxy.example",
        ],
    )
    def test_what_names_no_proxy_is_refused_and_not_shown(self, url: str) -> None:
        """A bad URL is an InvalidURL that says how it should be, and shows nothing of what may be a password."""
        with pytest.raises(InvalidURL, match="scheme://user:password@host:port") as caught:
            Proxy.parse(url)
        shown = [str(caught.value), repr(caught.value.__cause__)]
        if not caught.value.__suppress_context__:
            shown.append(repr(caught.value.__context__))
        assert "s3c" not in "".join(shown)

    def test_no_text_shows_the_password(self) -> None:
        """Neither str nor repr of a proxy, or of a route through it, has the password or the user."""
        for shown in (proxy(), Route.through(proxy(), HTTPS), Route.through(proxy(), HTTP)):
            text = f"{shown} {shown!r}"
            assert "proxy.example" in text
            assert SECRET not in text
            assert "me" not in text.replace("scheme", "")

    def test_it_can_be_pickled_and_compared(self) -> None:
        """Proxies with other credentials are others: they don't share connections."""
        assert pickle.loads(pickle.dumps(proxy())) == proxy()
        assert proxy() != proxy("http://me:other@proxy.example:3128")


class TestRequestTarget:
    def test_a_server_gets_the_path(self) -> None:
        """A server is asked for path and query (RFC 9112, section 3.2.1)."""
        target = parse_url("http://example.org/a?b#c")
        assert Route(target.origin).request_target(target) == "/a?b"

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://example.org", "http://example.org/"),
            ("http://example.org:8080/a?b=c#d", "http://example.org:8080/a?b=c"),
            ("http://user:password@example.org/", "http://example.org/"),
            ("http://[::1]:81/x", "http://[::1]:81/x"),
        ],
    )
    def test_a_forwarding_proxy_gets_the_whole_url(self, url: str, expected: str) -> None:
        """A proxy is asked for the URL without user info and fragment (RFC 9112, section 3.2.2)."""
        target = parse_url(url)
        assert Route.through(proxy(), target.origin).request_target(target) == expected

    @pytest.mark.parametrize(
        ("by", "url"), [("http://proxy.example", "https://example.org/a"), ("socks5://p", "http://example.org/a")]
    )
    def test_behind_a_tunnel_the_server_gets_the_path(self, by: str, url: str) -> None:
        """Who only passes bytes does not change what is asked for."""
        target = parse_url(url)
        assert Route.through(Proxy.parse(by), target.origin).request_target(target) == "/a"


class TestSharing:
    def test_servers_share_the_connections_to_a_forwarding_proxy(self) -> None:
        """Plain http through an HTTP proxy is one route, whatever the server."""
        assert Route.through(proxy(), HTTP) == Route.through(proxy(), ("http", "example.com", 8080))

    def test_tunnels_are_for_one_server(self) -> None:
        """A tunnel, by CONNECT or SOCKS, leads to one server."""
        for by in (proxy(), Proxy.parse("socks5://p")):
            assert Route.through(by, HTTPS) != Route.through(by, ("https", "example.com", 443))
        assert Route.through(Proxy.parse("socks5://p"), HTTP) != Route.through(Proxy.parse("socks5://p"), HTTPS)

    def test_a_proxy_makes_another_route(self) -> None:
        """Direct connections never serve requests that go through a proxy."""
        assert Route(HTTPS) != Route.through(proxy(), HTTPS)


class TestFields:
    def test_credentials_go_to_the_forwarding_proxy(self) -> None:
        """The proxy's own credentials go along with each request that it forwards, whatever the caller put there."""
        headers = Headers({"Host": "example.org", "Proxy-Authorization": "Basic b3RoZXI="})
        assert Route.through(proxy(), HTTP).fields(headers)["Proxy-Authorization"] == basic("me", SECRET)
        assert headers["Proxy-Authorization"] == "Basic b3RoZXI="

    @pytest.mark.parametrize("by", [f"http://me:{SECRET}@p", f"https://me:{SECRET}@p", f"socks5://me:{SECRET}@p"])
    def test_nothing_for_the_proxy_goes_through_a_tunnel(self, by: str) -> None:
        """Neither the URL's credentials nor a field of the caller's go through a tunnel to the server."""
        headers = Headers({"Host": "example.org", "Proxy-Authorization": "Basic b3RoZXI=", "Authorization": "mine"})
        sent = Route.through(Proxy.parse(by), HTTPS).fields(headers)
        assert dict(sent) == {"Host": "example.org", "Authorization": "mine"}

    def test_without_proxy_fields_are_left_alone(self) -> None:
        """A direct request goes out as it is."""
        headers = Headers({"Host": "example.org"})
        assert Route(HTTP).fields(headers) is headers
        assert Route.through(Proxy.parse("http://p"), HTTP).fields(headers) is headers
