"""Which proxy the environment chooses."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioreq import InvalidURL
from aioreq._rules.proxies import Exemptions, Ways
from aioreq._rules.route import Proxy, Route

HTTP, HTTPS = ("http", "example.org", 80), ("https", "example.org", 443)


def chosen(environment: Mapping[str, str], origin: tuple[str, str, int] = HTTP) -> str | None:
    """The host of the proxy for `origin`."""
    proxy = Ways(environment=environment).route(origin).proxy
    return None if proxy is None else proxy.host


class TestVariables:
    def test_each_scheme_has_its_variable(self) -> None:
        """HTTP_PROXY is for http, HTTPS_PROXY for https."""
        environment = {"HTTP_PROXY": "http://plain", "HTTPS_PROXY": "http://secure"}
        assert (chosen(environment, HTTP), chosen(environment, HTTPS)) == ("plain", "secure")
        assert chosen({"HTTP_PROXY": "http://plain"}, HTTPS) is None

    def test_all_proxy_is_for_what_has_none(self) -> None:
        """ALL_PROXY is for the schemes without a variable of their own."""
        environment = {"ALL_PROXY": "socks5://rest", "https_proxy": "http://secure"}
        assert (chosen(environment, HTTP), chosen(environment, HTTPS)) == ("rest", "secure")

    @pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
    def test_lower_case_comes_first(self, name: str) -> None:
        """Of two variables the one in lower case counts."""
        assert chosen({name.upper(): "http://upper", name: "http://lower"}) == "lower"

    @pytest.mark.parametrize("value", ["", "  "])
    def test_empty_in_lower_case_switches_off(self, value: str) -> None:
        """An empty variable in lower case hides the one in upper case."""
        assert chosen({"HTTP_PROXY": "http://upper", "http_proxy": value}) is None

    def test_under_cgi_the_header_proxy_chooses_nothing(self) -> None:
        """HTTP_PROXY is ignored when REQUEST_METHOD is set: a CGI server makes it of a request's header "Proxy"."""
        environment = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://attacker", "HTTPS_PROXY": "http://secure"}
        assert chosen(environment, HTTP) is None
        assert chosen(environment, HTTPS) == "secure"
        assert chosen({**environment, "http_proxy": "http://lower"}, HTTP) == "lower"

    def test_no_environment_no_proxy(self) -> None:
        """Without an environment to look at, requests go straight to the server."""
        assert Ways().route(HTTP) == Route(HTTP)

    def test_a_bad_variable_is_named_but_not_shown(self) -> None:
        """An unusable variable is an error of the requests that need it, with its name and without its value."""
        ways = Ways(environment={"https_proxy": "gopher://me:s3cr3t@proxy"})
        assert ways.route(HTTP) == Route(HTTP)
        with pytest.raises(InvalidURL, match="https_proxy") as caught:
            ways.route(HTTPS)
        assert "s3cr3t" not in str(caught.value)


class TestWhatIsGiven:
    def test_a_given_proxy_is_for_everything(self) -> None:
        """proxy= goes before the environment, NO_PROXY included."""
        ways = Ways(proxy="http://given", environment={"HTTP_PROXY": "http://plain", "NO_PROXY": "*"})
        assert ways.route(HTTP).proxy == Proxy.parse("http://given")

    def test_a_unix_socket_needs_no_proxy(self) -> None:
        """unix_socket= goes before the environment."""
        assert Ways("/run/x", environment={"ALL_PROXY": "http://plain"}).route(HTTP) == Route(HTTP, "/run/x")

    def test_both_are_too_much(self) -> None:
        """unix_socket= and proxy= together mean nothing."""
        with pytest.raises(ValueError, match="choose one"):
            Ways("/run/x", "http://given")

    def test_a_mapping_of_proxies_is_refused(self) -> None:
        """proxy= is one URL, and says so to who comes with another library's mapping."""
        with pytest.raises(TypeError, match="one URL as text"):
            Ways(proxy={"http": "http://given"})  # type: ignore[arg-type]


class TestNoProxy:
    @pytest.mark.parametrize(
        ("entries", "host", "port", "covered"),
        [
            ("*", "example.org", 80, True),
            ("", "example.org", 80, False),
            (" , ,", "example.org", 80, False),
            ("example.org", "example.org", 80, True),
            ("EXAMPLE.org", "Example.ORG", 80, True),
            ("example.org", "example.org.", 80, True),
            ("example.org.", "example.org", 80, True),
            ("example.org", "www.example.org", 80, True),
            ("example.org", "notexample.org", 80, False),
            ("example.org", "example.org.evil.example", 80, False),
            ("www.example.org", "example.org", 80, False),
            (".example.org", "www.example.org", 80, True),
            (".example.org", "example.org", 80, True),
            ("*.example.org", "a.b.example.org", 80, True),
            ("one.example, two.example", "two.example", 80, True),
            ("one.example two.example", "two.example", 80, True),
            ("example.org:8080", "example.org", 8080, True),
            ("example.org:8080", "www.example.org", 8080, True),
            ("example.org:8080", "example.org", 80, False),
            ("localhost", "127.0.0.1", 80, False),
            ("127.0.0.1", "127.0.0.1", 80, True),
            ("127.0.0.1", "localhost", 80, False),
            ("127.0.0.1:81", "127.0.0.1", 81, True),
            ("127.0.0.1:81", "127.0.0.1", 80, False),
            ("0.0.1", "127.0.0.1", 80, False),
            ("10.0.0.0/8", "10.1.2.3", 80, True),
            ("10.1.2.3/8", "10.9.9.9", 80, True),
            ("10.0.0.0/8", "11.0.0.1", 80, False),
            ("10.0.0.0/8", "10.example.org", 80, False),
            ("10.0.0.0/8:81", "10.1.2.3", 81, True),
            ("10.0.0.0/8:81", "10.1.2.3", 80, False),
            ("::1", "::1", 80, True),
            ("[::1]", "::1", 80, True),
            ("[::1]:81", "::1", 81, True),
            ("[::1]:81", "::1", 80, False),
            ("0:0:0:0:0:0:0:1", "::1", 80, True),
            ("fd00::/8", "fd12::3", 80, True),
            ("fd00::/8", "fe80::1", 80, False),
            ("0.0.0.0/0", "::1", 80, False),
            ("10.0.0.0/99", "10.0.0.1", 80, False),
        ],
    )
    def test_entries(self, entries: str, host: str, port: int, covered: bool) -> None:
        """Hosts and all below them, addresses and networks, each for one port or all."""
        assert Exemptions(entries).cover(("http", host, port)) is covered

    def test_a_port_may_be_the_schemes_own(self) -> None:
        """An entry's port is compared with the one the request goes to, written or not."""
        environment = {"ALL_PROXY": "http://p", "no_proxy": "example.org:443"}
        assert (chosen(environment, HTTPS), chosen(environment, HTTP)) == (None, "p")

    @given(st.text(), st.text(min_size=1))
    def test_any_text_can_be_read(self, entries: str, host: str) -> None:
        """Nothing in NO_PROXY, and no host, is an error."""
        assert Exemptions(entries).cover(("http", host, 80)) in (True, False)
