"""Where a server listens."""

import http.client
import socket
import ssl
from dataclasses import dataclass

SECONDS_TO_START = 20
"""How long a server may take until it answers its first request; far more than any needs on a busy machine."""


@dataclass(frozen=True)
class Endpoint:
    """A server's port on 127.0.0.1 and what it speaks there."""

    scheme: str
    port: int
    host: str = "127.0.0.1"

    def url(self, path: str = "/") -> str:
        """The absolute URL of `path`, which starts with a slash."""
        return f"{self.scheme}://{self.host}:{self.port}{path}"

    def connect(self, timeout: float = 10, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        """A connection of the standard library to this endpoint, not opened yet.

        `timeout` is in seconds. `context` verifies the server over https; without it no certificate is checked.
        """
        if self.scheme == "http":
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        context = context or ssl._create_unverified_context()
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=context)

    def await_answer(self, path: str = "/status/204") -> None:
        """Return as soon as `path` is answered; raises OSError or http.client.HTTPException if it never will be.

        The port listens from before its server starts, so that one request is enough: it waits in the socket's
        queue, and is refused when the last process that holds the socket ends.
        """
        connection = self.connect(timeout=SECONDS_TO_START)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
        finally:
            connection.close()


@dataclass(frozen=True)
class EchoServer:
    """A server that keeps the echo contract, on a plain and a TLS port."""

    plain: Endpoint
    tls: Endpoint


def listening_socket() -> socket.socket:
    """A socket that listens on a free port of 127.0.0.1, for a server: no other process can take the port meanwhile."""
    return socket.create_server(("127.0.0.1", 0), backlog=1024)


def endpoint(scheme: str, listener: socket.socket) -> Endpoint:
    """The endpoint of a socket from `listening_socket`."""
    return Endpoint(scheme, listener.getsockname()[1])
