"""aioreq."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

from frame import Client, FilePart, main

import aioreq


class AioreqClient(Client):
    package = "aioreq"

    async def __aenter__(self) -> Self:
        timeout = aioreq.Timeout(connect=self.seconds, read=self.seconds, write=self.seconds, pool=self.seconds)
        self._session = aioreq.Session(timeout=timeout, limits=aioreq.Limits(max_connections=self.connections))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.aclose()

    async def get(self, url: str, token: str) -> tuple[int, bytes]:
        response = await self._session.get(url, headers={"X-Token": token})
        return response.status_code, response.content

    async def send_form(self, url: str, fields: dict[str, str], part: FilePart) -> tuple[int, bytes]:
        files = {"file": (part.filename, part.file, part.content_type)}
        response = await self._session.post(url, data=fields, files=files)
        return response.status_code, response.content

    async def send_stream(
        self, url: str, source: AsyncIterator[bytes], length: int | None, *, expect: bool
    ) -> tuple[int, bytes]:
        framing = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
        options = {"expect_continue": True} if expect else {}
        response = await self._session.post(url, data=source, headers=framing, **options)
        return response.status_code, response.content


main(AioreqClient)
