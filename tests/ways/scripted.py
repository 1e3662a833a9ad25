"""Servers in the test's own loop that do what no real one does on demand."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from .proxies import RunningProxy


@dataclass
class Script:
    """What a scripted proxy has seen.

    `heads` are the requests' heads, in order; `connections` counts the connections; `asked` is set at the first head
    (or the first bytes, where none is waited for); `left` is set when a client has closed its connection.
    """

    proxy: RunningProxy
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def scripted_proxy(answer: bytes, *, hang_up: bool = False, any_bytes: bool = False) -> AsyncIterator[Script]:
    """A proxy that gives `answer` to each request's head; with `hang_up` it then closes the connection.

    With `any_bytes` whatever comes first is answered, for what does not begin with a head, and nothing after it.
    """
    writers: list[asyncio.StreamWriter] = []
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        serving.add(_this_task())
        script.connections += 1
        try:
            while True:
                head = await (reader.readuntil(b"\r\n\r\n") if not any_bytes else _some(reader))
                if not any_bytes or not script.heads:
                    writer.write(answer)
                script.heads.append(head)
                script.asked.set()
                if hang_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            script.left.set()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    script = Script(RunningProxy(server.sockets[0].getsockname()[1]))
    try:
        yield script
    finally:
        await _end(server, writers, serving)


@asynccontextmanager
async def tls_before(proxy: RunningProxy, context: ssl.SSLContext) -> AsyncIterator[RunningProxy]:
    """TLS before a proxy that has none: takes it off, and passes bytes on."""
    writers: list[asyncio.StreamWriter] = []
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        serving.add(_this_task())
        onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writers.append(onward_writer)
        await asyncio.gather(_pass(reader, onward_writer), _pass(onward_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield RunningProxy(server.sockets[0].getsockname()[1])
    finally:
        await _end(server, writers, serving)


async def _some(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(65536)
    if not data:
        raise asyncio.IncompleteReadError(b"", None)
    return data


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass  # one side was closed: so is the other
    writer.close()


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def _end(server: asyncio.Server, writers: list[asyncio.StreamWriter], serving: set[asyncio.Task[None]]) -> None:
    server.close()
    for writer in writers:
        writer.transport.abort()
    if serving:
        await asyncio.wait(serving)
    await server.wait_closed()
