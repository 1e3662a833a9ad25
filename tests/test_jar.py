"""What servers may set and what is sent back, as RFC 6265bis has it."""

import pickle
import sys

import pytest

from aioreq._rules import jar as jar_rules
from aioreq._rules.jar import Jar, domain_matches, read_date
from aioreq._rules.suffixes import PublicSuffixes, looks_public
from aioreq._url import parse_url, path_matches

HOME = "https://www.example.org/dir/page?query=/x"
NOW = 1_700_000_000.0  # 2023-11-14, 22:13:20 UTC
DAY = 24 * 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def kept(*fields: str, url: str = HOME, jar: Jar | None = None) -> Jar:
    """A jar that took the fields in, at :data:`NOW`."""
    jar = Jar(Clock()) if jar is None else jar
    for field in fields:
        jar.take(field, parse_url(url))
    return jar


def pairs(jar: Jar, url: str = HOME) -> list[str]:
    return [f"{cookie.name}={cookie.value}" for cookie in jar.going_to(parse_url(url))]


class TestReading:
    """Section 5.6: how a Set-Cookie field is taken apart."""

    @pytest.mark.parametrize(
        ("field", "name", "value"),
        [
            ("a=1", "a", "1"),
            (" a \t=\t 1 ; Path=/", "a", "1"),
            ("a=b=c", "a", "b=c"),
            ('a="x y"', "a", '"x y"'),
            ("a=", "a", ""),
            ("=x", "", "x"),
            ("novalue", "", "novalue"),
            ("a=\xe9", "a", "\xe9"),
            ("a=x\ty", "a", "x\ty"),
        ],
    )
    def test_name_and_value(self, field: str, name: str, value: str):
        """They are parted at the first equals sign; one of the two may be empty."""
        (cookie,) = kept(field)
        assert (cookie.name, cookie.value) == (name, value)

    @pytest.mark.parametrize("field", ["", ";", "=", " = ; Path=/", "a=\x00", "a=x\x1f", "a=1; Path=/\x7f", "a\n=1"])
    def test_what_is_none(self, field: str):
        """Neither name nor value, or a control character anywhere: the whole field is refused."""
        assert list(kept(field)) == []

    @pytest.mark.parametrize(("length", "taken"), [(4096, True), (4097, False)])
    def test_the_size_of_a_pair(self, length: int, taken: bool):
        """Name and value have 4096 octets at most, together; attributes don't count."""
        assert bool(list(kept("a" * 96 + "=" + "b" * (length - 96) + "; Path=/; Ignored=" + "c" * 900))) is taken

    @pytest.mark.parametrize(("length", "path"), [(1024, "/" + "p" * 1023), (1025, "/dir")])
    def test_the_size_of_an_attribute(self, length: int, path: str):
        """An attribute of more than 1024 octets is as good as none."""
        (cookie,) = kept("a=1; Path=/" + "p" * (length - 1))
        assert cookie.path == path

    def test_the_case_of_attributes(self):
        """Attributes have their meaning in any case of letters, and with any white space around."""
        (cookie,) = kept("a=1;PATH = /x;sECURE;\tDomain =\tEXAMPLE.org ;max-AGE=5")
        assert (cookie.path, cookie.secure, cookie.domain, cookie.expires) == ("/x", True, "example.org", NOW + 5)

    def test_the_last_of_a_name_counts(self):
        """An attribute that is said twice means what is said last, unless that can't be read."""
        (cookie,) = kept("a=1; Path=/x; Path=/y; Max-Age=1; Max-Age=9; Max-Age=soon")
        assert (cookie.path, cookie.expires) == ("/y", NOW + 9)

    @pytest.mark.parametrize("attribute", ["SameSite=Strict", "SameSite=None", "SameSite", "HttpOnly", "Partitioned"])
    def test_what_protects_pages(self, attribute: str):
        """There are no pages and no scripts here: what protects from them is ignored."""
        assert pairs(kept(f"a=1; {attribute}")) == ["a=1"]


class TestLife:
    """Sections 5.5, 5.6.1 and 5.6.2: how long a cookie is kept."""

    @pytest.mark.parametrize(
        ("attributes", "expires"),
        [
            ("", None),
            ("Max-Age=10", NOW + 10),
            ("Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT", NOW + 10),
            ("Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=10", NOW + 10),
            ("Max-Age=soon; Expires=Wed, 15 Nov 2023 22:13:20 GMT", NOW + DAY),
            ("Max-Age=; Expires=Wed, 15 Nov 2023 22:13:20 GMT", NOW + DAY),
            ("Max-Age=1.5", None),
            ("Max-Age=+5", None),
            ("Max-Age=\u0665", None),
            ("Expires=never", None),
            (f"Max-Age={400 * 24 * 3600 + 1}", NOW + 400 * DAY),
            (f"Max-Age={'9' * 1000}", NOW + 400 * DAY),
            ("Expires=Fri, 01 Jan 2100 00:00:00 GMT", NOW + 400 * DAY),
        ],
    )
    def test_until_when(self, attributes: str, expires: float | None):
        """Max-Age comes before Expires, what can't be read is ignored, and no life is longer than 400 days."""
        (cookie,) = kept(f"a=1; {attributes}")
        assert cookie.expires == expires

    @pytest.mark.parametrize("end", ["Max-Age=0", "Max-Age=-1", "Max-Age=-0", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"])
    def test_an_end_in_the_past(self, end: str):
        """It removes the cookie, and sets none."""
        assert list(kept("a=1", f"a=2; {end}")) == []

    def test_it_ends_by_itself(self):
        """A cookie whose time is over is neither seen nor sent."""
        clock = Clock()
        jar = kept("a=1; Max-Age=10", jar=Jar(clock))
        clock.now += 9.9
        assert pairs(jar) == ["a=1"]
        clock.now += 0.1
        assert pairs(jar) == []
        assert list(jar) == []

    @pytest.mark.parametrize(
        "text",
        [
            "Tue, 14 Nov 2023 22:13:20 GMT",
            "Tuesday, 14-Nov-23 22:13:20 GMT",
            "Tue Nov 14 22:13:20 2023",
            "Tue, 14-Nov-2023 22:13:20 GMT",
            "14 november 2023 22:13:20",
            "22:13:20 14 NOV 2023 +0500",
            "2023 Nov 14 22:13:20",
        ],
    )
    def test_dates(self, text: str):
        """A date is found in whatever order its parts come, and is in UTC (section 5.1.1)."""
        assert read_date(text) == NOW

    @pytest.mark.parametrize(("year", "full"), [("70", 1970), ("99", 1999), ("00", 2000), ("69", 2069), ("1601", 1601)])
    def test_years(self, year: str, full: int):
        """Two digits are of 1970 to 2069."""
        assert read_date(f"1 Jan {year} 00:00:00") == read_date(f"1 Jan {full} 00:00:00") is not None

    @pytest.mark.parametrize(
        "text",
        ["", "soon", "14 Nov 2023", "Nov 2023 22:13:20", "14 2023 22:13:20", "14 Nov 22:13:20", "32 Nov 2023 22:13:20",
         "31 Feb 2023 22:13:20", "14 Nov 1600 22:13:20", "14 Nov 2023 24:13:20", "14 Nov 2023 22:60:20",
         "14 Nov 2023 22:13:61", "14 Nov 20233 22:13:20", "0 Nov 2023 22:13:20", "114 Nov 2023 22:13:20"],
    )  # fmt: skip
    def test_no_dates(self, text: str):
        """A part that is missing or out of its range makes it no date."""
        assert read_date(text) is None


class TestDomains:
    """Sections 5.1.3 and 5.7: which host may set a cookie for which."""

    @pytest.mark.parametrize(
        ("host", "domain", "matches"),
        [
            ("example.org", "example.org", True),
            ("www.example.org", "example.org", True),
            ("a.b.example.org", "example.org", True),
            ("badexample.org", "example.org", False),
            ("example.org", "www.example.org", False),
            ("127.0.0.1", "127.0.0.1", True),
            ("127.0.0.1", "0.0.1", False),
            ("::1", "::1", True),
        ],
    )
    def test_matching(self, host: str, domain: str, matches: bool):
        """A host is of its own domain and of those above, label by label; an address is only itself."""
        assert domain_matches(host, domain) is matches

    @pytest.mark.parametrize(
        ("domain", "goes_to"),
        [
            (None, ["www.example.org"]),
            ("", ["www.example.org"]),
            ("www.example.org", ["www.example.org", "deep.www.example.org"]),
            ("example.org", ["www.example.org", "deep.www.example.org", "example.org", "other.example.org"]),
            (".example.org", ["www.example.org", "deep.www.example.org", "example.org", "other.example.org"]),
            ("EXAMPLE.ORG", ["www.example.org", "deep.www.example.org", "example.org", "other.example.org"]),
            ("..example.org", []),
            ("other.example.org", []),
            ("deep.www.example.org", []),
            ("example.com", []),
            ("ample.org", []),
            ("org", []),
            (".", ["www.example.org"]),
            ("ex\xe4mple.org", []),
        ],
    )
    def test_where_it_goes(self, domain: str | None, goes_to: list[str]):
        """With a Domain it goes to that host and all below it; without, to its own host alone."""
        jar = kept("a=1; Path=/" if domain is None else f"a=1; Path=/; Domain={domain}")
        hosts = ["www.example.org", "deep.www.example.org", "example.org", "other.example.org", "example.com"]
        assert [host for host in hosts if pairs(jar, f"https://{host}/")] == goes_to

    @pytest.mark.parametrize(
        ("host", "domain", "is_kept"),
        [
            ("127.0.0.1", "127.0.0.1", True),
            ("127.0.0.1", "0.0.1", False),
            ("127.0.0.1", "1", False),
            ("[::1]", "::1", True),
            ("[::1]", "[::1]", False),
            ("localhost", "localhost", True),
            ("intranet", "intranet", True),
            ("printer.lan", "lan", False),
        ],
    )
    def test_addresses_and_short_names(self, host: str, domain: str, is_kept: bool):
        """An address or a name of one label may name itself, and then the cookie is for it alone."""
        jar = kept(f"a=1; Path=/; Domain={domain}", url=f"http://{host}:8000/")
        assert bool(pairs(jar, f"http://{host}:9000/")) is is_kept
        assert pairs(jar, "http://below.localhost/") == pairs(jar, "http://below.intranet/") == []

    def test_any_port(self):
        """Cookies know no ports."""
        assert pairs(kept("a=1; Path=/"), "https://www.example.org:8443/") == ["a=1"]


@pytest.fixture(params=["list", "rule of thumb"])
def suffixes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of knowing public suffixes: with the extra, and without."""
    known = PublicSuffixes()
    if request.param == "list":
        pytest.importorskip("publicsuffixlist")
    else:
        monkeypatch.setitem(sys.modules, "publicsuffixlist", None)
    monkeypatch.setattr(jar_rules, "SUFFIXES", known)
    return str(request.param)


class TestPublicSuffixes:
    """Section 5.7: nobody sets cookies for a whole country, or for all of a hosting service."""

    @pytest.mark.parametrize("domain", ["org", "co.uk", "com.au", ".co.uk", "CO.UK"])
    def test_of_countries(self, suffixes: str, domain: str):
        """A cookie for a public suffix is refused, with and without the extra."""
        host = f"shop.{domain.strip('.').lower()}"
        assert list(kept(f"a=1; Domain={domain}", url=f"https://{host}/")) == []
        assert pairs(kept(f"a=1; Domain={host}", url=f"https://{host}/"), f"https://www.{host}/") == ["a=1"]

    @pytest.mark.parametrize("domain", ["github.io", "s3.amazonaws.com", "x.kawasaki.jp", "xn--55qx5d.cn"])
    def test_of_services(self, domain: str):
        """The list knows suffixes that only their owners can tell, wildcards and names in other scripts among them."""
        pytest.importorskip("publicsuffixlist")
        assert list(kept(f"a=1; Domain={domain}", url=f"https://victim.{domain}/")) == []

    def test_an_exception_of_the_list(self):
        """What the list excepts from a wildcard is a domain like any other."""
        pytest.importorskip("publicsuffixlist")
        jar = kept("a=1; Path=/; Domain=city.kawasaki.jp", url="https://www.city.kawasaki.jp/")
        assert pairs(jar, "https://other.city.kawasaki.jp/") == ["a=1"]

    def test_a_suffix_may_set_its_own(self, suffixes: str):
        """A host that is a public suffix itself may name itself: the cookie is for that host alone."""
        jar = kept("a=1; Path=/; Domain=co.uk", url="https://co.uk/")
        (cookie,) = jar
        assert cookie.host_only
        assert pairs(jar, "https://co.uk/") == ["a=1"]
        assert pairs(jar, "https://victim.co.uk/") == []

    def test_it_is_read_when_it_is_needed(self):
        """The list is read at the first question; by then nothing of it is loaded."""
        known = PublicSuffixes()
        assert known.due
        assert known.cover("org")
        assert not known.due

    @pytest.mark.parametrize(
        ("domain", "is_public"),
        [
            ("org", True),
            ("co.uk", True),
            ("co.uk.", True),
            ("a.co.uk", False),
            ("example.org", False),
            ("co.org", False),
        ],
    )
    def test_the_rule_of_thumb(self, domain: str, is_public: bool):
        """Without the list, one label and a category before a country's code are taken for public suffixes."""
        assert looks_public(domain) is is_public


class TestPaths:
    """Sections 5.1.4 and 5.6.4: to which paths a cookie goes."""

    @pytest.mark.parametrize(
        ("path", "prefix", "matches"),
        [
            ("/dir", "/dir", True),
            ("/dir/x", "/dir", True),
            ("/dir/x", "/dir/", True),
            ("/directory", "/dir", False),
            ("/", "/dir", False),
            ("/dir", "/dir/", False),
            ("/anything", "/", True),
            ("/DIR", "/dir", False),
        ],
    )
    def test_matching(self, path: str, prefix: str, matches: bool):
        """Whole segments are compared, in their case."""
        assert path_matches(path, prefix) is matches

    @pytest.mark.parametrize(
        ("url", "attribute", "path"),
        [
            ("https://example.org/dir/page?query=/x", "", "/dir"),
            ("https://example.org/dir/", "", "/dir"),
            ("https://example.org/page", "", "/"),
            ("https://example.org", "", "/"),
            ("https://example.org/dir/page", "; Path=", "/dir"),
            ("https://example.org/dir/page", "; Path=relative", "/dir"),
            ("https://example.org/dir/page", "; Path=/elsewhere", "/elsewhere"),
        ],
    )
    def test_the_path_of_a_cookie(self, url: str, attribute: str, path: str):
        """It is the Path, if that begins with a slash, else the directory of what was asked for."""
        (cookie,) = kept(f"a=1{attribute}", url=url)
        assert cookie.path == path

    def test_the_query_is_no_path(self):
        """What stands behind the question mark opens no path."""
        jar = kept("a=1; Path=/secret")
        assert pairs(jar, "https://www.example.org/open?/secret") == []
        assert pairs(jar, "https://www.example.org/secret?x") == ["a=1"]


class TestSecurity:
    """Sections 5.4 and 5.7: what plain http and false names can't do."""

    def test_secure_cookies_go_over_https_alone(self):
        """A Secure cookie is sent over https, and not over http."""
        jar = kept("a=1; Path=/; Secure")
        assert pairs(jar, "https://www.example.org/") == ["a=1"]
        assert pairs(jar, "http://www.example.org/") == []

    def test_plain_http_sets_no_secure_cookie(self):
        """A Secure cookie that came over http is refused."""
        assert list(kept("a=1; Secure", url="http://www.example.org/")) == []

    @pytest.mark.parametrize(
        ("field", "refused"),
        [
            ("a=2; Path=/", False),  # not below the secure one's path
            ("a=2; Path=/dir", True),
            ("a=2; Path=/dir/below", True),
            ("a=2; Path=/dir; Domain=example.org", True),
            ("b=2; Path=/dir", False),
            ("a=2; Path=/dir; Max-Age=0", True),
        ],
    )
    def test_plain_http_hides_no_secure_cookie(self, field: str, refused: bool):
        """A cookie from http does not take the place of a Secure one that would be sent beside it, nor remove it."""
        jar = kept("a=1; Path=/dir; Secure")
        kept(field, url="http://www.example.org/", jar=jar)
        assert [cookie.value for cookie in jar] == (["1"] if refused else ["1", "2"])

    @pytest.mark.parametrize(
        ("field", "taken"),
        [
            ("__Secure-a=1; Secure", True),
            ("__Secure-a=1; Secure; Domain=example.org; Path=/x", True),
            ("__Secure-a=1", False),
            ("__secure-a=1", False),
            ("__Host-a=1; Secure; Path=/", True),
            ("__Host-a=1; Secure", False),
            ("__Host-a=1; Secure; Path=/x", False),
            ("__Host-a=1; Path=/", False),
            ("__Host-a=1; Secure; Path=/; Domain=www.example.org", False),
            ("__HOST-a=1; Path=/", False),
            ("=__Host-a=1; Secure; Path=/", False),
            ("__Secure-", False),
            ("__Hosta=1", True),
        ],
    )
    def test_prefixes(self, field: str, taken: bool):
        """A name that begins with __Secure- or __Host- promises attributes; without them the cookie is refused."""
        assert bool(list(kept(field))) is taken

    def test_prefixes_over_http(self):
        """Over http there are no such cookies at all."""
        assert list(kept("__Secure-a=1; Secure", "__Host-b=1; Secure; Path=/", url="http://www.example.org/")) == []


class TestKeeping:
    """Sections 5.7 and 5.8.3: which replaces which, and in which order they go."""

    def test_the_order(self):
        """Longer paths go first, then older cookies; one that is set again stays as old as it was."""
        jar = kept("a=1; Path=/", "b=1; Path=/dir", "c=1; Path=/", "a=2; Path=/")
        assert pairs(jar) == ["b=1", "a=2", "c=1"]

    def test_one_name_in_several_paths(self):
        """Cookies of one name with different paths all go, the nearest first."""
        assert pairs(kept("a=far; Path=/", "a=near; Path=/dir")) == ["a=near", "a=far"]

    def test_what_is_the_same_cookie(self):
        """Name, domain and path, and whether it is for one host alone, make a cookie what it is."""
        jar = kept("a=1", "a=2; Domain=www.example.org", "a=3; Path=/", "A=4", "a=5")
        assert sorted(cookie.value for cookie in jar) == ["2", "3", "4", "5"]

    def test_a_host_fills_no_memory(self):
        """Of one domain 180 are kept, the youngest."""
        jar = kept(*(f"c{number}=1" for number in range(200)))
        assert [cookie.name for cookie in jar] == [f"c{number}" for number in range(20, 200)]

    def test_many_hosts_fill_no_memory(self, monkeypatch: pytest.MonkeyPatch):
        """And of all domains together a number that is limited, too."""
        monkeypatch.setattr(jar_rules, "_IN_ALL", 10)
        jar = Jar(Clock())
        for number in range(15):
            kept("a=1", url=f"https://host{number}.example/", jar=jar)
        assert [cookie.domain for cookie in jar] == [f"host{number}.example" for number in range(5, 15)]

    def test_it_can_be_pickled(self):
        """A jar goes to another process with all that is in it."""
        jar = kept("a=1; Path=/; Max-Age=10", jar=Jar())
        assert pairs(pickle.loads(pickle.dumps(jar))) == ["a=1"]
