"""Credentials: each scheme as an exchange of letters, and which request gets which."""

import hashlib
import itertools
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import AuthObject, BasicAuth, BearerAuth, DigestAuth, NetrcAuth, add_autoauth
from aioreq._message import PreparedRequest, Response
from aioreq._rules.auth import Auth, as_auth, autoauth_for, digest_answer, digest_challenge
from aioreq._rules.conversation import Rules
from aioreq._url import parse_url
from aioreq.exceptions import AuthenticationError, InvalidHeader, InvalidURL, UnrewindableBodyError
from tests.talks import Talk, answer, prepared, to

HOME = "http://example.org/dir/index.html"


def credentials(request: PreparedRequest) -> str | None:
    """User and password of Basic authentication, or None."""
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, encoded = header.partition(" ")
    assert scheme == "Basic"
    return b64decode(encoded).decode()


def first_letter(auth: Auth, **fields: Any) -> PreparedRequest:
    return next(auth.flow(prepared("GET", HOME, **fields)))


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with nothing registered, and leaves nothing."""
    monkeypatch.setattr("aioreq._rules.auth._autoauth", [])


class TestBasic:
    @pytest.mark.parametrize(
        ("username", "password", "header"),
        [
            ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617, section 2
            ("test", "123£", "Basic dGVzdDoxMjPCow=="),  # RFC 7617, section 2.1
            ("", "", "Basic Og=="),
            ("user", "pass:word", "Basic dXNlcjpwYXNzOndvcmQ="),
        ],
    )
    def test_the_header(self, username: str, password: str, header: str):
        """User and password, joined by a colon, in UTF-8, in base64 (RFC 7617)."""
        assert first_letter(BasicAuth(username, password)).headers["Authorization"] == header

    def test_any_text(self):
        """Text of any language goes."""
        assert credentials(first_letter(BasicAuth("日本", "😀"))) == "日本:😀"

    def test_a_user_name_with_a_colon(self):
        """The colon separates, so a user name can't have one."""
        with pytest.raises(AuthenticationError, match="can't contain a colon"):
            BasicAuth("user:name", "x")

    @pytest.mark.parametrize(("username", "password"), [("a\r\nb", "x"), ("a", "x\0y")])
    def test_control_characters(self, username: str, password: str):
        """Control characters are refused."""
        with pytest.raises(InvalidHeader, match="holds a control character"):
            BasicAuth(username, password)

    @pytest.mark.parametrize("kind", [BasicAuth, DigestAuth])
    def test_credentials_are_text(self, kind: Callable[[Any, Any], Auth]):
        """Numbers and bytes are no credentials."""
        with pytest.raises(TypeError, match="a user name is text, not int"):
            kind(1, "x")
        with pytest.raises(TypeError, match="a password is text, not NoneType"):
            kind("x", None)

    def test_equality_and_repr(self):
        """Equal credentials are equal, as in requests 0.2.1; the password is not shown."""
        assert BasicAuth("a", "b") == AuthObject("a", "b")
        assert len({BasicAuth("a", "b"), BasicAuth("a", "b"), BasicAuth("a", "c")}) == 2
        assert BasicAuth("a", "b") != BasicAuth("a", "c")
        assert BasicAuth("a", "b") != ("a", "b")
        assert repr(BasicAuth("user", "hidden")) == "BasicAuth('user', '[secret]')"

    def test_it_is_one_letter(self):
        """There is nothing to answer to a 401."""
        talk = Talk.of(prepared("GET", HOME), [401], Rules(auth=BasicAuth("a", "b")))
        assert talk.final is not None
        assert talk.final.status_code == 401


class TestBearer:
    def test_the_header(self):
        """The token follows the scheme (RFC 6750)."""
        assert first_letter(BearerAuth("mF_9.B5f-4.1JqM")).headers["Authorization"] == "Bearer mF_9.B5f-4.1JqM"
        assert first_letter(BearerAuth("a~b+c/d==")).headers["Authorization"] == "Bearer a~b+c/d=="

    @pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "a\n", "é", "Bearer a", "=a", "a=b"])
    def test_what_is_no_token(self, token: str):
        """A token is letters, digits and -._~+/, with equals signs at its end."""
        with pytest.raises(InvalidHeader, match="a bearer token has letters"):
            BearerAuth(token)

    def test_repr(self):
        """The token is not shown."""
        assert repr(BearerAuth("hidden")) == "BearerAuth('[secret]')"


MUFASA = {
    "realm": "http-auth@example.org",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
    "qop": "auth, auth-int",
}
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


class TestDigestAnswers:
    @pytest.mark.parametrize(
        ("algorithm", "response"),
        [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ],
    )
    def test_the_examples_of_rfc_7616(self, algorithm: str, response: str):
        """The answers of RFC 7616, section 3.9.1."""
        header = digest_answer(
            {**MUFASA, "algorithm": algorithm}, "Mufasa", "Circle of Life", "GET", "/dir/index.html", 1, CNONCE
        )
        assert header == (
            'Digest username="Mufasa", realm="http-auth@example.org", '
            'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", uri="/dir/index.html", '
            f'response="{response}", algorithm={algorithm}, '
            'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", '
            f'qop=auth, nc=00000001, cnonce="{CNONCE}"'
        )

    def test_the_example_of_rfc_2617(self):
        """The answer of RFC 2617, section 3.5, whose challenge names no algorithm."""
        challenge = {
            "realm": "testrealm@host.com",
            "qop": "auth,auth-int",
            "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            "opaque": "5ccc069c403ebaf9f0171e9517f40e41",
        }
        header = digest_answer(challenge, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", 1, "0a4f113b")
        assert 'response="6629fae49393a05397450978507c4ef1"' in header
        assert "algorithm" not in header

    def test_a_challenge_without_qop(self):
        """A challenge of RFC 2069 is answered without counter and client nonce."""
        challenge = {"realm": "testrealm@host.com", "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093"}
        header = digest_answer(challenge, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", 1, "0a4f113b")
        assert 'response="670fd8c2df070c60b045671b8b24ff02"' in header
        assert "cnonce" not in header
        assert "qop" not in header

    def test_protection_of_the_body(self):
        """Where only auth-int is offered, the body's digest goes into the proof (RFC 7616, section 3.4.3)."""
        challenge = {"realm": "r", "nonce": "n", "qop": "auth-int", "algorithm": "SHA-512"}
        header = digest_answer(challenge, "u", "p", "PUT", "/", 1, "c", prepared("PUT", data=b"body").body)
        secret, body = (hashlib.sha512(text).hexdigest() for text in (b"u:r:p", b"body"))
        action = hashlib.sha512(f"PUT:/:{body}".encode()).hexdigest()
        proof = hashlib.sha512(f"{secret}:n:00000001:c:auth-int:{action}".encode()).hexdigest()
        assert f'response="{proof}"' in header
        assert "qop=auth-int" in header

    def test_session_variants(self):
        """With -sess the secret is bound to both nonces, and so differs from one without."""
        plain, session = (
            digest_answer({**MUFASA, "algorithm": name}, "Mufasa", "Circle of Life", "GET", "/", 1, CNONCE)
            for name in ("SHA-256", "SHA-256-sess")
        )
        assert "algorithm=SHA-256-sess" in session
        assert plain.partition("response=")[2][:66] != session.partition("response=")[2][:66]

    def test_what_the_answer_depends_on(self):
        """Method, URI, counter, client nonce, user and password all change the proof."""
        arguments: list[Any] = ["user", "password", "GET", "/", 1, "cnonce"]
        others: list[Any] = ["USER", "PASSWORD", "PUT", "/x", 2, "CNONCE"]
        proofs = set()
        for changed in itertools.chain([None], range(6)):
            given = [others[at] if at == changed else value for at, value in enumerate(arguments)]
            proofs.add(digest_answer(MUFASA, *given).partition("response=")[2][:34])
        assert len(proofs) == 7

    def test_quotes_are_escaped(self):
        """Quotes and backslashes in names are escaped in the header."""
        header = digest_answer({**MUFASA, "realm": 'a"b'}, 'us"er\\', "x", "GET", "/", 1, "c")
        assert 'username="us\\"er\\\\"' in header
        assert 'realm="a\\"b"' in header

    def test_a_user_name_beyond_ascii(self):
        """Such a name has the extended form of RFC 7616, section 3.4."""
        header = digest_answer(MUFASA, "Jäsøn Doe", "Secret, or not?", "GET", "/doe.json", 1, "c")
        assert header.startswith("Digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, realm=")


class TestDigestChallenges:
    def challenge(self, *headers: str) -> dict[str, str] | None:
        request = prepared()
        return digest_challenge(answer(request, 401, [("WWW-Authenticate", header) for header in headers]))

    def test_its_fields(self):
        """Fields are quoted or not, in any order and case, with any white space."""
        assert self.challenge('digest  REALM = "a, \\"b\\"" ,nonce="n" , algorithm=MD5, qop="auth",stale=false') == {
            "realm": 'a, "b"',
            "nonce": "n",
            "algorithm": "MD5",
            "qop": "auth",
            "stale": "false",
        }

    @pytest.mark.parametrize(
        "headers",
        [
            ('Digest realm="d", nonce="n"', 'Basic realm="b"'),
            ('Basic realm="b"', 'Digest realm="d", nonce="n"'),
            ('Basic realm="b", Digest realm="d", nonce="n"',),
            ('Digest realm="d", nonce="n", Basic realm="b"',),
            ('Newauth realm="x", nonce="y", Digest nonce="n", realm="d", Negotiate abc==, Basic realm="b"',),
        ],
    )
    def test_among_challenges_of_other_schemes(self, headers: tuple[str, ...]):
        """A server may offer several schemes, in one header or in several."""
        challenge = self.challenge(*headers)
        assert challenge is not None
        assert (challenge["realm"], challenge["nonce"]) == ("d", "n")

    def test_the_strongest_is_chosen(self):
        """Of several Digest challenges the one with the strongest algorithm is answered."""
        md5, sha = 'Digest realm="d", nonce="m", algorithm=MD5', 'Digest realm="d", nonce="s", algorithm=SHA-256'
        for headers in ((md5, sha), (sha, md5), (f"{md5}, {sha}",)):
            challenge = self.challenge(*headers)
            assert challenge is not None
            assert challenge["nonce"] == "s"

    @pytest.mark.parametrize(
        "header",
        [
            'Basic realm="x"',
            'Digest realm="x"',
            'Digest realm="x", nonce="n", algorithm=SHA-3',
            'Digest realm="x", nonce="n", qop="auth-conf"',
        ],
    )
    def test_what_cannot_be_answered(self, header: str):
        """Without nonce, with an unknown algorithm or kind of protection, there is no answer."""
        assert self.challenge(header) is None

    def test_what_cannot_be_proved(self):
        """Where only auth-int is offered there is no answer for a body that would have to be read first."""
        challenge = [("WWW-Authenticate", 'Digest realm="x", nonce="n", qop="auth-int"')]
        request = prepared("PUT", HOME, data=iter([b"data"]), headers={"Content-Length": "4"})
        assert digest_challenge(answer(request, 401, challenge)) is None
        assert digest_challenge(answer(prepared("PUT", HOME, data=b"data"), 401, challenge)) is not None

    def test_no_challenge(self):
        """An answer without the header has none."""
        assert self.challenge() is None


def challenged(nonce: str = "n", **fields: str) -> tuple[int, dict[str, str]]:
    """A 401 with a challenge, for the script of a talk."""
    further = "".join(f", {name}={value}" for name, value in fields.items())
    return 401, {"WWW-Authenticate": f'Digest realm="r", nonce="{nonce}", qop="auth"{further}'}


def fields_of(header: str) -> dict[str, str]:
    """The fields of an Authorization header, without quotes."""
    pairs = (field.split("=", 1) for field in header.partition(" ")[2].split(", "))
    return {name: value.strip('"') for name, value in pairs}


class TestDigestExchanges:
    def test_a_challenge_is_answered(self):
        """The request goes out without credentials, is challenged, and goes out again with the proof."""
        talk = Talk.of(prepared("GET", HOME), [challenged(), 200], Rules(auth=DigestAuth("user", "password")))
        first, second = talk.sent
        assert "Authorization" not in first.headers
        assert 'uri="/dir/index.html", ' in second.headers["Authorization"]
        assert "nc=00000001" in second.headers["Authorization"]
        assert talk.final is not None
        assert [response.status_code for response in talk.final.history] == [401]

    def test_the_nonce_is_kept(self):
        """The next request proves itself at once, counted further, with a new client nonce."""
        auth = DigestAuth("user", "password")
        Talk.of(prepared("GET", HOME), [challenged(), 200], Rules(auth=auth))
        headers = [
            Talk.of(prepared("GET", HOME), [200], Rules(auth=auth)).last.headers["Authorization"] for _ in range(2)
        ]
        assert ["nc=00000002" in headers[0], "nc=00000003" in headers[1]] == [True, True]
        assert headers[0].partition("cnonce=")[2] != headers[1].partition("cnonce=")[2]

    def test_wrong_credentials_are_final(self):
        """A second challenge without a new nonce means that the password is wrong."""
        auth = DigestAuth("user", "wrong")
        talk = Talk.of(prepared("GET", HOME), [challenged("a"), challenged("b")], Rules(auth=auth))
        assert talk.final is not None
        assert talk.final.status_code == 401
        assert len(talk.sent) == 2

    @pytest.mark.parametrize("later", [challenged("new"), challenged("new", stale="true"), challenged(stale="TRUE")])
    def test_a_nonce_that_is_too_old(self, later: tuple[int, dict[str, str]]):
        """When the server does not take the kept nonce any more, its new challenge is answered, once."""
        auth = DigestAuth("user", "password")
        Talk.of(prepared("GET", HOME), [challenged(), 200], Rules(auth=auth))
        talk = Talk.of(prepared("GET", HOME), [later, 200], Rules(auth=auth))
        assert "nc=00000002" in talk.sent[0].headers["Authorization"]
        assert "nc=00000001" in talk.sent[1].headers["Authorization"]

    def test_the_query_is_part_of_the_proof(self):
        """The URI is what stands on the request line."""
        talk = Talk.of(prepared("GET", HOME + "?a=b c"), [challenged(), 200], Rules(auth=DigestAuth("u", "p")))
        assert 'uri="/dir/index.html?a=b%20c"' in talk.last.headers["Authorization"]

    async def test_a_kept_nonce_that_does_not_fit(self):
        """A body that can't be proved goes out without credentials; the 401 is the answer."""
        only_int = {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth-int"'}
        auth = DigestAuth("user", "password")
        talk = Talk.of(prepared("PUT", HOME, data=b"data"), [(401, only_int), 200], Rules(auth=auth))
        assert "qop=auth-int" in talk.last.headers["Authorization"]
        streamed = prepared("PUT", HOME, data=iter([b"data"]), headers={"Content-Length": "4"})
        talk = Talk.of(streamed, [(401, only_int)], Rules(auth=auth))
        assert "Authorization" not in talk.last.headers

    def test_the_body_goes_out_again(self):
        """The same body goes with the proof."""
        request = prepared("POST", HOME, data=b"data")
        talk = Talk.of(request, [challenged(), 200], Rules(auth=DigestAuth("u", "p")))
        assert [sent.body for sent in talk.sent] == [request.body, request.body]

    async def test_a_body_that_can_be_read_once(self):
        """A one-shot body that has begun can't go with the proof: UnrewindableBodyError."""
        request = prepared("POST", HOME, data=iter([b"data"]), headers={"Content-Length": "4"})
        assert request.body is not None
        assert [chunk async for chunk in request.body] == [b"data"]
        with pytest.raises(UnrewindableBodyError):
            Talk.of(request, [challenged(), 200], Rules(auth=DigestAuth("u", "p")))

    def test_a_redirect_is_proved_anew(self):
        """At each hop on the same origin the proof is for that hop's URI; at another origin there is none."""
        script = [challenged(), to("/next"), to("http://other.example/"), 200]
        talk = Talk.of(prepared("GET", HOME), script, Rules(auth=DigestAuth("u", "p")))
        headers = [request.headers.get("Authorization", "") for request in talk.sent]
        assert ['uri="/next"' in headers[2], "nc=00000002" in headers[2]] == [True, True]
        assert headers[3] == ""

    def test_a_challenge_behind_a_redirect(self):
        """A hop whose proof is challenged anew is proved with the new nonce; all challenges are in the history."""
        script = [challenged(), to("/next"), challenged(nonce="other"), to("/last"), 200]
        talk = Talk.of(prepared("POST", HOME, data=b"data"), script, Rules(auth=DigestAuth("u", "p")))
        proofs = [fields_of(request.headers["Authorization"]) for request in talk.sent[1:]]
        assert [(proof["uri"], proof["nonce"] == "other", proof["nc"]) for proof in proofs] == [
            ("/dir/index.html", False, "00000001"),
            ("/next", False, "00000002"),
            ("/next", True, "00000001"),
            ("/last", True, "00000002"),
        ]
        assert talk.final is not None
        assert [response.status_code for response in talk.final.history] == [401, 302, 401, 302]

    @pytest.mark.parametrize("filling", ["a", " ", ",", "a=", 'a="', "\\", 'a="\\', "digest "])
    def test_no_challenge_takes_long(self, filling: str):
        """A challenge of the largest size, whatever is in it, is read in much less than a second."""
        status, headers = challenged()
        headers["WWW-Authenticate"] += ", x" + filling * (128 * 1024 // len(filling))
        response = answer(prepared("GET", HOME), status, headers)
        started = time.process_time()
        digest_challenge(response)
        assert time.process_time() - started < 1

    def test_two_requests_at_a_time(self):
        """Requests that are challenged together, with one nonce, are both proved, and counted one after the other."""
        auth = DigestAuth("u", "p")
        flows = [auth.flow(prepared("GET", HOME)) for _ in range(2)]
        letters = [next(flow) for flow in flows]
        assert [letter.headers.get("Authorization") for letter in letters] == [None, None]
        status, headers = challenged()
        proofs = [flow.send(answer(letter, status, headers)) for flow, letter in zip(flows, letters, strict=True)]
        assert [fields_of(proof.headers["Authorization"])["nc"] for proof in proofs] == ["00000001", "00000002"]

    def test_another_scheme_is_no_challenge(self):
        """A 401 that asks for something else is the answer."""
        script = [(401, {"WWW-Authenticate": 'Basic realm="x"'})]
        talk = Talk.of(prepared("GET", HOME), script, Rules(auth=DigestAuth("u", "p")))
        assert talk.final is not None
        assert talk.final.status_code == 401

    def test_repr(self):
        """The password is not shown."""
        assert repr(DigestAuth("user", "hidden")) == "DigestAuth('user', '[secret]')"


class TestNetrc:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "netrc"
        path.write_text("machine example.org login user password secret\nmachine other.example login x password y\n")
        path.chmod(0o600)
        return path

    def test_by_host(self, file: Path):
        """User and password are those of the request's host."""
        auth = NetrcAuth(file)
        assert credentials(first_letter(auth)) == "user:secret"
        assert credentials(next(auth.flow(prepared("GET", "https://other.example:8443/")))) == "x:y"
        assert credentials(next(auth.flow(prepared("GET", "http://unknown.example/")))) is None

    def test_the_default_entry(self, file: Path):
        """An entry `default` is for all other hosts."""
        file.write_text(file.read_text() + "default login anyone password anything\n")
        assert credentials(next(NetrcAuth(file).flow(prepared("GET", "http://unknown.example/")))) == "anyone:anything"

    def test_the_file_of_the_environment(self, file: Path, monkeypatch: pytest.MonkeyPatch):
        """$NETRC names the file, else it is ~/.netrc."""
        monkeypatch.setenv("NETRC", str(file))
        assert credentials(first_letter(NetrcAuth())) == "user:secret"
        monkeypatch.delenv("NETRC")
        monkeypatch.setenv("HOME", str(file.parent))
        assert credentials(first_letter(NetrcAuth())) is None
        file.rename(file.parent / ".netrc")
        assert credentials(first_letter(NetrcAuth())) == "user:secret"

    def test_a_file_that_is_missing(self, tmp_path: Path):
        """A file that was named must be there."""
        with pytest.raises(AuthenticationError, match="there is no netrc file at '.*missing'"):
            first_letter(NetrcAuth(tmp_path / "missing"))

    def test_a_file_that_is_none(self, tmp_path: Path):
        """A file that can't be understood is told of."""
        (tmp_path / "bad").write_text("nonsense\n")
        with pytest.raises(AuthenticationError, match="the netrc file can't be read: "):
            first_letter(NetrcAuth(tmp_path / "bad"))
        with pytest.raises(AuthenticationError, match="the netrc file can't be read: "):
            first_letter(NetrcAuth(tmp_path))


class TestAutoauth:
    @pytest.mark.parametrize(
        ("registered", "url", "matches"),
        [
            ("http://example.org", "http://example.org/", True),
            ("http://example.org", "http://example.org/any/path?query", True),
            ("http://example.org/", "http://EXAMPLE.org:80/x", True),
            ("http://example.org/a", "http://example.org/a", True),
            ("http://example.org/a", "http://example.org/a/", True),
            ("http://example.org/a", "http://example.org/a/b", True),
            ("http://example.org/a", "http://example.org/a?query", True),
            ("http://example.org/a/", "http://example.org/a/b", True),
            ("http://example.org/a", "http://example.org/ab", False),
            ("http://example.org/a", "http://example.org/A", False),
            ("http://example.org/a/", "http://example.org/a", False),
            ("http://example.org/a", "http://example.org/", False),
            ("http://example.org/a", "http://example.org/b/a", False),
            ("http://example.org/a", "http://example.org//b/a", False),
            ("http://example.org//b", "http://example.org//b/a", True),
            ("http://example.org", "https://example.org/", False),
            ("http://example.org", "http://example.org:8080/", False),
            ("http://example.org", "http://example.org.evil.example/", False),
            ("http://example.org", "http://www.example.org/", False),
            ("http://example.org", "http://evil.example/http://example.org/", False),
            ("http://example.org", "http://evil.example/?next=http://example.org", False),
        ],
    )
    def test_what_a_url_covers(self, registered: str, url: str, matches: bool):
        """Scheme, host and port are the same, and the path begins with whole segments of the registered one."""
        add_autoauth(registered, ("user", "password"))
        assert (autoauth_for(parse_url(url)) is not None) is matches

    def test_the_longest_match_wins(self):
        """The most particular registration counts, in whatever order they were made."""
        for path in ("/a/b", "/", "/a/b/c", "/a"):
            add_autoauth("http://example.org" + path, (path.replace("/", "-"), "x"))
        assert credentials(Talk.of(prepared("GET", "http://example.org/a/b/x"), [200]).last) == "-a-b:x"
        assert credentials(Talk.of(prepared("GET", "http://example.org/a/b/c"), [200]).last) == "-a-b-c:x"
        assert credentials(Talk.of(prepared("GET", "http://example.org/x"), [200]).last) == "-:x"

    def test_the_last_registration_for_a_url_counts(self):
        """Registering a URL again replaces what was there, and None forgets it."""
        add_autoauth(HOME, ("old", "x"))
        add_autoauth(HOME, AuthObject("new", "x"))
        assert credentials(Talk.of(prepared("GET", HOME), [200]).last) == "new:x"
        add_autoauth(HOME, None)
        assert credentials(Talk.of(prepared("GET", HOME), [200]).last) is None

    def test_a_redirect_into_a_covered_url(self):
        """Each hop gets what is registered for its own URL."""
        add_autoauth("http://example.org/", ("here", "x"))
        add_autoauth("http://other.example/", ("there", "y"))
        script = [to("http://other.example/"), to("http://third.example/"), 200]
        talk = Talk.of(prepared("GET", HOME), script)
        assert list(map(credentials, talk.sent)) == ["here:x", "there:y", None]

    @pytest.mark.parametrize("url", ["", "example.org", "/path", "ftp://example.org"])
    def test_a_url_that_is_none(self, url: str):
        """What is registered is an absolute URL."""
        with pytest.raises((InvalidURL, aioreq.URLRequired)):
            add_autoauth(url, ("a", "b"))


class TestWhoGetsWhat:
    def test_userinfo_in_the_url(self):
        """User and password of the URL become credentials, unquoted, and leave the URL."""
        talk = Talk.of(prepared("GET", "http://us%40er:p%3Aw%20d@example.org/x"), [200])
        assert credentials(talk.last) == "us@er:p:w d"
        assert talk.last.url == "http://example.org/x"

    def test_userinfo_stays_at_home(self):
        """They follow a redirect on the same origin, and to no other."""
        request = prepared("GET", "http://user:pw@example.org/x")
        talk = Talk.of(request, [to("/y"), to("http://other.example/"), 200])
        assert list(map(credentials, talk.sent)) == ["user:pw", "user:pw", None]

    def test_userinfo_of_a_location(self):
        """User info in a Location is for that hop."""
        talk = Talk.of(prepared("GET", HOME), [to("http://u:p@other.example/"), 200])
        assert list(map(credentials, talk.sent)) == [None, "u:p"]

    def test_the_calls_own_credentials_come_first(self):
        """auth= comes before user info, and that before what is registered."""
        add_autoauth("http://example.org", ("registered", "x"))
        url = "http://user:info@example.org/"
        assert credentials(Talk.of(prepared("GET", url), [200], Rules(auth=BasicAuth("own", "x"))).last) == "own:x"
        assert credentials(Talk.of(prepared("GET", url), [200]).last) == "user:info"
        assert credentials(Talk.of(prepared("GET", "http://example.org/"), [200]).last) == "registered:x"

    def test_a_header_of_the_callers_own(self):
        """An Authorization header that the caller set is left as it is, unless auth= was given too."""
        add_autoauth("http://example.org", ("registered", "x"))
        request = prepared("GET", "http://user:info@example.org/", headers={"Authorization": "Own"})
        assert Talk.of(request, [200]).last.headers["Authorization"] == "Own"
        assert credentials(Talk.of(request, [200], Rules(auth=BasicAuth("own", "x"))).last) == "own:x"

    def test_auth_is_for_the_calls_origin(self):
        """auth= goes with redirects on the same origin, to no other, and again to the first."""
        script = [to("/a"), to("http://other.example/"), to(HOME), 200]
        talk = Talk.of(prepared("GET", HOME), script, Rules(auth=BasicAuth("u", "p")))
        assert list(map(credentials, talk.sent)) == ["u:p", "u:p", None, "u:p"]


class TestOwnSchemes:
    def test_as_auth(self):
        """A pair is Basic, a function is called, an auth object is itself, None is none."""
        bearer = BearerAuth("x")
        assert as_auth(("a", "b")) == BasicAuth("a", "b")
        assert as_auth(bearer) is bearer
        assert as_auth(None) is None

    @pytest.mark.parametrize("auth", ["user:password", ("a",), ("a", "b", "c"), ["a", "b"], 7])
    def test_what_is_no_auth(self, auth: Any):
        """Anything else is told what it should be."""
        with pytest.raises(TypeError, match=r"auth is \(user, password\), an auth object or a function, not"):
            as_auth(auth)

    def test_a_function_of_the_request(self):
        """A function changes the request, or returns another, as in requests."""

        def sign(request: PreparedRequest) -> None:
            request.headers["X-Signature"] = f"{request.method} {request.target.path}"

        def replace(request: PreparedRequest) -> PreparedRequest:
            other = request.copy()
            other.headers["X-Other"] = "1"
            return other

        signed = Talk.of(prepared("GET", HOME), [200], Rules(auth=as_auth(sign))).last
        assert signed.headers["X-Signature"] == "GET /dir/index.html"
        assert Talk.of(prepared("GET", HOME), [200], Rules(auth=as_auth(replace))).last.headers["X-Other"] == "1"

    def test_a_function_that_sends_elsewhere(self):
        """A relative Location is relative to where the request was sent, and the function is asked at each hop."""

        def with_prefix(request: PreparedRequest) -> None:
            request.target = request.target.join(f"/bucket{request.target.path}")

        script = [to("sibling"), 200]
        talk = Talk.of(prepared("GET", "http://example.org/a/b"), script, Rules(auth=as_auth(with_prefix)))
        assert talk.urls == ["http://example.org/bucket/a/b", "http://example.org/bucket/bucket/a/sibling"]

    def test_a_scheme_of_several_letters(self):
        """A flow may ask for something else first, and look at each answer."""

        class TokenAuth(Auth):
            def flow(self, request: PreparedRequest) -> Iterator[PreparedRequest]:  # type: ignore[override]
                asking: Any = prepared("POST", "http://example.org/token")
                token: Response = yield asking
                request.headers["Authorization"] = f"Bearer {token.headers['X-Token']}"
                last: Response = yield request
                assert last.status_code == 200

        talk = Talk.of(prepared("GET", HOME), [(200, {"X-Token": "abc"}), 200], Rules(auth=TokenAuth()))
        assert [request.method for request in talk.sent] == ["POST", "GET"]
        assert talk.last.headers["Authorization"] == "Bearer abc"
        assert talk.final is not None
        assert len(talk.final.history) == 1

    def test_the_base_class_changes_nothing(self):
        """Auth itself sends the request as it is."""
        assert "Authorization" not in first_letter(Auth()).headers
