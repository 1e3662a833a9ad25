"""Which way a request takes: what the session was told, or what the environment says.

The environment is read as curl and requests read it: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and
``NO_PROXY``, where the name in lower case comes before the one in upper case.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from types import NoneType

from .._url import Origin
from ..exceptions import InvalidURL
from .route import Proxy, Route

# Nothing that a route depends on changes, but the origins may be many.
_ROUTES_KEPT = 1024
_SCHEMES = ("http", "https")
# As text: compiled when first used, which few programs do.
_SURROGATE = r"[\ud800-\udbff]"  # but for those that stand for bytes of a path (PEP 383)
_HOST_AND_PORT = r"(.+):([0-9]+)"
_Network = IPv4Network | IPv6Network


class Ways:
    """Finds the route for each request of a session.

    Args:
        unix_socket: the path of a Unix socket that everything goes to, or None.
        proxy: the URL of a proxy that everything goes through, or None.
        environment: the variables that choose proxies where neither is given; None to look at none.

    Raises:
        TypeError: ``unix_socket`` is not a path, or ``proxy`` not text.
        ValueError: both a Unix socket and a proxy are given.
        InvalidURL: ``proxy`` is not the URL of a proxy.
    """

    def __init__(
        self,
        unix_socket: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(proxy, (str, NoneType)):
            raise TypeError(f"proxy= is one URL as text, for http and https alike, not {type(proxy).__name__}")
        if unix_socket is not None and proxy is not None:
            raise ValueError("unix_socket= and proxy= are two ways to the server: choose one")
        if unix_socket is not None and not isinstance(unix_socket, (str, bytes, os.PathLike)):
            raise TypeError(f"unix_socket= is the path of a Unix socket, not {type(unix_socket).__name__}")
        self._unix_socket = None if unix_socket is None else os.fspath(unix_socket)
        if isinstance(self._unix_socket, str) and re.search(_SURROGATE, self._unix_socket):
            raise ValueError(f"unix_socket={self._unix_socket!r} holds a lone surrogate, which no path can")
        self.proxy = None if proxy is None else Proxy.parse(proxy)
        self._environment = EnvironmentProxies(environment or {})
        self._known: dict[Origin, Route] = {}

    def route(self, origin: Origin) -> Route:
        """The route to ``origin``.

        Raises:
            InvalidURL: the environment names a proxy for it by what is not the URL of a proxy.
        """
        route = self._known.get(origin)
        if route is None:
            if len(self._known) >= _ROUTES_KEPT:
                self._known.clear()
            route = self._known[origin] = self._found(origin)
        return route

    def _found(self, origin: Origin) -> Route:
        if self._unix_socket is not None:
            return Route(origin, self._unix_socket)
        proxy = self.proxy or self._environment.proxy(origin)
        return Route(origin) if proxy is None else Route.through(proxy, origin)


class EnvironmentProxies:
    """The proxies that environment variables name.

    Args:
        environment: the variables, names as they are written.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        every = _variable(environment, "all_proxy")
        named = {scheme: _variable(environment, f"{scheme}_proxy") or every for scheme in _SCHEMES}
        self._named = {scheme: variable for scheme, variable in named.items() if variable is not None}
        self._parsed: dict[str, Proxy] = {}
        exempt = _variable(environment, "no_proxy")
        self._exempt = Exemptions("" if exempt is None else exempt[1])

    def proxy(self, origin: Origin) -> Proxy | None:
        """The proxy for ``origin``, or None.

        Raises:
            InvalidURL: the variable is not the URL of a proxy; the message names it, and does not show its value.
        """
        variable = self._named.get(origin[0])
        if variable is None or self._exempt.cover(origin):
            return None
        name, url = variable
        if name not in self._parsed:
            try:
                self._parsed[name] = Proxy.parse(url)
            except InvalidURL as error:
                raise InvalidURL(f"the environment variable {name} is {error}") from None
        return self._parsed[name]


def _variable(environment: Mapping[str, str], lower: str) -> tuple[str, str] | None:
    """(name, value) of a variable that says something."""
    name = lower if lower in environment else lower.upper()
    if name == "HTTP_PROXY" and "REQUEST_METHOD" in environment:
        return None  # under CGI that is a request's header "Proxy", which anybody can send (CVE-2016-5385)
    value = environment.get(name, "").strip()
    return (name, value) if value else None


class Exemptions:
    """Which servers ``NO_PROXY`` wants reached without a proxy.

    Args:
        text: entries between commas or white space: ``*`` for all; ``example.com`` for that host and all below,
            with or without ``.`` or ``*.`` before it; an address; a network as ``10.0.0.0/8`` or ``fd00::/8``.
            With ``:port`` behind it, an entry is for that port only. Names are not resolved: a network covers
            URLs that hold an address.
    """

    def __init__(self, text: str) -> None:
        entries = [_entry(entry) for entry in re.split(r"[,\s]+", text.lower()) if entry]
        self._names = [(place, port) for place, port in entries if isinstance(place, str)]
        self._networks = [(place, port) for place, port in entries if not isinstance(place, str)]

    def cover(self, origin: Origin) -> bool:
        """Whether ``origin`` is exempt."""
        _, host, port = origin
        if not self._names and not self._networks:
            return False
        if ("*", None) in self._names:
            return True
        try:
            address = ip_address(host)
        except ValueError:
            name = "." + host.lower().rstrip(".")
            return any(name.endswith("." + suffix) and only in (None, port) for suffix, only in self._names)
        return any(
            address.version == network.version and address in network and only in (None, port)
            for network, only in self._networks
        )


def _entry(text: str) -> tuple[str | _Network, int | None]:
    """What an entry of NO_PROXY covers: a network, or a name with all below it; and the port, or None for any."""
    network = _network(text)  # first, as the colons of an IPv6 address are no port's
    if network is not None:
        return network, None
    port = None
    if split := re.fullmatch(_HOST_AND_PORT, text):
        text, port = split[1], int(split[2])
    return _network(text) or text.removeprefix("*.").strip("."), port


def _network(text: str) -> _Network | None:
    try:
        return ip_network(text.removeprefix("[").removesuffix("]"), strict=False)
    except ValueError:
        return None
