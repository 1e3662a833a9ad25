"""What httpbin sees of a request."""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from aioreq import Session, __version__

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class TestMethods:
    @pytest.mark.parametrize("method", METHODS)
    async def test_each_at_its_own_url(self, method: str, session: Session):
        """Each method reaches the URL that takes no other."""
        response = await session.request(method, f"/{method.lower()}")
        assert response.status_code == 200
        assert (await session.request("TRACE", f"/{method.lower()}")).status_code == 405

    @pytest.mark.parametrize("method", [*METHODS, "TRACE"])
    async def test_anything(self, method: str, session: Session):
        """The method and the whole URL arrive as they were asked for."""
        response = await session.request(method, "/anything/a%20b/c", params={"x": "1", "y": ["2", "3"]})
        told = response.json()
        assert told["method"] == method
        assert told["args"] == {"x": "1", "y": ["2", "3"]}
        assert told["url"] == response.url

    async def test_head(self, session: Session):
        """HEAD brings the headers of GET, its length among them, and no body."""
        response = await session.head("/get")
        assert response.content == b""
        assert int(response.headers["Content-Length"]) > 0
        assert (await session.get("/get")).status_code == 200  # on the same connection
        assert session.pool.open == 1

    async def test_options(self, session: Session):
        """OPTIONS tells which methods there are."""
        response = await session.options("/post")
        assert {method.strip() for method in response.headers["Allow"].split(",")} == {"OPTIONS", "POST"}


class TestBodies:
    @pytest.mark.parametrize("method", METHODS[1:])
    async def test_a_form(self, method: str, session: Session):
        """A mapping goes as a form, whose names may repeat and whose values may be any text."""
        fields = {"name": "ä&=+ %", "many": ["1", "2"]}
        told = (await session.request(method, f"/{method.lower()}", data=fields)).json()
        assert told["form"] == fields
        assert told["headers"]["Content-Type"] == "application/x-www-form-urlencoded"
        assert told["data"] == ""

    @pytest.mark.parametrize("method", METHODS[1:])
    async def test_json(self, method: str, session: Session):
        """json= arrives as the same JSON, and says that it is."""
        value = {"text": "ä\U0001f600", "list": [1, 2.5, None, True], "map": {}}
        told = (await session.request(method, f"/{method.lower()}", json=value)).json()
        assert told["json"] == value
        assert told["headers"]["Content-Type"] == "application/json"

    @pytest.mark.parametrize("method", METHODS[1:])
    async def test_files_and_fields(self, method: str, session: Session, tmp_path: Path):
        """A file and fields go in one form."""
        (tmp_path / "file.txt").write_text("the file's text")
        files = {"file": tmp_path / "file.txt", "memory": ("m.txt", io.BytesIO(b"bytes"))}
        told = (await session.request(method, f"/{method.lower()}", data={"field": "value"}, files=files)).json()
        assert told["files"] == {"file": "the file's text", "memory": "bytes"}
        assert told["form"] == {"field": "value"}
        assert told["headers"]["Content-Type"].startswith("multipart/form-data; boundary=")

    async def test_every_byte_of_a_file(self, session: Session, tmp_path: Path):
        """A file of any bytes arrives with each of them, from disk and from memory."""
        content = bytes(range(256)) * 4096
        (tmp_path / "file.bin").write_bytes(content)
        sources: list[Any] = [tmp_path / "file.bin", content]
        for source in sources:
            told = (await session.post("/post", files={"file": ("file.bin", source)})).json()
            kind, mark, encoded = told["files"]["file"].partition("base64,")
            assert (kind, mark) == ("data:application/octet-stream;", "base64,")
            assert hashlib.sha256(base64.b64decode(encoded)).digest() == hashlib.sha256(content).digest()

    @pytest.mark.parametrize("method", METHODS[1:])
    async def test_raw_bytes(self, method: str, session: Session):
        """Bytes go as they are, with their length and no Content-Type."""
        told = (await session.request(method, f"/{method.lower()}", data=b"raw \xc3\xa4")).json()
        assert told["data"] == "raw ä"
        assert told["headers"]["Content-Length"] == "6"
        assert "Content-Type" not in told["headers"]

    async def test_an_iterator(self, session: Session):
        """An iterable body arrives whole, with its declared length or in chunks."""

        def pieces() -> Any:
            yield from (b"one ", b"two ", b"three")

        for headers in ({"Content-Length": "13"}, {"Transfer-Encoding": "chunked"}):
            told = (await session.put("/put", data=pieces(), headers=headers)).json()
            assert told["data"] == "one two three"
            assert {name: told["headers"].get(name) for name in headers} == headers


class TestHeaders:
    async def test_ones_own(self, session: Session):
        """Headers arrive as they were given; the session's own are there until they are replaced or removed."""
        session.headers["X-Session"] = "session's"
        told = (await session.get("/headers", headers={"X-Own": 'a; b="c"', "Accept": None})).json()["headers"]
        assert told["X-Own"] == 'a; b="c"'
        assert told["X-Session"] == "session's"
        assert "Accept" not in told

    async def test_user_agent(self, session: Session):
        """The client says who it is, unless the caller says something else."""
        assert (await session.get("/user-agent")).json() == {"user-agent": f"aioreq/{__version__}"}
        response = await session.get("/user-agent", headers={"User-Agent": "me"})
        assert response.json() == {"user-agent": "me"}

    @pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "svg+xml"])
    async def test_accept(self, kind: str, session: Session):
        """The server chooses by the Accept header."""
        response = await session.get("/image", headers={"Accept": f"image/{kind}"})
        assert response.headers["Content-Type"].startswith(f"image/{kind}")
        assert (await session.get("/image", headers={"Accept": "text/html"})).status_code == 406

    async def test_headers_of_an_answer(self, session: Session):
        """An answer's headers are there by name whatever the case, each of their values, too."""
        response = await session.get("/response-headers", params={"X-One": "1", "X-Many": ["a", "b"]})
        assert response.headers["x-one"] == "1"
        assert response.headers.getall("X-MANY") == ["a", "b"]
        assert json.loads(response.text)["X-One"] == "1"
