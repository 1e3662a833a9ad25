"""curl_cffi: an AsyncSession; CurlMime with a path."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from curl_cffi import AsyncSession, CurlMime
from frame import Answer, Client, main


class CurlCffiClient(Client):
    async def __aenter__(self) -> Self:
        self._session = AsyncSession(max_clients=self.connections, verify=self.certificate or True, timeout=300)
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
        form = CurlMime()
        form.addpart("file", content_type="application/octet-stream", filename=Path(path).name, local_path=path)
        try:
            response = await self._session.post(url, multipart=form)
        finally:
            form.close()
        return response.status_code, response.content

    async def download(self, url: str) -> tuple[int, int]:
        size = 0
        async with self._session.stream("GET", url) as response:
            async for chunk in response.aiter_content():
                size += len(chunk)
        return response.status_code, size


if __name__ == "__main__":
    main(CurlCffiClient)
