"""From a name to a connected socket: addresses are looked up, and raced against each other.

The race is that of RFC 8305 (Happy Eyeballs), section 5: an address that does not answer soon gets company by
the next one, a failure brings the next one at once, and the first that is connected wins.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, NamedTuple

# RFC 8305, section 8: how long one address may take before the next is tried beside it.
_NEXT_ADDRESS_AFTER = 0.25

# How long until a Unix socket with a full queue is tried again: nothing tells when it has room.
_FULL_QUEUE_PAUSE = 0.01

Resolver = Callable[[str, int], Iterable[Any] | Awaitable[Iterable[Any]]]


class Address(NamedTuple):
    """An address as the socket module has it: family, and what ``connect`` takes."""

    family: int
    place: tuple[Any, ...]

    @property
    def host(self) -> str:
        """The IP address."""
        return str(self.place[0])

    @property
    def port(self) -> int:
        """The port."""
        return int(self.place[1])


class Connector:
    """Connects to hosts by their names.

    Args:
        resolver: called with (host, port) instead of the operating system, and gives IP addresses, or pairs of an IP
            address and a port; may be asynchronous.
        local_address: (IP address, port) to connect from.

    Raises:
        ValueError: ``local_address`` is no IP address and port.
    """

    def __init__(self, resolver: Resolver | None = None, local_address: tuple[str, int] | None = None) -> None:
        self._resolver = resolver
        self._local = None if local_address is None else _checked_local(local_address)

    def connect(self, host: str, port: int) -> Coroutine[Any, Any, socket.socket]:
        """A connected socket, not blocking; to be awaited.

        No coroutine around the one that connects: see :meth:`aioreq._net.dial.Dialer._socket_to`.

        Raises:
            OSError: the name has no address, or nobody listens there.
        """
        address = _written(host, port)
        return self._connect_by_name(host, port) if address is None else self._connect_to_one_of([address])

    async def _connect_by_name(self, host: str, port: int) -> socket.socket:
        return await self._connect_to_one_of(await self.resolve(host, port))

    def _connect_to_one_of(self, addresses: list[Address]) -> Coroutine[Any, Any, socket.socket]:
        if self._local is not None:
            addresses = [address for address in addresses if address.family == self._local.family]
            if not addresses:
                raise OSError(f"the local address {self._local.host} can reach none of the host's addresses")
        if len(addresses) == 1:
            return _connect(addresses[0], self._local)
        return _race(addresses, self._local)

    async def resolve(self, host: str, port: int) -> list[Address]:
        """The host's addresses in the order they are to be tried, one at least.

        Raises:
            OSError: there is none.
        """
        address = _written(host, port)
        if address is not None:
            return [address]
        if self._resolver is None:
            found = await _ask_system(host, port)
        else:
            answer = self._resolver(host, port)
            found = _all_given(await answer if inspect.isawaitable(answer) else answer, port)
        if not found:
            raise OSError("the name has no address")
        return _alternating(found)


async def connect_unix(path: str) -> socket.socket:
    """A socket connected to the Unix socket at ``path``, not blocking.

    Raises:
        OSError: nobody listens there, or the platform has no Unix sockets.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this platform has no Unix sockets")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while not _connected_now(sock, path):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(_FULL_QUEUE_PAUSE)
    except BaseException:
        sock.close()
        raise
    return sock


def _connected_now(sock: socket.socket, path: str) -> bool:
    """Connect, or say no where the server's queue is full.

    The event loop's own ``sock_connect`` takes that for a connection that is under way, and then for one that is made.
    """
    try:
        sock.connect(path)
    except BlockingIOError:
        return False
    return True


def _checked_local(local_address: tuple[str, int]) -> Address:
    try:
        host, port = local_address
        return _numeric(host, port)
    except (OSError, TypeError, ValueError, OverflowError):
        raise ValueError(
            f"local_address={local_address!r}: pass (an IP address of this machine, a port or 0 for any)"
        ) from None


def _written(host: str, port: int) -> Address | None:
    """The address, if it is written as numbers; None for a name."""
    with suppress(OSError, UnicodeError):
        return _numeric(host, port)
    return None


def _numeric(host: str, port: int) -> Address:
    """The address that is written as numbers; never asks anybody."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)[0]
    return Address(family, place)


def _all_given(answer: Any, port: int) -> list[Address]:
    """What a resolver of the caller's gave."""
    if isinstance(answer, (str, bytes)) or not isinstance(answer, Iterable):
        raise OSError(f"the resolver gave {answer!r}, which is no list of addresses")
    return [_given(entry, port) for entry in answer]


def _given(entry: Any, port: int) -> Address:
    try:
        host, port = (entry, port) if isinstance(entry, str) else entry
        if not 0 < port < 1 << 16:  # getaddrinfo would take what is left of it in 16 bits
            raise ValueError(f"{port} is no port")
        return _numeric(host, port)
    except (OSError, TypeError, ValueError, OverflowError) as error:
        raise OSError(f"the resolver gave {entry!r}, which is no IP address, nor one with a port") from error


async def _ask_system(host: str, port: int) -> list[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label of more than 63 characters, or an empty one
        raise OSError("the name can't be a host's") from error
    return [Address(family, place) for family, _, _, _, place in found]


def _alternating(addresses: list[Address]) -> list[Address]:
    """IPv6 and IPv4 by turns, the family of the first one first (RFC 8305, section 4)."""
    first = [address for address in addresses if address.family == addresses[0].family]
    second = [address for address in addresses if address.family != addresses[0].family]
    paired = [address for pair in zip(first, second, strict=False) for address in pair]
    shorter = len(paired) // 2
    return paired + first[shorter:] + second[shorter:]


async def _connect(address: Address, local: Address | None) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)
        if local is not None:
            sock.bind(local.place)
        await asyncio.get_running_loop().sock_connect(sock, address.place)
    except BaseException:
        sock.close()
        raise
    return sock


async def _race(addresses: list[Address], local: Address | None) -> socket.socket:
    """The first socket that is connected; the others are given up."""
    waiting = deque(addresses)
    running: dict[asyncio.Task[socket.socket], Address] = {}
    failures: list[tuple[Address, OSError]] = []
    try:
        while waiting or running:
            if waiting:
                address = waiting.popleft()
                running[asyncio.create_task(_connect(address, local))] = address
            patience = _NEXT_ADDRESS_AFTER if waiting else None
            done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                address = running.pop(task)
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                failures.append((address, error))
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_unwanted)
        if running:
            await asyncio.wait(running)
    raise _joint(failures)


def _close_unwanted(task: asyncio.Task[socket.socket]) -> None:
    """Close the socket of one that was connected after all."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _joint(failures: list[tuple[Address, OSError]]) -> OSError:
    """All that failed in one error."""
    if len({error.errno for _, error in failures}) == 1:
        return failures[0][1]
    return OSError("; ".join(f"{address.host}: {error.strerror or error}" for address, error in failures))
