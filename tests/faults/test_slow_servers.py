"""A server that reads slowly moves what the kernel holds: that is no stall and no silence."""

import asyncio
import itertools
from contextlib import ExitStack
from pathlib import Path

import pytest

import aioreq
from aioreq.testing import Exchange, faults, script

from .bodies import KIB, KINDS, MIB, USUAL, Kind, Supply
from .conftest import Serve, make_supply

LIMIT = 0.2
"""Seconds: the limit that is reached."""

AMPLE = 0.6
"""Seconds: the limit that is kept, many times what lies between two readings of the server."""


async def test_megabytes_in_the_kernel(serve: Serve, session: aioreq.Session, tmp_path: Path) -> None:
    """The kernel takes nothing until a third of its megabytes is free, and holds megabytes when the body is out; an
    upload that takes many times its limits to get through them goes out whole."""
    server = serve(faults.read_slowly(chunk=64 * KIB, pace=AMPLE / 20), narrow=False)
    now = asyncio.get_running_loop().time

    async def longest_silence(kind: Kind, supply: Supply) -> float:
        moments = [now()]
        response = await session.put(
            server.url,
            timeout=aioreq.Timeout(read=AMPLE, write=AMPLE),
            progress=lambda _: moments.append(now()),
            expect_continue=False,
            **kind.arguments(supply),
        )
        moments.append(now())
        assert response.json()["received"] == response.upload.total
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    with ExitStack() as closing:
        supply = make_supply(tmp_path, closing, 7 * MIB)
        silences = await asyncio.gather(*(longest_silence(KINDS[name], supply) for name in USUAL))
    assert min(silences) > AMPLE  # nothing but the kernel's queue showed that it moved


async def test_a_small_body(serve: Serve, session: aioreq.Session) -> None:
    """A body that the kernel takes at once is on its way until the server has it."""
    server = serve(faults.read_slowly(chunk=8 * KIB, pace=AMPLE / 12), receive_buffer=4096)
    started = asyncio.get_running_loop().time()
    response = await session.put(server.url, data=bytes(250 * KIB), timeout=aioreq.Timeout(read=AMPLE, write=AMPLE))
    assert response.json()["received"] == 250 * KIB
    assert asyncio.get_running_loop().time() - started > 2 * AMPLE


@script
async def stop_then_count(exchange: Exchange) -> None:
    """Stop reading until the client has gone, then count what had left."""
    await exchange.read_body(64 * KIB)
    await exchange.pause("stopped")
    await exchange.read_body()


async def test_a_server_that_stops(transport: str, serve: Serve, session: aioreq.Session, supply: Supply) -> None:
    """Once it has stopped, WriteTimeout says what had left: exactly that arrives if the server reads on after all (over
    TLS, but for the record that was cut off)."""
    server = serve(stop_then_count())

    async def sent(kind: Kind) -> int:
        with pytest.raises(aioreq.WriteTimeout) as caught:
            await session.put(
                f"{server.url}/{kind.name}", timeout=aioreq.Timeout(write=LIMIT), **kind.arguments(supply)
            )
        return caught.value.sent or 0

    accounts = dict(zip(KINDS, await asyncio.gather(*(sent(kind) for kind in KINDS.values())), strict=True))
    server.release("stopped")
    await server.reached("closed", times=len(KINDS))
    arrived = {request.path[1:]: request.received for request in server.requests}
    for name, account in accounts.items():
        cut_off = {"plain": 0, "tls": 18 * KIB}[transport] + (KIB if name == "chunked" else 0)
        assert abs(arrived[name] - account) <= cut_off
