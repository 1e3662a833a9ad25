"""httpunk: connections from its Cache. It has no forms and no files, so they are made here.

Files are read in threads, as asyncio's documentation advises for what may block.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from frame import Answer, Client, main
from httpunk import Backend
from httpunk.util import connect
from httpunk.util.pool import Cache

_BLOCK = 1024 * 1024
_SMALL = 256 * 1024
_BOUNDARY = b"5f0c7c7e2b1d4a9e8d3f6a7b"


class HttpunkClient(Client):
    async def __aenter__(self) -> Self:
        trust = self.trust()

        async def dial(url: str) -> Any:
            return await connect(url, backend=Backend.asyncio, ssl_context=trust)

        self._connections = Cache(dial, backend=Backend.asyncio)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.aclose()

    async def get(self, url: str) -> Answer:
        return await self._ask("GET", url, {}, None)

    async def post_form(self, url: str, fields: dict[str, str]) -> Answer:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return await self._ask("POST", url, headers, urlencode(fields).encode())

    async def post_file(self, url: str, path: str) -> Answer:
        name = Path(path).name.encode()
        head = (
            b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n'
            b"Content-Type: application/octet-stream\r\n\r\n" % (_BOUNDARY, name)
        )
        tail = b"\r\n--%b--\r\n" % _BOUNDARY
        size = os.path.getsize(path)
        headers = {
            "content-type": f"multipart/form-data; boundary={_BOUNDARY.decode()}",
            "content-length": str(len(head) + size + len(tail)),
        }
        if size <= _SMALL:
            content = await asyncio.to_thread(Path(path).read_bytes)
            return await self._ask("POST", url, headers, head + content + tail)
        return await self._ask("POST", url, headers, _blocks(head, path, tail))

    async def download(self, url: str) -> tuple[int, int]:
        size = 0
        parts = urlsplit(url)
        async with self._connections.checkout(url) as connection:
            response = await connection.request("GET", parts.path, headers={"host": parts.netloc})
            async for chunk in response.aiter_bytes():
                size += len(chunk)
        return response.status, size

    async def _ask(self, method: str, url: str, headers: dict[str, str], body: Any) -> Answer:
        parts = urlsplit(url)
        async with self._connections.checkout(url) as connection:
            response = await connection.request(
                method, parts.path, headers={"host": parts.netloc, **headers}, body=body
            )
            return response.status, await response.read()


async def _blocks(head: bytes, path: str, tail: bytes) -> AsyncIterator[bytes]:
    yield head
    with open(path, "rb", buffering=0) as file:
        while block := await asyncio.to_thread(file.read, _BLOCK):
            yield block
    yield tail


if __name__ == "__main__":
    main(HttpunkClient)
