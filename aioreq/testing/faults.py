"""Ready-made scripts, each named for what goes wrong.

Those that read the body allow it first if the client waits for a 100. `then` says what follows an answer:

- `"go_on"`: read the rest of the body and keep the connection;
- `"linger"`: send FIN, read the rest of the body, close: how a careful server refuses one (RFC 9112, section 9.6);
- `"hold"`: read no more and keep the connection open, until `server.release("held")` closes it;
- `"close"`: close at once; bytes left unread make the kernel send RST behind the answer;
- `"reset"`: send RST at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from aioreq.testing._exchange import Exchange, Script, head, script

if TYPE_CHECKING:
    from aioreq.testing._request import Headers

Ending = Literal["go_on", "linger", "hold", "close", "reset"]


async def _end(exchange: Exchange, then: Ending) -> None:
    if then == "linger":
        await exchange.half_close(notify=True)
    if then == "hold":
        await exchange.pause("held")
    if then in ("go_on", "linger"):
        await exchange.read_body()
    if then == "reset":
        await exchange.reset()
    elif then != "go_on":
        await exchange.close()


@script
async def ok(exchange: Exchange, status: int = 200, headers: Headers = (), body: bytes | None = None) -> None:
    """No fault: read the whole body and answer, with a report on the request unless there is a `body`."""
    await exchange.read_body()
    await exchange.answer(status, headers, body)


@script
async def early_answer(
    exchange: Exchange,
    status: int = 413,
    *,
    after: int = 0,
    then: Ending = "close",
    headers: Headers = (),
    body: bytes | None = None,
) -> None:
    """Answer when `after` bytes of the body have been read.

    Before `"close"` and `"reset"` the server waits until more of the body has arrived, so that the answer is
    followed by RST for certain: the case in which a client that only writes loses the answer.
    """
    await exchange.read_body(after)
    if then in ("close", "reset"):
        await exchange.body_due()
    await exchange.answer(status, headers, body)
    await _end(exchange, then)


@script
async def redirect(
    exchange: Exchange, to: str, status: int = 307, *, before_body: bool = False, then: Ending = "go_on"
) -> None:
    """Redirect to `to` when the body has been read, or at once with `before_body`."""
    if not before_body:
        await exchange.read_body()
    await early_answer(status, then=then, headers=(("Location", to),))(exchange)


@script
async def reset_at_once(exchange: Exchange) -> None:
    """Send RST at once; also for `on_connect`."""
    await exchange.reset()


@script
async def reset_after(exchange: Exchange, received: int) -> None:
    """Send RST, and no answer, when `received` bytes of the body have been read."""
    await exchange.read_body(received)
    await exchange.reset()


@script
async def read_slowly(exchange: Exchange, chunk: int = 4096, pace: str | float = "slow") -> None:
    """Read `chunk` bytes of the body at a time, then answer.

    Each `server.release("slow", times=1)` lets it read one more chunk. A number as `pace` is a wait in seconds.
    """
    await exchange.read_body(chunk=chunk, pace=pace)
    await exchange.answer()


@script
async def stall(exchange: Exchange, after: int = 0) -> None:
    """Stop reading when `after` bytes of the body have come; `server.release("stalled")` lets it go on."""
    await exchange.read_body(after)
    await exchange.pause("stalled")
    await ok()(exchange)


@script
async def silent(exchange: Exchange) -> None:
    """Read the whole body and say nothing, until `server.release("silent")`."""
    await exchange.read_body()
    await exchange.pause("silent")
    await exchange.answer()


@script
async def silent_on_expect(exchange: Exchange) -> None:
    """Never send the 100 that a client waits for; answer when the body has come all the same."""
    await exchange.read_body(allow=False)
    await exchange.answer()


@script
async def refuse_expect(exchange: Exchange, status: int = 417) -> None:
    """Answer `status` and close if the client waits for a 100; serve it if it does not."""
    if exchange.request.expects_continue:
        await exchange.answer(status, (("Connection", "close"),))
        await exchange.close(notify=True)
    else:
        await ok()(exchange)


@script
async def interim(exchange: Exchange, *statuses: int) -> None:
    """Send these interim answers, asked for or not, before the body is read."""
    for status in statuses:
        await exchange.interim(status)
    await exchange.read_body(allow=False)
    await exchange.answer()


@script
async def endless_1xx(exchange: Exchange, status: int = 103) -> None:
    """Send interim answers for ever, and read nothing."""
    await exchange.send_forever(head(status, ()))


@script
async def endless_headers(exchange: Exchange) -> None:
    """Begin an answer whose headers never end."""
    await exchange.read_body()
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    await exchange.send_forever(b"X-Filler: filler\r\n")


@script
async def endless_body(exchange: Exchange) -> None:
    """Begin a chunked answer that never ends."""
    await exchange.read_body()
    await exchange.send(head(200, (("Transfer-Encoding", "chunked"),)))
    await exchange.send_forever(b"10\r\n0123456789abcdef\r\n")


@script
async def slow_headers(exchange: Exchange, chunk: int = 1, pace: str | float = "slow") -> None:
    """Answer 204, `chunk` bytes at a time, paced as by `read_slowly`."""
    await exchange.read_body()
    await exchange.send(head(204, ()), chunk=chunk, pace=pace)


@script
async def cut_answer(exchange: Exchange, declared: int = 1000, sent: int = 100, then: Ending = "close") -> None:
    """Send `sent` bytes of an answer that declares `declared`."""
    await exchange.read_body()
    await exchange.send(head(200, (("Content-Length", str(declared)),)) + b"x" * sent)
    await _end(exchange, then)


@script
async def cut_chunked(exchange: Exchange, sent: int = 100, then: Ending = "close") -> None:
    """Send a whole chunk, `whole`, and `sent` bytes of a longer one."""
    await exchange.read_body()
    start = head(200, (("Transfer-Encoding", "chunked"),))
    await exchange.send(start + b"5\r\nwhole\r\n%x\r\n" % (sent + 1) + b"x" * sent)
    await _end(exchange, then)


@script
async def garbage(
    exchange: Exchange, data: bytes = b"\x00\xff this is not HTTP \x00\r\n\r\n", then: Ending = "close"
) -> None:
    """Send `data` in place of an answer."""
    await exchange.read_body()
    await exchange.send(data)
    await _end(exchange, then)


@script
async def close_idle(exchange: Exchange, gate: str | None = None) -> None:
    """Answer as if the connection stayed open, then close it: at once, or when `gate` is released.

    A request that is on its way by then is met with RST.
    """
    await ok()(exchange)
    if gate:
        await exchange.pause(gate)
    await exchange.close(notify=True)


@script
async def stray_bytes(
    exchange: Exchange,
    data: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray",
    gate: str | None = None,
) -> None:
    """Send `data` that nobody asked for, along with the answer or when `gate` is released; then mark `strayed`."""
    await exchange.read_body()
    await exchange.answer(then=b"" if gate else data)
    if gate:
        await exchange.pause(gate)
        await exchange.send(data)
    exchange.mark("strayed")


def in_turn(*scripts: Script) -> Script:
    """Take one script for each request, in order of arrival; the last one serves all that follow."""
    turns = iter(scripts[:-1])

    async def bound(exchange: Exchange) -> None:
        await next(turns, scripts[-1])(exchange)

    return bound
