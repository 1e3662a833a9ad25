"""What carries a request to a server and brings its answer: the network, or something that stands in for it."""

from __future__ import annotations

from typing import Any, NoReturn, Protocol

from .._events import ConnectionEvent, ResendEvent
from .._message import PreparedRequest, Response, attach
from .._rules.proxies import Ways
from .._rules.retry import may_send_again
from .._rules.route import Route
from ..exceptions import RequestException, ServerDisconnected
from .dial import Dialer
from .http1 import Connection, Terms
from .pool import Limits, Pool
from .proxy import refusal


class Transport(Protocol):
    """One request out, one answer in. ``aioreq.testing`` has transports without a socket."""

    async def exchange(self, request: PreparedRequest, terms: Terms) -> Response:
        """Send the request; the answer's body may still be on its way.

        Raises:
            RequestException: there was no answer.
        """

    async def aclose(self) -> None:
        """Give everything up."""


class Network:
    """Connections over sockets, kept in a pool.

    Args:
        dialer: makes them.
        limits: how many of them.
        ways: says which route a request takes.

    Attributes:
        pool: the connections.
    """

    def __init__(self, dialer: Dialer, limits: Limits, ways: Ways) -> None:
        self._dialer = dialer
        self._ways = ways
        self.pool = Pool(dialer.dial, limits)

    async def exchange(self, request: PreparedRequest, terms: Terms) -> Response:
        """See :meth:`Transport.exchange`."""
        while True:
            try:
                route = self._ways.route(request.target.origin)
                connection = self.pool.take(route) or await self.pool.acquire(
                    route, terms.timeout.pool, terms.timeout.connect, request.body
                )
            except RequestException as error:
                attach(error, request)
                raise
            reused = connection.exchanges > 0
            if "connection" in terms.hooks:
                await self._tell(connection, request, terms)
                if reused and not connection.stream.untouched:  # the server did not wait for those who were told
                    connection.release(False)
                    continue
            try:
                response = await connection.exchange(request, terms)
            except ServerDisconnected as error:
                # An idle connection that the server was closing just then: the request never reached anybody.
                if not reused or not may_send_again(request, error.sent):
                    raise
                await terms.hooks.tell("resend", ResendEvent(request, error))
            else:
                if response.status_code == 407 and route.is_forwarded:
                    await self._refuse(response, route)
                return response

    async def _refuse(self, response: Response, route: Route) -> NoReturn:
        """A forwarding proxy wants credentials: the same error as for a tunnel, and no answer of the server's."""
        assert route.proxy is not None
        await response.aclose()
        error = refusal(route.proxy, response.status_code, response.reason)
        error.response = response
        attach(error, response.request)
        raise error

    async def _tell(self, connection: Connection, request: PreparedRequest, terms: Terms) -> None:
        stream = connection.stream
        event = ConnectionEvent(
            request,
            reused=connection.exchanges > 0,
            local=stream.about("sockname"),
            remote=stream.about("peername"),
            tls=stream.tls.version() if stream.tls is not None else None,
        )
        try:
            await terms.hooks.tell("connection", event)
        except BaseException:
            connection.release(True)
            raise

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        await self.pool.aclose()
        await self._dialer.aclose()


def describe(transport: Any) -> str:
    """A word on a transport for a session's repr."""
    return repr(transport.pool) if isinstance(transport, Network) else type(transport).__name__
