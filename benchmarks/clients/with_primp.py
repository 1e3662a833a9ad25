"""primp: an AsyncClient; `files=` with a path."""

from __future__ import annotations

from typing import Self

import primp
from frame import Answer, Client, main

_CHUNK = 1024 * 1024  # its default of 8 KiB is sixteen times slower


class PrimpClient(Client):
    async def __aenter__(self) -> Self:
        self._client = primp.AsyncClient(ca_cert_file=self.certificate)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing needs closing."""

    async def get(self, url: str) -> Answer:
        response = await self._client.get(url)
        return response.status_code, response.content

    async def post_form(self, url: str, fields: dict[str, str]) -> Answer:
        response = await self._client.post(url, data=fields)
        return response.status_code, response.content

    async def post_file(self, url: str, path: str) -> Answer:
        response = await self._client.post(url, files={"file": path})
        return response.status_code, response.content

    async def download(self, url: str) -> tuple[int, int]:
        size = 0
        async with await self._client.get(url, stream=True) as response:
            async for chunk in response.aiter_bytes(_CHUNK):
                size += len(chunk)
            return response.status_code, size


if __name__ == "__main__":
    main(PrimpClient)
