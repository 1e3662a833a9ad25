"""Header fields: a case-insensitive multimap, and what may go on the wire."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, cast

from multidict import CIMultiDict, getversion

from .exceptions import InvalidHeader

# As text: compiled when first used.
_TCHARS = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_BAD_VALUE = r"[\r\n\0]"
# Names that need no second look.
_USUAL_NAMES = frozenset((
    "Host", "User-Agent", "Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Connection",
    "Content-Length", "Content-Type", "Cookie", "Expect", "Idempotency-Key", "Range", "Referer", "Transfer-Encoding",
    "Content-MD5", "Content-Digest", "If-None-Match", "If-Modified-Since", "Origin", "X-Request-ID", "traceparent",
))  # fmt: skip


class Headers(CIMultiDict[str]):
    """Header fields by name, whatever the case.

    ``headers["Vary"]`` is the value, or all values joined with ``", "`` where the field came several times
    (RFC 9110, section 5.3; requests does the same). ``headers.getall("Set-Cookie")`` keeps them apart.
    """

    def __getitem__(self, name: str) -> str:
        values = self.getall(name)
        return values[0] if len(values) == 1 else ", ".join(values)

    def get(self, name: str, default: Any = None) -> Any:
        """The value, all values joined, or ``default``."""
        if name not in self:
            return default
        values = self.getall(name)
        return values[0] if len(values) == 1 else ", ".join(values)

    def __repr__(self) -> str:
        return f"Headers({concealed(self.items())!r})"


# A number that is another one after each change; no two Headers ever have the same.
version_of = cast("Callable[[Headers], int]", getversion)

_SECRET = {"authorization", "proxy-authorization", "cookie", "set-cookie"}


def concealed(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields with secrets masked, for reprs and logs."""
    return [(name, "[secret]" if name.lower() in _SECRET else value) for name, value in fields]


def is_token(text: str) -> bool:
    """Whether it is a token of RFC 9110, section 5.6.2: a method, a field's name."""
    return re.fullmatch(_TCHARS, text) is not None


def header_pairs(headers: Any) -> Collection[tuple[Any, Any]]:
    """The fields of what a caller passes as ``headers=``: a mapping (of one or many values) or pairs.

    Raises:
        InvalidHeader: it is neither.
    """
    if headers is None:
        return ()
    if isinstance(headers, (dict, Mapping)):
        return headers.items()
    if isinstance(headers, (str, bytes)) or not isinstance(headers, Iterable):
        raise InvalidHeader(f"headers are a mapping or pairs, not {type(headers).__name__}")
    pairs = list(headers)
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InvalidHeader(f"{pair!r} among the headers is not a pair (name, value)")
    return pairs


def checked_header(name: Any, value: Any) -> tuple[str, str]:
    """The field as text that may go on the wire.

    Raises:
        InvalidHeader: the name is not a token, or the value holds CR, LF or NUL, or can't be written in latin-1
            (RFC 9110, section 5.5). White space around it is no part of it, and is left out.
    """
    is_text = isinstance(name, str) and isinstance(value, str)
    if is_text and name in _USUAL_NAMES and value.isascii() and value.isprintable():
        return name, value.strip(" ")
    if isinstance(name, bytes):
        name = name.decode("latin-1")
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(name, str) or not is_token(name):
        raise InvalidHeader(f"{name!r} can't be the name of a header: a name is a token such as 'Content-Type'")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidHeader(f"the header {name} is {type(value).__name__}; pass text or bytes")
    if re.search(_BAD_VALUE, value):
        raise InvalidHeader(f"the header {name} holds CR, LF or NUL, which would end it")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise InvalidHeader(
            f"the header {name} holds characters outside of latin-1: encode them (percent-encoding, RFC 8187)"
        ) from error
    return name, value.strip(" \t")


def require_sendable(headers: Headers) -> None:
    """Check what was put on a request behind its preparation: by an auth object, a hook, or into session.headers.

    Bytes and numbers become text there, as they do in what a caller passes.

    Raises:
        InvalidHeader: one of the fields may not go on the wire.
    """
    if not _is_harmless(headers):
        fields = [checked_header(name, value) for name, value in headers.items()]
        headers.clear()
        headers.extend(fields)


def _is_harmless(headers: Headers) -> bool:
    """Whether one look at all fields together finds nothing to look at closer: a tenth of the work of checking each."""
    try:
        values = "".join(headers.values())
    except TypeError:
        return False
    names_pass = _USUAL_NAMES.issuperset(headers) or ("" not in headers and is_token("".join(headers)))
    return names_pass and values.isascii() and values.isprintable()
