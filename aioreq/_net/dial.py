"""Making connections: names, addresses, sockets, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from .._rules.route import Route
from .._threads import READERS
from ..exceptions import ConnectionError, ConnectTimeout, RequestException
from .stream import Stream, StreamProtocol
from .trust import make_context

# RFC 8305 (Happy Eyeballs), section 8: how long one address may take before the next is tried beside it.
_NEXT_ADDRESS_AFTER = 0.25


class Dialer:
    """Connects to where a route leads.

    Args:
        verify, cert: see :func:`aioreq._net.trust.make_context`.
        local_address: (host, port) to connect from, or None.
    """

    def __init__(self, verify: Any = True, cert: Any = None, local_address: tuple[str, int] | None = None) -> None:
        self._verify = verify
        self._cert = cert
        self._local_address = local_address
        self._context: asyncio.Future[ssl.SSLContext] | None = None

    async def dial(self, route: Route, limit: float | None) -> Stream:
        """A connected stream, TLS included.

        Args:
            route: where to.
            limit: seconds until it must be there, or None.

        Raises:
            ConnectTimeout: it was not.
            SSLError: the handshake failed, or the certificate is not trusted.
            ConnectionError: the name has no address, or nobody listens there.
        """
        try:
            async with asyncio.timeout(limit):
                stream = await self._connect(route)
                try:
                    if route.is_secure:
                        await stream.start_tls(await self._tls_context(), route.origin[1])
                except BaseException:
                    stream.abort()
                    raise
                return stream
        except TimeoutError as error:
            if isinstance(error, RequestException):
                raise
            raise ConnectTimeout(f"no connection to {route} within {limit:g} seconds") from error
        except OSError as error:
            if isinstance(error, RequestException):
                raise
            raise ConnectionError(f"can't connect to {route}: {_reason(error)}") from error

    async def _connect(self, route: Route) -> Stream:
        loop = asyncio.get_running_loop()
        _, host, port = route.origin
        if route.unix_socket is not None:
            transport, protocol = await loop.create_unix_connection(lambda: StreamProtocol(loop), route.unix_socket)
        else:
            transport, protocol = await loop.create_connection(
                lambda: StreamProtocol(loop),
                host,
                port,
                happy_eyeballs_delay=_NEXT_ADDRESS_AFTER,
                local_addr=self._local_address,
            )
        return Stream(loop, transport, protocol)

    async def _tls_context(self) -> ssl.SSLContext:
        """The session's context, made once: reading the system's certificates takes tens of milliseconds."""
        if self._context is None:
            self._context = asyncio.ensure_future(READERS.start(make_context, self._verify, self._cert))
        return await asyncio.shield(self._context)

    async def aclose(self) -> None:
        """Let go of a context that is still being made."""
        if self._context is not None and not self._context.done():
            self._context.cancel()
            with suppress(asyncio.CancelledError):
                await self._context


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name can't be resolved ({error.strerror})"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (connection refused)"
    return error.strerror or str(error)


Dial = Callable[[Route, float | None], Awaitable[Stream]]
