"""aiohttp: a ClientSession; FormData with an open file."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import aiohttp
from frame import Answer, Client, main


class AiohttpClient(Client):
    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self.connections, ssl=self.trust() or True)
        # By default a request may take five minutes in all.
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, url: str) -> Answer:
        async with self._session.get(url) as response:
            return response.status, await response.read()

    async def post_form(self, url: str, fields: dict[str, str]) -> Answer:
        async with self._session.post(url, data=fields) as response:
            return response.status, await response.read()

    async def post_file(self, url: str, path: str) -> Answer:
        with Path(path).open("rb") as file:
            form = aiohttp.FormData()
            form.add_field("file", file, filename=Path(path).name, content_type="application/octet-stream")
            async with self._session.post(url, data=form) as response:
                return response.status, await response.read()

    async def download(self, url: str) -> tuple[int, int]:
        size = 0
        async with self._session.get(url) as response:
            # What its documentation names for data as it comes, with less work than iter_chunked.
            async for chunk in response.content.iter_any():
                size += len(chunk)
        return response.status, size


if __name__ == "__main__":
    main(AiohttpClient)
