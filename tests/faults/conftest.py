"""What the tests of faults share: servers that misbehave, a session, and a look at what is left when a test is over."""

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq.testing import FaultServer
from tests.servers.certificates import Certificates

from .bodies import KIB, KINDS, MIB, USUAL, Kind, Supply, content_of

BOUND = 20.0
"""Seconds after which a call has failed; nothing waits for it."""

SIZE = 3 * MIB + 7
"""Bytes of a body that the kernels on both sides can't hold together."""

Serve = Callable[..., FaultServer]


ETHERNET = 1460
"""Bytes of a segment on a link like Ethernet: the sender's kernel then holds little for a server that doesn't read."""


@pytest.fixture(scope="session")
def trusting(certificates: Certificates) -> ssl.SSLContext:
    return certificates.client_context()


@pytest.fixture(scope="session")
def serving(certificates: Certificates) -> ssl.SSLContext:
    return certificates.server_context()


@pytest.fixture(params=["plain", "tls"])
def transport(request: pytest.FixtureRequest) -> str:
    """Tests that use `serve` run twice, unless they choose one of the two."""
    name: str = request.param
    return name


@pytest.fixture
def serve(transport: str, serving: ssl.SSLContext) -> Iterator[Serve]:
    """A factory of running fault servers; whatever they did, the client must have kept to HTTP."""
    servers: list[FaultServer] = []
    with ExitStack() as running:

        def start(route: Any = None, *, narrow: bool = True, **options: Any) -> FaultServer:
            options = {"segment": ETHERNET if narrow else None, "patience": BOUND, **options}
            server = FaultServer(route, tls=serving if transport == "tls" else None, **options)
            servers.append(running.enter_context(server))
            return server

        yield start
    assert [violation for server in servers for violation in server.violations] == []


@pytest.fixture
async def session(serve: Serve, trusting: ssl.SSLContext) -> AsyncIterator[aioreq.Session]:
    async with aioreq.Session(verify=trusting, timeout=BOUND, trust_env=False) as session:
        yield session
    assert session.pool.open == 0


@pytest.fixture
def supply(tmp_path: Path) -> Iterator[Supply]:
    """A content too large for the kernels' buffers."""
    with ExitStack() as closing:
        yield make_supply(tmp_path, closing, SIZE)


@pytest.fixture
def small_supply(tmp_path: Path) -> Iterator[Supply]:
    """A content that goes out in several pieces, and quickly."""
    with ExitStack() as closing:
        yield make_supply(tmp_path, closing, 300 * KIB)


def make_supply(folder: Path, closing: ExitStack, size: int) -> Supply:
    content = content_of(size)
    path = folder / "content.bin"
    path.write_bytes(content)
    return Supply(content, path, closing)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Every kind of body in turn."""
    return KINDS[request.param]


@pytest.fixture(params=USUAL)
def usual_kind(request: pytest.FixtureRequest) -> Kind:
    """The kinds of body that people use most, in turn."""
    return KINDS[request.param]


@pytest.fixture(scope="module")
def unseen() -> Iterator[list[dict[str, Any]]]:
    """Errors that a loop reports because nobody looked at them; there are none when the module is over."""
    reports: list[dict[str, Any]] = []
    yield reports
    gc.collect()  # a future reports when it is collected; a full collection after each test would cost half a minute
    assert reports == []


@pytest.fixture(autouse=True)
async def nothing_left(unseen: list[dict[str, Any]]) -> AsyncIterator[None]:
    """After each test: no task is left, and no error that nobody looked at."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    yield
    await settled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect(1)
    assert unseen == []


async def settled() -> None:
    """Let what has been cancelled or closed end: that takes a few turns of the loop, and no time."""
    for _ in range(10):
        await asyncio.sleep(0)
