"""A request on its way out: head and body, in as few writes as they need, each byte counted.

A sender runs beside the reader of the answer, so that an answer in mid-upload is seen. It packs small pieces
into one write, leaves regular files to the kernel (:mod:`.pump`) or over TLS to a thread (:mod:`.tls_pump`) where it
can, and reads the rest ahead.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from .._body import Body, Bytes, FileRegion, Iteration, Segment
from .._progress import Meter, Upload
from .._wire.http1 import LAST_CHUNK, encode_chunk
from ..exceptions import RequestException
from . import pump, tls_pump
from .stream import Stream

# Pieces smaller than this are collected and leave together.
_PACK = 64 * 1024
# Bytes in memory go out in slices, so that the transport copies little. While somebody watches they are small: what
# has left is told behind each, and on a slow line a megabyte takes many seconds.
_SLICE = 1024 * 1024
_WATCHED_SLICE = _PACK
# Below this a thread hop costs more than the copy that it saves.
_WORTH_PUMPING = 256 * 1024
# How long the body waits for "100 Continue" from a server that may never have heard of it (RFC 9110, 10.1.1).
EXPECT_PATIENCE = 1.0


class Sender:
    """Sends one head and one body.

    Attributes:
        has_begun: whether the head has left.
    """

    def __init__(self, stream: Stream, head: bytes, body: Body, upload: Upload, meter: Meter | None) -> None:
        self._stream = stream
        self._body = body
        self._upload = upload
        self._meter = meter
        # Over TLS, the processor has a seventh less to do for small ones.
        largest = _SLICE if stream.is_plain else tls_pump.SEALED
        self._slice = largest if meter is None else _WATCHED_SLICE
        self._packed: list[bytes] = [head]
        self._packed_size = len(head)
        self._packed_body = 0
        self._written = 0
        self.has_begun = False
        self._go_ahead: asyncio.Future[None] | None = None

    def hold_body(self) -> None:
        """Send only the head at first; the body waits for :meth:`go_ahead`, but not for ever."""
        self._go_ahead = asyncio.get_running_loop().create_future()

    def go_ahead(self) -> None:
        """The server wants the body."""
        if self._go_ahead is not None and not self._go_ahead.done():
            self._go_ahead.set_result(None)

    @property
    def holds_body(self) -> bool:
        """Whether the body still waits for the server's word."""
        return self._go_ahead is not None and not self._go_ahead.done()

    async def run(self) -> None:
        """Send everything.

        Raises:
            RequestException: the source or the connection failed.
            Exception: what the caller's own iterator or callback raised, as it was raised.
        """
        self._upload.complete = False  # an empty body too has to be looked at
        try:
            if self._go_ahead is not None:
                await self._flush()
                await asyncio.wait((self._go_ahead,), timeout=EXPECT_PATIENCE)
                self._go_ahead = None
            for segment in self._body.segments:
                await self._send(segment)
            if self._body.length is None:
                self._pack(LAST_CHUNK, 0)
            await self._flush()
        except BaseException as error:
            self._upload.sent = self.taken
            if isinstance(error, RequestException):
                error.sent = self._upload.sent
            raise
        self._upload.complete = True

    async def _send(self, segment: Segment) -> None:
        if isinstance(segment, Bytes):
            await self._send_bytes(segment.data)
        elif isinstance(segment, FileRegion) and segment.length >= _WORTH_PUMPING and self._body.length is not None:
            await (self._send_file(segment) if pump.AVAILABLE else self._send_chunks(segment))
        else:
            await self._send_chunks(segment)

    async def _send_bytes(self, data: bytes) -> None:
        if len(data) <= _PACK:
            await self._put(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), self._slice):
            await self._put(view[start : start + self._slice])

    async def _send_file(self, segment: FileRegion) -> None:
        move = pump.pump if self._stream.is_plain else tls_pump.pump
        file = await segment.open()  # before the head leaves: a file that is gone is no reason to begin
        try:
            await self._flush()
            await move(self._stream, file, segment.length, self._moved, watched=self._meter is not None)
        finally:
            file.close()

    async def _send_chunks(self, segment: Segment) -> None:
        if isinstance(segment, Iteration):
            await self._flush()  # the caller's iterator may take its time, and the server should know of us
        chunks: AsyncGenerator[bytes, None] = segment.chunks()
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                await self._send_bytes(chunk)
                if segment.prompt:
                    await self._flush()

    async def _put(self, data: bytes | memoryview) -> None:
        size = len(data)
        if self._body.length is None:
            if not size:
                return  # an empty chunk would end the body
            data = encode_chunk(bytes(data))
        self._pack(data, size)
        if self._packed_size >= _PACK:
            await self._flush()

    def _pack(self, data: bytes | memoryview, body_size: int) -> None:
        self._packed.append(data)  # type: ignore[arg-type]  # join takes memoryviews too
        self._packed_size += len(data)
        self._packed_body += body_size

    async def _flush(self) -> None:
        if not self._packed:
            return
        data = self._packed[0] if len(self._packed) == 1 else b"".join(self._packed)
        self._written += self._packed_body
        self._packed, self._packed_size, self._packed_body = [], 0, 0
        self.has_begun = True
        self._stream.write(data)
        if self._stream.unsent:
            self._count()
            await self._stream.drain()
        else:
            await self._stream.drain()
            await asyncio.sleep(0)  # drain() returns at once while the kernel takes all: let others run
        self._count()

    def _count(self) -> None:
        size = self.taken - self._upload.sent
        if size:
            self._upload.sent += size
            if self._meter is not None:
                self._meter.advance(size)

    @property
    def taken(self) -> int:
        """Bytes of the body that the kernel has; records are a little larger than what is in them."""
        return max(self._upload.sent, self._written - self._stream.unsent)

    def _moved(self, size: int) -> None:
        self._written += size
        self._count()
