"""Redirects: where they lead, and what of the request goes along."""

import io
from typing import Any

import pytest

from aioreq._message import PreparedRequest
from aioreq._rules.conversation import Rules
from aioreq._rules.redirect import redirected
from aioreq.exceptions import InvalidURL, RequestException, TooManyRedirects, UnrewindableBodyError
from tests.talks import Talk, answer, prepared, to

HOME = "http://example.org/dir/page?old=1"


def following(request: PreparedRequest, status: int, location: str) -> PreparedRequest:
    """The request that a redirect leads to."""
    found = redirected(request, answer(request, status, {"Location": location}))
    assert found is not None
    return found


class TestMethods:
    @pytest.mark.parametrize(
        ("method", "status", "then"),
        [
            *[("GET", status, "GET") for status in (301, 302, 303, 307, 308)],
            *[("HEAD", status, "HEAD") for status in (301, 302, 303, 307, 308)],
            *[("POST", status, "GET") for status in (301, 302, 303)],
            *[("POST", status, "POST") for status in (307, 308)],
            *[(method, 303, "GET") for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")],
            *[(method, status, method) for method in ("PUT", "PATCH", "DELETE") for status in (301, 302, 307, 308)],
        ],
    )
    def test_the_method_of_the_next_request(self, method: str, status: int, then: str):
        """GET and HEAD follow every redirect; POST becomes GET on 301, 302 and 303; 307 and 308 keep the method."""
        data = None if method in ("GET", "HEAD") else b"data"
        request = prepared(method, HOME, data=data)
        next_request = following(request, status, "/next")
        assert next_request.method == then
        assert (next_request.body is not None) is (data is not None and then != "GET")
        assert ("Content-Length" in next_request.headers) is (next_request.body is not None)

    @pytest.mark.parametrize("status", [200, 201, 300, 304, 305, 306, 400, 401])
    def test_other_statuses_are_no_redirects(self, status: int):
        """A Location elsewhere is not followed."""
        request = prepared("GET", HOME)
        assert redirected(request, answer(request, status, {"Location": "/next"})) is None

    def test_a_redirect_without_a_location(self):
        """A redirect that does not say where to is the final answer."""
        request = prepared("GET", HOME)
        assert redirected(request, answer(request, 302)) is None


class TestBodies:
    FIELDS = (
        ("Content-Type", "x/y"),
        ("Content-Encoding", "gzip"),
        ("Content-Language", "en"),
        ("Content-MD5", "x"),
        ("content-disposition", "attachment"),
        ("Content-Range", "bytes 0-3/4"),
        ("Digest", "sha-256=x"),
        ("Expect", "100-continue"),
        ("X-Own", "kept"),
        ("Accept", "kept/too"),
    )

    @pytest.mark.parametrize("status", [301, 302, 303])
    def test_what_described_the_body_goes_with_it(self, status: int):
        """Where the body is dropped, so is every Content-* header, and what else speaks of it; the others stay."""
        request = prepared("POST", HOME, data=b"data", headers=self.FIELDS)
        headers = following(request, status, "/next").headers
        assert list(headers.items()) == [("Host", "example.org"), ("X-Own", "kept"), ("Accept", "kept/too")]

    def test_chunked_coding_goes_with_the_body(self):
        """There is nothing to code any more."""
        request = prepared("POST", HOME, data=iter([b"data"]), headers={"Transfer-Encoding": "chunked"})
        assert "Transfer-Encoding" not in following(request, 303, "/next").headers

    @pytest.mark.parametrize("status", [307, 308])
    def test_a_kept_body_keeps_its_headers(self, status: int):
        """Where the body goes along, it is the same description, and so are its headers."""
        request = prepared("POST", HOME, data=b"data", headers=self.FIELDS)
        next_request = following(request, status, "/next")
        assert next_request.body is request.body
        assert list(next_request.headers.items()) == list(request.headers.items())

    @pytest.mark.parametrize("status", [307, 308])
    async def test_a_body_that_has_begun_and_can_be_read_once(self, status: int):
        """It can't go along: UnrewindableBodyError, and never an empty body."""
        request = prepared("PUT", HOME, data=iter([b"data"]), headers={"Content-Length": "4"})
        assert following(request, status, "/next").body is request.body
        assert request.body is not None
        assert [chunk async for chunk in request.body] == [b"data"]
        with pytest.raises(UnrewindableBodyError, match="must be sent again"):
            following(request, status, "/next")
        assert following(request, 303, "/next").body is None

    async def test_a_file_goes_along_again(self):
        """A file that was read to its end goes along from its first byte."""
        request = prepared("POST", HOME, files={"file": io.BytesIO(b"data")})
        assert request.body is not None
        first = [chunk async for chunk in request.body]
        body = following(request, 307, "/next").body
        assert body is not None
        assert [chunk async for chunk in body] == first


class TestLocations:
    @pytest.mark.parametrize(
        ("location", "url"),
        [
            ("/next", "http://example.org/next"),
            ("next", "http://example.org/dir/next"),
            ("../up", "http://example.org/up"),
            ("?new=2", "http://example.org/dir/page?new=2"),
            ("", "http://example.org/dir/page?old=1"),
            ("//other.example/x", "http://other.example/x"),
            ("https://other.example", "https://other.example/"),
            ("HTTP://Example.ORG:80/x", "http://example.org/x"),
            ("/sp ace", "http://example.org/sp%20ace"),
            ("/already%20quoted%2F", "http://example.org/already%20quoted%2F"),
            ("/100%", "http://example.org/100%25"),
            ("/é".encode().decode("latin-1"), "http://example.org/%C3%A9"),
            ("/caf\xe9", "http://example.org/caf%C3%A9"),
            ("http://münchen.example/", "http://xn--mnchen-3ya.example/"),
        ],
    )
    def test_a_location_is_relative_to_the_request(self, location: str, url: str):
        """A Location is resolved against the URL (RFC 3986), quoted where it must be, and else left as it is."""
        assert following(prepared("GET", HOME), 302, location).url == url

    @pytest.mark.parametrize(
        ("start", "location", "end"),
        [
            (HOME + "#top", "/next", "http://example.org/next#top"),
            (HOME + "#top", "/next#other", "http://example.org/next#other"),
            (HOME, "/next#other", "http://example.org/next#other"),
        ],
    )
    def test_a_fragment_is_inherited(self, start: str, location: str, end: str):
        """The fragment stays unless the Location has one of its own, and is never sent (RFC 9110, section 10.2.2)."""
        next_request = following(prepared("GET", start), 302, location)
        assert next_request.url == end
        assert "#" not in next_request.target.path

    @pytest.mark.parametrize("location", ["ftp://example.org/", "mailto:x@example.org", "http://", "http://[bad/"])
    def test_a_location_that_leads_nowhere(self, location: str):
        """A redirect to what can't be requested is an error."""
        with pytest.raises(InvalidURL):
            following(prepared("GET", HOME), 302, location)


ELSEWHERE = ["http://other.example/", "http://example.org:8080/", "https://example.org/", "http://www.example.org/"]


class TestOrigins:
    SECRETS: tuple[tuple[str, Any], ...] = (
        ("Authorization", "Basic eDp5"),
        ("Cookie", "a=b"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("X-Own", "kept"),
    )

    @pytest.mark.parametrize("location", ELSEWHERE)
    def test_secrets_stay_at_home(self, location: str):
        """Credentials and cookies don't go to another host, port or scheme; Host says where the request goes."""
        next_request = following(prepared("GET", HOME, headers=self.SECRETS), 302, location)
        assert list(next_request.headers.items()) == [("Host", next_request.target.host), ("X-Own", "kept")]

    @pytest.mark.parametrize("location", ["/next", "http://example.org:80/", "HTTP://EXAMPLE.ORG/"])
    def test_at_home_they_go_along(self, location: str):
        """The same origin, however it is written, gets what it got before."""
        request = prepared("GET", HOME, headers=self.SECRETS)
        assert list(following(request, 302, location).headers.items()) == list(request.headers.items())

    def test_a_host_of_the_callers_own(self):
        """A Host header of the caller's stays at the origin it was meant for, and goes to no other."""
        request = prepared("GET", HOME, headers={"Host": "virtual.example"})
        assert following(request, 302, "/next").headers["Host"] == "virtual.example"
        assert following(request, 302, "http://other.example/").headers["Host"] == "other.example"

    @pytest.mark.parametrize("secret", ["Authorization", "Cookie", "Proxy-Authorization"])
    def test_no_credentials_lead_from_https_to_http(self, secret: str):
        """A redirect from https to http is refused while the request carries a secret."""
        request = prepared("GET", "https://example.org/", headers={secret: "x"})
        with pytest.raises(
            RequestException, match=f"from https to http.*{secret}.*send a request of its own"
        ) as caught:
            following(request, 302, "http://example.org/")
        assert caught.value.request is request
        assert caught.value.response is not None

    def test_without_credentials_https_leads_to_http(self):
        """Without a secret it is followed."""
        assert (
            following(prepared("GET", "https://example.org/"), 302, "http://example.org/").url == "http://example.org/"
        )


class TestChains:
    def test_redirects_are_followed_to_their_end(self):
        """The final answer has the ones before it as its history, oldest first; each knows those before it."""
        talk = Talk.of(prepared("POST", HOME, data=b"x"), [to("/one", 307), to("/two", 303), to("three"), 200])
        assert [(request.method, request.target.path) for request in talk.sent] == [
            ("POST", "/dir/page?old=1"),
            ("POST", "/one"),
            ("GET", "/two"),
            ("GET", "/three"),
        ]
        final = talk.final
        assert final is not None
        assert final.url == "http://example.org/three"
        assert [response.status_code for response in final.history] == [307, 303, 302]
        assert [len(response.history) for response in final.history] == [0, 1, 2]
        assert [response.url for response in final.history] == talk.urls[:3]

    def test_they_are_not_followed_when_not_wanted(self):
        """With allow_redirects=False the redirect is the answer."""
        talk = Talk.of(prepared("GET", HOME), [to("/next")], Rules(allow_redirects=False))
        assert talk.final is not None
        assert talk.final.status_code == 302
        assert talk.final.history == []

    @pytest.mark.parametrize("limit", [0, 1, 5])
    def test_there_is_a_limit(self, limit: int):
        """So many redirects are followed; the next raises TooManyRedirects with the last answer and its history."""
        rules = Rules(max_redirects=limit)
        assert Talk.of(prepared("GET", HOME), [to("/next")] * limit + [200], rules).final is not None
        talk = Talk()
        with pytest.raises(TooManyRedirects, match=f"more than {limit} redirects, the last to .*/next") as caught:
            talk.run(prepared("GET", HOME), [to("/next")] * 100, rules)
        assert len(talk.sent) == limit + 1
        assert caught.value.request is talk.last
        assert caught.value.response.request is talk.last
        assert len(caught.value.response.history) == limit

    def test_the_default_is_thirty(self):
        """Thirty redirects are followed by default."""
        talk = Talk()
        with pytest.raises(TooManyRedirects):
            talk.run(prepared("GET", HOME), [to("/next")] * 100)
        assert len(talk.sent) == 31

    def test_secrets_do_not_come_back(self):
        """What was dropped on the way to another origin is not put on again by a redirect back home."""
        headers = {"Authorization": "Basic eDp5", "Cookie": "a=b"}
        talk = Talk.of(prepared("GET", HOME, headers=headers), [to("http://other.example/"), to(HOME), 200])
        assert [("Authorization" in request.headers, "Cookie" in request.headers) for request in talk.sent] == [
            (True, True),
            (False, False),
            (False, False),
        ]

    def test_what_was_sent_is_not_changed_afterwards(self):
        """Each answer's request stays as it was when it was sent."""
        talk = Talk.of(prepared("POST", HOME, data=b"x"), [to("http://other.example/", 303), 200])
        first = talk.sent[0]
        assert (first.method, first.headers["Host"], first.headers["Content-Length"]) == ("POST", "example.org", "1")
