"""Expect: 100-continue (RFC 9110, section 10.1.1): the body waits for the server's word, but not for ever."""

import asyncio
import ssl

import pytest

import aioreq
from aioreq._net import send
from aioreq.testing import Exchange, faults, script

from .bodies import Kind, Supply, whole
from .conftest import Serve


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body waits for a moment only."""
    monkeypatch.setattr(send, "EXPECT_PATIENCE", 0.02)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body waits for ever, so that only the server's word can have released it."""
    monkeypatch.setattr(send, "EXPECT_PATIENCE", 60)


@pytest.mark.usefixtures("patient")
async def test_the_body_goes_on_the_servers_word(
    kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """The server says 100 Continue, and the whole body follows."""
    server = serve()
    response = await session.post(server.url, expect_continue=True, **kind.arguments(small_supply))
    assert server.requests[0].expects_continue
    assert whole(server.requests[0], small_supply.content)
    assert response.upload.complete


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_stays_silent_gets_the_body_all_the_same(
    kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """A server that has never heard of Expect gets the body after the client's patience has ended."""
    server = serve(faults.silent_on_expect())
    await session.post(server.url, expect_continue=True, **kind.arguments(small_supply))
    assert whole(server.requests[0], small_supply.content)


@script
async def early_hints_then_nothing(exchange: Exchange) -> None:
    """Send a 103, look whether a body comes, and only then say 100."""
    await exchange.interim(103)
    await exchange.pause("hinted")
    exchange.mark(f"{exchange.request.received} bytes before the 100")
    await exchange.interim(100)
    await exchange.read_body(allow=False)
    await exchange.answer()


@pytest.mark.usefixtures("patient")
async def test_early_hints_are_not_the_word(serve: Serve, trusting: ssl.SSLContext, small_supply: Supply) -> None:
    """A 103 before the 100 does not release the body."""
    server = serve(early_hints_then_nothing())
    seen = asyncio.Event()
    hooks = {"interim": lambda _event: seen.set()}
    async with aioreq.Session(event_hooks=hooks, verify=trusting, trust_env=False) as session:
        call = asyncio.create_task(session.put(server.url, data=small_supply.content, expect_continue=True))
        await server.reached("hinted")
        await seen.wait()  # the client has read the 103
        for _ in range(5):
            await asyncio.sleep(0)
        server.release("hinted")
        await server.reached("0 bytes before the 100")
        assert (await call).ok
    assert whole(server.requests[0], small_supply.content)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("status", [200, 204, 304, 401, 413, 500])
async def test_a_final_answer_keeps_the_body_at_home(
    kind: Kind, status: int, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """An answer without a 100 before it means that no body is wanted: none is sent, and the source stays untouched."""
    server = serve({"/": faults.early_answer(status, then="hold"), "/again": faults.ok()})
    arguments = kind.arguments(small_supply)
    response = await session.put(server.url + "/", expect_continue=True, **arguments)
    assert (response.status_code, response.upload.sent, response.upload.complete) == (status, 0, False)
    assert server.requests[0].received == 0
    await session.put(server.url + "/again", **arguments)  # even a source that can be read once is still whole
    assert whole(server.requests[-1], small_supply.content)


@pytest.mark.usefixtures("patient")
async def test_417_is_asked_again_without(
    kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """A server that can't meet the expectation gets the request without it, and the whole body."""
    server = serve(faults.refuse_expect())
    response = await session.put(server.url, expect_continue=True, **kind.arguments(small_supply))
    assert response.ok
    assert [request.expects_continue for request in server.requests] == [True, False]
    assert whole(server.requests[1], small_supply.content)


@pytest.mark.usefixtures("patient")
async def test_a_body_that_can_be_sent_once_asks_by_itself(
    kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """One-shot bodies ask first, the others don't, and expect_continue=False stops even them."""
    server = serve()
    await session.put(server.url, **kind.arguments(small_supply))
    assert server.requests[0].expects_continue == (not kind.replayable)
    await session.put(server.url, expect_continue=False, **kind.arguments(small_supply))
    assert not server.requests[1].expects_continue
