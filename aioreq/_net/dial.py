"""Making connections: a socket, what is said to a proxy on the way, and TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from .._rules.route import Proxy, Route, authority
from .._threads import READERS
from .._url import Origin
from ..exceptions import ConnectionError, ConnectTimeout, ProxyError, RequestException, SSLError
from .connect import Connector, Resolver, connect_unix
from .proxy import open_tunnel, pass_socks, require_socks
from .stream import Stream, StreamProtocol
from .trust import make_context

# A transport that is being made takes 1.5 KB for callbacks, future and coroutines. The memory of a thousand at a time
# would never be given back.
_MADE_AT_A_TIME = 32


class Dialer:
    """Connects to where a route leads.

    Args:
        verify, cert: see :func:`aioreq._net.trust.make_context`.
        local_address, resolver: see :class:`aioreq._net.connect.Connector`.

    Raises:
        ValueError: ``local_address`` is no IP address and port.
    """

    def __init__(
        self,
        verify: Any = True,
        cert: Any = None,
        local_address: tuple[str, int] | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self._connector = Connector(resolver, local_address)
        self._making = asyncio.Semaphore(_MADE_AT_A_TIME)
        self._server_tls = _Context(verify, cert)
        # The client's certificate is for the servers: a proxy has its own credentials, in its URL.
        self._proxy_tls = self._server_tls if cert is None else _Context(verify, None)

    async def dial(self, route: Route, limit: float | None) -> Stream:
        """A connected stream: what is written to it reaches the server, or the proxy that forwards.

        Args:
            route: where to.
            limit: seconds until it must be there, or None.

        Raises:
            ConnectTimeout: it was not.
            SSLError: a handshake failed, or a certificate is not trusted.
            ProxyError: the proxy can't be reached, refused, or could not be understood.
            ExtraRequired: the proxy speaks SOCKS, and python-socks is not installed.
            ConnectionError: the name has no address, or nobody listens there.
        """
        span = asyncio.timeout(limit)
        try:
            async with span:
                stream = await self._stream_on(await self._socket_to(route))
                await self._prepare(stream, route)
                return stream
        except OSError as error:
            if isinstance(error, RequestException):
                raise
            if span.expired():
                raise ConnectTimeout(f"no connection to {route} within {limit:g} seconds") from error
            raise ConnectionError(f"can't connect to {route}: {_reason(error)}") from error

    def _socket_to(self, route: Route) -> Awaitable[socket.socket]:
        """Connected to the server, or to an HTTP proxy that nothing has been said to yet.

        A coroutine of one of the others rather than one around it: each that waits costs a connection 250 bytes, which
        a thousand of them that are made at a time never give back.
        """
        if route.unix_socket is not None:
            return connect_unix(route.unix_socket)
        proxy, origin = route.proxy, route.origin
        if proxy is not None and proxy.speaks_http:
            return self._connect_to(proxy)
        assert origin is not None  # only an HTTP proxy forwards
        if proxy is not None:
            return self._connect_by_socks(proxy, origin)
        return self._connector.connect(*origin[1:])

    async def _stream_on(self, sock: socket.socket) -> Stream:
        """Give a socket its transport. That waits for nothing but the loop, twice, and so do those whose turn comes."""
        try:
            await self._making.acquire()
        except BaseException:
            sock.close()
            raise
        try:
            return Stream(asyncio.get_running_loop(), *await _transport_on(sock))
        finally:
            self._making.release()

    async def _connect_to(self, proxy: Proxy) -> socket.socket:
        try:
            return await self._connector.connect(proxy.host, proxy.port)
        except OSError as error:
            raise ProxyError(f"can't connect to the proxy {proxy}: {_reason(error)}") from error

    async def _connect_by_socks(self, proxy: Proxy, origin: Origin) -> socket.socket:
        """Through the proxy to the first of the server's addresses that it reaches."""
        require_socks(proxy)
        refused: ProxyError | None = None
        for host, port in await self._places_for(proxy, origin):
            sock = await self._connect_to(proxy)
            try:
                return await pass_socks(sock, proxy, host, port)
            except ProxyError as error:
                refused = error
        raise refused or ProxyError(f"{proxy.scheme} knows IPv4 only, and {authority(*origin[1:])} has no such address")

    async def _places_for(self, proxy: Proxy, origin: Origin) -> list[tuple[str, int]]:
        """What the proxy is asked for: the server's name, or its addresses where we have to know them."""
        _, host, port = origin
        if proxy.resolves_names and not (proxy.scheme == "socks4a" and ":" in host):
            return [(host, port)]
        found = await self._connector.resolve(host, port)
        return [
            (address.host, address.port)
            for address in found
            if address.family == socket.AF_INET or proxy.scheme == "socks5"
        ]

    async def _prepare(self, stream: Stream, route: Route) -> None:
        """Everything between the socket and the first request; what fails here is closed."""
        try:
            await self._introduce(stream, route)
        except BaseException:
            stream.abort()
            raise

    async def _introduce(self, stream: Stream, route: Route) -> None:
        proxy, origin = route.proxy, route.origin
        if proxy is not None and proxy.scheme == "https":
            await self._start_proxy_tls(stream, proxy)
        if origin is None:
            return
        if proxy is not None and proxy.speaks_http:
            await open_tunnel(stream, proxy, origin)
        scheme, host, _ = origin
        if scheme == "https":
            await stream.start_tls(await self._server_tls.get(), host)

    async def _start_proxy_tls(self, stream: Stream, proxy: Proxy) -> None:
        try:
            await stream.start_tls(await self._proxy_tls.get(), proxy.host)
        except SSLError as error:
            raise SSLError(f"no TLS with the proxy {proxy}: {error}") from error

    async def aclose(self) -> None:
        """Let go of what is still being made."""
        await self._server_tls.aclose()
        await self._proxy_tls.aclose()


class _Context:
    """A TLS context, made when it is first needed: reading the system's certificates takes tens of milliseconds."""

    def __init__(self, verify: Any, cert: Any) -> None:
        self._verify = verify
        self._cert = cert
        self._made: asyncio.Future[ssl.SSLContext] | None = None

    async def get(self) -> ssl.SSLContext:
        if self._made is None:
            self._made = asyncio.ensure_future(READERS.start(make_context, self._verify, self._cert))
        return await asyncio.shield(self._made)

    async def aclose(self) -> None:
        if self._made is not None and not self._made.done():
            self._made.cancel()
            with suppress(asyncio.CancelledError):
                await self._made


def _transport_on(sock: socket.socket) -> Coroutine[Any, Any, tuple[asyncio.Transport, StreamProtocol]]:
    loop = asyncio.get_running_loop()
    connect = loop.create_connection
    if any(base.__module__ == "uvloop" for base in type(loop).__mro__):
        # Not by aiofastnet's transport, which may have been put in its place. That waits by uvloop's add_reader, which
        # tells of a reset once, along with the last bytes: a transport that then takes only these waits for ever.
        connect = partial(type(loop).create_connection, loop)
    return connect(partial(StreamProtocol, loop), sock=sock)


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name can't be resolved ({error.strerror})"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (connection refused)"
    return error.strerror or str(error) or type(error).__name__


Dial = Callable[[Route, float | None], Awaitable[Stream]]
