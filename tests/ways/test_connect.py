"""From a name to a connection: resolvers, several addresses, the local address, Unix sockets."""

import asyncio
import contextlib
import itertools
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq import ConnectionError, ConnectionEvent, ConnectTimeout, Session
from aioreq._net.connect import Address, Connector, _alternating
from aioreq._net.dial import Dialer
from aioreq._rules.route import Route
from tests.servers.certificates import Certificates
from tests.servers.endpoint import EchoServer, Endpoint
from tests.servers.nginx import Nginx

Resolver = Callable[[str, int], Any]


@pytest.fixture
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that never answers: a socket that listens with a full queue, so that the kernel drops what comes."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
            _, connected, _ = select.select([], [waiting], [], 0.1)
            if not connected:
                break
        yield full.getsockname()


def giving(*addresses: Any) -> Resolver:
    """A resolver that gives `addresses` for every name."""
    return lambda _host, _port: addresses


class Attempts:
    """The sockets that were connected with, and a way to hold them back.

    `sockets` are all of them, in order.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sockets: list[socket.socket] = []
        self._begun = asyncio.Condition()
        self._together: asyncio.Barrier | None = None
        self._connect = loop.sock_connect
        loop.sock_connect = self._note  # type: ignore[method-assign]

    @property
    def open(self) -> list[socket.socket]:
        """The sockets that are not closed."""
        return [sock for sock in self.sockets if sock.fileno() >= 0]

    def connect_together(self, count: int) -> None:
        """Have `count` attempts succeed at the same moment."""
        self._together = asyncio.Barrier(count)

    async def begun(self, count: int) -> None:
        """Return when `count` attempts are under way."""
        async with self._begun, asyncio.timeout(5):
            await self._begun.wait_for(lambda: len(self.sockets) >= count)

    async def _note(self, sock: socket.socket, address: Any) -> None:
        async with self._begun:
            self.sockets.append(sock)
            self._begun.notify_all()
        await self._connect(sock, address)
        if self._together is not None:
            await self._together.wait()


@pytest.fixture
async def attempts() -> Attempts:
    return Attempts(asyncio.get_running_loop())


class TestResolver:
    async def test_it_is_asked_instead_of_the_system(self, nginx: Nginx) -> None:
        """A resolver gets host and port, and what it gives is connected to; the request still names the host."""
        asked: list[tuple[str, int]] = []

        def resolver(host: str, port: int) -> list[str]:
            asked.append((host, port))
            return ["127.0.0.1"]

        async with Session(resolver=resolver) as session:
            response = await session.get(f"http://nowhere.invalid:{nginx.plain.port}/static/hello.txt")
        assert response.text == "hello, world\n"
        assert response.request.headers["Host"] == f"nowhere.invalid:{nginx.plain.port}"
        assert asked == [("nowhere.invalid", nginx.plain.port)]

    async def test_it_may_be_asynchronous(self, nginx: Nginx) -> None:
        """A resolver may be a coroutine function."""

        async def resolver(host: str, port: int) -> list[str]:
            await asyncio.sleep(0)
            return ["127.0.0.1"]

        async with Session(resolver=resolver) as session:
            assert (await session.get(f"http://nowhere.invalid:{nginx.plain.port}/status/204")).status_code == 204

    async def test_it_may_choose_the_port(self, nginx: Nginx) -> None:
        """A resolver may give pairs of address and port."""
        async with Session(resolver=giving(("127.0.0.1", nginx.plain.port))) as session:
            assert (await session.get("http://nowhere.invalid/status/204")).status_code == 204

    async def test_the_certificate_is_still_the_hosts(self, nginx: Nginx, certificates: Certificates) -> None:
        """Whatever the resolver says, the server must prove to be the host in the URL."""
        async with Session(resolver=giving("127.0.0.1"), verify=str(certificates.authority)) as session:
            url = f"https://{{}}:{nginx.tls.port}/status/204"
            assert (await session.get(url.format("localhost"))).status_code == 204
            with pytest.raises(aioreq.SSLError, match="not trusted"):
                await session.get(url.format("nowhere.invalid"))

    async def test_addresses_in_urls_need_none(self, nginx: Nginx) -> None:
        """An address in a URL is nobody's to look up."""

        def resolver(host: str, port: int) -> list[str]:
            raise AssertionError("asked")

        async with Session(resolver=resolver) as session:
            assert (await session.get(nginx.plain.url("/status/204"))).status_code == 204

    @pytest.mark.parametrize(
        ("given", "reason"),
        [([], "the name has no address"), (["nowhere.invalid"], "'nowhere.invalid', which is no IP address")],
    )
    async def test_what_it_gives_is_checked(self, given: list[str], reason: str) -> None:
        """No address, or a name for an address, is a ConnectionError that says so."""
        async with Session(resolver=giving(*given)) as session:
            with pytest.raises(ConnectionError, match=f"can't connect to http://host.invalid:80: .*{reason}"):
                await session.get("http://host.invalid/")

    async def test_its_errors(self) -> None:
        """An OSError in a resolver is a ConnectionError; any other reaches the caller as it was raised."""

        def unreachable(host: str, port: int) -> list[str]:
            raise OSError("the directory is down")

        def broken(host: str, port: int) -> list[str]:
            raise ZeroDivisionError

        async with Session(resolver=unreachable) as session:
            with pytest.raises(ConnectionError, match="the directory is down"):
                await session.get("http://host.invalid/")
        async with Session(resolver=broken) as session:
            with pytest.raises(ZeroDivisionError):
                await session.get("http://host.invalid/")
            assert session.pool.open == 0

    async def test_the_connect_timeout_covers_it(self) -> None:
        """A resolver that hangs is a ConnectTimeout, and is cancelled."""
        cancelled = asyncio.Event()

        async def resolver(host: str, port: int) -> list[str]:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            return []

        async with Session(resolver=resolver, timeout=aioreq.Timeout(connect=0.05)) as session:
            with pytest.raises(ConnectTimeout):
                await session.get("http://host.invalid/")
        assert cancelled.is_set()

    async def test_an_unknown_name(self) -> None:
        """A name that the system doesn't know is a ConnectionError that names it."""
        async with Session() as session:
            with pytest.raises(ConnectionError, match=r"http://host.invalid:80: the name can't be resolved"):
                await session.get("http://host.invalid/")


class TestSeveralAddresses:
    async def test_a_dead_address_is_overtaken(self, black_hole: tuple[str, int], nginx: Nginx) -> None:
        """An address that does not answer costs a quarter of a second, not the whole timeout (RFC 8305)."""
        started = time.monotonic()
        async with Session(resolver=giving(black_hole, ("127.0.0.1", nginx.plain.port))) as session:
            assert (await session.get("http://two.invalid/status/204")).status_code == 204
        assert 0.2 < time.monotonic() - started < 5

    async def test_a_refusal_brings_the_next_at_once(self, closed_port: int, nginx: Nginx) -> None:
        """An address that refuses costs no waiting."""
        addresses = [("127.0.0.1", closed_port)] * 40 + [("127.0.0.1", nginx.plain.port)]
        started = time.monotonic()
        async with Session(resolver=giving(*addresses)) as session:
            assert (await session.get("http://two.invalid/status/204")).status_code == 204
        assert time.monotonic() - started < 5  # 40 quarters of a second are 10

    @pytest.mark.parametrize("order", list(itertools.permutations(["refusing", "silent", "living"])), ids="-".join)
    async def test_one_of_three_lives(
        self, order: tuple[str, ...], attempts: Attempts, black_hole: tuple[str, int], closed_port: int, nginx: Nginx
    ) -> None:
        """Whatever is dead, by refusal or by silence, and wherever it stands, the living address is found."""
        places = {
            "refusing": ("127.0.0.1", closed_port),
            "silent": black_hole,
            "living": ("127.0.0.1", nginx.plain.port),
        }
        seen: list[ConnectionEvent] = []
        async with Session(
            resolver=giving(*(places[name] for name in order)),
            timeout=aioreq.Timeout(connect=20),
            event_hooks={"connection": seen.append},
        ) as session:
            async with asyncio.timeout(5):
                assert (await session.get("http://three.invalid/status/204")).status_code == 204
                assert (await session.get("http://three.invalid/status/204")).status_code == 204
            assert len(attempts.sockets) == 1 + order.index("living")  # none behind the living one was tried
            assert session.pool.open == 1
        assert {event.remote for event in seen} == {places["living"]}

    @pytest.mark.parametrize("death", ["refusing", "silent"])
    @pytest.mark.parametrize("scheme", ["plain", "tls"])
    async def test_an_upload_goes_to_the_living_one(
        self,
        death: str,
        scheme: str,
        black_hole: tuple[str, int],
        closed_port: int,
        uvicorn_echo: EchoServer,
        certificates: Certificates,
    ) -> None:
        """A body that can be read once is not begun for a dead address, and arrives whole."""
        endpoint: Endpoint = getattr(uvicorn_echo, scheme)
        dead = black_hole if death == "silent" else ("127.0.0.1", closed_port)
        async with Session(
            resolver=giving(dead, ("127.0.0.1", endpoint.port)), verify=str(certificates.authority)
        ) as session:
            response = await session.put(
                f"{endpoint.scheme}://localhost:{endpoint.port}/echo",
                data=(b"x" * 50_000 for _ in range(10)),
                headers={"Content-Length": "500000"},
            )
        assert response.json()["length"] == 500_000
        assert response.upload.complete

    async def test_a_dead_family(self, nginx: Nginx) -> None:
        """Where IPv6 is refused, IPv4 is used."""
        async with Session(resolver=giving("::1", "127.0.0.1")) as session:
            response = await session.get(f"http://two.invalid:{nginx.plain.port}/status/204")
        assert response.status_code == 204

    async def test_refused_and_silent(self, black_hole: tuple[str, int], closed_port: int) -> None:
        """When one address refuses and the other is silent, the connect timeout ends it."""
        for addresses in ((black_hole, ("127.0.0.1", closed_port)), (("127.0.0.1", closed_port), black_hole)):
            async with Session(resolver=giving(*addresses), timeout=aioreq.Timeout(connect=0.4)) as session:
                with pytest.raises(ConnectTimeout, match=r"within 0\.4 seconds"):
                    await session.get("http://two.invalid/")
                assert session.pool.open == 0

    async def test_losers_are_closed(self, attempts: Attempts, black_hole: tuple[str, int], nginx: Nginx) -> None:
        """The attempts that lost the race leave no socket behind."""
        connector = Connector(giving(black_hole, black_hole, ("127.0.0.1", nginx.plain.port)))
        with await connector.connect("three.invalid", 80) as winner:
            assert len(attempts.sockets) == 3
            assert attempts.open == [winner]

    async def test_two_winners_leave_one(self, attempts: Attempts, nginx: Nginx) -> None:
        """Of two attempts that are connected at the same moment, one is kept and the other closed."""
        attempts.connect_together(2)
        here = ("127.0.0.1", nginx.plain.port)
        with await Connector(giving(here, here)).connect("two.invalid", 80) as winner:
            assert len(attempts.sockets) == 2
            assert attempts.open == [winner]

    async def test_cancelling_closes_all(self, attempts: Attempts, black_hole: tuple[str, int]) -> None:
        """A race that is called off leaves no socket behind."""
        race = asyncio.create_task(Connector(giving(black_hole, black_hole)).connect("two.invalid", 80))
        await attempts.begun(2)
        race.cancel()
        with pytest.raises(asyncio.CancelledError):
            await race
        assert not attempts.open

    async def test_all_dead_is_a_connect_timeout(self, attempts: Attempts, black_hole: tuple[str, int]) -> None:
        """When no address answers, the connect timeout ends it, and nothing is left behind."""
        async with Session(resolver=giving(black_hole, black_hole), timeout=aioreq.Timeout(connect=0.4)) as session:
            with pytest.raises(ConnectTimeout, match=r"no connection to http://two\.invalid:80 within 0\.4 seconds"):
                await session.get("http://two.invalid/")
            assert session.pool.open == 0
        assert len(attempts.sockets) == 2
        assert not attempts.open

    async def test_all_refused(self, closed_port: int) -> None:
        """When every address refuses, the error says so once."""
        async with Session(resolver=giving(("127.0.0.1", closed_port), ("127.0.0.2", closed_port))) as session:
            with pytest.raises(ConnectionError, match=r"two\.invalid:80: nobody listens there") as caught:
                await session.get("http://two.invalid/")
        assert caught.value.request.url == "http://two.invalid/"

    async def test_different_failures_are_all_told(self, closed_port: int) -> None:
        """When addresses fail in different ways, the error tells of each."""
        async with Session(resolver=giving(("127.0.0.1", closed_port), ("255.255.255.255", 80))) as session:
            with pytest.raises(ConnectionError, match=r"127\.0\.0\.1: .*; 255\.255\.255\.255: "):
                await session.get("http://two.invalid/")

    def test_families_take_turns(self) -> None:
        """IPv6 and IPv4 are tried by turns, whichever there is more of (RFC 8305, section 4)."""
        six = [Address(socket.AF_INET6, (f"::{n}", 80, 0, 0)) for n in range(1, 4)]
        four = [Address(socket.AF_INET, ("127.0.0.1", 80))]
        assert _alternating(six + four) == [six[0], four[0], six[1], six[2]]
        assert _alternating(four + six) == [four[0], six[0], six[1], six[2]]
        assert _alternating(six) == six


class TestLocalAddress:
    async def test_connections_come_from_it(self, nginx: Nginx) -> None:
        """local_address is where connections come from, each from a port of its own."""
        seen: list[ConnectionEvent] = []
        async with Session(local_address=("127.0.0.9", 0), event_hooks={"connection": seen.append}) as session:
            await asyncio.gather(*(session.get(nginx.plain.url("/status/204")) for _ in range(2)))
        assert {event.local[0] for event in seen} == {"127.0.0.9"}
        assert len({event.local[1] for event in seen}) == 2

    async def test_only_its_family_is_tried(self, nginx: Nginx) -> None:
        """Addresses of the other family can't be reached from it, and are passed over."""
        async with Session(local_address=("127.0.0.1", 0), resolver=giving("::1", "127.0.0.1")) as session:
            assert (await session.get(f"http://two.invalid:{nginx.plain.port}/status/204")).status_code == 204
            with pytest.raises(ConnectionError, match=r"the local address 127\.0\.0\.1 can reach none"):
                await session.get("http://[::1]/")

    async def test_one_that_is_not_ours(self, nginx: Nginx) -> None:
        """An address that this machine hasn't is a ConnectionError."""
        async with Session(local_address=("192.0.2.1", 0)) as session:
            with pytest.raises(ConnectionError, match="can't connect to"):
                await session.get(nginx.plain.url("/"))

    @pytest.mark.parametrize("bad", ["127.0.0.1", ("localhost", 0), ("127.0.0.1",), ("127.0.0.1", -1), (None, None), 5])
    def test_what_is_none(self, bad: Any) -> None:
        """Anything but an address and a port is a ValueError that says what to pass."""
        with pytest.raises(ValueError, match=r"pass .an IP address of this machine, a port or 0"):
            Session(local_address=bad)


class TestUnixSocket:
    async def test_everything_goes_there(self, nginx: Nginx) -> None:
        """With unix_socket every request goes to it, whatever the host; connections are kept."""
        async with Session(unix_socket=str(nginx.unix_socket)) as session:
            response = await session.get("http://any.invalid/static/hello.txt")
            assert response.text == "hello, world\n"
            assert response.request.headers["Host"] == "any.invalid"
            await session.get("http://any.invalid/static/hello.txt")
            assert session.pool.open == 1

    async def test_uploads_are_exact(self, nginx: Nginx, tmp_path: Path) -> None:
        """A file of some size arrives whole."""
        content = os.urandom(3_000_000)
        (tmp_path / "file").write_bytes(content)
        async with Session(unix_socket=str(nginx.unix_socket)) as session:
            assert (await session.put("http://localhost/dav/unix", tmp_path / "file")).status_code == 201
        assert nginx.stored("unix").read_bytes() == content

    async def test_the_environments_proxy_is_not_asked(self, nginx: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
        """A Unix socket needs no proxy."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        async with Session(unix_socket=str(nginx.unix_socket)) as session:
            assert (await session.get("http://localhost/status/204")).status_code == 204

    async def test_no_such_socket(self, tmp_path: Path) -> None:
        """A socket that is not there is a ConnectionError that names it."""
        async with Session(unix_socket=str(tmp_path / "none")) as session:
            with pytest.raises(ConnectionError, match=r"can't connect to http://localhost:80 at .*none: "):
                await session.get("http://localhost/")
            assert session.pool.open == 0

    async def test_a_full_queue_is_waited_for(self, tmp_path: Path) -> None:
        """A server that has not taken its connections yet is waited for, up to the connect timeout."""
        path = str(tmp_path / "full")
        with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
            full.bind(path)
            full.listen(0)
            first.connect(path)
            with pytest.raises(ConnectTimeout, match=r"no connection to http://localhost:80 at .* within 0.05 seconds"):
                await Dialer().dial(Route(("http", "localhost", 80), path), 0.05)
            waiting = asyncio.create_task(Dialer().dial(Route(("http", "localhost", 80), path), 5))
            await asyncio.sleep(0)
            assert not waiting.done()
            full.accept()[0].close()
            stream = await waiting
            full.accept()[0].close()
            await stream.aclose()
