"""Thousands of calls at once, some cancelled, some cut: every answer belongs to its call, and nothing is left."""

import asyncio
import random
import threading
from pathlib import Path

import aioreq
from aioreq.testing import Exchange, FaultServer, script
from tests.scripts import cancelled_after

from .bodies import KIB
from .conftest import Serve, settled

CALLS = 2000
AT_ONCE = 100


@script
async def echo_or_cut(exchange: Exchange) -> None:
    """Answer with the token, at the length that the call asked for; break every tenth off somewhere."""
    token = exchange.request.header("x-token") or ""
    number = int(token.split("-")[1])
    draw = random.Random(number)
    if number % 10 == 0:
        await exchange.read_body(draw.randrange(32 * KIB))
        if draw.random() < 0.5:
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + token.encode())
        await (exchange.reset() if draw.random() < 0.5 else exchange.close())
        return
    await exchange.read_body()
    length = int(exchange.request.header("x-length") or 0)
    await exchange.answer(200, (("X-Token", token),), body=token.encode() + b"." * length)


async def call(session: aioreq.Session, url: str, number: int) -> str:
    """Make one call with a body and an answer of random sizes, and check that the answer is its own."""
    draw = random.Random(-number)
    token, length = f"token-{number}", draw.choice((0, 10, 5 * KIB, 100 * KIB))
    body = draw.randbytes(draw.choice((0, 100, 20 * KIB, 300 * KIB)))
    headers = {"X-Token": token, "X-Length": str(length)}
    try:
        response = await session.post(url, data=body, headers=headers)
    except aioreq.ConnectionError:
        assert number % 10 == 0
        return "cut"
    assert response.headers["X-Token"] == token
    assert response.content == token.encode() + b"." * length
    assert response.upload.sent == len(body)
    return "answered"


async def call_and_cancel(session: aioreq.Session, url: str, number: int) -> str:
    return await cancelled_after(random.Random(number * 7).randrange(60), call(session, url, number))


async def test_no_two_answers_are_ever_swapped(serve: Serve, session: aioreq.Session) -> None:
    """Of 2,000 calls a third is cancelled and a tenth cut: each answer carries its own token, and the pool is whole."""
    server = serve(echo_or_cut())
    numbers = iter(range(CALLS))

    async def worker() -> list[str]:
        return [await (call_and_cancel if number % 3 == 0 else call)(session, server.url, number) for number in numbers]

    outcomes = [outcome for some in await asyncio.gather(*(worker() for _ in range(AT_ONCE))) for outcome in some]
    assert len(outcomes) == CALLS
    assert outcomes.count("answered") > CALLS / 2
    assert outcomes.count("cut") >= CALLS / 20
    assert outcomes.count("cancelled") > CALLS / 100
    await settled()
    assert session.pool.waiting == 0
    assert session.pool.open == session.pool.idle
    assert (await call(session, server.url, 1)) == "answered"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """After a session that saw answers, cuts and cancellations is closed, no socket, file, thread or task is left."""
    files_before = open_files()
    async with FaultServer(echo_or_cut()) as server:
        await use_and_abuse(server.url, tmp_path)
    assert len(asyncio.all_tasks()) == 1
    assert open_files() == files_before


async def use_and_abuse(url: str, tmp_path: Path) -> None:
    """A session's life: uploads of which some are answered, some cut and some cancelled, and the end of its threads."""
    path = tmp_path / "body"
    with path.open("wb") as file:
        file.truncate(600 * KIB)

    async def upload(session: aioreq.Session, number: int) -> str:
        headers = {"X-Token": f"token-{number}"}
        try:
            await session.put(url, data=path, headers=headers)
        except aioreq.ConnectionError:
            return "cut"
        return "answered"

    async def upload_and_cancel(session: aioreq.Session, number: int) -> None:
        task = asyncio.create_task(upload(session, number))
        for _ in range(number % 40):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))

    async with aioreq.Session(trust_env=False) as session:
        for _ in range(5):
            await asyncio.gather(
                *(upload(session, number) for number in range(1, 21)),
                *(upload_and_cancel(session, number) for number in range(1, 41)),
            )
    await settled()
    for thread in threading.enumerate():
        if thread.name.startswith("aioreq-"):
            thread.join(10)
            assert not thread.is_alive()
