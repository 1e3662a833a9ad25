"""A netrc file: user and password by host, kept in memory until the file changes.

Reading can block, so it is apart from finding: who drives a conversation calls ``read`` in a thread when the file
is ``due``, and the rules then ``find`` in memory.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from time import monotonic
from typing import NamedTuple

from .exceptions import AuthenticationError, RequestException

# The user's own, in the order of looking; the second name is Windows'.
_OWN = ("~/.netrc", "~/_netrc")

# Most users have no such file: it is not looked for with each of a thousand requests.
_PATIENCE = 1.0

_logger = logging.getLogger("aioreq")

_State = tuple[int, ...]
_Seen = tuple[str, _State | None]  # where the file was found, and in which state; None where there is none


class Entry(NamedTuple):
    """What a netrc file says about a host."""

    user: str
    password: str


class _Content(NamedTuple):
    """What stood in the file at one time; replaced in one piece, since it is read in a thread.

    Attributes:
        seen: where it was found and in which state; or None when it was not looked for yet.
        entries: by host, in lower case.
        default: the entry for all other hosts, or None.
        failure: why it can't be used, or None.
    """

    seen: _Seen | None
    entries: Mapping[str, Entry]
    default: Entry | None = None
    failure: str | None = None


class Netrc:
    """One netrc file.

    Args:
        file: its path, or None for the user's own.
        patience: seconds for which it is taken to be as it was when it was last looked at.

    Attributes:
        is_empty: whether it says nothing about any host, as far as it was read.
    """

    def __init__(self, file: str | os.PathLike[str] | None = None, patience: float = 0.0) -> None:
        self._patience = patience
        self._next_look = 0.0
        self._is_named = file is not None
        self._paths = (os.fspath(file),) if file is not None else tuple(map(os.path.expanduser, _OWN))
        self._seen: _Seen | None = None  # with the last look
        self._keep(_Content(None, {}))
        self._ignored: _Content | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Netrc:
        """The file that ``$NETRC`` names, else the user's own."""
        return cls(environment.get("NETRC") or None, _PATIENCE)

    @property
    def path(self) -> str:
        """Where the file is, or would be."""
        return self._look()[0]

    @property
    def due(self) -> bool:
        """Whether the file is not read yet, or has changed since. Where there is none, nothing is to be read."""
        now = monotonic()
        if now >= self._next_look:
            self._next_look = now + self._patience
            self._seen = seen = self._look()
            if seen != self._content.seen and seen[1] is None:
                self._keep(self._missing(seen))
        return self._seen != self._content.seen  # for all who ask until it has been read, not for the first one only

    def _missing(self, seen: _Seen) -> _Content:
        """A file must be there if it was named; the user's own need not."""
        return _Content(seen, {}, failure=f"there is no netrc file at {seen[0]!r}" if self._is_named else None)

    def _look(self) -> _Seen:
        for path in self._paths:
            state = _state_of(path)
            if state is not None:
                return path, state
        return self._paths[0], None

    def read(self) -> None:
        """Read the file; what is wrong with it is told by :meth:`find`."""
        self._keep(self._read())
        self._seen = self._content.seen

    def _read(self) -> _Content:
        import netrc

        seen = self._look()  # before reading: what changes meanwhile is read the next time
        entries: dict[str, Entry] = {}
        failure = None
        try:
            hosts = netrc.netrc(None if self._is_checked(seen[0]) else seen[0]).hosts
            entries = {host.lower(): Entry(user or account, secret) for host, (user, account, secret) in hosts.items()}
        except FileNotFoundError:  # it was there a moment ago
            return self._missing((seen[0], None))
        except netrc.NetrcParseError as error:
            failure = f"the netrc file can't be read: {_without_token(error.msg)}{_place(error.lineno)}"
        except (OSError, ValueError) as error:  # a directory, or no text
            failure = f"the netrc file can't be read: {error}"
        return _Content(seen, entries, entries.pop("default", None), failure)

    def _is_checked(self, path: str) -> bool:
        """Whether the parser sees to it that nobody else can read the file: it does when it is not told which."""
        return not self._is_named and path == self._paths[0]

    def find(self, host: str, *, by_name: bool = False) -> Entry | None:
        """What the file says about ``host``, or None.

        Args:
            host: in lower case.
            by_name: leave out the file's default entry, which is for every host.

        Raises:
            AuthenticationError: the file is not there, though it was named, or can't be read.
        """
        content = self._content
        if content.failure is not None:
            raise AuthenticationError(content.failure)
        return content.entries.get(host) or (None if by_name else content.default)

    def _keep(self, content: _Content) -> None:
        # In this order: a thread may read while the loop looks, and as long as the content is the old one, it is due.
        self.is_empty = not content.entries and content.default is None and content.failure is None
        self._content = content

    def ignore(self, error: RequestException) -> None:
        """Do without the file, and say why in the log, once for each state of it."""
        if self._ignored is not self._content:
            self._ignored = self._content
            _logger.warning("%s is not used: %s", self.path, error)


def _state_of(path: str) -> _State | None:
    """What differs when a file was written or replaced; None where there is none that can be looked at."""
    try:
        found = os.stat(path)  # noqa: PTH116 - for each request without credentials: no Path is made for it
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _without_token(message: str) -> str:
    """What the parser stumbled over may be half a password: it is left out."""
    what, token, _ = message.partition(" token ")
    return what + token.rstrip()


def _place(line: int | None) -> str:
    return "" if line is None else f" in line {line}"
