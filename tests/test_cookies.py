"""Cookies: what is kept, what goes where, and what can't be one."""

from typing import Any

import pytest

from aioreq._rules.conversation import Rules
from aioreq._rules.cookies import Cookies, checked_cookie, cookie_header, cookie_pairs, cookies_of
from aioreq.exceptions import InvalidHeader
from tests.talks import Talk, answer, prepared, to

HOME = "http://example.org/dir/page"


def jar(*values: str, url: str = HOME) -> Cookies:
    """The cookies that are kept of an answer from ``url``."""
    cookies = Cookies()
    cookies.keep(answer(prepared("GET", url), 200, [("Set-Cookie", value) for value in values]))
    return cookies


def sent(cookies: Cookies, url: str = HOME) -> dict[str, str]:
    """What goes to ``url`` of the cookies that servers set."""
    return dict(cookies.going_with(prepared("GET", url), None))


class TestMapping:
    def test_it_is_a_mapping(self):
        """Cookies are set, got, deleted and counted by name."""
        cookies = Cookies({"a": "1"})
        cookies["b"] = "2"
        assert dict(cookies) == {"a": "1", "b": "2"}
        assert len(cookies) == 2
        assert "a" in cookies
        assert cookies.get("x") is None
        del cookies["a"]
        assert list(cookies) == ["b"]
        with pytest.raises(KeyError):
            del cookies["a"]
        with pytest.raises(KeyError):
            cookies["a"]

    def test_what_servers_set_is_there_too(self):
        """A cookie that a server set is seen, deleted and cleared like one's own, and hidden by one of its name."""
        cookies = jar("a=server", "b=2")
        cookies["a"] = "own"
        assert dict(cookies) == {"a": "own", "b": "2"}
        del cookies["a"]
        assert dict(cookies) == {"b": "2"}
        assert sent(cookies) == {"b": "2"}
        cookies.clear()
        assert dict(cookies) == {}
        assert not cookies

    def test_pairs_and_other_cookies(self):
        """They are made of a mapping, of pairs, or of cookies; None is none."""
        assert dict(Cookies([("a", "1")])) == dict(Cookies(Cookies({"a": "1"}))) == {"a": "1"}
        assert not Cookies(None)

    def test_repr_hides_values(self):
        """A cookie may be a key to somebody's account: the repr has names only."""
        assert repr(Cookies({"session": "hidden"})) == "<Cookies [session]>"

    @pytest.mark.parametrize("cookies", ["a=b", 7, ["abc"], [("a",)]])
    def test_what_is_no_mapping(self, cookies: Any):
        """What is neither a mapping nor pairs is refused."""
        with pytest.raises(InvalidHeader, match="cookies are a mapping of names to values, or pairs"):
            cookie_pairs(cookies)

    @pytest.mark.parametrize("name", ["", "a b", "a=b", "a;b", "é", "a\r\n", None, 7])
    def test_what_is_no_name(self, name: Any):
        """A name is a token."""
        with pytest.raises(InvalidHeader, match="can't be the name of a cookie"):
            Cookies({name: "x"})

    @pytest.mark.parametrize("value", ["a;b", "a\r\nb", "a\0b", "\x7f", "tab\t"])
    def test_what_is_no_value(self, value: str):
        """Control characters and semicolons would end a value."""
        with pytest.raises(InvalidHeader, match="the cookie a holds a control character or a semicolon"):
            Cookies({"a": value})

    def test_a_value_beyond_latin_1(self):
        """What can't be in a header is refused, with the way out."""
        with pytest.raises(InvalidHeader, match="outside of latin-1: percent-encode them"):
            checked_cookie("a", "日本")

    @pytest.mark.parametrize("value", ["", 'quoted "x"', "a, b", "a=b", "café", 7, True])
    def test_what_browsers_take_is_a_value(self, value: Any):
        """Quotes, commas, blanks and equals signs are used all the same; numbers become text."""
        assert Cookies({"a": value})["a"] == str(value)

    def test_the_header(self):
        """Cookies are joined as RFC 6265, section 4.2.1 has it."""
        assert cookie_header([("a", "1"), ("b", "x y"), ("", "z")]) == "a=1; b=x y; z"


class TestWhatServersSet:
    def test_it_is_sent_back(self):
        """A cookie goes back to the host that set it."""
        assert sent(jar("a=1; Path=/", "b=2; Path=/; HttpOnly")) == {"a": "1", "b": "2"}
        assert sent(jar("a=1; Path=/"), "http://other.example/") == {}

    @pytest.mark.parametrize(
        ("attributes", "url", "goes"),
        [
            ("Path=/", "http://example.org/other", True),
            ("Path=/dir", "http://example.org/dir/x", True),
            ("Path=/dir", "http://example.org/", False),
            ("Path=/dir", "http://example.org/directory", False),
            ("", "http://example.org/dir/other", True),
            ("", "http://example.org/", False),
            ("Path=/; Domain=example.org", "http://www.example.org/", True),
            ("Path=/", "http://www.example.org/", False),
            ("Path=/; Domain=other.example", "http://other.example/", False),
            ("Path=/; Domain=org", "http://other.org/", False),
            ("Path=/; Max-Age=0", "http://example.org/", False),
            ("Path=/; Max-Age=100", "http://example.org/", True),
            ("Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://example.org/", False),
            ("Path=/; Expires=Fri, 01 Jan 2100 00:00:00 GMT", "http://example.org/", True),
        ],
    )
    def test_its_attributes_say_where_it_goes(self, attributes: str, url: str, goes: bool):
        """Path, Domain, Secure, Max-Age and Expires are kept to (RFC 6265, section 5)."""
        assert (sent(jar(f"a=1; {attributes}"), url) == {"a": "1"}) is goes

    def test_a_country_has_no_cookies(self):
        """A cookie for all of a country's domains is not kept."""
        cookies = jar("a=1; Path=/; Domain=co.uk", url="http://example.co.uk/")
        assert sent(cookies, "http://other.co.uk/") == {}

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "intranet", "xn--mnchen-3ya.example"])
    def test_hosts_of_any_kind(self, host: str):
        """A host without a dot, or an address, has cookies like any other."""
        assert sent(jar("a=1; Path=/", url=f"http://{host}:8000/"), f"http://{host}:8000/x") == {"a": "1"}

    def test_a_server_may_take_it_back(self):
        """A cookie that is set again with an end in the past is gone; a new value replaces the old."""
        cookies = jar("a=1; Path=/", "b=1; Path=/")
        again = [("Set-Cookie", "a=; Path=/; Max-Age=0"), ("Set-Cookie", "b=2; Path=/")]
        cookies.keep(answer(prepared("GET", HOME), 200, again))
        assert sent(cookies) == {"b": "2"}

    @pytest.mark.parametrize(
        "value", ["", ";", "=", "=x", "novalue", "a=1; Max-Age=soon", "\xff=\xff", 'a="', "a" * 9000]
    )
    def test_nonsense_does_no_harm(self, value: str):
        """What a server sets in nonsense raises nothing, and breaks no header."""
        header = cookie_header(sent(jar(value)).items())
        assert "\n" not in header

    def test_of_one_answer(self):
        """The cookies of one answer are its own, whatever the session has."""
        cookies = cookies_of(answer(prepared("GET", HOME), 200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]))
        assert dict(cookies) == {"a": "1", "b": "2"}

    def test_a_quoted_value_stays_quoted(self):
        """A value in quotes comes back as the server wrote it."""
        assert sent(jar('a="x y"; Path=/')) == {"a": '"x y"'}


class TestConversations:
    def test_a_cookie_set_on_the_way_is_sent_at_the_next_hop(self):
        """What a redirect sets goes with the request that it leads to, and is the session's afterwards."""
        rules = Rules()
        script = [(302, {"Location": "/next", "Set-Cookie": "a=1; Path=/"}), 200]
        talk = Talk.of(prepared("GET", HOME), script, rules)
        assert [request.headers.get("Cookie") for request in talk.sent] == [None, "a=1"]
        assert dict(rules.cookies) == {"a": "1"}
        assert talk.final is not None
        assert dict(talk.final.history[0].cookies) == {"a": "1"}
        assert dict(talk.final.cookies) == {}

    def test_ones_own_cookies_stay_at_home(self):
        """The session's and the call's own cookies go to the call's origin alone, along and back on redirects."""
        rules = Rules(cookies=Cookies({"session": "1"}), call_cookies={"call": "2"})
        script = [to("/a"), to("http://other.example/"), to("http://example.org:8080/"), to(HOME), 200]
        talk = Talk.of(prepared("GET", HOME), script, rules)
        both = "session=1; call=2"
        assert [request.headers.get("Cookie") for request in talk.sent] == [both, both, None, None, both]

    def test_a_calls_cookies_are_for_that_call(self):
        """Cookies of a call are not the session's afterwards, and come before its."""
        rules = Rules(cookies=Cookies({"a": "session", "b": "session"}), call_cookies={"a": "call"})
        talk = Talk.of(prepared("GET", HOME), [200], rules)
        assert talk.last.headers["Cookie"] == "a=call; b=session"
        assert dict(rules.cookies) == {"a": "session", "b": "session"}

    def test_each_origin_gets_its_own(self):
        """At another origin the cookies of that origin are sent."""
        rules = Rules(cookies=jar("there=1; Path=/", url="http://other.example/"))
        talk = Talk.of(prepared("GET", HOME), [to("http://other.example/"), to(HOME), 200], rules)
        assert [request.headers.get("Cookie") for request in talk.sent] == [None, "there=1", None]

    def test_a_header_of_the_callers_own(self):
        """A Cookie header that the caller set is left as it is, and what the server sets is kept."""
        rules = Rules(cookies=Cookies({"session": "1"}))
        request = prepared("GET", HOME, headers={"Cookie": "own=1"})
        talk = Talk.of(request, [(302, {"Location": "/x", "Set-Cookie": "a=1; Path=/"}), 200], rules)
        assert [request.headers["Cookie"] for request in talk.sent] == ["own=1", "own=1"]
        assert rules.cookies["a"] == "1"

    def test_a_cookie_that_expires_on_the_way_is_not_sent_on(self):
        """A redirect that takes a cookie back leads to a request without it."""
        rules = Rules(cookies=jar("a=1; Path=/"))
        script = [(302, {"Location": "/next", "Set-Cookie": "a=; Path=/; Max-Age=0"}), 200]
        talk = Talk.of(prepared("GET", HOME), script, rules)
        assert [request.headers.get("Cookie") for request in talk.sent] == ["a=1", None]

    def test_cookies_of_an_error_are_kept(self):
        """An answer of 400 and more may set cookies too."""
        rules = Rules()
        Talk.of(prepared("GET", HOME), [(403, {"Set-Cookie": "a=1; Path=/"})], rules)
        assert dict(rules.cookies) == {"a": "1"}
