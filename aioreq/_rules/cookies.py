"""Cookies (RFC 6265bis) over the standard library's jar.

The jar is made when the first cookie arrives: importing it costs more than all of this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from .._headers import is_token
from .._message import PreparedRequest, Response
from .._url import Target
from ..exceptions import InvalidHeader

if TYPE_CHECKING:
    from http.cookiejar import Cookie, CookieJar

# RFC 6265, section 4.1.1: control characters, white space, quotes, commas, semicolons and backslashes may not be
# in a value; browsers and servers use quotes, commas and spaces all the same.
_BAD_VALUE = re.compile(r"[\x00-\x1f\x7f;]")


class Cookies(MutableMapping[str, str]):
    """A session's cookies by name; those that servers set are kept with their domain, path and expiry.

    A cookie set here without a domain goes to the server that a call is made to, and does not follow a redirect
    to another origin.
    """

    def __init__(self, cookies: Any = None) -> None:
        self._jar: CookieJar | None = None
        self._plain: dict[str, str] = {}
        for name, value in cookie_pairs(cookies):
            self[name] = value

    def __setitem__(self, name: str, value: str) -> None:
        self._plain[name] = checked_cookie(name, value)

    def __getitem__(self, name: str) -> str:
        if name in self._plain:
            return self._plain[name]
        for cookie in self._kept():
            if cookie.name == name:
                return cookie.value or ""
        raise KeyError(name)

    def __delitem__(self, name: str) -> None:
        kept = [cookie for cookie in self._kept() if cookie.name == name]
        if name not in self._plain and not kept:
            raise KeyError(name)
        self._plain.pop(name, None)
        for cookie in kept:
            assert self._jar is not None
            self._jar.clear(cookie.domain, cookie.path, cookie.name)

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*self._plain, *(cookie.name for cookie in self._kept())))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __bool__(self) -> bool:
        return bool(self._plain) or self._jar is not None

    def __repr__(self) -> str:
        return f"<Cookies [{', '.join(self)}]>"

    def _kept(self) -> list[Cookie]:
        return list(self._jar) if self._jar is not None else []

    def header_for(self, request: PreparedRequest, *, at_home: bool) -> dict[str, str]:
        """The cookies that go with a request; those without a domain only ``at_home``, the call's own origin."""
        found: dict[str, str] = {}
        if self._jar is not None:
            asked = _Asked(request.target)
            self._jar.add_cookie_header(asked)  # type: ignore[arg-type]  # a stand-in for urllib's Request
            found.update(_split(asked.cookie))
        if at_home:
            found.update(self._plain)
        return found

    def keep(self, response: Response) -> None:
        """Take in what the server set, as far as its domain allows."""
        if "Set-Cookie" not in response.headers:
            return
        if self._jar is None:
            from http.cookiejar import CookieJar, DefaultCookiePolicy

            # strict_domain: no cookies for country-code domains such as .co.uk. DomainStrictNonDomain: a cookie set
            # without a Domain goes back to that very host, and not to those below it (RFC 6265, section 5.4).
            host_only = DefaultCookiePolicy.DomainStrictNonDomain
            self._jar = CookieJar(DefaultCookiePolicy(strict_domain=True, strict_ns_domain=host_only))
        self._jar.extract_cookies(_Told(response), _Asked(response.request.target))  # type: ignore[arg-type]

    def clear(self) -> None:
        """Forget all of them."""
        self._plain.clear()
        self._jar = None


def cookie_pairs(cookies: Any) -> Iterable[tuple[Any, Any]]:
    """The cookies of what a caller passes as ``cookies=``: a mapping or pairs.

    Raises:
        InvalidHeader: it is neither.
    """
    try:
        return dict(cookies or {}).items()
    except (TypeError, ValueError) as error:
        raise InvalidHeader(f"cookies are a mapping of names to values, or pairs, not {cookies!r}") from error


def checked_cookie(name: Any, value: Any) -> str:
    """The value as text.

    Raises:
        InvalidHeader: the name is no token, or the value holds a control character, a semicolon, or what can't be
            written in latin-1.
    """
    text = str(value)
    if not isinstance(name, str) or not is_token(name):
        raise InvalidHeader(f"{name!r} can't be the name of a cookie: a name is a token (RFC 6265, section 4.1.1)")
    if _BAD_VALUE.search(text):
        raise InvalidHeader(f"the cookie {name} holds a control character or a semicolon, which would end it")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise InvalidHeader(f"the cookie {name} holds characters outside of latin-1: percent-encode them") from error
    return text


def cookie_header(cookies: Mapping[str, str]) -> str:
    """The Cookie header for cookies by name."""
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def cookies_of(response: Response) -> Cookies:
    """The cookies that one answer set."""
    cookies = Cookies()
    cookies.keep(response)
    return cookies


def _split(header: str) -> Iterator[tuple[str, str]]:
    for pair in header.split("; "):
        name, mark, value = pair.partition("=")
        if mark:
            yield name, value


class _Asked:
    """What the jar wants to know of a request."""

    unverifiable = False

    def __init__(self, target: Target) -> None:
        self._target = target
        self.type, self.host, _ = target.origin
        self.origin_req_host = self.host
        self.cookie = ""

    def get_full_url(self) -> str:
        return self._target.url

    def get_header(self, _name: str, default: Any = None) -> Any:
        return default

    def has_header(self, _name: str) -> bool:
        return False

    def add_unredirected_header(self, name: str, value: str) -> None:
        if name == "Cookie":
            self.cookie = value


class _Told:
    """What the jar wants to know of an answer."""

    def __init__(self, response: Response) -> None:
        self._values = response.headers.getall("Set-Cookie")

    def info(self) -> _Told:
        return self

    def get_all(self, name: str, default: Any = None) -> Any:
        return self._values if name == "Set-Cookie" else default
