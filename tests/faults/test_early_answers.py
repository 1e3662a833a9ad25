"""An answer that comes before the body is out is never lost, whatever the server does behind it."""

import asyncio
import itertools
import os
import threading
from collections.abc import AsyncIterator

import pytest

import aioreq
from aioreq.testing import Exchange, faults, script

from .bodies import KIB, KINDS, MIB, Kind, OwnFile, Supply, content_of, whole
from .conftest import BOUND, Serve

RUNS = 100
AT_ONCE = 20
STATUSES = (413, 401, 307, 500)
ENDINGS = ("close", "reset", "hold", "go_on")


def refuses(ending: str) -> dict:
    return {
        f"/{status}": faults.early_answer(status, after=64 * KIB, then=ending, headers=(("Location", "/"),))
        for status in STATUSES
    } | {"/": faults.ok()}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_early_refusal_is_the_answer(
    usual_kind: Kind, ending: str, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """A 413, 401, 307 or 500 in mid-upload is returned, a hundred times in a hundred, and `upload` has the account."""
    if usual_kind.name == "path":
        os.truncate(supply.path, 64 * MIB)  # most of it is a hole, which costs nothing
    server = serve(refuses(ending))
    numbers = itertools.count()

    async def upload_some() -> None:
        for number in itertools.takewhile(lambda number: number < RUNS, numbers):
            status, token = STATUSES[number % len(STATUSES)], f"token-{number}"
            arguments = usual_kind.arguments(supply)
            arguments["headers"] = arguments.get("headers", {}) | {"X-Token": token}
            response = await session.post(f"{server.url}/{status}", allow_redirects=False, **arguments)
            report, upload = response.json(), response.upload
            assert (response.status_code, report["token"]) == (status, token)
            assert report["received"] <= upload.sent <= upload.total
            assert upload.complete == (upload.sent == upload.total)
            assert not upload.complete or ending == "go_on"

    await asyncio.gather(*(upload_some() for _ in range(AT_ONCE)))
    assert len(server.requests) == RUNS
    assert (await session.get(server.url)).status_code == 200


async def test_an_early_refusal_by_a_careful_server(
    kind: Kind, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """A server that half-closes behind its refusal and reads on (RFC 9112, section 9.6) need not be sent the rest."""
    server = serve(faults.in_turn(faults.early_answer(413, after=64 * KIB, then="linger"), faults.ok()))
    response = await session.post(server.url, **kind.arguments(supply))
    assert response.status_code == 413
    assert response.json()["received"] <= response.upload.sent
    assert (await session.get(server.url)).ok
    assert server.requests[1].connection != server.requests[0].connection


async def test_an_early_success_lets_the_body_finish(
    kind: Kind, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """A 200 in mid-upload from a server that reads on costs no byte of the body, and the connection serves again."""
    server = serve(faults.early_answer(200, after=64 * KIB, then="go_on", body=b"thanks"))
    response = await session.post(server.url, **kind.arguments(supply))
    assert response.content == b"thanks"
    assert response.upload.complete
    await server.reached("body")
    assert whole(server.requests[0], supply.content)
    assert (await session.get(server.url)).ok
    assert len(server.connections) == 1


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_an_early_success_and_then_the_end(
    kind: Kind, ending: str, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """A server that has answered 200 and then goes away costs the rest of the body, not the answer."""
    server = serve({"/": faults.ok(), "/leave": faults.early_answer(200, after=64 * KIB, then=ending, body=b"enough")})
    response = await session.post(server.url + "/leave", **kind.arguments(supply))
    assert response.content == b"enough"
    assert 64 * KIB <= response.upload.sent < len(supply.content)
    assert not response.upload.complete
    assert (await session.get(server.url + "/")).ok


async def test_an_early_success_and_then_a_stall(serve: Serve, session: aioreq.Session, supply: Supply) -> None:
    """A server that has answered 200 and then stops reading costs the rest of the body, after the write limit."""
    server = serve({"/": faults.ok(), "/hold": faults.early_answer(200, after=64 * KIB, then="hold", body=b"enough")})

    async def upload(kind: Kind) -> None:
        limits = aioreq.Timeout(write=0.2)
        response = await session.post(server.url + "/hold", timeout=limits, **kind.arguments(supply))
        assert response.content == b"enough"
        assert response.upload.sent < len(supply.content)
        assert not response.upload.complete

    await asyncio.gather(*(upload(kind) for kind in KINDS.values()))
    assert (await session.get(server.url + "/")).ok


@script
async def refuse_without_a_length(exchange: Exchange, ending: str) -> None:
    """Refuse with an answer that only the connection's end ends, as old servers do, with the body unread."""
    await exchange.read_body(64 * KIB)
    await exchange.body_due()
    await exchange.send(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\nmuch too large")
    await (exchange.reset() if ending == "reset" else exchange.close())


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_an_early_refusal_that_ends_with_the_connection(
    kind: Kind, ending: str, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """The RST that follows from the unread body is the end of such an answer, not the loss of it."""
    server = serve({"/": faults.ok(), "/refuse": refuse_without_a_length(ending)})
    response = await session.post(server.url + "/refuse", **kind.arguments(supply))
    assert (response.status_code, response.text) == (413, "much too large")
    assert (await session.get(server.url + "/")).ok


async def test_an_early_refusal_that_is_cut_short(serve: Serve, session: aioreq.Session, supply: Supply) -> None:
    """A refusal with a length that does not arrive whole is an error that still carries its status."""

    async def refuse(exchange: Exchange) -> None:
        await exchange.read_body(64 * KIB)
        await exchange.body_due()
        await exchange.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 1000\r\n\r\nmuch too")
        await exchange.close()

    server = serve({"/": faults.ok(), "/refuse": refuse})
    with pytest.raises(aioreq.RemoteProtocolError, match="cut short") as caught:
        await session.post(server.url + "/refuse", data=supply.content)
    assert caught.value.response.status_code == 413
    assert 64 * KIB <= caught.value.sent < len(supply.content)
    assert (await session.get(server.url + "/")).ok


async def test_a_large_refusal(usual_kind: Kind, serve: Serve, session: aioreq.Session, supply: Supply) -> None:
    """A refusal larger than what is held in memory at a time arrives whole from a server that reads no more."""
    explanation = content_of(2 * MIB)
    server = serve({"/": faults.ok(), "/refuse": faults.early_answer(400, after=KIB, then="hold", body=explanation)})
    response = await session.post(server.url + "/refuse", **usual_kind.arguments(supply))
    assert response.content == explanation
    async with session.stream("POST", server.url + "/refuse", **usual_kind.arguments(supply)) as response:
        assert b"".join([piece async for piece in response.iter_content()]) == explanation
    assert (await session.get(server.url + "/")).ok


async def test_a_refusal_while_the_source_hangs(serve: Serve, session: aioreq.Session, supply: Supply) -> None:
    """An iterator that waits for something that never comes does not keep the answer from the caller."""
    server = serve({"/": faults.ok(), "/refuse": faults.early_answer(413, after=KIB, then="hold")})
    closed = asyncio.Event()

    async def hangs() -> AsyncIterator[bytes]:
        try:
            yield bytes(64 * KIB)
            await asyncio.get_running_loop().create_future()
        finally:
            closed.set()

    response = await session.post(server.url + "/refuse", data=hangs(), headers={"Content-Length": "100000"})
    assert response.status_code == 413
    assert closed.is_set()
    assert (await session.get(server.url + "/")).ok


async def test_a_refusal_while_the_disk_hangs(serve: Serve, session: aioreq.Session) -> None:
    """A read that does not return does not keep the answer from the caller either."""
    server = serve({"/": faults.ok(), "/refuse": faults.early_answer(413, after=KIB, then="hold")})
    disk = threading.Event()

    class HangingFile(OwnFile):
        def read(self, size: int | None = -1) -> bytes:
            assert self.tell() == 0 or disk.wait(BOUND)
            return super().read(size)

    try:
        response = await session.post(server.url + "/refuse", data=HangingFile(bytes(MIB)))
        assert response.status_code == 413
        assert (await session.get(server.url + "/")).ok
    finally:
        disk.set()


@script
async def refuse_then_count(exchange: Exchange) -> None:
    """Refuse, read no more until the client has its answer, then count all that had left."""
    await exchange.read_body(64 * KIB)
    await exchange.answer(413)
    await exchange.pause("refused")
    await exchange.read_body()


async def test_the_account_is_exact(
    kind: Kind, transport: str, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """`upload.sent` is what arrives if the server reads on; over TLS up to the record that was cut off."""
    server = serve(refuse_then_count())
    response = await session.post(server.url, **kind.arguments(supply))
    assert response.status_code == 413
    server.release("refused")
    await server.reached("closed")
    cut_off = {"plain": 0, "tls": 18 * KIB}[transport] + (KIB if kind.name == "chunked" else 0)
    assert abs(server.requests[0].received - response.upload.sent) <= cut_off
