"""An answer that is sent on over the session that still reads it: it never waits for its own connection."""

import asyncio

import pytest

import aioreq
from aioreq import Limits, PoolTimeout, Session
from aioreq.testing import Exchange, FaultServer, faults, script

SIZE = 1 << 20


@script
async def half_and_the_rest(exchange: Exchange) -> None:
    """Answer with half of a body at once, and with the rest when the gate opens."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE // 2))
    await exchange.pause("rest")
    await exchange.send(bytes(SIZE // 2))


ROUTES = {"/source": half_and_the_rest(), "/": faults.ok()}


@pytest.mark.parametrize("limits", [Limits(max_connections=1), Limits(max_per_host=1)])
@pytest.mark.parametrize("as_file", [True, False])
async def test_the_only_connection(limits: Limits, as_file: bool):
    """Where the answer that is to be sent keeps the only connection, that is an error at once, with the way out."""
    with FaultServer(ROUTES) as server:
        async with Session(limits=limits) as session, session.stream("GET", f"{server.url}/source") as source:
            form = {"files": {"file": ("name", source)}} if as_file else {"data": source}
            with pytest.raises(PoolTimeout, match=r"no connection can become free.*await response.read") as caught:
                await session.post(server.url + "/", **form)
            assert caught.value.request.url == server.url + "/"
            assert session.pool.waiting == 0
            server.release("rest")
            response = await session.post(server.url + "/", data=await source.read())
            assert response.json()["received"] == SIZE


async def test_two_that_wait_for_each_other():
    """Two uploads, each of which reads an answer on one of the two connections: the second is told."""
    with FaultServer(ROUTES) as server:
        async with Session(limits=Limits(max_connections=2)) as session:
            async with session.stream("GET", f"{server.url}/source") as one:
                async with session.stream("GET", f"{server.url}/source") as other:
                    first = asyncio.create_task(session.post(server.url + "/", data=one))
                    while not session.pool.waiting:
                        await asyncio.sleep(0)
                    with pytest.raises(PoolTimeout, match="no connection can become free"):
                        await session.post(server.url + "/", data=other)
                server.release("rest")
                assert (await first).json()["received"] == SIZE


async def test_a_connection_that_will_become_free():
    """While another request uses a connection, the upload waits for that one, and gets it."""
    with FaultServer({**ROUTES, "/silent": faults.silent()}) as server:
        async with Session(limits=Limits(max_connections=2)) as session:
            silent = asyncio.create_task(session.get(f"{server.url}/silent"))
            await server.reached("silent")
            async with session.stream("GET", f"{server.url}/source") as source:
                upload = asyncio.create_task(session.post(server.url + "/", data=source))
                while not session.pool.waiting:
                    await asyncio.sleep(0)
                server.release()
                assert (await upload).json()["received"] == SIZE
            assert (await silent).ok


async def test_a_second_connection():
    """With room for both, the answer goes on as it comes."""
    with FaultServer(ROUTES) as server:
        server.release("rest")
        async with Session(limits=Limits(max_connections=2)) as session:
            async with session.stream("GET", f"{server.url}/source") as source:
                response = await session.post(server.url + "/", data=source)
            assert response.json()["received"] == SIZE


async def test_an_answer_that_is_here():
    """An answer that has come whole keeps no connection, and can be sent on over the same one."""
    with FaultServer() as server:
        async with Session(limits=Limits(max_connections=1)) as session:
            async with session.stream("GET", server.url) as source:
                await source.read()
                response = await session.post(server.url, data=source)
            assert response.json()["received"] == len(await source.read())
        assert len(server.connections) == 1


async def test_another_sessions_answer():
    """An answer that another session reads is nobody's reason to wait."""
    with FaultServer(ROUTES) as server:
        server.release("rest")
        async with Session() as reading, Session(limits=Limits(max_connections=1)) as session:
            await session.get(server.url + "/")
            async with reading.stream("GET", f"{server.url}/source") as source:
                response = await session.post(server.url + "/", data=source, timeout=aioreq.Timeout(pool=5))
            assert response.json()["received"] == SIZE
