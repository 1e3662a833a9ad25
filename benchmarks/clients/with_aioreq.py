"""aioreq: a Session; `files=` with a path; `bulk_upload` for many files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from frame import Answer, Client, Unexpected, main

import aioreq


class AioreqClient(Client):
    async def __aenter__(self) -> Self:
        limits = aioreq.Limits(max_connections=self.connections, max_idle=self.connections)
        self._session = aioreq.Session(limits=limits, verify=self.certificate or True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.aclose()

    async def get(self, url: str) -> Answer:
        response = await self._session.get(url)
        return response.status_code, response.content

    async def post_form(self, url: str, fields: dict[str, str]) -> Answer:
        response = await self._session.post(url, data=fields)
        return response.status_code, response.content

    async def post_file(self, url: str, path: str) -> Answer:
        response = await self._session.post(url, files={"file": Path(path)})
        return response.status_code, response.content

    async def download(self, url: str) -> tuple[int, int]:
        size = 0
        async with self._session.stream("GET", url) as response:
            async for chunk in response.iter_content():
                size += len(chunk)
        return response.status_code, size

    async def bulk(self, url: str, paths: Sequence[str], concurrency: int) -> None:
        from aioreq.bulk import bulk_upload

        async for result in bulk_upload(url, paths, session=self._session, concurrency=concurrency):
            if not result.ok:
                raise Unexpected(result.problem)


if __name__ == "__main__":
    main(AioreqClient)
