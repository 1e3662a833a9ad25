"""Bytes on a socket: asyncio's streams over a protocol of our own.

The stock StreamReader and StreamReaderProtocol lose answers and are slow at receiving, so both have a child
here:

- ``connection_lost`` of the stock protocol marks the reader as failed before its buffer is read, and a failed
  send makes the transport close the socket with the server's answer still in the kernel. Ours takes what the
  kernel still has, and then only says that the stream has ended.
- The stock reader copies all it gets into one bytearray, and its transport allocates 256 KiB for every read.
  Ours receives into one buffer for the whole loop, and hands each piece on as it came (1.7 times the requests). When
  there is more than fits into that, the rest is received at once, in pieces of the same size.

TLS is a filter between socket and reader (:class:`aioreq._wire.tls.TLS`), for the same reason: it can still
read the records that arrived before the connection broke.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
import sys
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, cast

from .._threads import READERS
from .._wire.tls import TLS, are_whole_records
from ..exceptions import ConnectionError, ReadTimeout, SSLError, WriteTimeout
from .arrival import Arrival
from .handover import hand_over
from .outbox import outbox_of
from .parcel import Parcel
from .stall import LOOKS, kernel_queue
from .watch import Watch

_RECEIVE_SIZE = 64 * 1024
# How many pieces are received in one turn of the loop, where that much is there. Little and often tells the other side
# sooner that there is room again, so that both work at the same time: a large download takes a fifth less time than in
# pieces of 256 KiB, of which each has a turn of its own.
_PIECES_AT_ONCE = 8
# How much may wait in the reader before the socket is left alone (and the server's window fills).
_HIGH_WATER = 1024 * 1024
# Nothing on its way: neither in our hands nor in the kernel's.
_NOTHING = (0, 0)

_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = weakref.WeakKeyDictionary()


def _receive_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """The loop's one receive buffer: it is emptied before the loop turns to another socket.

    Not so on Windows, where a read is under way all the time and owns its buffer.
    """
    if sys.platform == "win32":
        return memoryview(bytearray(_RECEIVE_SIZE))
    view = _buffers.get(loop)
    if view is None:
        view = _buffers[loop] = memoryview(bytearray(_RECEIVE_SIZE))
    return view


# It stays empty: a deque is 600 bytes, and a thousand idle connections can do without.
_NOTHING_THERE: deque[bytes] = deque()
# What the stock reader keeps its bytes in: nothing ever comes into it here, so that one does for all.
_NO_BUFFER = bytearray()


class Watcher(Protocol):
    """Who wants to know of what comes unasked."""

    def disturbed(self) -> None:
        """Something has come that nobody waits for: a piece, or the end."""


class ChunkReader(asyncio.StreamReader):
    """A StreamReader that keeps the received pieces as they came.

    Attributes:
        pieces: what can be taken without waiting, oldest first.
        untouched: whether nothing has arrived that nobody has read: no piece, no end, no failure.
        arriving: the piece that somebody waits for, or has waited for; or None.
        watcher: who is told when something has come that nobody waited for; or None.
    """

    _done: asyncio.Future[None] | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=_HIGH_WATER, loop=loop)
        self._running_loop = loop
        self.pieces = _NOTHING_THERE
        self.untouched = True
        self._held = 0
        self._ended = False
        self._failure: BaseException | None = None
        self.arriving: asyncio.Future[bytes] | Arrival | None = None
        self.watcher: Watcher | None = None
        self._buffer = _NO_BUFFER
        self._source: asyncio.ReadTransport | None = None
        self._resting = False

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """The transport to pause when too much waits here."""
        self._source = cast("asyncio.ReadTransport", transport)  # uvloop's is one, though not by inheritance

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        """Hand a received piece to whoever waits for it, else keep it."""
        arrival = self.arriving
        if arrival is not None:
            self.arriving = None
            if not arrival.done():
                arrival.set_result(data)
                return
        if self.pieces:
            self.pieces.append(data)
        else:
            self.pieces = deque((data,))
            self.untouched = False
        self._held += len(data)
        if self._held > _HIGH_WATER and not self._resting and self._source is not None:
            self._resting = True
            self._source.pause_reading()
        if self.watcher is not None:
            self.watcher.disturbed()

    def feed_eof(self) -> None:
        """Note that nothing more will come."""
        self._ended = True
        self.untouched = False
        self._wake()
        if self.watcher is not None:
            self.watcher.disturbed()

    def fail(self, error: BaseException) -> None:
        """Make the next read raise ``error``, once the pieces that are here have been read."""
        if self._failure is None:
            self._failure = error
            self.untouched = False
            self._wake()

    def at_eof(self) -> bool:
        """Whether everything was read and nothing more will come."""
        return self._ended and not self.pieces

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits for a piece."""
        return self.arriving is not None and not self.arriving.done()

    async def read(self, n: int = -1) -> bytes:  # noqa: ARG002 - asyncio's signature
        """The next piece as it came, or ``b""`` at the end; ``n`` is not used: pieces are never cut."""
        while self.untouched:
            if piece := await self.arrival():
                return piece
        return self.next()

    def arrival(self) -> asyncio.Future[bytes]:
        """The next piece, for the one who waits for it; ``b""`` where :meth:`next` has to tell what happened."""
        self.arriving = arrival = self._running_loop.create_future()
        return arrival

    def lone_arrival(self) -> Arrival:
        """The same for one who is the only one that waits in this loop."""
        self.arriving = arrival = Arrival(self._done_future())
        return arrival

    def _done_future(self) -> asyncio.Future[None]:
        """One for all that is waited for here."""
        if self._done is None:
            self._done = self._running_loop.create_future()
            self._done.set_result(None)
        return self._done

    def next(self) -> bytes:
        """What there is without waiting: a piece, the failure as it was given, or ``b""`` for the end."""
        if self.pieces:
            return self.take()
        if self._failure is not None:
            raise self._failure
        return b""

    def take(self) -> bytes:
        """The next piece, which must be there."""
        piece = self.pieces.popleft()
        if not self.pieces:
            self.pieces = _NOTHING_THERE
            self.untouched = not self._ended and self._failure is None
        self._held -= len(piece)
        if self._resting and self._held <= _HIGH_WATER // 2:
            self._go_on_reading()
        return piece

    def _go_on_reading(self) -> None:
        self._resting = False
        if self._source is not None and not self._source.is_closing():
            self._source.resume_reading()

    def _wake(self) -> None:
        if self.arriving is not None and not self.arriving.done():
            self.arriving.set_result(b"")


class ChunkWriter(asyncio.StreamWriter):
    """A StreamWriter that may be collected as garbage in any thread."""

    def __del__(self) -> None:
        """Ask nothing of the transport: the stock one does, and aiofastnet's allows that in the loop's thread only.

        Nothing is missed: a transport that nobody has closed warns of that by itself, and closes its socket.
        """


class StreamProtocol(asyncio.StreamReaderProtocol, asyncio.BufferedProtocol):
    """Feeds a ChunkReader, and tells the truth about how the connection ended.

    Attributes:
        filter: what received bytes are given to before the reader gets them: TLS; or None.
        lost: why the connection is gone, if it broke.
        held: bytes of records that the transport had at the last look, and that the kernel has not taken since.
    """

    _loop: asyncio.AbstractEventLoop  # the stock protocol's
    # What the stock protocol makes for each connection (900 bytes), and few ever need: made when it is asked for.
    _draining: deque[asyncio.Future[None]] | None = None
    _closing: asyncio.Future[None] | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reader = ChunkReader(loop)
        super().__init__(None, loop=loop)  # type: ignore[arg-type]  # it would keep the reader by a weak reference
        self._view = _receive_buffer(loop)
        self._connection: asyncio.Transport | None = None
        self.filter: Callable[[bytes], None] | None = None
        self.lost: Exception | None = None
        self.held = 0

    @property
    def _drain_waiters(self) -> deque[asyncio.Future[None]]:
        """Who waits in drain."""
        if self._draining is None:
            self._draining = deque()
        return self._draining

    @_drain_waiters.setter
    def _drain_waiters(self, _made_beforehand: deque[asyncio.Future[None]]) -> None:
        pass

    @property
    def _closed(self) -> asyncio.Future[None]:
        """Done when the connection is gone."""
        if self._closing is None:
            self._closing = self._loop.create_future()
        return self._closing

    @_closed.setter
    def _closed(self, _made_beforehand: asyncio.Future[None]) -> None:
        pass

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._connection = cast("asyncio.Transport", transport)
        self.reader.set_transport(transport)
        super().connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Called by the loop before it reads."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the loop when it has read."""
        pieces: Sequence[bytes] = (bytes(self._view[:nbytes]),)
        if nbytes == _RECEIVE_SIZE:
            pieces = (*pieces, *self._read_on())
        receive, arrival = self.filter or self.reader.feed_data, self.reader.arriving
        # Nothing may follow: whoever waits may go on here, and do anything.
        if type(arrival) is Arrival:
            with arrival:
                for piece in pieces:
                    receive(piece)
        else:
            for piece in pieces:
                receive(piece)

    def _read_on(self) -> Sequence[bytes]:
        """What the socket has besides, where the loop's own read has not emptied it."""
        transport = self._connection
        if transport is None or sys.platform == "win32":  # where the loop's next read is under way
            return ()
        descriptor = transport.get_extra_info("socket").fileno()
        pieces: list[bytes] = []
        try:
            while len(pieces) < _PIECES_AT_ONCE - 1 and (piece := os.read(descriptor, _RECEIVE_SIZE)):
                pieces.append(piece)
                if len(piece) < _RECEIVE_SIZE:
                    break
        except BlockingIOError:
            pass
        except OSError as error:  # the kernel tells it once: the loop would take what follows for a clean end
            self.lost = error
            transport.abort()
        return pieces

    def data_received(self, data: bytes) -> None:
        """Called by a loop that takes every stock protocol's child for one that wants bytes, as uvloop does."""
        (self.filter or self.reader.feed_data)(data)

    def resume_writing(self) -> None:
        """Called by the loop when the kernel has taken all. A transport that breaks later does not know any more."""
        self.held = 0
        super().resume_writing()

    def eof_received(self) -> bool:
        """Called by the loop when the server will send no more; the socket stays open for writing."""
        self.reader.feed_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the connection is gone, but the socket not yet closed."""
        if exc is not None:
            self.lost = exc
            for piece in _left_in_kernel(self._connection):
                self.data_received(piece)
        self.reader.feed_eof()
        super().connection_lost(None)


def _never(_data: bytes) -> bool:
    return False


def _left_in_kernel(transport: asyncio.Transport | None) -> list[bytes]:
    """What had arrived before the connection broke, and was not read yet."""
    pieces: list[bytes] = []
    known = transport.get_extra_info("socket") if transport is not None else None
    if known is None:
        return pieces
    try:
        duplicate: socket.socket = known.dup()
    except OSError:  # closed already
        return pieces
    with duplicate:
        duplicate.setblocking(False)
        try:
            while piece := duplicate.recv(_RECEIVE_SIZE):
                pieces.append(piece)
        except OSError:
            pass  # nothing more is there (BlockingIOError), or the error that broke the connection
    return pieces


def _stop_sending(transport: asyncio.Transport) -> None:
    """Have the kernel take no more: uvloop's transports go on sending what they hold until they are closed."""
    with suppress(OSError), transport.get_extra_info("socket").dup() as duplicate:
        duplicate.shutdown(socket.SHUT_WR)


class BrokenOff(ConnectionError):
    """The connection broke while it was written to. The reader has the last word: the server may have answered."""


class Stream:
    """A connected socket: write, drain, receive; with time limits that measure silence.

    Attributes:
        sending: whether a body is on its way out, so that the server's silence does not count yet.
    """

    __slots__ = (
        "_all_sent", "_is_housekeeping", "_is_lent", "_layers", "_loop", "_outbox", "_parcel", "_poll", "_posted",
        "_protocol", "_read_limit", "_read_watch", "_reader", "_stock_writer", "_transport", "_write_limit",
        "_write_watch", "sending",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, protocol: StreamProtocol) -> None:
        self._loop = loop
        self._transport = transport
        self._protocol = protocol
        self._reader = protocol.reader
        self._stock_writer: ChunkWriter | None = None
        # The one next to the socket first; a second one is TLS through a proxy's TLS.
        self._layers: tuple[TLS, ...] = ()
        self._is_housekeeping: Callable[[bytes], bool] = _never
        self._read_limit: float | None = None
        self._read_watch = Watch(loop, Stream._look_for_read_stall, self)
        self._write_limit: float | None = None
        self._write_watch: Watch | None = None  # made when the kernel first leaves something with us
        self._all_sent = True  # at the last look, and nothing was written since
        self._outbox = outbox_of(loop)
        self._posted: bytes | memoryview | None = None
        self._parcel: Parcel | None = None
        self._poll: Callable[[], object] | None = None
        self.sending = False
        self._is_lent = False
        # drain() then waits until the kernel has taken everything, which is what progress counts.
        transport.set_write_buffer_limits(high=0)

    @property
    def _writer(self) -> ChunkWriter:
        """The stock way to wait: made when that is needed, which saves an idle connection 300 bytes."""
        if self._stock_writer is None:
            self._stock_writer = ChunkWriter(self._transport, self._protocol, self._reader, self._loop)
        return self._stock_writer

    # --- state

    @property
    def untouched(self) -> bool:
        """Whether it is open and nothing has come that nobody asked for, in our hands or in the kernel's."""
        if not self._reader.untouched or self._transport.is_closing():
            return False
        if self._poll is None:
            self._poll = _poll_for(self.fileno())
        return not self._poll() or (self._has_only_housekeeping() and not self._poll())

    def _has_only_housekeeping(self) -> bool:
        """Take from the kernel what the loop has not come to yet: was it only TLS talking to itself?

        A server may send session tickets and new keys whenever it likes (RFC 8446, section 4.6); to throw its
        connection away for that would be a waste. A record that is not whole may be anything: it counts as touched.
        """
        if self._is_housekeeping is _never or sys.platform == "win32":  # where a read is under way already
            return False
        data = b"".join(_left_in_kernel(self._transport))
        if not data:  # the end
            return False
        self._protocol.data_received(data)
        return self._reader.untouched and self._is_housekeeping(data) and not self._transport.is_closing()

    @property
    def quiet(self) -> bool:
        """Whether nothing waits in our hands, coming or going."""
        return self._reader.untouched and self.is_flushed

    @property
    def unsent(self) -> int:
        """Bytes written that the kernel has not taken (records, where there is TLS).

        A transport that closes forgets them. What it had at the last look has not left, as far as anybody can tell,
        unless all has, and neither has what was written since: an account of the upload never says more than is true.
        """
        if self._all_sent:
            return 0
        protocol = self._protocol
        if not self._transport.is_closing():
            protocol.held = self._transport.get_write_buffer_size()
            self._all_sent = not protocol.held and self._posted is None and self._parcel is None
        return protocol.held + len(self._posted or self._parcel or ())

    @property
    def is_flushed(self) -> bool:
        """Whether the transport holds nothing of what was written."""
        return not self.unsent and not self._transport.is_closing()

    @property
    def is_plain(self) -> bool:
        """Whether what is written goes to the socket as it is."""
        return not self._layers

    @property
    def lost(self) -> Exception | None:
        """Why the connection broke, or None."""
        return self._protocol.lost

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, for looking at certificate, cipher and version."""
        return self._layers[-1].object if self._layers else None

    @property
    def ended_cleanly(self) -> bool:
        """Whether the end was the server's decision: no reset, and with TLS its close_notify."""
        return self.lost is None and (not self._layers or self._layers[-1].ended)

    def fileno(self) -> int:
        """The socket's descriptor, or -1 when it is closed."""
        known: socket.socket | None = self._transport.get_extra_info("socket")
        return -1 if known is None else known.fileno()

    def time(self) -> float:
        """The loop's time; to ask which loop runs would be a system call, up to Python 3.11."""
        return self._loop.time()

    def about(self, name: str) -> Any:
        """What the transport knows: ``peername``, ``sockname``, ``socket``."""
        return self._transport.get_extra_info(name)

    def watch(self, watcher: Watcher | None) -> None:
        """Tell ``watcher`` when something comes that nobody waits for, or the end; None ends that."""
        self._reader.watcher = watcher

    # --- out

    def limit(self, read: float | None, write: float | None) -> None:
        """The longest silences allowed from here on, in seconds; None for no limit."""
        self._read_limit = read
        self._write_limit = write
        self._read_watch.begin(_NOTHING)

    def write(self, data: bytes | memoryview) -> None:
        """Send, or keep what the kernel does not take at once; :meth:`drain` waits for it."""
        self._write_below(data, len(self._layers))

    def post(self, data: bytes | memoryview) -> None:
        """Like :meth:`write`, for a whole request: it may leave a moment later, with those of other streams.

        :meth:`receive` must follow at once. What is found to have come before that moment can't be an answer to it:
        then it never leaves, and stays :attr:`unsent`.
        """
        if self._reader.untouched:
            if not self._outbox.waiting:
                self.write(data)
                return
            if self._layers:
                data = self._encrypt(data, len(self._layers))
            self._outbox.add(self, self._loop)
        self._posted = data
        self._all_sent = False

    def send_parcel(self, parcel: Parcel) -> bool:
        """Send a whole request, if that needs no disk or it is packed; False if a thread has to pack it first.

        Does not block, but for the rest of a file that was in memory a moment ago, when the kernel has taken a part.

        Raises:
            FileChanged, FileUnreadable: a file has become shorter, or can't be read.
        """
        self._parcel = parcel
        self._all_sent = False
        if parcel.packed is None:
            transport = self._transport
            if self.is_plain and not transport.get_write_buffer_size() and not transport.is_closing():
                hand_over(parcel, transport.get_extra_info("socket"))
            if parcel and not parcel.pack(wait=parcel.has_begun):
                self._parcel = None
                return False
        if not parcel:
            self._parcel = None
            self._all_sent = True
            return True
        data = self._encrypt(parcel.rest, len(self._layers))
        self._parcel = None
        self._send(data)
        if self.is_flushed:
            parcel.give_back()
        return True

    def post_parcel(self, parcel: Parcel) -> None:
        """Like :meth:`post`, for what is packed just before it leaves. Where a thread has to do that, others go first.

        The answer is waited for meanwhile: that saves a turn of the loop, and a twenty-fifth of a small file's time.
        """
        if self._reader.untouched:
            self._outbox.add(self, self._loop)
        self._parcel = parcel
        self._all_sent = False

    @property
    def has_company(self) -> bool:
        """Whether other streams of the loop wait for their server."""
        return self._outbox.waiting > 0

    def send_posted(self) -> None:
        """Send what was posted, unless something came that can't be an answer to it."""
        data = self._posted
        if not self._reader.waited_for:
            return
        if data is None:
            self._send_posted_parcel()
            return
        self._posted = None
        try:
            self._send(data)
        except Exception as error:  # raised to the one who posted it, who waits, and to nobody else
            self._posted = data
            self._reader.fail(error)

    def _send_posted_parcel(self) -> None:
        parcel = self._parcel
        if parcel is None:
            return
        try:
            is_sent = self.send_parcel(parcel)
        except Exception as error:  # see above
            self._parcel = parcel
            self._reader.fail(error)
            return
        if not is_sent:
            self._parcel = parcel
            READERS.share(parcel.pack).add_done_callback(partial(self._packed, parcel))

    def _packed(self, parcel: Parcel, packing: asyncio.Future[bool]) -> None:
        """A thread has done it, or failed to; who posted it may have left meanwhile."""
        error = packing.exception()
        if self._parcel is not parcel:
            return
        if error is None:
            self.send_posted()
        elif self._reader.waited_for:
            self._reader.fail(error)

    def lend(self) -> Callable[[memoryview], bytes | memoryview]:
        """Have a thread write, until :meth:`give_back`: what it is given here turns cleartext into records.

        They are the thread's to send, in their order; nothing else may be written meanwhile. What comes is decrypted
        and handed on as ever, and if TLS answers to that by itself, the answer is among the thread's next records.
        """
        self._is_lent = True
        return partial(self._encrypt, level=len(self._layers))

    def give_back(self, records: bytes | memoryview) -> None:
        """The thread has left, and these records of its are still to be sent."""
        self._is_lent = False
        if records:
            self._send(records)
        for level in range(len(self._layers)):
            self._send_pending(level)

    async def drain(self) -> None:
        """Wait until the kernel has taken all that was written.

        Raises:
            BrokenOff: the connection is gone.
        """
        try:
            await self._writer.drain()
        except OSError as error:
            raise broken_off(error) from error
        if self.lost is not None or self.unsent:
            raise broken_off(self.lost or ConnectionAbortedError("it was closed on this side"))

    @property
    def write_limit(self) -> float | None:
        """The longest time in seconds that the kernel may take nothing, or None."""
        return self._write_limit

    @property
    def _on_its_way(self) -> tuple[int, int]:
        return self.unsent, kernel_queue(self.fileno())

    def _watch_writing(self, limit: float) -> None:
        if self._write_watch is None:
            self._write_watch = Watch(self._loop, Stream._look_for_write_stall, self)
        self._write_watch.begin(self._on_its_way)
        self._write_watch.start(limit / LOOKS)

    def _look_for_write_stall(self) -> None:
        watch = self._write_watch
        assert watch is not None
        if self._write_limit is None or not self.unsent or self._transport.is_closing():
            watch.stop()
        elif self._parcel is not None:  # it waits for a disk, not for the server
            watch.restart()
        elif watch.found_at(self._on_its_way):
            self.give_up_writing()

    def give_up_writing(self) -> BrokenOff:
        """Close, since nothing has left for as long as is allowed; the reader is told, and whoever waits in drain."""
        error = WriteTimeout(f"the server took no byte of the upload for {self._write_limit:g} seconds")
        self._protocol.lost = error
        self._reader.fail(error)
        self.abort()
        return broken_off(error)

    # --- in

    async def receive(self) -> bytes:
        """The next bytes, or ``b""`` at the end.

        Raises:
            ReadTimeout: nothing came for as long as is allowed.
            RequestException: whatever :meth:`fail` was called with.
        """
        reader = self._reader
        if not reader.untouched:
            return reader.next()
        if self._read_limit is not None:
            self._read_watch.start(self._read_limit / LOOKS)
        outbox = self._outbox
        outbox.waiting += 1
        try:
            arrival = reader.lone_arrival() if outbox.waiting == 1 else reader.arrival()
            return await arrival or reader.next()
        finally:
            outbox.waiting -= 1
            self._read_watch.stop()

    def sent_all(self) -> None:
        """The request is out: from now on the server's silence counts, once the bytes have arrived there."""
        self.sending = False
        self._read_watch.begin(self._on_its_way)
        if self._read_limit is not None and self._reader.waited_for:
            self._read_watch.start(self._read_limit / LOOKS)

    def fail(self, error: BaseException) -> None:
        """Make whoever waits in :meth:`receive` get ``error``."""
        self._reader.fail(error)

    def _look_for_read_stall(self) -> None:
        limit = self._read_limit
        assert limit is not None
        if self.sending or self.unsent:  # the server can't be expected to talk; the write limit watches this
            self._read_watch.restart()
        elif self._read_watch.found_at(self._on_its_way):
            self._read_watch.stop()
            self._reader.fail(ReadTimeout(f"the server was silent for {limit:g} seconds"))

    # --- TLS

    async def start_tls(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Put TLS between us and what is there now: the socket, or TLS to a proxy.

        Raises:
            SSLError: the handshake failed, or the server closed the connection in it.
        """
        layer = TLS(context, server_hostname)
        try:
            self.write(layer.handshake())
            while not layer.ready:
                records = await self._reader.read()
                if not records:
                    raise SSLError("the server closed the connection during the TLS handshake")
                early, to_send = layer.receive_handshake(records)
                if to_send:
                    self.write(to_send)
        except SSLError:
            self._send_alert(layer)
            raise
        unread = [self._reader.take() for _ in range(len(self._reader.pieces))]
        self._layers += (layer,)
        self._protocol.filter = self._take_records
        # The records of a second layer are in those of the first, and nobody sees where they end.
        self._is_housekeeping = are_whole_records if len(self._layers) == 1 else _never
        for piece in early:
            self._reader.feed_data(piece)
        for records in unread:
            self._pass_up(records, len(self._layers) - 1)

    def _send_alert(self, layer: TLS) -> None:
        """Tell the other side why the handshake failed, if it still listens."""
        alert = layer.pending()
        if alert and not self._transport.is_closing():
            self.write(alert)

    def _take_records(self, records: bytes) -> None:
        """What the socket gave, on its way through TLS to the reader."""
        reader = self._reader
        is_awaited = reader.waited_for  # what comes is part of an exchange then, and no news to a watcher
        self._pass_up(records, 0)
        if not is_awaited and reader.watcher is not None and not (reader.untouched and self._is_housekeeping(records)):
            reader.watcher.disturbed()

    def _pass_up(self, data: bytes, level: int) -> None:
        """Decrypt with the layers from ``level`` up. What comes out before an error counts."""
        layer, above = self._layers[level], level + 1
        try:
            pieces = layer.decrypt(data)
        except SSLError as error:
            self._reader.fail(error)
            return
        for piece in pieces:
            if above == len(self._layers):
                self._reader.feed_data(piece)
            else:
                self._pass_up(piece, above)
        if layer.has_pending and not self._is_lent:
            self._send_pending(level)
        if layer.ended:
            self._reader.feed_eof()

    def _send_pending(self, level: int) -> None:
        """Send what a layer has to say by itself: an answer to a KeyUpdate (RFC 8446, section 4.6.3)."""
        layer = self._layers[level]
        if layer.has_pending and not self._transport.is_closing():
            self._write_below(layer.pending(), level)

    def _write_below(self, data: bytes | memoryview, level: int) -> None:
        """Encrypt with the layers under ``level``, and hand it to the socket."""
        if self._posted is not None:
            self.send_posted()
        self._send(self._encrypt(data, level))

    def _encrypt(self, data: bytes | memoryview, level: int) -> bytes | memoryview:
        for layer in reversed(self._layers[:level]):
            data = layer.encrypt(data)
        return data

    def _send(self, data: bytes | memoryview) -> None:
        transport = self._transport
        if self._posted is None and not transport.is_closing():  # behind what never leaves, nothing may
            transport.write(data)
            if not transport.is_closing():
                self._protocol.held = held = transport.get_write_buffer_size()
                self._all_sent = not held and self._parcel is None
                if held and self._write_limit is not None:
                    self._watch_writing(self._write_limit)
                return
        self._protocol.held += len(data)  # of what a broken connection is given nothing leaves
        self._all_sent = False

    # --- the end

    def _stop_watching(self) -> None:
        self._read_watch.close()
        if self._write_watch is not None:
            self._write_watch.close()

    def abort(self) -> None:
        """Close at once; what is not sent is dropped."""
        self._protocol.held = self.unsent  # the transport is about to forget it
        self._posted = self._parcel = None
        self._stop_watching()
        self._transport.abort()
        if self._transport.get_write_buffer_size():
            _stop_sending(self._transport)

    def close(self) -> None:
        """Say goodbye and close; the loop closes the socket when it comes to it."""
        self._stop_watching()
        if not self._transport.is_closing():
            for level in reversed(range(len(self._layers))):
                goodbye = self._layers[level].close()
                if goodbye:
                    self._write_below(goodbye, level)
            if self.unsent:
                self._transport.abort()
            else:
                self._transport.close()

    async def aclose(self) -> None:
        """Say goodbye, close, and wait until the socket is closed."""
        self.close()
        await self._writer.wait_closed()


def broken_off(error: Exception) -> BrokenOff:
    """What broke the connection, as an error of ours."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return BrokenOff(f"the connection broke: {text}")


def _poll_for(fd: int) -> Callable[[], object]:
    """A function that tells, without waiting, whether something is to be read from a descriptor, or it is closed."""
    if hasattr(select, "poll") and fd >= 0:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return partial(poll.poll, 0)
    return lambda: fd < 0 or select.select([fd], [], [], 0)[0]
