"""httpbin's ways to ask who somebody is."""

import pytest

from aioreq import BasicAuth, BearerAuth, DigestAuth, NetrcAuth, Session, add_autoauth
from tests.servers.endpoint import Endpoint

ALGORITHMS = ("MD5", "SHA-256", "SHA-512")


class TestBasic:
    @pytest.mark.parametrize("auth", [("user", "pass"), BasicAuth("user", "pass")])
    async def test_right_credentials(self, auth: object, session: Session):
        """Right credentials are let in with the first request."""
        response = await session.get("/basic-auth/user/pass", auth=auth)
        assert response.json() == {"authenticated": True, "user": "user"}
        assert response.history == []

    async def test_wrong_credentials(self, session: Session):
        """None, or wrong ones, are a 401 that says what is asked for."""
        for auth in (None, ("user", "wrong"), ("other", "pass")):
            response = await session.get("/basic-auth/user/pass", auth=auth)
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"].startswith("Basic ")

    async def test_any_text(self, session: Session):
        """User and password may hold any text, a colon in the password, too (RFC 7617, UTF-8)."""
        response = await session.get("/basic-auth/j%C3%BCrgen/p%C3%A4:ss%25", auth=("jürgen", "pä:ss%"))
        assert response.json() == {"authenticated": True, "user": "jürgen"}

    async def test_in_the_url(self, httpbin: Endpoint, session: Session):
        """Credentials in the URL are used, and are in no URL that is told."""
        response = await session.get(f"http://user:p%40ss@127.0.0.1:{httpbin.port}/basic-auth/user/p@ss")
        assert response.json()["authenticated"] is True
        assert "user:" not in response.url

    async def test_unasked(self, session: Session):
        """A server that hides behind 404 gets the credentials without asking for them."""
        assert (await session.get("/hidden-basic-auth/user/pass")).status_code == 404
        assert (await session.get("/hidden-basic-auth/user/pass", auth=("user", "pass"))).status_code == 200

    async def test_from_elsewhere(self, httpbin: Endpoint, session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path):
        """A netrc file, and what was registered for a URL, serve as well."""
        monkeypatch.setattr("aioreq._rules.auth._autoauth", [])
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password pass\n")
        response = await session.get("/basic-auth/user/pass", auth=NetrcAuth(tmp_path / "netrc"))
        assert response.status_code == 200
        add_autoauth(httpbin.url("/basic-auth/"), ("user", "pass"))
        assert (await session.get("/basic-auth/user/pass")).status_code == 200
        assert (await session.get("/hidden-basic-auth/user/pass")).status_code == 404


class TestBearer:
    async def test_a_token(self, session: Session):
        """The token arrives as it is; without one there is a 401."""
        assert (await session.get("/bearer")).headers["WWW-Authenticate"] == "Bearer"
        response = await session.get("/bearer", auth=BearerAuth("a.b-c_d~e+f/g=="))
        assert response.json() == {"authenticated": True, "token": "a.b-c_d~e+f/g=="}


class TestDigest:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    @pytest.mark.parametrize("protection", ["auth", "auth-int", "either"])
    async def test_right_credentials(self, protection: str, algorithm: str, session: Session):
        """A challenge is answered, whatever its algorithm and the protection it asks for; it is in the history."""
        url = f"/digest-auth/{protection}/user/pass/{algorithm}"
        response = await session.get(url, auth=DigestAuth("user", "pass"))
        assert response.json() == {"authenticated": True, "user": "user"}
        assert [earlier.status_code for earlier in response.history] == [401]
        sent = response.request.headers["Authorization"]
        assert f"algorithm={algorithm}" in sent
        assert f"qop={'auth-int' if protection == 'auth-int' else 'auth'}," in sent
        assert "pass" not in sent.replace(url, "")

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    async def test_wrong_credentials(self, algorithm: str, session: Session):
        """A wrong password is a 401 after one answer to the challenge, and no loop."""
        response = await session.get(f"/digest-auth/auth/user/pass/{algorithm}", auth=DigestAuth("user", "wrong"))
        assert response.status_code == 401
        assert len(response.history) == 1

    async def test_the_nonce_is_kept(self, session: Session):
        """The second request with the same credentials goes out once."""
        auth = DigestAuth("user", "pass")
        assert len((await session.get("/digest-auth/auth/user/pass", auth=auth)).history) == 1
        again = await session.get("/digest-auth/auth/user/pass", auth=auth)
        assert (again.status_code, again.history) == (200, [])
        assert "nc=00000002" in again.request.headers["Authorization"]

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    async def test_a_stale_nonce(self, algorithm: str, session: Session):
        """A nonce that the server calls stale is replaced, and the request sent again without an error."""
        auth = DigestAuth("user", "pass")
        url = f"/digest-auth/auth/user/pass/{algorithm}/1"
        assert (await session.get(url, auth=auth)).status_code == 200
        again = await session.get(url, auth=auth)
        assert again.status_code == 200
        [stale] = again.history
        assert "stale=True" in stale.headers["WWW-Authenticate"]
        assert "nc=00000001" in again.request.headers["Authorization"]

    async def test_the_challenges_cookies(self, session: Session):
        """What the challenge sets as a cookie goes along with the answer to it."""
        response = await session.get("/digest-auth/auth/user/pass", auth=DigestAuth("user", "pass"))
        assert "fake=fake_value" in response.request.headers["Cookie"]
        assert "Cookie" not in response.history[0].request.headers
