"""The kinds of body that every fault is tried on, all made of one content."""

import asyncio
import functools
import hashlib
import io
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiofiles.threadpool

from aioreq.testing import RequestLog

KIB = 1024
MIB = 1024 * KIB

BLOCK = 50_021
"""A prime, and less than what is packed into one write: blocks and writes never fall together."""


@functools.cache
def content_of(size: int) -> bytes:
    """Bytes without a period, the same in each run."""
    return random.Random(size).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def blocks(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), BLOCK):
        yield content[start : start + BLOCK]


async def async_blocks(content: bytes) -> AsyncIterator[bytes]:
    for block in blocks(content):
        await asyncio.sleep(0)
        yield block


class AsyncFile:
    """An object with `async read` and no position."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


class OwnFile(io.BytesIO):
    """A file-like object that is no file on disk, and not the standard library's own class either."""


@dataclass
class Supply:
    """One content, in memory and on disk; what is opened here is closed with `closing`."""

    content: bytes
    path: Path
    closing: ExitStack = field(repr=False)

    def opened(self) -> Any:
        return self.closing.enter_context(self.path.open("rb"))

    @property
    def declared(self) -> dict[str, str]:
        return {"Content-Length": str(len(self.content))}


@dataclass(frozen=True)
class Kind:
    """One kind of body.

    Attributes:
        arguments: what to pass to `session.post`, made anew for each call.
        replayable: whether it can be sent again once it has begun.
        pumped: whether threads send it from a file: they write it to the socket, over TLS they encrypt it.
    """

    name: str
    arguments: Callable[[Supply], dict[str, Any]]
    replayable: bool = True
    pumped: bool = False

    def __repr__(self) -> str:
        return self.name


_FIELDS = {"title": "a form", "café": "ünïcode"}

KINDS = {
    kind.name: kind
    for kind in (
        Kind("bytes", lambda supply: {"data": supply.content}),
        Kind("file", lambda supply: {"data": supply.opened()}, pumped=True),
        Kind("path", lambda supply: {"data": supply.path}, pumped=True),
        Kind("multipart", lambda supply: {"data": _FIELDS, "files": {"file": supply.path}}, pumped=True),
        Kind(
            "async_generator",
            lambda supply: {"data": async_blocks(supply.content), "headers": supply.declared},
            replayable=False,
        ),
        Kind("aiofiles", lambda supply: {"data": aiofiles.threadpool.wrap(supply.opened())}, pumped=True),
        Kind(
            "generator", lambda supply: {"data": blocks(supply.content), "headers": supply.declared}, replayable=False
        ),
        Kind(
            "async_file",
            lambda supply: {"data": AsyncFile(supply.content), "headers": supply.declared},
            replayable=False,
        ),
        Kind("file_like", lambda supply: {"data": OwnFile(supply.content)}),
        Kind(
            "chunked",
            lambda supply: {"data": async_blocks(supply.content), "headers": {"Transfer-Encoding": "chunked"}},
            replayable=False,
        ),
    )
}

USUAL = ("bytes", "file", "path", "multipart", "async_generator", "aiofiles")
"""What people upload: the kinds that the long tests run on."""


def whole(request: RequestLog, content: bytes) -> bool:
    """Whether `request` brought exactly this content, from its first byte to its last, raw or in the form above."""
    boundary = re.search("boundary=(.+)", request.header("content-type") or "")
    expected = _form(boundary[1], content) if boundary else content
    return request.complete and (request.received, request.sha256) == (len(expected), digest(expected))


def _form(boundary: str, content: bytes) -> bytes:
    fields = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n'
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{value}\r\n"
        for name, value in _FIELDS.items()
    )
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="content.bin"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n"
    )
    return fields.encode() + head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
