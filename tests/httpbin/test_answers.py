"""What httpbin answers: statuses, codings, streams, ranges, caching, and answers that take their time."""

import asyncio
import base64
import json
import re
import time

import pytest

import aioreq
from aioreq import ReadTimeout, Session, Timeout


class TestStatuses:
    @pytest.mark.parametrize("status", [200, 201, 202, 203, 204, 206, 226, 300, 304, 400, 403, 404, 405, 409, 410])
    async def test_it_is_told(self, status: int, session: Session):
        """The status is the server's, below 400 a success."""
        response = await session.get(f"/status/{status}")
        assert (response.status_code, response.ok) == (status, status < 400)

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize("status", [401, 402, 406, 407, 418, 422, 429, 451, 500, 502, 503, 504, 599])
    async def test_errors_are_answers(self, method: str, status: int, session: Session):
        """An error is an answer with headers and body like any other, and is raised when that is asked for."""
        response = await session.request(method, f"/status/{status}")
        assert (response.status_code, response.ok) == (status, False)
        with pytest.raises(aioreq.HTTPError, match=f"^{status} ") as caught:
            response.raise_for_status()
        assert caught.value.response is response

    async def test_the_body_of_an_error(self, session: Session):
        """What an error says is there to be read."""
        response = await session.get("/status/418")
        assert "teapot" in response.text
        assert response.headers["x-more-info"] == "http://tools.ietf.org/html/rfc2324"


class TestCodings:
    @pytest.mark.parametrize(
        ("path", "coding", "key"),
        [("gzip", "gzip", "gzipped"), ("deflate", "deflate", "deflated"), ("brotli", "br", "brotli")],
    )
    async def test_it_is_taken_off(self, path: str, coding: str, key: str, session: Session):
        """gzip, deflate and br are taken off, at once and as the answer arrives; the header still names them."""
        response = await session.get(f"/{path}")
        assert response.headers["Content-Encoding"] == coding
        assert response.json()[key] is True
        assert coding in response.json()["headers"]["Accept-Encoding"]
        async with session.stream("GET", f"/{path}") as streamed:
            assert b"".join([chunk async for chunk in streamed.iter_content(7)]) == response.content

    async def test_utf8(self, session: Session):
        """Text in UTF-8 is the text."""
        response = await session.get("/encoding/utf8")
        assert response.encoding == "utf-8"
        assert "∮ E⋅da = Q,  n → ∞, ∑ f(i) = ∏ g(i)" in response.text

    @pytest.mark.parametrize("text", ["aioreq", "ä ∑", "a/b?c=d"])
    async def test_base64(self, text: str, session: Session):
        """What is coded in the URL comes back as it was."""
        coded = base64.urlsafe_b64encode(text.encode()).decode()
        assert (await session.get(f"/base64/{coded}")).text == text

    async def test_kinds_of_documents(self, session: Session):
        """HTML, XML, JSON and plain text are told by their Content-Type, and can be read as text."""
        for path, kind, begin in (
            ("html", "text/html", "<!DOCTYPE html>"),
            ("xml", "application/xml", "<?xml"),
            ("json", "application/json", "{"),
            ("robots.txt", "text/plain", "User-agent: *"),
        ):
            response = await session.get(f"/{path}")
            assert response.headers["Content-Type"].startswith(kind)
            assert response.text.startswith(begin)


class TestStreams:
    async def test_lines(self, session: Session):
        """An answer in chunks can be read by its lines while it comes, one JSON document in each."""
        async with session.stream("GET", "/stream/20") as response:
            assert response.headers["Transfer-Encoding"] == "chunked"
            lines = [json.loads(line) async for line in response.iter_lines()]
        assert [line["id"] for line in lines] == list(range(20))

    @pytest.mark.parametrize("size", [None, 1000, 7])
    async def test_bytes_in_chunks(self, size: int | None, session: Session):
        """A chunked answer comes whole, whatever the size of the pieces that it is read in."""
        url = "/stream-bytes/20000?seed=7&chunk_size=999"
        async with session.stream("GET", url) as response:
            pieces = [piece async for piece in response.iter_content(size)]
        assert b"".join(pieces) == (await session.get("/bytes/20000?seed=7")).content
        assert size is None or {len(piece) for piece in pieces[:-1]} == {size}
        assert session.pool.open == 1

    async def test_a_drip_is_read_as_it_falls(self, session: Session):
        """What has arrived can be read before the rest is there."""
        async with session.stream("GET", "/drip?numbytes=3&duration=6") as response:
            async with asyncio.timeout(10):
                assert await anext(response.iter_content()) == b"*"
        assert session.pool.open == 0  # the rest is not waited for

    async def test_a_drip_is_no_silence(self, session: Session):
        """The read limit is for silence: an answer that drips for longer than it is read to its end."""
        started = time.monotonic()
        response = await session.get("/drip?numbytes=10&duration=1", timeout=Timeout(read=0.5))
        assert response.content == b"*" * 10
        assert time.monotonic() - started > 0.5

    async def test_ranges(self, session: Session):
        """A range is a 206 with that part; one that is not there is a 416; the whole is a 200."""
        alphabet = "abcdefghijklmnopqrstuvwxyz"
        part = await session.get("/range/52", headers={"Range": "bytes=24-27"})
        assert (part.status_code, part.text) == (206, "yzab")
        assert part.headers["Content-Range"] == "bytes 24-27/52"
        whole = await session.get("/range/52?chunk_size=5")
        assert (whole.status_code, whole.text) == (200, alphabet * 2)
        assert (await session.get("/range/52", headers={"Range": "bytes=60-70"})).status_code == 416


class TestCaching:
    async def test_etag(self, session: Session):
        """A condition that holds is a 304 without a body, one that doesn't a 412; the connection is used on."""
        assert (await session.get("/etag/tag")).headers["ETag"] == "tag"
        unchanged = await session.get("/etag/tag", headers={"If-None-Match": '"tag"'})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert (await session.get("/etag/tag", headers={"If-None-Match": '"other"'})).status_code == 200
        assert (await session.get("/etag/tag", headers={"If-Match": '"other"'})).status_code == 412
        assert session.pool.open == 1

    async def test_cache(self, session: Session):
        """What an answer says of its age can be sent back to ask whether it has changed."""
        first = await session.get("/cache")
        assert first.status_code == 200
        again = await session.get("/cache", headers={"If-Modified-Since": first.headers["Last-Modified"]})
        assert again.status_code == 304
        assert (await session.get("/cache/60")).headers["Cache-Control"] == "public, max-age=60"


class TestDelays:
    async def test_a_slow_answer(self, session: Session):
        """An answer that comes within the limit is an answer; elapsed tells how long it took."""
        response = await session.get("/delay/0.3", timeout=10)
        assert response.status_code == 200
        assert 0.3 <= response.elapsed.total_seconds() < 10

    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_a_silence_that_is_too_long(self, method: str, session: Session):
        """An answer that does not begin within the read limit is a ReadTimeout, and its connection is given up."""
        with pytest.raises(ReadTimeout) as caught:
            await session.request(method, "/delay/2", timeout=Timeout(read=0.1))
        assert caught.value.request.url.endswith("/delay/2")
        assert session.pool.open == 0

    async def test_in_all(self, session: Session):
        """The total limit ends an answer that drips."""
        with pytest.raises(aioreq.exceptions.Timeout, match="took longer than 0.3 seconds in all"):
            await session.get("/drip?numbytes=20&duration=2", timeout=Timeout(total=0.3))
        assert session.pool.open == 0

    async def test_waiting_together(self, session: Session):
        """Slow answers are waited for side by side."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(session.get("/delay/0.6"))
        assert time.monotonic() - started < 5 * 0.6


class TestLinks:
    async def test_a_page_of_links(self, session: Session):
        """A page is reached by its redirect, and each of its links leads on."""
        response = await session.get("/links/4")
        assert response.url.endswith("/links/4/0")
        links = re.findall(r"href='([^']+)'", response.text)
        assert links == ["/links/4/1", "/links/4/2", "/links/4/3"]
        for link in links:
            assert (await session.get(link)).status_code == 200
