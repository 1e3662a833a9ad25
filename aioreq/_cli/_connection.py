"""The session that the command line's options ask for."""

from __future__ import annotations

import getpass
import warnings
from typing import Any

from .._net.pool import Limits
from .._session import Session
from ._arguments import Options


def session_for(options: Options, connections: int = 100) -> Session:
    """A session with the options' credentials, trust, proxy and limits."""
    settings: dict[str, Any] = {}
    if options.timeout is not None:
        settings["timeout"] = options.timeout
    return Session(
        headers=options.header,
        auth=_credentials(options.auth),
        verify=False if options.insecure else options.cacert or True,
        cert=options.cert,
        proxy=options.proxy,
        limits=Limits(max_connections=connections, max_idle=connections),
        **settings,
    )


def _credentials(given: str | None) -> tuple[str, str] | None:
    if given is None:
        return None
    user, mark, password = given.partition(":")
    return user, password if mark else _asked(f"Password for {user}: ")


def _asked(question: str) -> str:
    """A password from the terminal, and from nowhere else: it would be seen, or standard input is a manifest."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(question)
        except (EOFError, getpass.GetPassWarning):
            raise ValueError(
                "there is no terminal to ask for the password: write --auth USER:PASSWORD, or put it into ~/.netrc"
            ) from None
