"""Who we are: schemes of authentication as exchanges of letters.

An auth object's ``flow(request)`` is a generator: it yields the request with its credentials on, is sent the
answer, and may yield the request again. It never touches a socket, so it is tested with ``next`` and ``send``.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Generator
from typing import Any
from urllib.parse import quote

from .._body import Body
from .._message import PreparedRequest, Response
from .._netrc import Netrc
from .._url import Target, parse_url, path_matches
from ..exceptions import AuthenticationError, InvalidHeader

Flow = Generator[PreparedRequest, Response, None]


class Auth:
    """The base of all schemes; one of your own overrides :meth:`flow`."""

    def flow(self, request: PreparedRequest) -> Flow:
        """Yield the request with credentials; an answer comes back as the value of ``yield``."""
        yield request


class BasicAuth(Auth):
    """User and password in the clear: use it over https only (RFC 7617).

    Args:
        username: text without a colon, sent as UTF-8.
        password: text, sent as UTF-8; no ``repr``, log or error shows it.

    Raises:
        TypeError: one of them is not text.
        AuthenticationError: the name has a colon.
    """

    def __init__(self, username: str, password: str) -> None:
        _require_credentials(username, password)
        if ":" in username:
            raise AuthenticationError("a user name in Basic authentication can't contain a colon (RFC 7617, section 2)")
        self.username = username
        self.password = password

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.username!r}, '[secret]')"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BasicAuth):
            return NotImplemented
        return (self.username, self.password) == (other.username, other.password)

    def __hash__(self) -> int:
        return hash((self.username, self.password))

    def flow(self, request: PreparedRequest) -> Flow:
        """See :meth:`Auth.flow`."""
        credentials = f"{self.username}:{self.password}".encode()
        request.headers["Authorization"] = "Basic " + b64encode(credentials).decode("ascii")
        yield request


AuthObject = BasicAuth

# As text: compiled when first used.
_CONTROL = r"[\x00-\x1f\x7f]"
_SURROGATE = r"[\ud800-\udfff]"


def _require_credentials(username: Any, password: Any) -> None:
    """Refuse what no scheme has a form for (RFC 7617, section 2).

    Raises:
        TypeError: they are no text.
        InvalidHeader: they hold control characters, or lone surrogates.
    """
    for name, value in (("user name", username), ("password", password)):
        if not isinstance(value, str):
            raise TypeError(f"a {name} is text, not {type(value).__name__}")
        if re.search(_CONTROL, value):
            raise InvalidHeader(f"the {name} holds a control character, which may not be in credentials")
        if not value.isascii() and re.search(_SURROGATE, value):
            raise InvalidHeader(f"the {name} holds a lone surrogate, which has no form in UTF-8")


class BearerAuth(Auth):
    """A token (RFC 6750)."""

    def __init__(self, token: str) -> None:
        if not isinstance(token, str):
            raise TypeError(f"a bearer token is text, not {type(token).__name__}")
        if not re.fullmatch(r"[A-Za-z0-9\-._~+/]+=*", token):
            raise InvalidHeader("a bearer token has letters, digits and -._~+/ only (RFC 6750, section 2.1)")
        self.token = token

    def __repr__(self) -> str:
        return "BearerAuth('[secret]')"

    def flow(self, request: PreparedRequest) -> Flow:
        """See :meth:`Auth.flow`."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        yield request


class FunctionAuth(Auth):
    """A function of the request, as requests has it: it changes the request, or returns another."""

    def __init__(self, function: Callable[[PreparedRequest], Any]) -> None:
        self._function = function

    def flow(self, request: PreparedRequest) -> Flow:
        """See :meth:`Auth.flow`."""
        returned = self._function(request)
        yield returned if isinstance(returned, PreparedRequest) else request


class NetrcAuth(Auth):
    """User and password out of a netrc file, by host.

    Args:
        file: its path; ``$NETRC`` or ``~/.netrc`` by default.

    The file is read again when it has changed. Sending raises :class:`aioreq.AuthenticationError` when it can't be
    read, or was named and is not there.
    """

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        self.netrc = Netrc(file) if file is not None else Netrc.of(os.environ)

    def flow(self, request: PreparedRequest) -> Flow:
        """See :meth:`Auth.flow`."""
        if self.netrc.due:  # not in a session, which has it read in a thread before
            self.netrc.read()
        entry = self.netrc.find(request.target.origin[1])
        if entry is None:
            yield request
        else:
            yield from BasicAuth(*entry).flow(request)


# What the standard library calls them.
_HASHES = {
    "MD5": "md5",
    "SHA": "sha1",
    "SHA-256": "sha256",
    "SHA-512-256": "sha512_256",
    "SHA-512": "sha512",  # in no RFC, but spoken by servers and by requests
}
# A name is looked at once, whole: a server could make a search at each of its letters take minutes. (As text, like
# other patterns that few programs need: compiled when first used, and `import aioreq` is lighter.)
_CHALLENGE_FIELD = r'(?<![\w-])([\w-]++)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))'


class DigestAuth(Auth):
    """A proof of the password that does not show it (RFC 7616).

    MD5, SHA-256, SHA-512-256 and SHA-512, each also -sess; qop auth, and auth-int (which covers the body, too) where a
    server offers nothing else and the request has no body, or one that is in memory.

    The server's nonce is kept and counted, so that only the first request is challenged.

    Args:
        username: text.
        password: text; no ``repr``, log or error shows it.

    Raises:
        TypeError: one of them is not text.
    """

    def __init__(self, username: str, password: str) -> None:
        _require_credentials(username, password)
        self.username = username
        self.password = password
        self._challenge: dict[str, str] | None = None
        self._count = 0

    def __repr__(self) -> str:
        return f"DigestAuth({self.username!r}, '[secret]')"

    def flow(self, request: PreparedRequest) -> Flow:
        """See :meth:`Auth.flow`."""
        tried = self._nonce
        if self._challenge is not None:
            self._authorize(request)
        response = yield request
        challenge = digest_challenge(response)
        if response.status_code != 401 or challenge is None:
            return
        if challenge["nonce"] == tried and challenge.get("stale", "").lower() != "true":
            return
        if challenge["nonce"] != self._nonce or challenge["nonce"] == tried:
            self._count = 0  # else another request was challenged with this nonce just now, and counts with it
        self._challenge = challenge
        self._authorize(request)
        yield request

    @property
    def _nonce(self) -> str | None:
        return self._challenge.get("nonce") if self._challenge else None

    def _authorize(self, request: PreparedRequest) -> None:
        assert self._challenge is not None
        if _protection(self._challenge, request.body) is None:
            return  # it was given for a request whose body could be proved
        self._count += 1
        request.headers["Authorization"] = digest_answer(
            self._challenge, self.username, self.password, request.method, request.target.path, self._count,
            os.urandom(8).hex(), request.body,
        )  # fmt: skip


def digest_challenge(response: Response) -> dict[str, str] | None:
    """The strongest Digest challenge that can be answered, its fields by name, or None."""
    best: dict[str, str] | None = None
    strength = list(_HASHES)
    for header in response.headers.getall("WWW-Authenticate", ()):
        for part in re.split(r"(?i)(?:^|,\s*)digest\s+", header)[1:]:
            fields: dict[str, str] = {}
            for name, quoted, token in re.findall(_CHALLENGE_FIELD, part):
                # The first of a name counts: behind a Digest challenge there may be one of another scheme.
                fields.setdefault(name.lower(), token or re.sub(r"\\(.)", r"\1", quoted))
            name = fields.get("algorithm", "MD5").upper().removesuffix("-SESS")
            protection = _protection(fields, response.request.body)
            if "nonce" not in fields or name not in strength or protection is None:
                continue
            rank = strength.index(name)
            if best is None or rank > strength.index(best.get("algorithm", "MD5").upper().removesuffix("-SESS")):
                best = fields
    return best


def _protection(challenge: dict[str, str], body: Body | None) -> str | None:
    """The qop to answer with, empty for a challenge without any (RFC 2069); None where none can be answered."""
    if "qop" not in challenge:
        return ""
    offered = [option.strip() for option in challenge["qop"].split(",")]
    if "auth" in offered:
        return "auth"
    return "auth-int" if "auth-int" in offered and (body is None or body.in_memory) else None


def digest_answer(
    challenge: dict[str, str],
    username: str,
    password: str,
    method: str,
    uri: str,
    count: int,
    cnonce: str,
    body: Body | None = None,
) -> str:
    """The Authorization header that answers a challenge (RFC 7616, section 3.4)."""
    import hashlib

    algorithm = challenge.get("algorithm", "MD5")
    name = _HASHES[algorithm.upper().removesuffix("-SESS")]

    def digest(text: str | bytes) -> str:
        data = text.encode() if isinstance(text, str) else text
        return hashlib.new(name, data, usedforsecurity=False).hexdigest()

    realm, nonce = challenge.get("realm", ""), challenge["nonce"]
    secret = digest(f"{username}:{realm}:{password}")
    if algorithm.upper().endswith("-SESS"):
        secret = digest(f"{secret}:{nonce}:{cnonce}")
    action = f"{method}:{uri}"
    counted = f"{count:08x}"
    protection = _protection(challenge, body)
    if protection == "auth-int":
        action += f":{digest(b'' if body is None else body.read_now())}"
    proof = f"{nonce}:{counted}:{cnonce}:{protection}" if protection else nonce
    fields = [
        # What a quoted string can't hold has a form of its own (RFC 7616, section 3.4; RFC 8187).
        f'username="{_quoted(username)}"' if username.isascii() else f"username*=UTF-8''{quote(username, safe='')}",
        f'realm="{_quoted(realm)}"',
        f'nonce="{_quoted(nonce)}"',
        f'uri="{uri}"',
        f'response="{digest(f"{secret}:{proof}:{digest(action)}")}"',
    ]
    if "algorithm" in challenge:
        fields.append(f"algorithm={algorithm}")
    if "opaque" in challenge:
        fields.append(f'opaque="{_quoted(challenge["opaque"])}"')
    if protection:
        fields += [f"qop={protection}", f"nc={counted}", f'cnonce="{cnonce}"']
    return "Digest " + ", ".join(fields)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


_autoauth: list[tuple[Target, Auth]] = []


def add_autoauth(url: str, auth: Any) -> None:
    """Use ``auth`` for every request under ``url`` that has no auth of its own.

    Scheme, host and port must be the same, and the path must begin with the URL's path, whole segments compared;
    the longest match wins. (requests 0.2.1 compared substrings, which sent passwords to hosts whose URL merely
    contained the other.) None as ``auth`` forgets what was registered for exactly this URL.

    Raises:
        InvalidURL: the URL has no scheme or host.
        TypeError: ``url`` is no text, or ``auth`` no auth.
    """
    if not isinstance(url, str):
        raise TypeError(f"the URL that auth is registered for is text, not {type(url).__name__}")
    target = parse_url(url)
    made = as_auth(auth)
    _autoauth[:] = [(known, kept) for known, kept in _autoauth if known.url != target.url]
    if made is not None:
        _autoauth.append((target, made))


def autoauth_for(target: Target) -> Auth | None:
    """What was registered for this URL, or None."""
    if not _autoauth:
        return None
    path = target.bare_path
    matching = [
        (len(known.path), auth)
        for known, auth in _autoauth
        if known.origin == target.origin and path_matches(path, known.bare_path)
    ]
    return max(matching, key=lambda match: match[0])[1] if matching else None


def as_auth(auth: Any) -> Auth | None:
    """The auth object for what callers pass: one, ``(user, password)``, or a function of the request.

    Raises:
        TypeError: it is none of these.
    """
    if auth is None or isinstance(auth, Auth):
        return auth
    if isinstance(auth, tuple) and len(auth) == 2:
        return BasicAuth(*auth)
    if callable(auth):
        return FunctionAuth(auth)
    raise TypeError(f"auth is (user, password), an auth object or a function, not {type(auth).__name__}")
