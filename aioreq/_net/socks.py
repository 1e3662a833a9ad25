"""SOCKS, with python-socks: importing this module needs the extra ``aioreq[socks]``.

python-socks does the talking over a socket that is connected already, as if it came from another proxy before.
"""

from __future__ import annotations

import socket
from typing import Any

import python_socks
from python_socks.async_.asyncio import Proxy as Talk

from .._rules.route import Proxy, authority
from ..exceptions import ProxyError

_TYPES = {
    "socks4": python_socks.ProxyType.SOCKS4,
    "socks4a": python_socks.ProxyType.SOCKS4,
    "socks5": python_socks.ProxyType.SOCKS5,
    "socks5h": python_socks.ProxyType.SOCKS5,
}
# python-socks has a limit of its own where none is given; the dialer's is the one that counts.
_NO_LIMIT = 1e6


class _Connected(Talk):
    """Stands where python-socks would connect to the proxy."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, *_: Any, **__: Any) -> socket.socket:
        """The socket that is there."""
        return self._sock


async def negotiate(sock: socket.socket, proxy: Proxy, host: str, port: int) -> socket.socket:
    """Have the proxy connect to ``host``, a name or an address as the proxy's scheme demands.

    Args:
        sock: connected to the proxy, not blocking; closed if this fails.
        proxy: the proxy.
        host: where to.
        port: where to.

    Raises:
        ProxyError: it refuses, or speaks another protocol.
    """
    user, password = proxy.credentials or (None, None)
    try:
        talk = Talk(_TYPES[proxy.scheme], proxy.host, proxy.port, user, password, rdns=True, forward=_Connected(sock))
        return await talk.connect(host, port, timeout=_NO_LIMIT)
    except BaseException as error:
        sock.close()  # python-socks has done so already, as far as it got hold of it
        if isinstance(error, (python_socks.ProxyError, OSError, UnicodeError)):
            raise ProxyError(f"the proxy {proxy} gives no way to {authority(host, port)}: {error}") from error
        raise
