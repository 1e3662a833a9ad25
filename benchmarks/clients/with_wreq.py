"""wreq: a Client; Multipart with a part that has a path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import wreq
from frame import Answer, Client, main


class WreqClient(Client):
    async def __aenter__(self) -> Self:
        options: dict[str, Any] = {"pool_max_idle_per_host": self.connections, "pool_max_size": self.connections}
        if self.certificate:
            options["tls_verify"] = Path(self.certificate)
        self._client = wreq.Client(**options)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.close()

    async def get(self, url: str) -> Answer:
        async with self._client.get(url) as response:
            return response.status.as_int(), bytes(await response.bytes())

    async def post_form(self, url: str, fields: dict[str, str]) -> Answer:
        async with self._client.post(url, form=fields) as response:
            return response.status.as_int(), bytes(await response.bytes())

    async def post_file(self, url: str, path: str) -> Answer:
        part = wreq.Part("file", Path(path), filename=Path(path).name, mime="application/octet-stream")
        async with self._client.post(url, multipart=wreq.Multipart(part)) as response:
            return response.status.as_int(), bytes(await response.bytes())

    async def download(self, url: str) -> tuple[int, int]:
        size = 0
        async with self._client.get(url) as response:
            async with response.stream() as streamer:
                async for chunk in streamer:
                    size += len(chunk)
            return response.status.as_int(), size


if __name__ == "__main__":
    main(WreqClient)
