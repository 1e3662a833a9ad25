"""What TLS says for itself on an idle connection leaves it in the pool."""

import contextlib
import ssl

from aioreq import Session
from aioreq.testing import Exchange, FaultServer, script
from aioreq.testing._stream import TLSStream
from tests.servers.certificates import Certificates, knows_the_client


@script
async def asks_while_idle(exchange: Exchange) -> None:
    """Answer; when the gate opens, ask the idle client for its certificate, and wait until it has come."""
    await exchange.answer(200)
    if exchange.connection.requests > 1:
        return
    await exchange.pause("idle")
    stream = exchange._stream
    assert isinstance(stream, TLSStream)
    stream._tls.verify_client_post_handshake()
    stream._tls.do_handshake()
    await stream._flush()
    while not knows_the_client(stream._tls):
        await stream._pull_record()
        with contextlib.suppress(ssl.SSLWantReadError):
            stream._tls.read(1)
    exchange.mark("asked")


async def test_a_handshake_message_on_an_idle_connection(certificates: Certificates):
    """A server that asks for a certificate while nobody uses the connection gets it, and the next request, on it."""
    server_context, trusting = certificates.asking_late()
    with FaultServer(asks_while_idle(), tls=server_context) as server:
        async with Session(verify=trusting) as session:
            await session.get(server.url)
            await server.reached("idle")
            server.release("idle")
            await server.reached("asked")
            assert session.pool.idle == 1
            await session.get(server.url)
        assert [connection.requests for connection in server.connections] == [2]
