"""Answers that are no answers: cut, garbled, endless, or nobody's."""

import pytest

import aioreq
from aioreq.testing import Exchange, faults, script

from .bodies import Kind, Supply
from .conftest import Serve


async def test_an_answer_cut_short_is_an_error(
    usual_kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """A body shorter than declared is an error that says so, never a short body; the next call works."""
    server = serve({"/cut": faults.cut_answer(declared=1000, sent=100), "/": faults.ok()})
    with pytest.raises(aioreq.RemoteProtocolError) as caught:
        await session.post(server.url + "/cut", **usual_kind.arguments(small_supply))
    assert caught.value.request is not None
    assert caught.value.sent == caught.value.response.upload.total or usual_kind.name == "chunked"
    assert (await session.get(server.url + "/")).ok


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_chunked_answer_cut_short_is_an_error(then: str, serve: Serve, session: aioreq.Session) -> None:
    """A chunked body without its last chunk is an error, however the connection ended."""
    server = serve({"/cut": faults.cut_chunked(then=then), "/": faults.ok()})
    with pytest.raises(aioreq.RemoteProtocolError):
        await session.get(server.url + "/cut")
    assert (await session.get(server.url + "/")).ok


@script
async def until_the_end(exchange: Exchange, then: str) -> None:
    """Send a body whose end only the connection's end tells."""
    await exchange.read_body()
    await exchange.send(b"HTTP/1.1 200 OK\r\n\r\nup to the end")
    if then == "goodbye":
        await exchange.close(notify=True)
    elif then == "close":
        await exchange.close()
    else:
        await exchange.reset()


async def test_a_body_that_ends_with_the_connection(serve: Serve, session: aioreq.Session, transport: str) -> None:
    """It is whole when the server ended it: with FIN, and over TLS with close_notify; anything else may be a cut."""
    server = serve({f"/{then}": until_the_end(then) for then in ("goodbye", "close", "reset")})
    assert (await session.get(server.url + "/goodbye")).text == "up to the end"
    with pytest.raises(aioreq.RemoteProtocolError):
        await session.get(server.url + "/reset")
    if transport == "tls":
        with pytest.raises(aioreq.RemoteProtocolError):
            await session.get(server.url + "/close")
    else:
        assert (await session.get(server.url + "/close")).text == "up to the end"


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff this is not HTTP",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"<html><body>no status line</body></html>",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ],
)
async def test_garbage_is_told_apart(data: bytes, serve: Serve, session: aioreq.Session) -> None:
    """What is not HTTP/1.1 is a RemoteProtocolError at once, while the connection is still open."""
    server = serve({"/": faults.ok(), "/garbage": faults.garbage(data, then="hold")})
    with pytest.raises(aioreq.RemoteProtocolError):
        await session.post(server.url + "/garbage", data=b"x")
    assert (await session.get(server.url + "/")).ok


@pytest.mark.parametrize("fault", [faults.endless_1xx(), faults.endless_headers()], ids=["1xx", "headers"])
async def test_what_never_ends_is_ended(
    fault: object, usual_kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """Interim answers and headers without end are an error after a bounded number of bytes."""
    server = serve({"/endless": fault, "/": faults.ok()})
    with pytest.raises(aioreq.RemoteProtocolError, match="more than|larger than"):
        await session.post(server.url + "/endless", **usual_kind.arguments(small_supply))
    assert (await session.get(server.url + "/")).ok


async def test_an_endless_body_can_be_left(serve: Serve, session: aioreq.Session) -> None:
    """A streamed answer without end is read as far as the caller likes, in bounded memory."""
    server = serve(faults.endless_body())
    async with session.stream("GET", server.url) as response:
        seen = 0
        async for piece in response.iter_content():
            seen += len(piece)
            if seen > 3_000_000:
                break
    assert session.pool.open == 0


async def test_interim_answers_are_skipped(
    usual_kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """102 and 103 before the final answer change nothing."""
    server = serve(faults.interim(102, 103, 103))
    response = await session.put(server.url, **usual_kind.arguments(small_supply))
    assert response.json()["received"] == response.upload.total


async def test_stray_bytes_are_nobodys_answer(serve: Serve, session: aioreq.Session) -> None:
    """Bytes behind an answer, at once or later, are never given to the next request: its connection is another."""
    server = serve({"/at-once": faults.stray_bytes(), "/later": faults.stray_bytes(gate="later"), "/": faults.ok()})
    for path in ("/at-once", "/later"):
        assert (await session.get(server.url + path)).ok
        if path == "/later":
            server.release("later")
            await server.reached("strayed", times=2)
        response = await session.get(server.url + "/", headers={"X-Token": path})
        assert response.json()["token"] == path
    connections = [request.connection for request in server.requests]
    assert connections[0] != connections[1]
    assert connections[2] != connections[3]


async def test_a_server_that_says_nothing_is_told_apart(
    usual_kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """A connection that ends without a byte of an answer is a ServerDisconnected, with what had left."""
    server = serve({"/": faults.ok(), "/reset": faults.reset_after(1000)})
    with pytest.raises(aioreq.ConnectionError) as caught:
        await session.post(server.url + "/reset", expect_continue=False, **usual_kind.arguments(small_supply))
    assert isinstance(caught.value, aioreq.ServerDisconnected)
    assert isinstance(caught.value, OSError)
    assert caught.value.sent is not None
    assert caught.value.sent >= 1000
    assert (await session.get(server.url + "/")).ok
