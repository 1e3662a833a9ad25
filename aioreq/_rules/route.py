"""How an origin is reached: directly, by a Unix socket, or through a proxy."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import NamedTuple

from .._headers import Headers
from .._url import Origin, Target
from ..exceptions import InvalidURL

_DEFAULT_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
_ALIASES = {"socks": "socks5"}  # what desktops write into ALL_PROXY
# As text: compiled with the first proxy.
_CONTROL = r"[\x00-\x20\x7f]"
# RFC 1929, section 2: user and password are as long as one byte can say.
_SOCKS_CREDENTIAL_LIMIT = 255


class Proxy(NamedTuple):
    """A proxy. Its credentials appear in no text that is made of it.

    Attributes:
        scheme: ``http``, ``https`` (TLS to the proxy), ``socks4`` or ``socks5`` (names are resolved here), or
            ``socks4a`` or ``socks5h`` (the proxy resolves them); as curl has it.
        host, port: where it listens.
        credentials: (user, password), or None.
    """

    scheme: str
    host: str
    port: int
    credentials: tuple[str, str] | None = None

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """The proxy that ``[scheme://][user[:password]@]host[:port]`` names; ``http`` without a scheme.

        Raises:
            InvalidURL: it names none. The message does not show the URL, which may hold a password.
        """
        from yarl import URL  # as late as parse_url does it

        text = url.strip()
        if "://" not in text:
            text = f"http://{text}"
        try:
            parts = URL(text)
            scheme, host, port = _ALIASES.get(parts.scheme, parts.scheme), parts.raw_host, parts.explicit_port
            user, password = parts.user, parts.password
        except ValueError:
            raise _not_a_proxy("it can't be taken apart") from None  # yarl's message quotes what it failed at
        if scheme not in _DEFAULT_PORTS:
            raise _not_a_proxy(f"its scheme is none of {', '.join(_DEFAULT_PORTS)}")
        if not host or re.search(_CONTROL, text):
            raise _not_a_proxy("it has no host" if not host else "it holds white space or control characters")
        if port == 0 or parts.raw_path not in ("", "/") or parts.raw_query_string or parts.raw_fragment:
            raise _not_a_proxy("it ends with the port, which is 1 to 65535")
        credentials = None if user is None and password is None else (user or "", password or "")
        if credentials is not None:
            _check_credentials(scheme, *credentials)
        return cls(scheme, host, port or _DEFAULT_PORTS[scheme], credentials)

    @property
    def speaks_http(self) -> bool:
        """Whether it is an HTTP proxy, and not a SOCKS one."""
        return self.scheme in ("http", "https")

    @property
    def resolves_names(self) -> bool:
        """Whether it is told names, not addresses."""
        return self.scheme not in ("socks4", "socks5")

    @property
    def authorization(self) -> str | None:
        """The value of Proxy-Authorization for it (RFC 7617, UTF-8), or None."""
        if self.credentials is None:
            return None
        return "Basic " + b64encode(":".join(self.credentials).encode()).decode("ascii")

    def __str__(self) -> str:
        return f"{self.scheme}://{authority(self.host, self.port)}"

    def __repr__(self) -> str:
        return f"Proxy(scheme={self.scheme!r}, host={self.host!r}, port={self.port!r})"


def _not_a_proxy(why: str) -> InvalidURL:
    return InvalidURL(
        f"not the URL of a proxy: {why}; write scheme://user:password@host:port, "
        "with %-escapes for special characters in user and password"
    )


def _check_credentials(scheme: str, user: str, password: str) -> None:
    """Refuse early what the proxy's protocol can't carry."""
    if scheme in ("http", "https"):
        if ":" in user:
            raise _not_a_proxy("its user holds a colon, which Basic authentication can't say (RFC 7617, section 2)")
        return
    for text in (user, password):
        if not text.isascii() or len(text) > _SOCKS_CREDENTIAL_LIMIT or "\0" in text:
            raise _not_a_proxy("SOCKS knows user and password of ASCII characters only, 255 of them at most")


class Route(NamedTuple):
    """Connections on the same route can serve each other's requests.

    Attributes:
        origin: (scheme, host, port) of the server; None where a proxy forwards requests to any server.
        unix_socket: the path of a Unix socket to connect to instead of host and port, or None.
        proxy: the proxy on the way, or None.
    """

    origin: Origin | None
    unix_socket: str | None = None
    proxy: Proxy | None = None

    @classmethod
    def through(cls, proxy: Proxy, origin: Origin) -> Route:
        """The route to ``origin`` by ``proxy``: an HTTP proxy forwards plain http, and tunnels https."""
        return cls(None if proxy.speaks_http and origin[0] == "http" else origin, None, proxy)

    @property
    def is_forwarded(self) -> bool:
        """Whether a proxy reads the requests and sends them on; other proxies only pass bytes."""
        return self.origin is None

    def request_target(self, target: Target) -> str:
        """What the request line names: the path, or the whole URL for a proxy (RFC 9112, section 3.2)."""
        return f"{target.scheme}://{target.host}{target.path}" if self.is_forwarded else target.path

    def fields(self, headers: Headers) -> Headers:
        """The header fields as they go out: a proxy's credentials go to that proxy, and to nobody else.

        Args:
            headers: the request's own; they are not changed.
        """
        if self.proxy is None:
            return headers
        authorization = self.proxy.authorization if self.is_forwarded else None
        if authorization is None and (self.is_forwarded or "Proxy-Authorization" not in headers):
            return headers
        sent = Headers(headers)
        sent.popall("Proxy-Authorization", None)
        if authorization is not None:
            sent["Proxy-Authorization"] = authorization
        return sent

    def __str__(self) -> str:
        if self.origin is None:
            return f"the proxy {self.proxy}"
        scheme, host, port = self.origin
        way = f" at {self.unix_socket}" if self.unix_socket else f" through {self.proxy}" if self.proxy else ""
        return f"{scheme}://{authority(host, port)}{way}"


def authority(host: str, port: int) -> str:
    """Host and port as a URL writes them (RFC 3986, section 3.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
