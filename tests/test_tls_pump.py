"""Files that threads send over TLS: exact, whatever the server says meanwhile."""

import contextlib
import hashlib
import os
import ssl
from pathlib import Path

import pytest

import aioreq
from aioreq import Session
from aioreq._net import pump, tls_pump
from aioreq.testing import Exchange, FaultServer, script
from aioreq.testing._stream import TLSStream
from tests.servers.certificates import Certificates, knows_the_client

KIB = 1024
SIZE = 3 * 1024 * KIB + 7
PATIENCE = 20.0

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]

# Loopback's own segments let the kernel take whole turns; with those of Ethernet the thread leaves again and again, and
# the stream waits.
segments = pytest.mark.parametrize("segment", [None, 1460], ids=["kernel takes much", "kernel takes little"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that takes several writes, the last of them odd."""
    path = tmp_path / "content.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def contexts(certificates: Certificates) -> Contexts:
    """The server's, which may ask for a certificate at any time, and the client's."""
    return certificates.asking_late()


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@script
async def talks_all_the_while(exchange: Exchange) -> None:
    """Send an interim answer behind each piece of the body."""
    while not exchange.request.complete:
        await exchange.read_body(exchange.request.received + 128 * KIB)
        await exchange.interim(103)
    await exchange.answer()


@script
async def asks_meanwhile(exchange: Exchange) -> None:
    """Ask for the client's certificate when its file has begun to come; answer when both are there."""
    stream = exchange._stream
    assert isinstance(stream, TLSStream)
    await exchange.read_body(16 * KIB)
    stream._tls.verify_client_post_handshake()
    stream._tls.do_handshake()
    await stream._flush()
    await exchange.read_body()
    while not knows_the_client(stream._tls):
        await stream._pull_record()
        with contextlib.suppress(ssl.SSLWantReadError):
            stream._tls.read(1)
    await exchange.answer()


@segments
async def test_what_the_server_says_meanwhile(path: Path, contexts: Contexts, segment: int | None):
    """A server that talks while it is sent a file is heard, and gets the file byte for byte."""
    heard: list[int] = []
    with FaultServer(talks_all_the_while(), tls=contexts[0], segment=segment, patience=PATIENCE) as server:
        hooks = {"interim": lambda event: heard.append(event.status_code)}
        async with Session(verify=contexts[1], timeout=PATIENCE, event_hooks=hooks) as session:
            response = await session.put(server.url, data=path)
    assert response.json()["sha256"] == digest_of(path)
    assert heard == [103] * (SIZE // (128 * KIB) + 1)


@segments
async def test_what_tls_asks_meanwhile(path: Path, contexts: Contexts, segment: int | None):
    """What TLS answers by itself in mid-upload leaves between two records of the file, and both arrive."""
    with FaultServer(asks_meanwhile(), tls=contexts[0], segment=segment, patience=PATIENCE) as server:
        async with Session(verify=contexts[1], timeout=PATIENCE) as session:
            response = await session.put(server.url, data=path)
    assert response.json()["sha256"] == digest_of(path)
    assert server.connections[0].ended == "client closed"


async def test_an_upload_in_turns(path: Path, contexts: Contexts, monkeypatch: pytest.MonkeyPatch):
    """Where a turn ends, the next one begins: the connection is whole, and sends the next file as well."""
    monkeypatch.setattr(tls_pump, "TURN", 300 * KIB + 1)
    with FaultServer(tls=contexts[0], patience=PATIENCE) as server:
        async with Session(verify=contexts[1], timeout=PATIENCE) as session:
            responses = [await session.put(server.url, data=path) for _ in range(2)]
    assert [response.json()["sha256"] for response in responses] == [digest_of(path)] * 2
    assert [connection.requests for connection in server.connections] == [2]


async def test_where_threads_cannot_send(path: Path, contexts: Contexts, monkeypatch: pytest.MonkeyPatch):
    """A system on which threads can't send to a socket's descriptor still sends files over TLS."""
    monkeypatch.setattr(pump, "AVAILABLE", False)
    monkeypatch.delattr(tls_pump, "pump")
    with FaultServer(tls=contexts[0], patience=PATIENCE) as server:
        async with Session(verify=contexts[1], timeout=PATIENCE) as session:
            response = await session.put(server.url, data=path)
    assert response.json()["sha256"] == digest_of(path)


async def test_a_broken_record_in_mid_upload(path: Path, contexts: Contexts):
    """A record that nobody can read ends the upload with an SSLError that says how much had left."""

    @script
    async def breaks(exchange: Exchange) -> None:
        await exchange.read_body(64 * KIB)
        stream = exchange._stream
        assert isinstance(stream, TLSStream)
        await super(TLSStream, stream).send(b"\x17\x03\x03\x00\x20" + bytes(32))
        await exchange.pause("broken")

    with FaultServer(breaks(), tls=contexts[0], segment=1460, patience=PATIENCE) as server:
        async with Session(verify=contexts[1], timeout=PATIENCE) as session:
            with pytest.raises(aioreq.SSLError, match="BAD_RECORD_MAC") as caught:
                await session.put(server.url, data=path)
            assert session.pool.open == 0
        server.release("broken")
    assert caught.value.sent is not None
    assert 0 < caught.value.sent < SIZE
