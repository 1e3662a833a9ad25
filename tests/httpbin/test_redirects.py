"""httpbin's redirects."""

import pytest

from aioreq import InvalidURL, Session, TooManyRedirects
from tests.servers.endpoint import Endpoint

KINDS = ("redirect", "relative-redirect", "absolute-redirect")


class TestChains:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_they_are_followed(self, kind: str, httpbin: Endpoint, session: Session):
        """Redirects by relative and by absolute URL are followed to their end, over one connection."""
        response = await session.get(f"/{kind}/4")
        assert response.url == httpbin.url("/get")
        assert [hop.status_code for hop in response.history] == [302] * 4
        assert response.history[0].url == httpbin.url(f"/{kind}/4")
        assert session.pool.open == 1

    async def test_absolute_when_asked_for(self, httpbin: Endpoint, session: Session):
        """The Location may be a whole URL."""
        response = await session.get("/redirect/3?absolute=true")
        assert response.history[0].headers["Location"].startswith(httpbin.url())
        assert response.status_code == 200

    @pytest.mark.parametrize("kind", KINDS)
    async def test_there_is_a_limit(self, kind: str, httpbin: Endpoint):
        """As many redirects as max_redirects says are followed; one more is TooManyRedirects, with what led there."""
        async with Session(base_url=httpbin.url(), max_redirects=5) as session:
            assert (await session.get(f"/{kind}/5")).status_code == 200
            with pytest.raises(TooManyRedirects, match="more than 5 redirects") as caught:
                await session.get(f"/{kind}/6")
        assert caught.value.response.status_code == 302
        assert len(caught.value.response.history) == 5

    async def test_they_are_not_followed(self, session: Session):
        """With allow_redirects=False the redirect is the answer."""
        response = await session.get("/redirect/2", allow_redirects=False)
        assert (response.status_code, response.is_redirect) == (302, True)
        assert response.headers["Location"] == "/relative-redirect/1"


class TestMethods:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def test_what_comes_after(self, method: str, status: int, session: Session):
        """303 makes everything GET, 301 and 302 make POST GET, without the body; all others go on as they were."""
        response = await session.request(
            method,
            "/redirect-to",
            params={"url": "/anything", "status_code": str(status)},
            data=None if method == "GET" else b"body",
        )
        becomes_get = method == "GET" or status == 303 or (method == "POST" and status < 303)
        told = response.json()
        assert [hop.status_code for hop in response.history] == [status]
        assert told["method"] == ("GET" if becomes_get else method)
        assert told["data"] == ("" if becomes_get else "body")
        assert ("Content-Length" in told["headers"]) is not becomes_get

    @pytest.mark.parametrize("status", [300, 304, 305, 306])
    async def test_statuses_that_lead_nowhere(self, status: int, session: Session):
        """A Location with another status is not followed."""
        response = await session.get("/redirect-to", params={"url": "/get", "status_code": str(status)})
        assert (response.status_code, response.history) == (status, [])

    async def test_a_form_goes_along(self, session: Session):
        """307 sends a form with a file again, whole."""
        response = await session.post(
            "/redirect-to?url=/post&status_code=307", data={"field": "value"}, files={"file": ("f", b"bytes")}
        )
        told = response.json()
        assert (told["form"], told["files"]) == ({"field": "value"}, {"file": "bytes"})


class TestElsewhere:
    async def test_credentials_stay_at_home(self, httpbin: Endpoint, session: Session):
        """To the same server under another name neither credentials nor cookies go; at home they go along."""
        secrets = {"auth": ("user", "pass"), "cookies": {"name": "value"}}
        for url, at_home in ((httpbin.url("/headers"), True), (f"http://localhost:{httpbin.port}/headers", False)):
            response = await session.get("/redirect-to", params={"url": url}, **secrets)
            assert response.url == url
            told = response.json()["headers"]
            assert ("Authorization" in told, "Cookie" in told) == (at_home, at_home)
            assert told["Host"] == url.split("/")[2]

    @pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "file:///etc/passwd", "javascript:alert(1)", "data:,x"])
    async def test_other_schemes(self, url: str, session: Session):
        """A redirect to what is not http is an error that carries the answer; nothing is opened."""
        with pytest.raises(InvalidURL) as caught:
            await session.get("/redirect-to", params={"url": url})
        assert caught.value.response.headers["Location"] == url
