"""Cookies: a session's own by name, and what servers set in a jar (:mod:`.jar`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from .._headers import is_token
from .._message import PreparedRequest, Response
from ..exceptions import InvalidHeader
from .jar import Jar

# RFC 6265, section 4.1.1: control characters, white space, quotes, commas, semicolons and backslashes may not be
# in a value; browsers and servers use quotes, commas and spaces all the same.
# As text: compiled with the first cookie.
_BAD_VALUE = r"[\x00-\x1f\x7f;]"
_NAMES_A_DOMAIN = r"(?i);[ \t]*domain[ \t]*="


class Cookies(MutableMapping[str, str]):
    """A session's cookies by name; those that servers set are kept with their domain, path and expiry.

    A cookie set here without a domain goes to the server that a call is made to, and does not follow a redirect
    to another origin. What servers set is kept and sent as RFC 6265bis has it.
    """

    def __init__(self, cookies: Any = None) -> None:
        self._jar = Jar()
        self._plain: dict[str, str] = {}
        for name, value in cookie_pairs(cookies):
            self[name] = value

    def __setitem__(self, name: str, value: str) -> None:
        self._plain[name] = checked_cookie(name, value)

    def __getitem__(self, name: str) -> str:
        if name in self._plain:
            return self._plain[name]
        for cookie in self._jar:
            if cookie.name == name:
                return cookie.value
        raise KeyError(name)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._plain.pop(name, None)
        self._jar.drop(name)

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*self._plain, *(cookie.name for cookie in self._jar)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __bool__(self) -> bool:
        return bool(self._plain or self._jar)

    def __repr__(self) -> str:
        return f"<Cookies [{', '.join(self)}]>"

    def going_with(self, request: PreparedRequest, own: Mapping[str, str] | None) -> list[tuple[str, str]]:
        """The cookies that go with a request.

        Args:
            request: it is looked at for where it goes.
            own: the call's, where the request goes to the call's own origin: then those without a domain go along
                too. None elsewhere.
        """
        plain = {} if own is None else {**self._plain, **own}
        kept = [(cookie.name, cookie.value) for cookie in self._jar.going_to(request.target)] if self._jar else []
        return [(name, value) for name, value in kept if name not in plain] + list(plain.items())

    def keep(self, response: Response) -> None:
        """Take in what the server set, as far as it may."""
        for field in response.headers.getall("Set-Cookie", ()):
            self._jar.take(field, response.request.target)

    def clear(self) -> None:
        """Forget all of them."""
        self._plain.clear()
        self._jar = Jar()


def names_a_domain(response: Response) -> bool:
    """Whether a cookie of this answer is for a domain, which may be a public suffix."""
    return any(re.search(_NAMES_A_DOMAIN, field) for field in response.headers.getall("Set-Cookie", ()))


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
    if re.search(_BAD_VALUE, text):
        raise InvalidHeader(f"the cookie {name} holds a control character or a semicolon, which would end it")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise InvalidHeader(f"the cookie {name} holds characters outside of latin-1: percent-encode them") from error
    return text


def cookie_header(cookies: Iterable[tuple[str, str]]) -> str:
    """The Cookie header for names and values; a cookie without a name is its value."""
    return "; ".join([f"{name}={value}" if name else value for name, value in cookies])


def cookies_of(response: Response) -> Cookies:
    """The cookies that one answer set."""
    cookies = Cookies()
    cookies.keep(response)
    return cookies
