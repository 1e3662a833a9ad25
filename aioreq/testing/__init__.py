"""A server that misbehaves on request, to see how an HTTP client copes.

Uploads fail in ways no ordinary server can be made to show: an answer before the body is out, a reset after so
many bytes, a reader that stalls, an interim answer too many. `FaultServer` does these when a *script* says so,
over TCP, TLS or a Unix socket, without sleeping and without guessing, and writes down what it really received:

    from aioreq.testing import FaultServer, faults

    async def test_an_early_answer_is_not_lost():
        async with FaultServer(faults.early_answer(413, after=65_536, then="close")) as server:
            response = await client.post(server.url, data=bytes(10_000_000))
            assert response.status_code == 413
            assert not server.requests[0].complete

    async def test_a_stalled_upload_goes_on():
        async with FaultServer({"/slow": faults.stall(after=1000), "/": faults.ok()}) as server:
            upload = asyncio.create_task(client.post(server.url + "/slow", data=bytes(10_000_000)))
            await server.reached("stalled")            # the server has read 1000 bytes, and reads no more
            assert server.requests[0].received == 1000
            server.release("stalled")
            assert (await upload).json()["received"] == 10_000_000

    def test_a_reset_is_tried_again(fault_server):     # pytest_plugins = ["aioreq.testing.pytest_plugin"]
        server = fault_server(faults.in_turn(faults.reset_after(0), faults.ok()))
        ...

A script is a coroutine function of an `Exchange`, called when the head of a request has been read. The module
`faults` has one for each common fault; your own is written the same way, and `@script` gives it parameters:

    @script
    async def full_disk(exchange, after):
        await exchange.read_body(after)
        await exchange.answer(507)
        await exchange.pause("cleaning up")

When a script returns without closing, the rest of the body is read and the connection serves the next request.

A test and its server wait for each other by name: at `pause("x")` the script stops, `await server.reached("x")`
tells when, and `server.release("x")` lets it go on. Nothing depends on the clock.

Three things the server is careful about. It takes bytes from the kernel only when the script reads them (over
TLS one record at a time), so what it does not read stays where a busy server would leave it. To close is to
`close()` the socket: with unread bytes in the kernel that sends RST behind the answer, as it does in production,
and to reset is to send RST always. And it reads strictly: bytes past the end of a body, ambiguous framing and
malformed heads are listed in `server.violations`.

Where no server is needed, `MockTransport` answers with a function, and `ASGITransport` calls an ASGI app in the same
loop: `aioreq.Session(transport=...)`.
"""

from aioreq.testing import faults
from aioreq.testing._exchange import ConnectionLog, Exchange, Script, script
from aioreq.testing._request import RequestLog
from aioreq.testing._server import FaultServer
from aioreq.testing._signals import Notice
from aioreq.testing._transports import ASGITransport, MockTransport, answer

__all__ = [
    "ASGITransport",
    "ConnectionLog",
    "Exchange",
    "FaultServer",
    "MockTransport",
    "Notice",
    "RequestLog",
    "Script",
    "answer",
    "faults",
    "script",
]
