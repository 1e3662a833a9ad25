"""requests: a Session in threads; MultipartEncoder of requests-toolbelt, which streams."""

from __future__ import annotations

from pathlib import Path

import requests
from frame import Answer, ThreadedClient, main_threaded
from requests.adapters import HTTPAdapter
from requests_toolbelt import MultipartEncoder


class RequestsClient(ThreadedClient):
    def __init__(self, connections: int, certificate: str | None) -> None:
        super().__init__(connections, certificate)
        self._session = requests.Session()
        self._session.verify = certificate or True
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections))

    def get(self, url: str) -> Answer:
        response = self._session.get(url)
        return response.status_code, response.content

    def post_form(self, url: str, fields: dict[str, str]) -> Answer:
        response = self._session.post(url, data=fields)
        return response.status_code, response.content

    def post_file(self, url: str, path: str) -> Answer:
        with Path(path).open("rb") as file:
            form = MultipartEncoder({"file": (Path(path).name, file, "application/octet-stream")})
            response = self._session.post(url, data=form, headers={"Content-Type": form.content_type})
        return response.status_code, response.content

    def download(self, url: str) -> tuple[int, int]:
        size = 0
        with self._session.get(url, stream=True) as response:
            for chunk in response.iter_content(1024 * 1024):
                size += len(chunk)
        return response.status_code, size


if __name__ == "__main__":
    main_threaded(RequestsClient)
