"""How an origin is reached."""

from __future__ import annotations

from dataclasses import dataclass

from .._url import Origin


@dataclass(frozen=True, slots=True)
class Route:
    """Connections on the same route can serve each other's requests.

    Attributes:
        origin: (scheme, host, port) of the server.
        unix_socket: the path of a Unix socket to connect to instead of host and port, or None.
    """

    origin: Origin
    unix_socket: str | None = None

    @property
    def is_secure(self) -> bool:
        """Whether there is TLS to the server."""
        return self.origin[0] == "https"

    def __str__(self) -> str:
        scheme, host, port = self.origin
        return f"{scheme}://{host}:{port}" + (f" at {self.unix_socket}" if self.unix_socket else "")
