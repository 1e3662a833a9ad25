"""The limit: bare sockets that send prepared bytes and look at nothing but the length of what comes back.

No client can be much faster on this machine with this server; what a client is slower is what it does for its user.
Small requests go over an asyncio protocol with one buffer, large bodies over a blocking socket, from a map of the file.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlencode, urlsplit

from frame import Job, Meter, Unexpected, tell

_GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_PART = b'--limit\r\nContent-Disposition: form-data; name="file"; filename="file.bin"\r\n\r\n'
_END = b"\r\n--limit--\r\n"
_BLOCK = 1024 * 1024
_READ = 64 * 1024  # little and often: with a mebibyte at a time both sides wait for each other

_loop_buffer = memoryview(bytearray(65536))


class Wire(asyncio.BufferedProtocol):
    """A connection: bytes out, and whether an answer came back whole, which here fits into one read."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return _loop_buffer

    def buffer_updated(self, size: int) -> None:
        self._answer.set_result(bytes(_loop_buffer[size - 2 : size]) == b"ok")

    def connection_lost(self, error: Exception | None) -> None:
        """The end."""

    async def ask(self, request: bytes) -> None:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        if not await self._answer:
            raise Unexpected("the answer is not the one it should be")


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


def _post(kind: str, body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        kind.encode(),
        len(body),
        body,
    )


def _form_of(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        content = os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
    return _post("multipart/form-data; boundary=limit", b"%b%b%b" % (_PART, content, _END))


async def _small(job: Job) -> dict[str, Any]:
    host, port = _address(job.url)
    loop = asyncio.get_running_loop()
    trust = ssl.create_default_context(cafile=job.certificate) if job.certificate else None
    dialled = [await loop.create_connection(Wire, host, port, ssl=trust) for _ in range(job.concurrency)]
    wires = [wire for _, wire in dialled]
    form = _post("application/x-www-form-urlencoded", urlencode(job.form).encode())

    async def get(wire: Wire, _: object) -> None:
        await wire.ask(_GET)

    async def post_form(wire: Wire, _: object) -> None:
        await wire.ask(form)

    async def post_file(wire: Wire, path: str) -> None:
        await wire.ask(_form_of(path))

    one: Callable[[Wire, Any], Awaitable[None]] = {"get": get, "form": post_form}.get(job.operation, post_file)
    items: Iterable[Any] = job.paths() if one is post_file else range(job.count)
    await _over(wires, range(4 * job.concurrency), get)
    meter = Meter()
    meter.begin()
    await _over(wires, items, one)
    report = meter.end()
    for transport, _ in dialled:
        transport.close()
    return {**report, "warmed": 4 * job.concurrency}


async def _over(wires: list[Wire], items: Iterable[Any], one: Callable[[Wire, Any], Awaitable[None]]) -> None:
    left = iter(items)

    async def worker(wire: Wire) -> None:
        for item in left:
            await one(wire, item)

    await asyncio.gather(*(worker(wire) for wire in wires))


def _large(job: Job) -> dict[str, Any]:
    host, port = _address(job.url)
    connection = socket.create_connection((host, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    if job.certificate:
        trust = ssl.create_default_context(cafile=job.certificate)
        connection = trust.wrap_socket(connection, server_hostname=host)
    connection.sendall(_GET)
    connection.recv(65536)
    meter = Meter()
    meter.begin()
    if job.operation == "download":
        _download(connection, job)
    else:
        _upload(connection, job)
    return {**meter.end(), "warmed": 1}


def _download(connection: socket.socket, job: Job) -> None:
    connection.sendall(b"GET /bytes/%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % job.size)
    buffer = bytearray(_READ)
    got = connection.recv_into(buffer)
    got -= buffer.index(b"\r\n\r\n") + 4
    while got < job.size:
        got += connection.recv_into(buffer)


def _upload(connection: socket.socket, job: Job) -> None:
    path = job.paths()[0]
    size = os.path.getsize(path)
    connection.sendall(
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=limit\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(_PART) + size + len(_END), _PART)
    )
    with open(path, "rb") as file:
        if job.certificate:
            block = memoryview(bytearray(_BLOCK))
            while got := file.readinto(block):
                connection.sendall(block[:got])
        else:
            with mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as whole:
                for at in range(0, size, _BLOCK):
                    connection.sendall(whole[at : at + _BLOCK])
    connection.sendall(_END)
    if not connection.recv(65536).endswith(b"ok"):
        raise Unexpected("the answer is not the one it should be")


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    one_large = job.operation == "download" or (job.operation == "file" and job.concurrency == 1)
    tell(_large(job) if one_large else asyncio.run(_small(job)))


if __name__ == "__main__":
    main()
