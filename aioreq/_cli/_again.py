"""A command once more, for whoever wants to go on with it: as it was typed, but without its secrets.

What is told at the end of a run may be kept in a log. A password that is left out of ``--auth`` is asked for.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_HIDDEN = "..."
_CREDENTIALS = re.compile(r"(?P<option>--auth[= ])(?P<user>[^:]*):.*", re.DOTALL)
_HEADER = re.compile(
    r"(?P<option>-H ?|--header[= ])(?P<name>[^:]*(?:auth|cookie|token|key|secret|password)[^:]*):.*",
    re.DOTALL | re.IGNORECASE,
)
_USER_INFO = re.compile(r"(?P<user>//[^/:@\s]*):[^/@\s]*@")


def same_again(words: Sequence[str]) -> str:
    """The command, ready for a shell.

    Args:
        words: behind the program's name.
    """
    shown = [_shown(before, word) for before, word in zip(("", *words), words, strict=False)]
    return shlex.join(("aioreq", *shown))


def _shown(before: str, word: str) -> str:
    """A word as it may be seen; what it means may depend on the one before it."""
    beginning = f"{before} " if before in ("--auth", "-H", "--header") else ""
    said = _CREDENTIALS.sub(r"\g<option>\g<user>", beginning + word)
    said = _HEADER.sub(rf"\g<option>\g<name>: {_HIDDEN}", said)
    return _USER_INFO.sub(rf"\g<user>:{_HIDDEN}@", said.removeprefix(beginning))
