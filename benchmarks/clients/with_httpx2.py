"""httpx2: an AsyncClient; `files=` with an open file."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import httpx2
from frame import Answer, Client, main


class Httpx2Client(Client):
    async def __aenter__(self) -> Self:
        limits = httpx2.Limits(max_connections=self.connections, max_keepalive_connections=self.connections)
        # The patience of five seconds that is its default fails requests that wait for their turn.
        self._client = httpx2.AsyncClient(limits=limits, verify=self.trust() or True, timeout=60)
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, url: str) -> Answer:
        response = await self._client.get(url)
        return response.status_code, response.content

    async def post_form(self, url: str, fields: dict[str, str]) -> Answer:
        response = await self._client.post(url, data=fields)
        return response.status_code, response.content

    async def post_file(self, url: str, path: str) -> Answer:
        with Path(path).open("rb") as file:
            response = await self._client.post(url, files={"file": file})
        return response.status_code, response.content

    async def download(self, url: str) -> tuple[int, int]:
        size = 0
        async with self._client.stream("GET", url) as response:
            async for chunk in response.aiter_bytes():
                size += len(chunk)
        return response.status_code, size


if __name__ == "__main__":
    main(Httpx2Client)
