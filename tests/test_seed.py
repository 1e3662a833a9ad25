"""requests 0.2.1's own test suite in meaning: what its callers did goes on working, with `await` before it."""

import base64
from collections.abc import Iterator
from io import StringIO

import pytest
from postbin import running_bin

import aioreq
from tests.servers.certificates import Certificates


@pytest.fixture(scope="module")
def plain_bin() -> Iterator[str]:
    with running_bin() as url:
        yield url


@pytest.fixture(scope="module")
def tls_bin(certificates: Certificates) -> Iterator[str]:
    with running_bin(ssl_certfile=certificates.server) as url:
        yield url


@pytest.fixture(autouse=True)
def system_trust(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the test's authority one that the system trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))


@pytest.fixture
def autoauth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget at the test's end what it registers with `add_autoauth`."""
    monkeypatch.setattr("aioreq._rules.auth._autoauth", [])


@pytest.fixture(params=["http", "https"])
def bin_url(request: pytest.FixtureRequest) -> str:
    """The bin over HTTP and over HTTPS."""
    url: str = request.getfixturevalue("plain_bin" if request.param == "http" else "tls_bin")
    return url


async def test_a_bin_is_made_and_filled(plain_bin: str):
    """A POST is led to the bin it made; a form and a file that are sent there arrive as they were meant."""
    made = await aioreq.post(plain_bin)
    assert made.status_code == 200
    assert made.url != plain_bin

    form = await aioreq.post(made.url, data={"some": "data"})
    assert form.status_code == 201
    [field] = form.json()["parts"]
    assert (field["name"], field["filename"], field["value"]) == ("some", None, "data")

    file = await aioreq.post(made.url, files={"some": StringIO("data")})
    assert file.status_code == 201
    [part] = file.json()["parts"]
    assert (part["name"], part["filename"], part["size"]) == ("some", "some", 4)
    assert part["sha256"] == "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"  # of b"data"
    assert file.json()["length"] == file.json()["received"]


@pytest.mark.parametrize("verb", ["get", "head", "post", "put", "patch", "delete", "options"])
async def test_a_string_that_is_no_url_is_a_value_error(verb: str):
    """Every verb refuses a string that is no URL with ValueError."""
    with pytest.raises(ValueError, match="'hiwpefhipowhefopw' has no scheme"):
        await getattr(aioreq, verb)("hiwpefhipowhefopw")


async def test_get(bin_url: str):
    """GET gives 200 over HTTP and over HTTPS."""
    response = await aioreq.get(bin_url + "/get", params={"a": "1"})
    assert response.status_code == 200
    assert response.json()["args"] == {"a": "1"}
    assert repr(response) == "<Response [200]>"


async def test_head(bin_url: str):
    """HEAD gives 200 and no body over HTTP and over HTTPS."""
    response = await aioreq.head(bin_url + "/get")
    assert response.status_code == 200
    assert response.content == b""
    assert int(response.headers["Content-Length"]) > 0


async def test_basic_auth_over_https(tls_bin: str):
    """An AuthObject opens what is closed without one, or with another."""
    url = tls_bin + "/basic-auth/requeststest/requeststest"
    assert (await aioreq.get(url, auth=aioreq.AuthObject("requeststest", "requeststest"))).status_code == 200
    assert (await aioreq.get(url, auth=("requeststest", "requeststest"))).status_code == 200
    assert (await aioreq.get(url, auth=("requeststest", "wrong"))).status_code == 401
    assert (await aioreq.get(url)).status_code == 401


def test_auth_object_is_basic_auth():
    """AuthObject(username, password) keeps both, and does not show the password."""
    auth = aioreq.AuthObject("user", "password")
    assert aioreq.AuthObject is aioreq.BasicAuth
    assert (auth.username, auth.password) == ("user", "password")
    assert repr(auth) == "BasicAuth('user', '[secret]')"


class TestRequest:
    """`Request()` and its attributes."""

    async def test_attributes_are_what_is_sent(self, plain_bin: str):
        """A Request is filled by its attributes and sent; the answer is in `response`."""
        request = aioreq.Request()
        request.method = "GET"
        request.url = plain_bin + "/get"
        request.params = {"a": "1"}
        request.headers = {"X-One": "1"}
        request.auth = aioreq.AuthObject("user", "password")
        assert repr(request) == "<Request [GET]>"
        assert request.response is None
        assert request.sent is False

        assert await request.send() is True
        assert request.sent is True
        assert request.response is not None
        told = request.response.json()
        assert told["args"] == {"a": "1"}
        assert told["headers"]["x-one"] == "1"
        assert told["headers"]["authorization"] == "Basic " + base64.b64encode(b"user:password").decode()

    async def test_an_http_error_is_false(self, plain_bin: str):
        """An answer of 400 and more makes `send` return False and leaves `sent` False; the answer is there."""
        request = aioreq.Request("GET", plain_bin + "/status/404")
        assert await request.send() is False
        assert request.sent is False
        assert request.response is not None
        assert request.response.status_code == 404

    async def test_a_sent_request_is_not_sent_again(self, plain_bin: str):
        """A second `send` of a request that succeeded sends nothing and returns True, unless told `anyway`."""
        made = await aioreq.post(plain_bin)
        request = aioreq.Request("POST", made.url, data={"some": "data"})

        async def uploads() -> int:
            return (await aioreq.get(made.url + "/totals")).json()["uploads"]

        assert await request.send() is True
        assert await request.send() is True
        assert await uploads() == 1
        assert await request.send(anyway=True) is True
        assert await uploads() == 2

    async def test_a_failed_request_is_sent_again(self, plain_bin: str):
        """A second `send` of a request that failed sends it, with what was put right meanwhile."""
        request = aioreq.Request("GET", plain_bin + "/status/503")
        assert await request.send() is False
        request.url = plain_bin + "/status/204"
        assert await request.send() is True
        assert request.response is not None
        assert request.response.status_code == 204

    async def test_a_request_without_url(self):
        """`send` without a URL raises URLRequired, which is a ValueError too."""
        with pytest.raises(aioreq.URLRequired, match="needs a URL"):
            await aioreq.Request().send()

    @pytest.mark.parametrize("method", ["", "GE T", "GET\r\n", "GÉT", None, 7])
    def test_a_method_that_is_none(self, method: object):
        """A method that is no token raises InvalidMethod where it is assigned, and leaves the request as it was."""
        request = aioreq.Request("PUT")
        with pytest.raises(aioreq.InvalidMethod, match="can't be a method"):
            request.method = method  # type: ignore[assignment]
        assert request.method == "PUT"

    @pytest.mark.parametrize(("given", "kept"), [("get", "GET"), ("propfind", "PROPFIND"), ("X-Own", "X-OWN")])
    def test_a_method_of_any_name(self, given: str, kept: str):
        """Any token is a method, and goes out in upper case."""
        assert aioreq.Request(given).method == kept


class TestAutoauth:
    """`add_autoauth`."""

    async def test_under_its_url(self, tls_bin: str, autoauth: None):
        """Credentials registered for a URL go with every request under it, and with no other."""
        aioreq.add_autoauth(tls_bin + "/basic-auth/user", aioreq.AuthObject("user", "password"))
        assert (await aioreq.get(tls_bin + "/basic-auth/user/password")).status_code == 200
        assert (await aioreq.get(tls_bin + "/basic-auth/user2/password")).status_code == 401
        told = (await aioreq.get(tls_bin + "/get")).json()
        assert "authorization" not in told["headers"]

    async def test_never_to_another_origin(self, plain_bin: str, tls_bin: str, autoauth: None):
        """A URL that merely contains the registered one is no match: nor is another scheme or port."""
        aioreq.add_autoauth(tls_bin + "/get", ("user", "password"))
        for url in (f"{plain_bin}/get", f"{plain_bin}/get?next={tls_bin}/get", f"{plain_bin}/get/{tls_bin}/get"):
            response = await aioreq.get(url)
            assert "Authorization" not in response.request.headers

    async def test_the_call_comes_first(self, tls_bin: str, autoauth: None):
        """Credentials of the call's own are used instead of registered ones."""
        aioreq.add_autoauth(tls_bin, ("wrong", "wrong"))
        url = tls_bin + "/basic-auth/user/password"
        assert (await aioreq.get(url)).status_code == 401
        assert (await aioreq.get(url, auth=("user", "password"))).status_code == 200

    async def test_with_request(self, tls_bin: str, autoauth: None):
        """Request.send uses registered credentials too."""
        aioreq.add_autoauth(tls_bin, ("user", "password"))
        request = aioreq.Request("GET", tls_bin + "/basic-auth/user/password")
        assert await request.send() is True
