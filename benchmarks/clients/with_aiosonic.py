"""aiosonic: an HTTPClient with a pool of the size that is needed; MultipartForm with a path."""

from __future__ import annotations

from typing import Self

import aiosonic
from aiosonic.connectors import TCPConnector
from aiosonic.multipart import MultipartFile, MultipartForm
from aiosonic.pools import PoolConfig
from aiosonic.timeout import Timeouts
from frame import Answer, Client, main


class AiosonicClient(Client):
    async def __aenter__(self) -> Self:
        # Without a limit of requests, connections are not made anew in the middle.
        pool = PoolConfig(size=self.connections, max_conn_requests=None)
        self._connector = TCPConnector(pool_configs={":default": pool}, timeouts=Timeouts(request_timeout=300))
        self._client = aiosonic.HTTPClient(self._connector)
        self._ssl = self.trust()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connector.cleanup()

    async def get(self, url: str) -> Answer:
        response = await self._client.get(url, ssl=self._ssl)
        return response.status_code, await response.content()

    async def post_form(self, url: str, fields: dict[str, str]) -> Answer:
        response = await self._client.post(url, data=fields, ssl=self._ssl)
        return response.status_code, await response.content()

    async def post_file(self, url: str, path: str) -> Answer:
        form = MultipartForm()
        form.add_field("file", MultipartFile(path, content_type="application/octet-stream"))
        response = await self._client.post(url, data=form, ssl=self._ssl)
        return response.status_code, await response.content()

    async def download(self, url: str) -> tuple[int, int]:
        size = 0
        async with self._client.stream("GET", url, ssl=self._ssl) as response:
            async for chunk in response.iter_bytes():
                size += len(chunk)
        return response.status_code, size


if __name__ == "__main__":
    main(AiosonicClient)
