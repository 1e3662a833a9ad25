"""One connection, one exchange at a time: a request out, its answer in, both at once.

    answer, sender = next event from the parser, a task while the body is more than one write

The reader listens from the first byte that leaves; what came before, on a connection that was kept, is no answer.
A final status of 300 or more in mid-upload stops the body and is returned; a success lets the body finish. When the
sender fails because the connection broke, the reader decides: what the server said before is still there to be read.

A small request leaves in one write, and its answer mostly comes whole in one piece: that needs neither task nor parser.

A connection can be used again only when both sides are whole: the answer read to its end with nothing behind
it, the body sent to its end. Everything else closes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter
from typing import Any, Protocol, cast

from .._body import Body
from .._events import Hooks, InterimEvent
from .._message import PreparedRequest, Response, attach
from .._progress import Meter, ProgressCallback, Upload
from .._rules.route import Route
from .._threads import READERS
from .._timeout import Timeout
from .._wire.http1 import AnswerParser, End, Event, Head, Interim, Whole, encode_fields, encode_head, whole_answer
from ..exceptions import RemoteProtocolError, RequestException, ServerDisconnected, StreamConsumedError
from .parcel import Parcel
from .send import Sender
from .stream import BrokenOff, Stream


class Terms:
    """What holds for the exchanges of one call beside the requests themselves, and which of them is under way.

    Attributes:
        timeout: the limits.
        progress: the caller's callback, or None.
        stream: whether the final answer's body is left unread.
        attempt: the how-many-eth time this body is sent.
        hooks: the caller's functions.
        request: what is being sent, or was sent last; for errors that come from outside of the exchange.
        upload: the account of its body, or None.
        limit: what ends the call when it takes too long in all, or None.
        around: what each exchange is left to, or None: it is called with the transport's ``exchange`` and with the
            arguments for it.
    """

    # How they begin.
    attempt = 1
    request: PreparedRequest | None = None
    upload: Upload | None = None
    limit: asyncio.Timeout | None = None
    around: Callable[[Carry, PreparedRequest, Terms], Awaitable[Response]] | None = None

    def __init__(
        self,
        timeout: Timeout | None = None,
        progress: ProgressCallback | None = None,
        hooks: Hooks | None = None,
        stream: bool = False,
    ) -> None:
        self.timeout = timeout or Timeout()
        self.progress = progress
        self.stream = stream
        self.hooks = Hooks() if hooks is None else hooks


Carry = Callable[[PreparedRequest, Terms], Awaitable[Response]]


class Keeper(Protocol):
    """Where connections are between exchanges."""

    def released(self, connection: Connection, reusable: bool) -> None:
        """The exchange on it is over."""

    def disturbed(self, connection: Connection) -> None:
        """It was closed by the server, or got bytes that nobody waits for."""


class Connection:
    """A stream on which exchanges follow one another.

    Attributes:
        stream: the socket.
        route: where it leads.
        exchanges: how many have begun on it.
        idle_since: the loop's time when it was last given back.
        answer: what is still being read from it, or None.
    """

    __slots__ = ("_keeper", "answer", "exchanges", "idle_since", "route", "stream")

    def __init__(self, stream: Stream, route: Route, keeper: Keeper) -> None:
        self.stream = stream
        self.route = route
        self._keeper = keeper
        self.exchanges = 0
        self.idle_since = 0.0
        self.answer: Response | None = None

    def exchange(self, request: PreparedRequest, terms: Terms) -> Coroutine[Any, Any, Response]:
        """Send the request and read the answer's head, and its body if that came along; to be awaited.

        Raises:
            ServerDisconnected: the connection ended without a byte of an answer.
            RequestException: anything else that prevented an answer.
        """
        self.exchanges += 1
        return Exchange(self, request, terms).run()

    def release(self, reusable: bool) -> None:
        """The exchange is over."""
        self.answer = None
        self._keeper.released(self, reusable)

    def disturbed(self) -> None:
        """Something has come that nobody waits for, or the end."""
        self._keeper.disturbed(self)


# Which has read nothing, and never does: for as long as no other is needed.
_NO_PARSER = AnswerParser("GET")
# It stays empty: a deque is 600 bytes, and a thousand exchanges that wait can do without.
_NO_EVENTS: deque[Event] = deque()


class Exchange:
    """One request and its answer."""

    # How most exchanges are to their end.
    _sender: Sender | None = None
    _sending: asyncio.Task[None] | None = None
    _written = 0  # bytes of the request, if it leaves in one write
    _over = False
    _given_up = False
    _broken_off = False
    _response: Response | None = None
    _parser = _NO_PARSER
    _events = _NO_EVENTS  # what came and is not taken yet

    def __init__(self, connection: Connection, request: PreparedRequest, terms: Terms) -> None:
        self._connection = connection
        self._stream = connection.stream
        self._request = request
        self._terms = terms
        if request.body is None:
            self.upload = Upload(0)
        else:
            self.upload = terms.upload = Upload(request.body.length)

    async def run(self) -> Response:
        """The answer; its connection is released when its body has been read."""
        try:
            self._stream.limit(self._terms.timeout.read, self._terms.timeout.write)
            started = perf_counter()
            body = self._request.body
            if body is None:
                self._send(self._head())
            elif not self._goes_inline(body):
                self._start_sending(body)
            elif body.in_memory:
                self._send(body.read_now(self._head()))
            else:
                await self._send_parcel(body)
            if self._sending is None:
                whole = self._whole_answer(await self._stream.receive())
                if whole is not None:
                    return self._take_whole(whole, perf_counter() - started)
            head = await self._final_head()
            response = self._response = self._make_response(head)
            response._elapsed = perf_counter() - started  # noqa: SLF001
            if self._is_unwanted(head):
                await self._stop_sending()
            if self._parser.done and not self._must_finish_sending:
                self._take_what_came(response)
            else:
                self._connection.answer = response
        except BaseException as error:
            await self._abandon()
            if isinstance(error, RequestException):
                self._explain(error)
            raise
        return response

    # --- out

    def _head(self) -> bytes:
        request, route = self._request, self._connection.route
        letterhead = request.letterhead if route.proxy is None else None
        if letterhead is None:
            fields = encode_fields(route.fields(request.headers))
        else:
            letterhead.text = letterhead.text or encode_fields(letterhead.headers)
            fields = letterhead.text + request.added
        return encode_head(request.method, route.request_target(request.target), fields)

    def _start_sending(self, body: Body) -> None:
        body.require_fresh()
        self._sender = Sender(self._stream, self._head(), body, self.upload, self._meter(body))
        if "Expect" in self._request.headers:
            self._sender.hold_body()
        self._stream.sending = True
        self._sending = asyncio.create_task(self._sender.run(), name="aioreq upload")
        self._sending.add_done_callback(self._sender_done)

    def _send(self, data: bytes) -> None:
        """Send a whole request. On a new connection at once: what its server says first need not be refused there."""
        if self._connection.exchanges > 1:
            self._stream.post(data)
        else:
            self._stream.write(data)
        self._written = len(data)

    async def _send_parcel(self, body: Body) -> None:
        """Send a whole request with files in it; see :meth:`_send` and :meth:`Stream.post`."""
        parcel = Parcel(self._head(), body)
        size = self._written = len(parcel)
        if self._connection.exchanges > 1 and self._stream.has_company:
            self._stream.post_parcel(parcel)
        elif not self._stream.send_parcel(parcel):
            self._written = 0
            await READERS.share(parcel.pack)
            if not self._stream.quiet:
                self._refuse_the_unasked()
            self._written = size
            self._stream.send_parcel(parcel)

    def _refuse_the_unasked(self) -> None:
        """What comes on a kept connection before the request has left is no answer to it (RFC 9112, section 9.2)."""
        if self._connection.exchanges > 1:
            raise ServerDisconnected("the server closed the connection, or spoke unasked, before the request left")

    def _goes_inline(self, body: Body) -> bool:
        """Whether the request leaves in one write."""
        return (
            body.is_small and "expect" not in self._request.headers and not Meter.is_wanted(body, self._terms.progress)
        )

    def _meter(self, body: Body) -> Meter | None:
        if not Meter.is_wanted(body, self._terms.progress):
            return None
        return Meter(body, self._terms.progress, self._terms.attempt)

    def _sender_done(self, sending: asyncio.Task[None]) -> None:
        self._stream.sent_all()
        try:
            error = sending.exception()
        except asyncio.CancelledError as cancelled:
            error = None if self._broken_off else cancelled  # the source's own: nobody here has ended it
        # A broken connection is the reader's to tell: the server may have answered before it broke.
        if error is not None and not isinstance(error, BrokenOff):
            self._stream.fail(error)

    def _is_unwanted(self, head: Head) -> bool:
        """Whether the body, or what is left of it, need not go out any more: refused, or answered unseen."""
        if self._sender is None or not self._is_sending:
            return False
        return head.status >= 300 or self._sender.holds_body

    @property
    def _must_finish_sending(self) -> bool:
        """Whether the server has answered with success before the body was out, whole and right."""
        head = self._parser.head
        if head is None or head.status >= 300 or self._broken_off:
            return False
        if self._sending is None:
            return self.upload.total != 0 and self._stream.unsent > 0
        return not self.upload.complete

    @property
    def _is_sending(self) -> bool:
        return self._sending is not None and not self._sending.done()

    async def _stop_sending(self) -> None:
        """End the upload where it is; the connection can't be used again."""
        self._broken_off = True
        if self._sending is not None and not self._sending.done():
            self._sending.cancel()
            await asyncio.wait((self._sending,))

    # --- in

    def _whole_answer(self, data: bytes) -> Whole | None:
        """The answer if it came in one piece when all of the request is out; else what came is for the parser."""
        unsent = self._stream.unsent
        if data and not unsent and (whole := whole_answer(self._request.method, data)) is not None:
            return whole
        if unsent >= self._written:  # nothing of it has left; of its TLS records, not a whole one
            self._refuse_the_unasked()
        self._read(data)
        return None

    def _take_whole(self, whole: Whole, elapsed: float) -> Response:
        self._over = True
        upload, stream = self.upload, self._stream
        upload.sent = upload.total or 0
        upload.complete = True
        status, reason, headers, content = whole
        # By place: with a class, arguments by name are made a dict first, which takes as long as all else here.
        response = Response(status, reason, headers, "HTTP/1.1", self._request, upload, content)
        response._elapsed = elapsed  # noqa: SLF001
        self._connection.release(stream.quiet and self._wants_more)
        return response

    def _read(self, data: bytes) -> None:
        """Have the parser make events of what came."""
        if self._parser is _NO_PARSER:
            self._parser = AnswerParser(self._request.method)
        self._events = deque(self._parser.feed(data) if data else self._at_end())

    def _at_end(self) -> list[Event]:
        """The stream has ended: is the answer whole?"""
        if not self._parser.begun:
            raise ServerDisconnected(self._how_it_ended("without an answer"))
        head = self._parser.head
        # A server that refuses a body and closes with the rest unread sends RST: that may be how its answer ends.
        refused = head is not None and head.status >= 300 and self._request.body is not None
        if head is not None and not self._stream.ended_cleanly and not refused:
            raise RemoteProtocolError(self._how_it_ended("in the middle of the answer"))
        return self._parser.feed_eof()

    def _how_it_ended(self, when: str) -> str:
        how = "closed the connection" if self._stream.lost is None else "broke the connection off"
        return f"the server {how} {when}"

    async def _final_head(self) -> Head:
        while True:
            while not self._events:
                data = await self._stream.receive()
                if self._sender is not None and not self._sender.has_begun:
                    self._refuse_the_unasked()
                self._read(data)
            event = self._events.popleft()
            if isinstance(event, Head):
                return event
            assert isinstance(event, Interim)
            if event.status == 100 and self._sender is not None:
                self._sender.go_ahead()
            self._terms.hooks.tell_now("interim", InterimEvent(self._request, event.status, event.headers))

    def _make_response(self, head: Head) -> Response:
        return Response(
            status_code=head.status,
            reason=head.reason,
            headers=head.headers,
            http_version=head.version,
            request=self._request,
            upload=self.upload,
            stream=self,
        )

    def _take_what_came(self, response: Response) -> None:
        """Most small answers are whole by now; then nothing is left to stream."""
        end = self._events.pop()
        assert isinstance(end, End)
        content = b"".join(cast("deque[bytes]", self._events))
        self._events.clear()
        self._end(end)
        response._content = content  # noqa: SLF001
        response._stream = None  # noqa: SLF001

    async def receive(self) -> bytes:
        """The answer's next bytes, undecoded; ``b""`` at its end, when the connection is given back."""
        self._require_wanted()
        if self._over:
            return b""
        try:
            while not self._events:
                data = await self._stream.receive()
                self._require_wanted()  # another task may have given the answer up meanwhile
                if self._parser.passes(data):
                    return data  # most of a large body: to make it an event would cost 0.8 µs more
                self._read(data)
            event = self._events.popleft()
            if isinstance(event, End):
                await self._finish_sending()
                self._end(event)
                return b""
        except BaseException as error:
            await self._abandon()
            if isinstance(error, RequestException):
                self._explain(error)
            raise
        assert isinstance(event, bytes)
        return event

    def _require_wanted(self) -> None:
        if self._given_up:
            raise _given_up()

    async def _finish_sending(self) -> None:
        """A server that answered with success still gets the rest of the body."""
        if not self._must_finish_sending:
            return
        try:
            await (self._stream.drain() if self._sending is None else self._sending)
        except BrokenOff:
            self._broken_off = True  # it has answered, whole; response.upload says what left

    # --- the end

    def _end(self, end: End) -> None:
        self._over = True
        if end.trailers and self._response is not None:
            self._response.trailers = end.trailers
        if self.upload.total != 0:
            if self._stream.unsent:
                self._stream.abort()  # the kernel takes no more behind our back: the account that follows is final
            self._settle()
        self._connection.release(
            self._parser.reusable and self.upload.complete and self._stream.quiet and self._wants_more
        )

    @property
    def _wants_more(self) -> bool:
        headers = self._request.headers
        return "connection" not in headers or headers["Connection"].lower() != "close"

    def _settle(self) -> None:
        """Fix the account of what has left."""
        total = self.upload.total
        if self._sender is not None:
            self.upload.sent = self._sender.taken
            if self._broken_off and self.upload.sent == total:  # ended when its last bytes were on their way
                self.upload.complete = True
        elif total is not None and self._written:
            self.upload.sent = max(0, total - self._stream.unsent)
            self.upload.complete = self.upload.sent == total

    async def aclose(self) -> None:
        """Give up what is left of the answer."""
        await self._abandon()

    async def _abandon(self) -> None:
        if self._over:
            return
        self._over = self._given_up = True
        self._settle()
        self._stream.fail(_given_up())  # for another task that waits in receive(): the end it would see is our own
        self._stream.abort()
        try:
            await self._stop_sending()
        finally:
            self._connection.release(False)

    def _explain(self, error: RequestException) -> None:
        attach(error, self._request)
        if error.response is None:
            error.response = self._response
        if error.sent is None and self._request.body is not None:
            error.sent = self.upload.sent


def _given_up() -> StreamConsumedError:
    return StreamConsumedError("the answer was given up before its end")
