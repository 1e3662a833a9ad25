"""aiohttp: a FormData for forms, an async generator as `data`, ClientTimeout with the limits that measure silence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar, Self

import aiohttp
from frame import Client, FilePart, main


class AiohttpClient(Client):
    package = "aiohttp"
    lacks: ClassVar = {"write timeout": "only a limit in all"}

    async def __aenter__(self) -> Self:
        # No `total`: it would cut slow uploads that move.
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self.seconds, sock_connect=self.seconds, sock_read=self.seconds
        )
        connector = aiohttp.TCPConnector(limit=self.connections or 0)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, url: str, token: str) -> tuple[int, bytes]:
        async with self._session.get(url, headers={"X-Token": token}) as response:
            return response.status, await response.read()

    async def send_form(self, url: str, fields: dict[str, str], part: FilePart) -> tuple[int, bytes]:
        form = aiohttp.FormData()
        for name, value in fields.items():
            form.add_field(name, value)
        form.add_field("file", part.file, filename=part.filename, content_type=part.content_type)
        return await self._post(url, data=form)

    async def send_stream(
        self, url: str, source: AsyncIterator[bytes], length: int | None, *, expect: bool
    ) -> tuple[int, bytes]:
        framing = {} if length is None else {"Content-Length": str(length)}
        return await self._post(url, data=source, headers=framing, expect100=expect)

    async def _post(self, url: str, **options: Any) -> tuple[int, bytes]:
        async with self._session.post(url, **options) as response:
            return response.status, await response.read()


main(AiohttpClient)
