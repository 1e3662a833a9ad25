"""The client against nginx, uvicorn, aiohttp's server and Node: what ordinary servers do, ordinarily."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

import aioreq
from aioreq import Limits
from tests.servers.certificates import Certificates
from tests.servers.contract import pattern
from tests.servers.endpoint import EchoServer, Endpoint
from tests.servers.nginx import PASSWORD, STATIC_FILES, USERNAME, Nginx

MIB = 1024 * 1024


@pytest.fixture
async def session(certificates: Certificates) -> AsyncIterator[aioreq.Session]:
    async with aioreq.Session(verify=certificates.authority) as session:
        yield session


@pytest.fixture(params=["plain", "tls"])
def nginx_port(request: pytest.FixtureRequest, nginx: Nginx) -> Endpoint:
    """nginx over plain HTTP and over TLS."""
    endpoint: Endpoint = getattr(nginx, request.param)
    return endpoint


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class TestRequests:
    """What arrives of a request."""

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    async def test_methods(self, method: str, echo: Endpoint, session: aioreq.Session):
        """Each verb sends its method, as a method of the session and by name."""
        for response in (
            await getattr(session, method.lower())(echo.url("/echo")),
            await session.request(method, echo.url("/echo")),
        ):
            told = response.json()
            assert (response.status_code, told["method"], told["length"]) == (200, method, 0)
            expects_body = method in ("POST", "PUT", "PATCH")
            assert dict(told["headers"]).get("content-length") == ("0" if expects_body else None)

    @pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
    async def test_a_body_with_any_method(self, method: str, echo: Endpoint, session: aioreq.Session):
        """A body may go along with any method."""
        told = (await session.request(method, echo.url("/echo"), data=b"body")).json()
        assert (told["method"], told["body_latin1"]) == (method, "body")

    @pytest.mark.parametrize(
        ("url", "params", "path", "query"),
        [
            ("/echo", {"a": 1, "b": ["x", "y"], "c": None}, "/echo", "a=1&b=x&b=y"),
            ("/echo?z=0", {"a": "é &=+"}, "/echo", "z=0&a=%C3%A9+%26%3D%2B"),
            ("/echo#fragment", [("a", 1), ("a", 2)], "/echo", "a=1&a=2"),
            ("/echo", "raw=%20text", "/echo", "raw=%20text"),
            ("/echo", b"raw=bytes", "/echo", "raw=bytes"),
            ("/echo?z=0", {}, "/echo", "z=0"),
            ("/echo/a b/é", None, "/echo/a%20b/%C3%A9", ""),
            ("/echo/a%2Fb%20c?x=%7e&y=~", None, "/echo/a%2Fb%20c", "x=%7e&y=~"),
            ("/echo/./a/../b", None, "/echo/./a/../b", ""),
        ],
    )
    async def test_urls(self, url: str, params: object, path: str, query: str, echo: Endpoint, session: aioreq.Session):
        """params= is added to the URL's query; what is quoted stays as it was written, and what must be is quoted."""
        told = (await session.get(echo.url("") + url, params=params)).json()
        assert (told["path"], told["query"]) == (path, query)

    async def test_params_from_an_iterator(self, uvicorn_echo: EchoServer, session: aioreq.Session):
        """params= takes pairs that can be iterated only once."""
        pairs = ((name, 1) for name in "ab")
        assert (await session.get(uvicorn_echo.plain.url("/echo"), params=pairs)).json()["query"] == "a=1&b=1"

    async def test_headers(self, echo: Endpoint, session: aioreq.Session):
        """Headers go out as given; None leaves out the session's, a list sends a header several times."""
        session.headers["X-Session"] = "session"
        headers = {
            "X-One": "é",
            b"X-Two": b"2",
            "X-Three": 3,
            "X-Many": ["1", "2"],
            "User-Agent": None,
            "accept": "a/b",
        }
        response = await session.get(echo.url("/echo"), headers=headers)
        told = response.json()["headers"]
        fields = dict(told)
        assert fields["x-one"].encode("latin-1") in (b"\xe9", "é".encode())  # Node shows it so, Starlette so
        assert (fields["x-two"], fields["x-three"], fields["x-session"]) == ("2", "3", "session")
        assert [value for name, value in told if name == "x-many"] == ["1", "2"]
        assert [value for name, value in told if name == "accept"] == ["a/b"]
        assert "user-agent" not in fields
        assert response.request.headers["X-Three"] == "3"

    async def test_default_headers(self, echo: Endpoint, session: aioreq.Session):
        """Every request has Host, User-Agent, Accept and Accept-Encoding, each once, and Host comes first."""
        told = (await session.get(echo.url("/echo"))).json()["headers"]
        assert [name for name, _ in told] == ["host", "user-agent", "accept", "accept-encoding"]
        assert told[0][1] == f"{echo.host}:{echo.port}"
        assert told[1][1] == f"aioreq/{aioreq.__version__}"

    async def test_a_host_of_ones_own(self, echo: Endpoint, session: aioreq.Session):
        """A Host header of the caller's replaces ours."""
        told = (await session.get(echo.url("/echo"), headers={"Host": "other.example"})).json()["headers"]
        assert [value for name, value in told if name == "host"] == ["other.example"]

    async def test_basic_auth_of_nginx(
        self, nginx_port: Endpoint, session: aioreq.Session, nginx: Nginx, tmp_path: Path
    ):
        """An upload behind Basic authentication is stored with credentials, and refused early without."""
        content = pattern(100_000)
        url = nginx_port.url(f"/private/{tmp_path.name}")
        refused = await session.put(url, data=content)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == 'Basic realm="private"'
        stored = await session.put(url, data=content, auth=(USERNAME, PASSWORD))
        assert stored.status_code == 201
        assert (nginx.data / "private" / tmp_path.name).read_bytes() == content

    async def test_credentials_in_the_url(self, nginx: Nginx, session: aioreq.Session):
        """User and password in a URL are used as Basic credentials, and not shown in response.url."""
        url = nginx.plain.url("/private/").replace("://", f"://{USERNAME}:{PASSWORD}@")
        response = await session.get(url)
        assert response.status_code == 403  # nginx lists no folders, but let us in
        assert response.url == nginx.plain.url("/private/")


class TestRedirects:
    """Redirects of the echo servers, once the body has been read, and of nginx, before."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_get_and_head_follow(self, method: str, status: int, echo: Endpoint, session: aioreq.Session):
        """GET and HEAD follow every redirect, and stay what they are."""
        response = await session.request(method, echo.url(f"/redirect/{status}?to=/echo/there"))
        assert response.status_code == 200
        assert response.url == echo.url("/echo/there")
        assert response.request.method == method
        [hop] = response.history
        assert (hop.status_code, hop.url) == (status, echo.url(f"/redirect/{status}?to=/echo/there"))
        assert hop.headers["Location"] == "/echo/there"
        if method == "GET":
            assert response.json()["path"] == "/echo/there"

    @pytest.mark.parametrize("status", [301, 302, 303])
    async def test_post_becomes_get(self, status: int, echo: Endpoint, session: aioreq.Session):
        """POST on 301, 302 and 303 becomes GET and drops its body, and the headers that told of it."""
        headers = {"Content-Type": "text/plain", "Content-Language": "en", "X-Kept": "1"}
        response = await session.post(echo.url(f"/redirect/{status}?to=/echo"), data=b"body", headers=headers)
        told = response.json()
        assert (told["method"], told["length"]) == ("GET", 0)
        names = [name for name, _ in told["headers"]]
        assert not [name for name in names if name.startswith(("content-", "transfer-"))]
        assert "x-kept" in names

    @pytest.mark.parametrize("status", [307, 308])
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    async def test_307_and_308_send_the_body_again(
        self, method: str, status: int, echo: Endpoint, session: aioreq.Session, tmp_path: Path
    ):
        """307 and 308 keep method and body: the form's file is read anew from its first byte."""
        file = tmp_path / "file.bin"
        file.write_bytes(content := pattern(300_000))
        response = await session.request(method, echo.url(f"/redirect/{status}?to=/echo"), files={"file": file})
        told = response.json()
        assert (told["method"], response.history[0].status_code) == (method, status)
        headers = dict(told["headers"])
        assert int(headers["content-length"]) == told["length"] > len(content)
        boundary = headers["content-type"].partition("boundary=")[2].encode()
        form = (
            b'--%b\r\nContent-Disposition: form-data; name="file"; filename="file.bin"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n%b\r\n--%b--\r\n" % (boundary, content, boundary)
        )
        assert told["sha256"] == digest(form)

    @pytest.mark.parametrize(("status", "method"), [(301, "PUT"), (302, "PUT"), (303, "GET")])
    async def test_put(self, status: int, method: str, echo: Endpoint, session: aioreq.Session):
        """PUT stays PUT with its body on 301 and 302 (RFC 9110, section 15.4), and becomes GET on 303."""
        told = (await session.put(echo.url(f"/redirect/{status}?to=/echo"), data=b"body")).json()
        assert (told["method"], told["body_latin1"]) == (method, "body" if method == "PUT" else "")

    async def test_a_chain(self, echo: Endpoint, session: aioreq.Session):
        """Each hop is in the history, oldest first, and each hop knows those before it."""
        third = "/redirect/303?to=/echo/end"
        second = f"/redirect/308?to={quote(third)}"
        first = f"/redirect/307?to={quote(second)}"
        response = await session.post(echo.url(first), data=b"body")
        assert [hop.status_code for hop in response.history] == [307, 308, 303]
        assert [hop.request.method for hop in response.history] == ["POST", "POST", "POST"]
        assert [len(hop.history) for hop in response.history] == [0, 1, 2]
        assert response.json()["method"] == "GET"
        assert response.url == echo.url("/echo/end")

    @pytest.mark.parametrize(
        ("location", "path", "query"),
        [
            ("there", "/redirect/there", ""),
            ("../echo/there?a=1", "/echo/there", "a=1"),
            ("?a=1", "/redirect/302", "a=1"),
            ("/echo/a b", "/echo/a%20b", ""),
            ("/echo/a%2Fb", "/echo/a%2Fb", ""),
            ("/echo/x#fragment", "/echo/x", ""),
        ],
    )
    async def test_relative_locations(
        self, location: str, path: str, query: str, aiohttp_echo: EchoServer, session: aioreq.Session
    ):
        """A Location is relative to the URL that gave it (RFC 3986, section 5)."""
        url = aiohttp_echo.plain.url(f"/redirect/302?to={quote(location, safe='')}")
        response = await session.get(url)
        assert response.request.target.path == path + (f"?{query}" if query else "")

    async def test_a_fragment_is_kept(self, aiohttp_echo: EchoServer, session: aioreq.Session):
        """The URL's fragment goes on to where a redirect leads, unless that has its own (RFC 9110, section 10.2.2)."""
        url = aiohttp_echo.plain.url("/redirect/302?to=/echo")
        assert (await session.get(url + "#mine")).url == aiohttp_echo.plain.url("/echo#mine")
        url = aiohttp_echo.plain.url(f"/redirect/302?to={quote('/echo#theirs')}")
        assert (await session.get(url + "#mine")).url == aiohttp_echo.plain.url("/echo#theirs")

    async def test_not_followed(self, echo: Endpoint, session: aioreq.Session):
        """allow_redirects=False returns the redirect itself."""
        url = echo.url("/redirect/307?to=/echo")
        response = await session.post(url, data=b"body", allow_redirects=False)
        assert (response.status_code, response.url, response.history) == (307, url, [])
        assert response.is_redirect
        assert response.headers["Location"] == "/echo"

    async def test_secrets_stay_at_home(
        self, aiohttp_echo: EchoServer, uvicorn_echo: EchoServer, session: aioreq.Session
    ):
        """Authorization and Cookie don't follow to another origin, and do on the same; other headers follow."""
        options = {
            "headers": {"X-Kept": "1", "Authorization": "Own secret", "Proxy-Authorization": "Own secret"},
            "cookies": {"secret": "1"},
        }
        secrets = {"authorization", "cookie", "proxy-authorization"}
        for target, expected in ((uvicorn_echo.plain, set()), (aiohttp_echo.plain, secrets)):
            url = aiohttp_echo.plain.url(f"/redirect/307?to={quote(target.url('/echo'), safe='')}")
            told = (await session.post(url, data=b"body", **options)).json()
            names = {name for name, _ in told["headers"]}
            assert names & secrets == expected
            assert "x-kept" in names
            assert dict(told["headers"])["host"] == f"127.0.0.1:{target.port}"

    async def test_auth_stays_at_home(
        self, aiohttp_echo: EchoServer, uvicorn_echo: EchoServer, session: aioreq.Session
    ):
        """auth= of a call is for the origin it was made to."""
        away = quote(uvicorn_echo.plain.url("/echo"), safe="")
        for to, expected in ((away, False), ("/echo", True)):
            response = await session.get(aiohttp_echo.plain.url(f"/redirect/302?to={to}"), auth=("user", "password"))
            assert ("authorization" in dict(response.json()["headers"])) is expected
            assert "Authorization" in response.history[0].request.headers

    async def test_no_secrets_from_https_to_http(self, aiohttp_echo: EchoServer, session: aioreq.Session):
        """A redirect from https to http with credentials is refused; without them it is followed."""
        url = aiohttp_echo.tls.url(f"/redirect/302?to={quote(aiohttp_echo.plain.url('/echo'), safe='')}")
        with pytest.raises(aioreq.RequestException, match="from https to http") as caught:
            await session.get(url, auth=("user", "password"))
        assert caught.value.response.status_code == 302
        assert (await session.get(url)).status_code == 200

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    async def test_an_early_redirect_of_a_large_upload(
        self, status: int, nginx_port: Endpoint, nginx: Nginx, session: aioreq.Session, tmp_path: Path
    ):
        """A redirect that comes before the body is out stops it; the whole body goes to where the redirect leads."""
        file = tmp_path / "file.bin"
        file.write_bytes(content := pattern(8 * MIB))
        response = await session.put(nginx_port.url(f"/redirect{status}/{tmp_path.name}"), data=file)
        assert response.status_code == 201
        assert response.url == nginx_port.url(f"/dav/{tmp_path.name}")
        assert response.upload.complete
        assert digest(nginx.stored(tmp_path.name).read_bytes()) == digest(content)


class TestAnswers:
    """What is made of an answer."""

    async def test_json(self, echo: Endpoint, session: aioreq.Session):
        """json() is the body parsed, text the body as text, content its bytes."""
        response = await session.post(echo.url("/echo"), json={"é": [1, None]})
        told = response.json()
        assert told["body_latin1"] == '{"\\u00e9": [1, null]}'
        assert response.headers["content-type"].startswith("application/json")
        assert response.text.encode(response.encoding) == response.content
        assert response.ok
        assert response.raise_for_status() is response
        assert response.reason in ("OK", "")
        assert response.http_version == "HTTP/1.1"
        assert response.elapsed.total_seconds() > 0

    @pytest.mark.parametrize("status", [200, 204, 304, 403, 404, 500, 503])
    async def test_statuses_of_nginx(self, status: int, nginx_port: Endpoint, session: aioreq.Session):
        """Every status is an answer, not an exception; 204 and 304 have no body."""
        response = await session.get(nginx_port.url(f"/status/{status}"))
        assert response.status_code == status
        assert response.ok is (status < 400)
        if status in (204, 304):
            assert response.content == b""

    @pytest.mark.parametrize("status", [200, 201, 204, 304, 400, 404, 500])
    async def test_statuses_after_an_upload(self, status: int, echo: Endpoint, session: aioreq.Session):
        """The status is the server's, also when it has read a body before."""
        response = await session.post(echo.url(f"/status/{status}"), data=pattern(300_000))
        assert response.status_code == status
        assert response.upload.complete
        assert session.pool.idle == 1

    async def test_raise_for_status(self, nginx: Nginx, session: aioreq.Session):
        """raise_for_status raises HTTPError with the response for 400 and more."""
        response = await session.get(nginx.plain.url("/status/404"))
        with pytest.raises(aioreq.HTTPError, match="404 Client Error: Not Found for url: http") as caught:
            response.raise_for_status()
        assert caught.value.response is response
        with pytest.raises(aioreq.HTTPError, match="503 Server Error"):
            (await session.get(nginx.plain.url("/status/503"))).raise_for_status()

    @pytest.mark.parametrize("name", STATIC_FILES)
    async def test_files(self, name: str, nginx_port: Endpoint, session: aioreq.Session):
        """A file arrives as it is; HEAD tells its length and has no body."""
        response = await session.get(nginx_port.url(f"/static/{name}"))
        assert response.content == STATIC_FILES[name]
        head = await session.head(nginx_port.url(f"/static/{name}"))
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["Content-Length"]) == len(STATIC_FILES[name])

    async def test_a_conditional_get(self, nginx: Nginx, session: aioreq.Session):
        """304 is an answer without a body, whatever its headers say."""
        first = await session.get(nginx.plain.url("/static/hello.txt"))
        again = await session.get(
            nginx.plain.url("/static/hello.txt"), headers={"If-None-Match": first.headers["ETag"]}
        )
        assert (again.status_code, again.content) == (304, b"")
        assert again.history == []

    @pytest.mark.parametrize("name", STATIC_FILES)
    async def test_gzip(self, name: str, nginx_port: Endpoint, session: aioreq.Session):
        """A gzip answer is unfolded, whole and as a stream; whoever doesn't want it gets none."""
        url = nginx_port.url(f"/gzip/{name}")
        response = await session.get(url)
        assert response.content == STATIC_FILES[name]
        if STATIC_FILES[name]:
            assert response.headers["Content-Encoding"] == "gzip"
        async with session.stream("GET", url) as streamed:
            assert b"".join([chunk async for chunk in streamed.iter_content()]) == STATIC_FILES[name]
        plain = await session.get(url, headers={"Accept-Encoding": None})
        assert "Content-Encoding" not in plain.headers
        assert plain.content == STATIC_FILES[name]
        assert session.pool.open == 1

    @pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 250_000])
    async def test_chunked_answers(self, size: int, echo: Endpoint, session: aioreq.Session):
        """A chunked answer is put together, whole and as a stream, and its connection serves the next request."""
        url = echo.url(f"/chunked?n={size}")
        response = await session.get(url)
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert response.content == pattern(size)
        async with session.stream("GET", url) as streamed:
            assert await streamed.read() == pattern(size)
        assert (session.pool.open, session.pool.idle) == (1, 1)

    async def test_head_of_a_chunked_answer(self, echo: Endpoint, session: aioreq.Session):
        """The answer to HEAD has no body, whatever its headers say, and its connection serves the next request."""
        response = await session.head(echo.url("/chunked?n=1000"))
        assert response.content == b""
        assert (await session.get(echo.url("/chunked?n=1000"))).content == pattern(1000)
        assert session.pool.open == 1


class TestStreaming:
    """Answers read as they arrive."""

    SIZE = 300_000

    @pytest.fixture(params=["nginx", "chunked"])
    def url(self, request: pytest.FixtureRequest, nginx: Nginx, aiohttp_echo: EchoServer) -> str:
        """`pattern(SIZE)` with a length, and in chunks."""
        if request.param == "nginx":
            return nginx.plain.url("/static/pattern.bin")
        return aiohttp_echo.plain.url(f"/chunked?n={self.SIZE}")

    @pytest.mark.parametrize("size", [1, 7, 4096, 65_536, 299_999, 300_000, 300_001])
    async def test_pieces_of_one_size(self, size: int, url: str, session: aioreq.Session):
        """iter_content(size) gives pieces of just that size, the last one shorter."""
        async with session.stream("GET", url) as response:
            pieces = [piece async for piece in response.iter_content(size)]
        assert b"".join(pieces) == pattern(self.SIZE)
        assert {len(piece) for piece in pieces[:-1]} <= {size}
        assert 1 <= len(pieces[-1]) <= size

    async def test_pieces_as_they_come(self, url: str, session: aioreq.Session):
        """iter_content() gives pieces as they come, none empty; the connection is then free."""
        async with session.stream("GET", url) as response:
            assert response.status_code == 200
            pieces = [piece async for piece in response.iter_content()]
            assert session.pool.idle == 1
        assert b"".join(pieces) == pattern(self.SIZE)
        assert all(pieces)

    async def test_read(self, url: str, session: aioreq.Session):
        """read() gives the body and keeps it: content, a second read() and iter_content() are then there."""
        async with session.stream("GET", url) as response:
            assert await response.read() == pattern(self.SIZE)
            assert await response.read() == response.content
        assert response.content == pattern(self.SIZE)
        assert b"".join([piece async for piece in response.iter_content(1000)]) == pattern(self.SIZE)

    async def test_lines(self, nginx: Nginx, session: aioreq.Session, tmp_path: Path):
        """iter_lines() gives lines without their ends, whichever they are, and the last one without an end."""
        lines = [f"line {number} é" for number in range(50_000)]
        (nginx.data / "static" / f"{tmp_path.name}.txt").write_bytes(("\r\n".join(lines) + "\nlast\rone").encode())
        async with session.stream("GET", nginx.plain.url(f"/static/{tmp_path.name}.txt")) as response:
            assert [line async for line in response.iter_lines()] == [*lines, "last", "one"]

    async def test_content_of_what_is_not_read(self, url: str, session: aioreq.Session):
        """content of an unread answer says what to do; that of an answer read in pieces, that it is gone."""
        async with session.stream("GET", url) as response:
            with pytest.raises(aioreq.ResponseNotRead, match=r"await response\.read\(\)"):
                response.content  # noqa: B018
            async for _ in response.iter_content():
                pass
            with pytest.raises(aioreq.StreamConsumedError, match="read in pieces"):
                response.content  # noqa: B018
            with pytest.raises(aioreq.StreamConsumedError, match="read in pieces"):
                await response.read()

    async def test_given_up(self, nginx: Nginx, session: aioreq.Session):
        """What is not read when the block ends is given up, and its connection closed: no slot is lost."""
        (nginx.data / "static" / "large.bin").write_bytes(bytes(8 * MIB))
        async with session.stream("GET", nginx.plain.url("/static/large.bin")) as response:
            assert response.headers["Content-Length"] == str(8 * MIB)
            assert session.pool.open == 1
        assert session.pool.open == 0
        await response.aclose()

    async def test_given_up_in_the_middle(self, nginx: Nginx, session: aioreq.Session):
        """An iteration that is left does not keep the connection beyond the block, nor end as if all had come."""
        (nginx.data / "static" / "large.bin").write_bytes(bytes(8 * MIB))
        async with session.stream("GET", nginx.plain.url("/static/large.bin")) as response:
            pieces = response.iter_content()
            assert await anext(pieces)
        assert session.pool.open == 0
        with pytest.raises(aioreq.StreamConsumedError, match="given up before its end"):
            await anext(pieces)

    async def test_streaming_upload_and_download_at_once(
        self, nginx: Nginx, uvicorn_echo: EchoServer, session: aioreq.Session
    ):
        """A download goes up as it arrives, never whole in memory, with the length it was announced with."""
        (nginx.data / "static" / "relayed.bin").write_bytes(content := pattern(4 * MIB))
        async with session.stream("GET", nginx.plain.url("/static/relayed.bin")) as download:
            told = (await session.put(uvicorn_echo.plain.url("/echo"), data=download)).json()
        assert (told["length"], told["sha256"]) == (len(content), digest(content))
        assert session.pool.open == session.pool.idle == 2


class TestConnections:
    """Which requests share a connection, as nginx numbers them."""

    @staticmethod
    async def connection(session: aioreq.Session, port: Endpoint, **options: object) -> tuple[int, int]:
        """The number of the connection, and of the request on it."""
        number, nth = (await session.get(port.url("/connection"), **options)).text.split()
        return int(number), int(nth)

    async def test_keep_alive(self, nginx_port: Endpoint, session: aioreq.Session, tmp_path: Path):
        """Requests one after the other share one connection, whatever is asked and answered on it."""
        first, nth = await self.connection(session, nginx_port)
        url = nginx_port.url
        await session.head(url("/static/pattern.bin"))
        await session.get(url("/status/204"))
        await session.get(url("/status/304"))
        await session.get(url("/status/404"))
        await session.get(url("/static/empty.bin"))
        await session.get(url("/gzip/pattern.bin"))
        await session.get(url("/redirect302/nothing"))  # two requests
        await session.put(url(f"/dav/{tmp_path.name}"), data=pattern(400_000))
        await session.post(url("/echo-length"), files={"file": b"content"})
        await session.post(url("/echo-length"), data=iter([b"a", b"b"]), headers={"Transfer-Encoding": "chunked"})
        async with session.stream("GET", url("/static/pattern.bin")) as response:
            await response.read()
        assert await self.connection(session, nginx_port) == (first, nth + 13)
        assert repr(session.pool) == "<Pool [1 open, 1 idle, 0 waiting]>"

    async def test_connection_close(self, nginx_port: Endpoint, session: aioreq.Session):
        """`Connection: close` closes the connection once the answer is there; the next request makes a new one."""
        first, _ = await self.connection(session, nginx_port)
        assert await self.connection(session, nginx_port, headers={"Connection": "close"}) == (first, 2)
        assert session.pool.open == 0
        second, nth = await self.connection(session, nginx_port)
        assert second != first
        assert nth == 1

    async def test_one_for_each_at_once(self, nginx_port: Endpoint, session: aioreq.Session):
        """Requests at once have a connection each; those that follow use them again."""
        first = await asyncio.gather(*(self.connection(session, nginx_port) for _ in range(10)))
        opened = {number for number, _ in first}
        assert session.pool.open == session.pool.idle == len(opened)
        again = await asyncio.gather(*(self.connection(session, nginx_port) for _ in range(len(opened))))
        assert {number for number, _ in again} <= opened

    async def test_not_between_sessions(self, nginx: Nginx):
        """Two sessions never share a connection."""
        async with aioreq.Session() as one, aioreq.Session() as other:
            assert (await self.connection(one, nginx.plain))[0] != (await self.connection(other, nginx.plain))[0]

    @pytest.mark.parametrize("kind", [str, Path])
    async def test_unix_socket(self, kind: type, nginx: Nginx):
        """A session with a Unix socket sends every request there, whatever its URL's host."""
        async with aioreq.Session(unix_socket=kind(nginx.unix_socket)) as session:
            response = await session.get("http://any.example/static/hello.txt")
            assert response.content == STATIC_FILES["hello.txt"]
            assert response.request.headers["Host"] == "any.example"

    @pytest.mark.parametrize("limit", [1, 5])
    async def test_many_requests_over_few_connections(self, limit: int, echo: Endpoint, certificates: Certificates):
        """Two hundred requests at once over a few connections each get their own answer."""
        limits = Limits(max_connections=limit)
        async with aioreq.Session(verify=certificates.authority, limits=limits) as session:
            urls = [echo.url(f"/echo/{number}") for number in range(200)]
            responses = await asyncio.gather(*(session.post(url, data=url) for url in urls))
            assert [echo.url(response.json()["path"]) for response in responses] == urls
            assert [response.json()["body_latin1"] for response in responses] == urls
            assert session.pool.open == limit


class TestRefusals:
    """nginx refuses a body that is too large before it has read it."""

    @pytest.mark.parametrize("path", ["/limited", "/limited/abrupt"])
    async def test_413(self, path: str, nginx_port: Endpoint, session: aioreq.Session, tmp_path: Path):
        """The 413 is returned, not lost, whether the server goes on reading or resets the connection."""
        file = tmp_path / "file.bin"
        file.write_bytes(bytes(32 * MIB))
        sources = [file, bytes(32 * MIB), {"file": file}]
        for source in sources:
            key = "files" if isinstance(source, dict) else "data"
            response = await session.post(nginx_port.url(path), **{key: source})
            assert response.status_code == 413
            assert "413" in response.text
            assert not response.upload.complete
            assert response.upload.sent < 32 * MIB
        assert session.pool.open == 0

    async def test_below_the_limit(self, nginx_port: Endpoint, session: aioreq.Session):
        """A body within the limit is taken."""
        response = await session.post(nginx_port.url("/limited"), data=bytes(MIB))
        assert response.text == f"POST {MIB}\n"
