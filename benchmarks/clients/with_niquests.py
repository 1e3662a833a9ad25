"""niquests: an AsyncSession; `files=` with an open file."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import niquests
from frame import Answer, Client, main


class NiquestsClient(Client):
    async def __aenter__(self) -> Self:
        self._session = niquests.AsyncSession(pool_connections=1, pool_maxsize=self.connections)
        if self.certificate:
            self._session.verify = self.certificate
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, url: str) -> Answer:
        response = await self._session.get(url)
        return response.status_code, response.content

    async def post_form(self, url: str, fields: dict[str, str]) -> Answer:
        response = await self._session.post(url, data=fields)
        return response.status_code, response.content

    async def post_file(self, url: str, path: str) -> Answer:
        with Path(path).open("rb") as file:
            response = await self._session.post(url, files={"file": file})
        return response.status_code, response.content

    async def download(self, url: str) -> tuple[int, int]:
        size = 0
        response = await self._session.get(url, stream=True)
        # -1: as it comes.
        async for chunk in await response.iter_content(-1):
            size += len(chunk)
        return response.status_code, size


if __name__ == "__main__":
    main(NiquestsClient)
