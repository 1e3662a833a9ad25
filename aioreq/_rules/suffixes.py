"""Public suffixes: the names under which anybody can have a domain, such as ``co.uk`` and ``github.io``.

A cookie for one of them would go to everybody below it (RFC 6265bis, section 5.7). The list of the Mozilla
Foundation (https://publicsuffix.org) comes with the extra ``aioreq[cookies]``; it is read when the first cookie
with a Domain arrives. Without it, a rule of thumb knows the plain cases.
"""

from __future__ import annotations

from collections.abc import Callable

# What stands before a country's code where that is not open to registration itself; http.cookiejar's list.
_CATEGORIES = frozenset((
    "ac", "aero", "biz", "cat", "co", "com", "coop", "edu", "eu", "gov", "info", "int", "jobs", "mil", "mobi", "museum",
    "name", "net", "org", "pro", "travel",
))  # fmt: skip
_COUNTRY_CODE_LENGTH = 2


class PublicSuffixes:
    """Knows public suffixes: by the list where that is installed, else by a rule of thumb."""

    def __init__(self) -> None:
        self._cover: Callable[[str], bool] | None = None

    @property
    def due(self) -> bool:
        """Whether the list is not read yet."""
        return self._cover is None

    def read(self) -> None:
        """Read the list; that takes some time, and is better done in a thread."""
        try:
            from publicsuffixlist import PublicSuffixList
        except ModuleNotFoundError:
            self._cover = looks_public
        else:
            self._cover = PublicSuffixList().is_public

    def cover(self, domain: str) -> bool:
        """Whether ``domain`` (lower case, A-labels) is a public suffix."""
        if self._cover is None:
            self.read()
        assert self._cover is not None
        return self._cover(domain)


def looks_public(domain: str) -> bool:
    """The rule of thumb: a single label, or a category before a country's code (``co.uk``)."""
    first, *others = domain.rstrip(".").split(".")
    if not others:
        return True
    return len(others) == 1 and len(others[0]) == _COUNTRY_CODE_LENGTH and first in _CATEGORIES


SUFFIXES = PublicSuffixes()
