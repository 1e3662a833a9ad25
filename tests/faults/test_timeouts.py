"""Timeouts measure silence: what stands still ends with an error that has the account, what moves goes on."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

import aioreq
from aioreq.testing import Exchange, FaultServer, RequestLog, faults, script

from .bodies import KIB, KINDS, USUAL, Supply, whole
from .conftest import Serve

LIMIT = 0.2
"""Seconds: the limit that is reached, where one is."""

AMPLE = 0.6
"""Seconds: the limit that is kept, by pauses that are a tenth of it and take longer than it in all."""


@script
async def quiet(exchange: Exchange) -> None:
    """Accept the connection and say nothing, not even in the TLS handshake."""
    await exchange.pause("quiet")


async def errors_of(
    names: Iterable[str], session: aioreq.Session, url: str, supply: Supply, timeout: aioreq.Timeout
) -> dict[str, Any]:
    """What becomes of one upload for each kind of body, all at once; the URL's query names the kind."""

    async def outcome(name: str) -> Any:
        try:
            return await session.put(
                f"{url}?{name}", timeout=timeout, expect_continue=False, **KINDS[name].arguments(supply)
            )
        except aioreq.RequestException as error:
            return error

    names = tuple(names)
    return dict(zip(names, await asyncio.gather(*map(outcome, names)), strict=True))


def kinds_of(outcomes: dict[str, Any]) -> dict[str, type]:
    return {name: type(outcome) for name, outcome in outcomes.items()}


def received_of(server: FaultServer, name: str) -> RequestLog:
    return next(request for request in server.requests if request.target.endswith(f"?{name}"))


# --- write


async def test_a_stalled_upload_is_a_write_timeout(serve: Serve, session: aioreq.Session, supply: Supply) -> None:
    """When the server stops reading, every kind of body ends with WriteTimeout, its request and what left."""
    server = serve({"/stalled": faults.stall(after=64 * KIB), "/": faults.ok()})
    errors = await errors_of(KINDS, session, server.url + "/stalled", supply, aioreq.Timeout(write=LIMIT))
    assert kinds_of(errors) == dict.fromkeys(KINDS, aioreq.WriteTimeout)
    for name, error in errors.items():
        assert (error.request.method, error.request.url) == ("PUT", f"{server.url}/stalled?{name}")
        assert error.response is None
        assert 64 * KIB < error.sent < len(supply.content)
    assert {request.received for request in server.requests} == {64 * KIB}
    assert session.pool.open == 0
    assert (await session.get(server.url + "/")).ok


async def test_a_slow_upload_never_times_out(serve: Serve, session: aioreq.Session, supply: Supply) -> None:
    """An upload that takes longer than every limit, but never stands still for as long, goes out whole."""
    server = serve(faults.read_slowly(chunk=96 * KIB, pace=AMPLE / 10))
    limits = aioreq.Timeout(read=AMPLE, write=AMPLE)
    started = asyncio.get_running_loop().time()
    responses = await asyncio.gather(
        *(
            session.put(server.url, timeout=limits, expect_continue=False, **kind.arguments(supply))
            for kind in KINDS.values()
        )
    )
    assert asyncio.get_running_loop().time() - started > 2 * AMPLE
    assert all(response.upload.complete for response in responses)
    assert all(whole(request, supply.content) for request in server.requests)


async def test_a_source_may_take_its_time(serve: Serve, session: aioreq.Session) -> None:
    """While the caller's own generator is what everybody waits for, nobody's silence is counted."""
    server = serve()

    async def hesitating() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(3 * LIMIT)  # three limits of silence are what is tested
        yield b"last"

    response = await session.put(
        server.url,
        data=hesitating(),
        headers={"Content-Length": "9"},
        timeout=aioreq.Timeout(read=LIMIT, write=LIMIT),
        expect_continue=False,
    )
    assert response.json()["received"] == 9


# --- read


async def test_silence_behind_the_body_is_a_read_timeout(
    serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """A server that has the body and says nothing is a ReadTimeout; everything had left."""
    server = serve({"/silent": faults.silent(), "/": faults.ok()})
    errors = await errors_of(KINDS, session, server.url + "/silent", small_supply, aioreq.Timeout(read=LIMIT))
    assert kinds_of(errors) == dict.fromkeys(KINDS, aioreq.ReadTimeout)
    for name, error in errors.items():
        request = received_of(server, name)
        assert error.request.url == f"{server.url}/silent?{name}"
        assert error.sent == request.received
        assert whole(request, small_supply.content)
    assert session.pool.open == 0
    assert (await session.get(server.url + "/")).ok


async def test_a_small_body_that_is_never_read_is_a_read_timeout(serve: Serve, session: aioreq.Session) -> None:
    """What the kernel has taken whole has left: then it is the answer that does not come."""
    server = serve(faults.stall())
    with pytest.raises(aioreq.ReadTimeout) as caught:
        await session.put(server.url, data=bytes(KIB), timeout=LIMIT)
    assert caught.value.sent == KIB


async def test_silence_in_the_answer_is_a_read_timeout(serve: Serve, session: aioreq.Session) -> None:
    """An answer that stops in the middle is a ReadTimeout that carries what there is of the answer."""
    server = serve(faults.cut_answer(declared=1000, sent=100, then="hold"))
    with pytest.raises(aioreq.ReadTimeout) as caught:
        await session.put(server.url, data=b"body", timeout=aioreq.Timeout(read=LIMIT))
    assert caught.value.response is not None
    assert caught.value.response.status_code == 200
    assert caught.value.sent == len(b"body")
    assert session.pool.open == 0


async def test_a_slow_answer_never_times_out(serve: Serve, session: aioreq.Session) -> None:
    """An answer that takes longer than the limit, byte by byte, arrives."""
    server = serve(faults.slow_headers(pace=AMPLE / 20))
    started = asyncio.get_running_loop().time()
    assert (await session.get(server.url, timeout=aioreq.Timeout(read=AMPLE))).status_code == 204
    assert asyncio.get_running_loop().time() - started > AMPLE


# --- total


@pytest.mark.parametrize("fault", ["stalled", "silent", "slow"])
async def test_total_ends_a_call_wherever_it_is(
    fault: str, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """`total` ends a call that stands still or moves, with the request and what had left."""
    server = serve(
        {
            "/stalled": faults.stall(after=64 * KIB),
            "/silent": faults.silent(),
            "/slow": faults.read_slowly(pace=0.01),
            "/": faults.ok(),
        }
    )
    errors = await errors_of(USUAL, session, f"{server.url}/{fault}", supply, aioreq.Timeout(total=2 * LIMIT))
    assert kinds_of(errors) == dict.fromkeys(USUAL, aioreq.exceptions.Timeout)
    for name, error in errors.items():
        assert error.request.url == f"{server.url}/{fault}?{name}"
        assert 0 < received_of(server, name).received <= error.sent
    assert session.pool.open == 0
    assert (await session.get(server.url + "/")).ok


async def test_total_holds_across_redirects(serve: Serve, session: aioreq.Session, small_supply: Supply) -> None:
    """`total` is for the whole call; the error has the request that was under way, not the first one."""
    server = serve({"/": faults.redirect("/silent"), "/silent": faults.silent()})
    with pytest.raises(aioreq.exceptions.Timeout) as caught:
        await session.put(server.url + "/", data=small_supply.path, timeout=aioreq.Timeout(total=AMPLE))
    assert caught.value.request is not None
    assert caught.value.request.url == server.url + "/silent"
    assert caught.value.sent == len(small_supply.content)


async def test_total_holds_across_retries(serve: Serve, session: aioreq.Session) -> None:
    """`total` also ends the pause before another attempt."""
    server = serve(faults.ok(503))
    with pytest.raises(aioreq.exceptions.Timeout) as caught:
        await session.put(server.url, data=b"body", retry=aioreq.Retry(backoff=60), timeout=aioreq.Timeout(total=LIMIT))
    assert caught.value.request is not None
    assert len(server.requests) == 1
    assert session.pool.open == session.pool.idle


# --- connect and pool


@pytest.mark.parametrize("transport", ["plain"], indirect=True)
async def test_a_handshake_without_an_answer_is_a_connect_timeout(serve: Serve, session: aioreq.Session) -> None:
    """A server that accepts and never answers the TLS handshake is a ConnectTimeout, and no body was under way."""
    silent, healthy = serve(on_connect=quiet()), serve()
    url = silent.url.replace("http://", "https://")
    with pytest.raises(aioreq.ConnectTimeout) as caught:
        await session.put(url, data=b"body", timeout=aioreq.Timeout(connect=LIMIT))
    assert caught.value.request is not None
    assert caught.value.sent is None
    assert session.pool.open == 0
    assert (await session.get(healthy.url)).ok


async def test_a_name_that_is_never_resolved_is_a_connect_timeout() -> None:
    """Looking the name up is a part of connecting."""

    async def never(host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().create_future()

    async with aioreq.Session(resolver=never, trust_env=False, timeout=aioreq.Timeout(connect=LIMIT)) as session:
        with pytest.raises(aioreq.ConnectTimeout) as caught:
            await session.get("http://never.example/")
        assert caught.value.request is not None
        assert session.pool.open == 0


async def test_a_connection_that_does_not_become_free_is_a_pool_timeout(serve: Serve, supply: Supply) -> None:
    """Waiting for a connection has its own limit, and the upload that holds it goes on."""
    server = serve({"/stalled": faults.stall(after=KIB), "/": faults.ok()})
    async with aioreq.Session(limits=aioreq.Limits(max_connections=1), verify=False, trust_env=False) as session:
        upload = asyncio.create_task(session.put(server.url + "/stalled", data=supply.path))
        await server.reached("stalled")
        with pytest.raises(aioreq.PoolTimeout) as caught:
            await session.get(server.url + "/", timeout=aioreq.Timeout(pool=LIMIT))
        assert caught.value.request is not None
        assert session.pool.waiting == 0
        server.release("stalled")
        assert (await upload).upload.complete
        assert (await session.get(server.url + "/")).ok
