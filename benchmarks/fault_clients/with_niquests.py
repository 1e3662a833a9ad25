"""niquests: AsyncSession, `files=` for forms, an async iterable as `data`, whose length it asks with `len()`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

import niquests
from frame import Client, FilePart, NotOffered, main


class Sized:
    """An async iterable of known length."""

    def __init__(self, source: AsyncIterator[bytes], length: int) -> None:
        self._source, self._length = source, length

    def __len__(self) -> int:
        return self._length

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._source


class NiquestsClient(Client):
    package = "niquests"

    async def __aenter__(self) -> Self:
        self._session = niquests.AsyncSession(
            pool_connections=self.connections or 10, pool_maxsize=self.connections or 100, timeout=self.seconds
        )
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

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
        if expect:
            raise NotOffered
        response = await self._session.post(url, data=source if length is None else Sized(source, length))
        return response.status_code, response.content


main(NiquestsClient)
