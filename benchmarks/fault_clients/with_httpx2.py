"""httpx2: AsyncClient, `files=` for forms, an async generator as `content`, redirects followed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

import httpx2
from frame import Client, FilePart, NotOffered, main


class Httpx2Client(Client):
    package = "httpx2"

    async def __aenter__(self) -> Self:
        limits = httpx2.Limits(max_connections=self.connections or 100)
        self._client = httpx2.AsyncClient(timeout=self.seconds, limits=limits, follow_redirects=True)
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, url: str, token: str) -> tuple[int, bytes]:
        response = await self._client.get(url, headers={"X-Token": token})
        return response.status_code, response.content

    async def send_form(self, url: str, fields: dict[str, str], part: FilePart) -> tuple[int, bytes]:
        files = {"file": (part.filename, part.file, part.content_type)}
        response = await self._client.post(url, data=fields, files=files)
        return response.status_code, response.content

    async def send_stream(
        self, url: str, source: AsyncIterator[bytes], length: int | None, *, expect: bool
    ) -> tuple[int, bytes]:
        if expect:
            raise NotOffered
        framing = {} if length is None else {"Content-Length": str(length)}
        response = await self._client.post(url, content=source, headers=framing)
        return response.status_code, response.content


main(Httpx2Client)
