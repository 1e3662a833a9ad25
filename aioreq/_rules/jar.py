"""The cookies that servers set, as RFC 6265bis (draft-ietf-httpbis-rfc6265bis) has it for a client without pages.

Sections by their numbers there: 5.1 dates, domains and paths, 5.6 the Set-Cookie header, 5.7 what is kept, 5.8 what
is sent. SameSite and HttpOnly protect from pages and scripts, of which there are none here: they are ignored.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from .._url import Target, path_matches
from .suffixes import SUFFIXES

# All lengths are in octets: header text is latin-1, a character each.
_LONGEST_PAIR = 4096  # name and value together (section 5.6)
_LONGEST_ATTRIBUTE = 1024
_LONGEST_LIFE = 400 * 24 * 3600.0  # section 5.5
# How many are kept, of one domain and in all: section 6.1 asks for 50 and 3000 at least.
_PER_DOMAIN = 180
_IN_ALL = 3000

_WHITE_SPACE = " \t"

# As text: compiled with the first cookie.
_CONTROL = r"[\x00-\x08\x0a-\x1f\x7f]"
_DATE_DELIMITER = r"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+"
_TIME = r"(?a)(\d{1,2}):(\d{1,2}):(\d{1,2})(?!\d)"
_DAY = r"(?a)(\d{1,2})(?!\d)"
_YEAR = r"(?a)(\d{2,4})(?!\d)"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = f"(?i)({'|'.join(_MONTHS)})"
_MAX_AGE = r"-?[0-9]+"

_Key = tuple[str, bool, str, str]


class Cookie(NamedTuple):
    """A cookie that a server set.

    Attributes:
        name, value: as the server wrote them; one of them may be empty.
        domain: the host it is for, in lower case.
        host_only: whether it is for that host alone, and not for those below it.
        path: what the path of a request begins with.
        secure: whether it goes over https only.
        expires: when it ends, in seconds since 1970; None for the end of the session.
    """

    name: str
    value: str
    domain: str
    host_only: bool
    path: str
    secure: bool
    expires: float | None

    @property
    def key(self) -> _Key:
        """What a later cookie must be equal in to replace it."""
        return self.domain, self.host_only, self.path, self.name

    def ended(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= now

    def is_for(self, target: Target) -> bool:
        """Whether it goes along with a request (section 5.8.3)."""
        scheme, host, _ = target.origin
        if self.secure and scheme != "https":
            return False
        at_its_host = host == self.domain if self.host_only else domain_matches(host, self.domain)
        return at_its_host and path_matches(target.bare_path, self.path)


class Jar:
    """What servers set, until it ends or is replaced.

    Args:
        clock: gives the seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: dict[_Key, Cookie] = {}  # in the order of creation, which a replacement inherits

    def __iter__(self) -> Iterator[Cookie]:
        now = self._clock()
        return iter([cookie for cookie in self._kept.values() if not cookie.ended(now)])

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, field: str, target: Target) -> None:
        """Keep what a Set-Cookie field in an answer from ``target`` says, if that may be (section 5.7)."""
        cookie = read_cookie(field, target, self._clock())
        if cookie is None or (target.scheme != "https" and self._hides_a_secure_one(cookie)):
            return
        if cookie.ended(self._clock()):
            self._kept.pop(cookie.key, None)
            return
        self._kept[cookie.key] = cookie
        self._make_room(cookie.domain)

    def going_to(self, target: Target) -> list[Cookie]:
        """What goes along with a request: longer paths first, then older cookies (section 5.8.3)."""
        return sorted((cookie for cookie in self if cookie.is_for(target)), key=lambda cookie: -len(cookie.path))

    def drop(self, name: str) -> None:
        """Forget all of a name."""
        self._kept = {key: cookie for key, cookie in self._kept.items() if cookie.name != name}

    def _hides_a_secure_one(self, cookie: Cookie) -> bool:
        """Whether somebody on the wire could take the place of a cookie that came by https."""
        return any(
            cookie.name == other.name
            and other.secure
            and (domain_matches(other.domain, cookie.domain) or domain_matches(cookie.domain, other.domain))
            and path_matches(cookie.path, other.path)
            for other in self
        )

    def _make_room(self, domain: str) -> None:
        """Let no server fill the memory, or every request to come: the oldest go first."""
        of_domain = [key for key, cookie in self._kept.items() if cookie.domain == domain]
        if len(of_domain) > _PER_DOMAIN:
            del self._kept[of_domain[0]]
        elif len(self._kept) > _IN_ALL:
            del self._kept[next(iter(self._kept))]


def read_cookie(field: str, target: Target, now: float) -> Cookie | None:
    """The cookie of a Set-Cookie field, or None for what is refused (sections 5.6 and 5.7).

    Args:
        field: the field's value.
        target: where it came from.
        now: seconds since 1970, which Max-Age counts from.
    """
    pair, *parts = field.split(";")
    name, value = _name_and_value(pair)
    said = _attributes(parts)
    scope = _scope(said.get("domain", ""), target.origin[1])
    secure = "secure" in said
    too_long = len(name) + len(value) > _LONGEST_PAIR
    if not (name or value) or too_long or scope is None or re.search(_CONTROL, field):
        return None
    domain, host_only = scope
    wanted_path = said.get("path", "")
    path = wanted_path if wanted_path.startswith("/") else _default_path(target)
    if secure and target.scheme != "https":
        return None
    bound_to_host = host_only and wanted_path == "/"
    if not _keeps_its_prefix(name, value, secure=secure, bound_to_host=bound_to_host):
        return None
    return Cookie(name, value, domain, host_only, path, secure, _end(said, now))


def _name_and_value(pair: str) -> tuple[str, str]:
    """A pair without an equals sign is a value without a name."""
    name, mark, value = pair.partition("=")
    return (name.strip(_WHITE_SPACE), value.strip(_WHITE_SPACE)) if mark else ("", pair.strip(_WHITE_SPACE))


def _attributes(parts: list[str]) -> dict[str, str]:
    """Attributes by name; the last of a name counts, unless it can't be read."""
    said: dict[str, str] = {}
    for part in parts:
        name, _, text = part.partition("=")
        name, text = name.strip(_WHITE_SPACE).lower(), text.strip(_WHITE_SPACE)
        unreadable = (name == "max-age" and not re.fullmatch(_MAX_AGE, text)) or (
            name == "expires" and read_date(text) is None
        )
        if len(text) <= _LONGEST_ATTRIBUTE and not unreadable:
            said[name] = text
    return said


def _scope(wanted: str, host: str) -> tuple[str, bool] | None:
    """(domain, whether it is for that host only), or None where the Domain attribute is not the server's to give."""
    wanted = wanted.removeprefix(".").lower()
    if not wanted:
        return host, True
    if not domain_matches(host, wanted):
        return None
    if SUFFIXES.cover(wanted):
        return (host, True) if wanted == host else None
    return wanted, False


def _keeps_its_prefix(name: str, value: str, *, secure: bool, bound_to_host: bool) -> bool:
    """Whether a cookie is what a prefix of its name promises (section 5.4), in any case of letters."""
    promised = (name or value).lower()
    if promised.startswith("__secure-"):
        return bool(name) and secure
    if promised.startswith("__host-"):
        return bool(name) and secure and bound_to_host
    return True


def _end(said: dict[str, str], now: float) -> float | None:
    """When a cookie ends: Max-Age comes before Expires."""
    if "max-age" in said:
        seconds = float(said["max-age"])  # infinite, where there are very many digits
        return now + min(seconds, _LONGEST_LIFE) if seconds > 0 else 0.0
    date = read_date(said["expires"]) if "expires" in said else None
    return None if date is None else min(date, now + _LONGEST_LIFE)


def read_date(text: str) -> float | None:
    """Seconds since 1970 of a date in any of the ways that servers write one, or None (section 5.1.1)."""
    found: dict[str, re.Match[str]] = {}
    for token in re.split(_DATE_DELIMITER, text):
        for name, pattern in (("time", _TIME), ("day", _DAY), ("month", _MONTH), ("year", _YEAR)):
            if name not in found and (match := re.match(pattern, token)):
                found[name] = match
                break
    if len(found) < len(("time", "day", "month", "year")):
        return None
    hour, minute, second = map(int, found["time"].groups())
    day, month = int(found["day"][1]), _MONTHS.index(found["month"][1].lower()) + 1
    try:
        from datetime import UTC, datetime  # not before the first cookie that has one

        date = datetime(_full_year(int(found["year"][1])), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return date.timestamp()


def _full_year(year: int) -> int:
    if 70 <= year <= 99:
        return year + 1900
    if year <= 69:
        return year + 2000
    if year < 1601:
        raise ValueError("before the calendar of today")
    return year


def domain_matches(host: str, domain: str) -> bool:
    """Whether ``host`` is ``domain`` or below it; an address is only itself (section 5.1.3)."""
    return host == domain or (host.endswith("." + domain) and not _is_address(host))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _default_path(target: Target) -> str:
    """The directory of what was asked for (section 5.1.4)."""
    return target.bare_path.rpartition("/")[0] or "/"
