"""One connection's bytes, taken from the kernel exactly when a script asks, and never one more.

asyncio's transports read ahead and close politely. A server that stalls, resets, or leaves bytes unread wants
neither, so these streams work on the non-blocking socket itself. Over TLS they fetch one record at a time, the
least that can be decrypted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

PIECE = 65_536
_RECORD_HEAD = 5  # RFC 8446, section 5.1: type, version, length
_RECORD_TYPES = range(20, 25)
_LINGER_ZERO = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class ClientGoneError(Exception):
    """The client closed or reset the connection; the rest of the script cannot run."""


@contextlib.contextmanager
def _client_gone(what: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise ClientGoneError(f"{what}: {error.reason or error}") from error
    except OSError as error:
        raise ClientGoneError(what) from error


class Stream:
    """A connected socket, read and written on demand; when the client has gone, both raise `ClientGoneError`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):  # some systems refuse it once the client has gone
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock

    @property
    def closed(self) -> bool:
        """Whether this side has closed."""
        return self._socket.fileno() < 0

    async def peek(self) -> bytes:
        """Wait for bytes and return those at hand without taking them; `b""` at the end."""
        return await self._receive(PIECE, socket.MSG_PEEK)

    async def read(self, most: int) -> bytes:
        """Wait for bytes and take at most `most` of them; `b""` at the end."""
        return await self._receive(most)

    async def read_until(self, mark: bytes, found: bytearray, check: Callable[[bytes], None]) -> None:
        """Append to `found` up to and with `mark`; `check(found)` sees it grow, and may raise."""
        while True:
            piece = await self.peek()
            if not piece:
                raise ClientGoneError("client closed")
            known = len(found)
            end = (found + piece).find(mark, max(0, known - len(mark) + 1))
            found += await self.read(len(piece) if end < 0 else end + len(mark) - known)
            check(bytes(found))
            if end >= 0:
                return

    async def send(self, data: bytes) -> None:
        """Hand all of `data` to the kernel, waiting for room."""
        with _client_gone("client reset"):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def unread(self) -> None:
        """Wait until there are bytes nobody has read, or the client has closed; take none."""
        await self._receive(1, socket.MSG_PEEK)

    async def glance(self) -> bytes:
        """What `peek` would return at once; `b""` where it would wait."""
        try:
            return await self.peek() if self._socket.recv(1, socket.MSG_PEEK) else b""
        except (OSError, ClientGoneError):
            return b""

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        with _client_gone("client reset"):
            self._socket.shutdown(socket.SHUT_WR)

    async def notify_close(self) -> None:
        """Say that nothing follows, where the protocol has a word for it (TLS: close_notify)."""

    def close(self) -> None:
        """Close at once. The kernel sends FIN, or RST if it still holds unread bytes."""
        self._socket.close()

    def reset(self) -> None:
        """Close with RST, whatever the kernel holds; a Unix socket knows no RST and just closes."""
        with _client_gone("client reset"):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._socket.close()

    async def _receive(self, most: int, flags: int = 0) -> bytes:
        with _client_gone("client reset"):
            while True:
                try:
                    return self._socket.recv(most, flags)
                except BlockingIOError:
                    await self._readable()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._socket, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._socket)


class TLSStream(Stream):
    """A stream inside TLS. Closing sends no close_notify unless asked: a fault server cuts off."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._record = bytearray()
        self._plain = b""

    async def handshake(self) -> None:
        """Shake hands; a client that refuses what it is shown has gone."""
        with _client_gone("TLS handshake failed"):
            try:
                await self._with_records(self._tls.do_handshake)
            finally:
                await self._flush()

    async def peek(self) -> bytes:
        if not self._plain:
            with _client_gone("TLS failed"), contextlib.suppress(ssl.SSLZeroReturnError, ssl.SSLEOFError):
                self._plain = await self._with_records(lambda: self._tls.read(PIECE))
        return self._plain

    async def read(self, most: int) -> bytes:
        plain = await self.peek()
        self._plain = plain[most:]
        return plain[:most]

    async def send(self, data: bytes) -> None:
        with _client_gone("TLS failed"):
            self._tls.write(data)
        await self._flush()

    async def unread(self) -> None:
        if not self._plain:
            await super().unread()

    async def glance(self) -> bytes:
        return self._plain or await super().glance()

    def close(self) -> None:
        if self._plain:  # unread, though not by the kernel's count
            self.reset()
        else:
            super().close()

    async def notify_close(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # it wants the client's close_notify in return; nobody waits for that
            self._tls.unwrap()
        await self._flush()

    async def _with_records(self, operation: Callable[[], T]) -> T:
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                return operation()
            await self._flush()
            await self._pull_record()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await super().send(self._outgoing.read())

    async def _pull_record(self) -> None:
        """Move one record from the kernel to the decoder, so that all later ones stay unread."""
        # A pause may give up waiting for the rest of a record and be followed by a read: keep what has come.
        while (missing := self._missing()) and (piece := await self._receive(missing)):
            self._record += piece
        self._incoming.write(self._record)
        self._record.clear()
        if missing:
            self._incoming.write_eof()

    def _missing(self) -> int:
        if len(self._record) < _RECORD_HEAD:
            return _RECORD_HEAD - len(self._record)
        if self._record[0] not in _RECORD_TYPES:
            return 0  # not TLS: no length to wait for, the decoder will say so
        return _RECORD_HEAD + int.from_bytes(self._record[3:_RECORD_HEAD]) - len(self._record)
