"""URLs as they are asked for: checked, quoted, and taken apart once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from ._body import encode_pairs
from .exceptions import InvalidURL, URLRequired

_DEFAULT_PORTS = {"http": 80, "https": 443}

# As text: compiled when first used.
_CONTROL = r"[\x00-\x1f\x7f]"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*"
_ABSOLUTE = r"[A-Za-z][A-Za-z0-9+.-]*://"
# A name's labels have 1 to 63 characters each (RFC 1035, section 2.3.4); a dot may end it.
_HOST = r"[a-zA-Z0-9_-]{1,63}(\.[a-zA-Z0-9_-]{1,63})*\.?|[0-9a-fA-F.]*:[0-9a-fA-F:.]+(%[A-Za-z0-9._-]+)?"
_SURROGATE = r"[\ud800-\udfff]"
# Between the first colon of an authority, also of one without a scheme, and its last @.
_USER_INFO = r"((?:^|//)[^/?#:]*):[^/?#]*@"
_LONE_PERCENT = r"%(?![0-9A-Fa-f]{2})"

Origin = tuple[str, str, int]


class Target(NamedTuple):
    """A URL, taken apart.

    Attributes:
        url: the whole URL in its quoted form, without user info.
        origin: (scheme, host, port), the host in the form that DNS knows (RFC 6454).
        host: what the Host header says: the port is left out where it is the scheme's own (RFC 9110, section 7.2).
        path: path and query as they go on the request line, ``/`` at least (RFC 9112, section 3.2.1).
        fragment: what follows ``#``; never sent, but inherited by a redirect (RFC 9110, section 10.2.2).
        credentials: (user, password) from the URL, or None.
    """

    url: str
    origin: Origin
    host: str
    path: str
    fragment: str
    credentials: tuple[str, str] | None

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return self.origin[0]

    @property
    def place(self) -> str:
        """The URL without its query, which may hold secrets: for logs."""
        return f"{self.origin[0]}://{self.host}{self.bare_path}"

    @property
    def bare_path(self) -> str:
        """The path without its query."""
        return self.path.partition("?")[0]

    def join(self, location: str) -> Target:
        """The target of a reference relative to this one (RFC 3986, section 5)."""
        target = parse_url(self._resolved(location.strip()))
        if not target.fragment and self.fragment:
            return parse_url(f"{target.url}#{self.fragment}")
        return target

    def _resolved(self, location: str) -> str:
        if is_absolute(location):
            return location
        if location.startswith("//"):
            return f"{self.scheme}:{location}"
        from yarl import URL  # see parse_url

        try:
            return str(URL(self.url, encoded=True).join(URL(_quote(location), encoded=True)))
        except ValueError as error:
            raise InvalidURL(f"{location!r} is not a valid redirect target: {error}") from error


def is_absolute(url: str) -> bool:
    """Whether it has a scheme and an authority, and can do without a base."""
    return re.match(_ABSOLUTE, url) is not None


@lru_cache(maxsize=1024)
def parse_url(text: str) -> Target:
    """Check a URL and take it apart.

    What is quoted already stays as it was written (a presigned URL must not change by a byte); what may not
    stand in a URL is quoted, as requests does.

    Raises:
        URLRequired: it is empty.
        InvalidURL: it has no scheme or host, a scheme other than http or https, or a bad port or host.
    """
    from yarl import URL  # not before the first URL: with what it needs itself, 4 ms of importing

    text = text.strip()
    if not text:
        raise URLRequired("a request needs a URL")
    if re.search(_CONTROL, text):
        raise InvalidURL(f"the URL {_shown(text)} holds control characters; quote them")
    if not text.isascii() and re.search(_SURROGATE, text):
        raise InvalidURL(f"the URL {_shown(text)} holds a lone surrogate, which has no form in UTF-8")
    _check_scheme(text)
    try:
        parts = urlsplit(text)
        url = URL(text)
        host, port = url.raw_host, url.port
    except (ValueError, TypeError) as error:
        why = "" if re.search(_USER_INFO, text) else f": {error}"  # which may quote the authority
        raise InvalidURL(f"{_shown(text)} is not a valid URL{why}") from None
    if not host:
        raise InvalidURL(f"the URL {_shown(text)} has no host")
    if not re.fullmatch(_HOST, host) or (":" not in host and "[" in parts.netloc.rpartition("@")[2]):
        raise InvalidURL(f"the URL {_shown(text)} has a host that no host can be called")
    if not port:
        raise InvalidURL(f"the URL {_shown(text)} has a port outside of 1 to 65535")
    scheme = parts.scheme
    # A zone names an interface of this machine: the URL has it as %25, the system as %, the server never hears of it
    # (RFC 6874, sections 2 and 4).
    address, percent, zone = host.partition("%")
    zone = zone.removeprefix("25") or zone
    written = _authority(scheme, f"{address}%25{zone}" if percent else address, port)
    path = (_quote(parts.path) or "/") + ("?" + _quote(parts.query) if parts.query else "")
    fragment = _quote(parts.fragment)
    return Target(
        url=f"{scheme}://{written}{path}" + (f"#{fragment}" if fragment else ""),
        origin=(scheme, address + percent + zone, port),
        host=_authority(scheme, address, port),
        path=path,
        fragment=fragment,
        credentials=None if url.user is None and url.password is None else (url.user or "", url.password or ""),
    )


def _authority(scheme: str, host: str, port: int) -> str:
    """Host and port as a URL and the Host header have them: the scheme's own port is left out."""
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if port == _DEFAULT_PORTS[scheme] else f"{bracketed}:{port}"


def _shown(text: str) -> str:
    """The URL for a message, which may end up in a log: without its password."""
    return repr(re.sub(_USER_INFO, r"\1:[secret]@", text))


def _check_scheme(text: str) -> None:
    scheme, mark, _ = text.partition("://")
    if text.startswith("/") and not text.startswith("//"):
        raise InvalidURL(f"the URL {_shown(text)} has no host: give it whole, or make a Session with base_url=")
    if not mark or not re.fullmatch(_SCHEME, scheme):
        raise InvalidURL(f"the URL {_shown(text)} has no scheme; did you mean {_shown('http://' + text.lstrip('/'))}?")
    if scheme.lower() not in _DEFAULT_PORTS:
        raise InvalidURL(f"the URL {_shown(text)} has the scheme {scheme!r}; only http and https can be requested")


def path_matches(path: str, prefix: str) -> bool:
    """Whether ``path`` is ``prefix`` or below it, whole segments compared (RFC 6265bis, section 5.1.4)."""
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/")


def _quote(part: str) -> str:
    """Quote what may not stand in a URL, and a per cent sign that quotes nothing (RFC 3986, section 2)."""
    return quote(re.sub(_LONE_PERCENT, "%25", part), safe="!#$%&'()*+,/:;=?@[]~")


def with_params(url: str, params: Any) -> str:
    """The URL with ``params`` added to its query.

    Args:
        url: where they are added; its own query and fragment stay.
        params: a mapping or pairs (None values are left out, lists repeat the name), or a query as text or bytes.

    Raises:
        InvalidURL: it is none of these.
    """
    try:
        query = params.decode("ascii") if isinstance(params, bytes) else params
        if not isinstance(query, str):
            query = encode_pairs(query)
    except (TypeError, ValueError) as error:
        raise InvalidURL(f"params= can't be made into a query ({error}): pass a mapping, pairs or text") from error
    if not query:
        return url
    base, mark, fragment = url.partition("#")
    separator = "" if base.endswith(("?", "&")) else "&" if "?" in base else "?"
    return f"{base}{separator}{query}{mark}{fragment}"
