"""What a session tells of its work: hooks for the caller, lines for the log.

Secrets stay out of both: the log shows no header, no user info and no query (a presigned URL is a secret), and what
hooks get hides its secrets in its repr.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ._headers import Headers
from ._message import PreparedRequest, Response
from .exceptions import RequestException

logger = logging.getLogger("aioreq")


class AttemptEvent(NamedTuple):
    """A request is about to be tried again.

    Attributes:
        request: what will be sent again.
        number: of the attempt to come; the first retry is 2.
        delay: seconds until then.
        error: what ended the last attempt, or None.
        response: the answer to the last attempt, or None.
    """

    request: PreparedRequest
    number: int
    delay: float
    error: RequestException | None
    response: Response | None


class ConnectionEvent(NamedTuple):
    """A request has its connection.

    Attributes:
        request: what will be sent on it.
        reused: whether other requests have used it before.
        local: the address on this side, as the socket tells it.
        remote: the address on the other side.
        tls: the TLS version, or None on a plain connection.
    """

    request: PreparedRequest
    reused: bool
    local: Any
    remote: Any
    tls: str | None


class InterimEvent(NamedTuple):
    """A 1xx answer came before the final one (RFC 9110, section 15.2).

    Attributes:
        request: what it answers.
        status_code: 100 to 199, never 101.
        headers: those of the 1xx answer, such as the Link of a 103.
    """

    request: PreparedRequest
    status_code: int
    headers: Headers


class ResendEvent(NamedTuple):
    """A connection that was used before turned out to be dead: the request goes out again at once, on another.

    Attributes:
        request: what will be sent again; nobody has received it.
        error: how the connection ended.
    """

    request: PreparedRequest
    error: RequestException


_NAMES = ("request", "response", "attempt", "connection", "resend", "interim")


class Hooks(dict[str, tuple[Callable[[Any], Any], ...]]):
    """The caller's functions by event; only events that have some are in it.

    Args:
        hooks: a mapping of event names to a function or a list of them, plain or async: ``request`` gets each
            PreparedRequest before it is sent (its headers may be changed), ``response`` each Response when its head is
            there, ``attempt`` an AttemptEvent, ``connection`` a ConnectionEvent, ``resend`` a ResendEvent, ``interim``
            an InterimEvent. What a hook raises ends the call and reaches the caller. ``interim`` functions are plain:
            they run while bytes are on the way.

    Raises:
        ValueError: an event has no such name.
        TypeError: it is no mapping, or a hook is no function.
    """

    def __init__(self, hooks: Mapping[str, Any] | None = None) -> None:
        if hooks is not None and not isinstance(hooks, Mapping):
            raise TypeError(f"event_hooks= is a mapping of events to functions, not {type(hooks).__name__}")
        super().__init__()
        for name, given in (hooks or {}).items():
            if name not in _NAMES:
                raise ValueError(f"there is no event {name!r}; events are {', '.join(_NAMES)}")
            functions = tuple(given) if isinstance(given, (list, tuple)) else (given,)
            if not all(callable(function) for function in functions):
                raise TypeError(f"a hook for {name!r} is not a function")
            if name == "interim" and any(inspect.iscoroutinefunction(function) for function in functions):
                raise TypeError("a hook for 'interim' is a plain function, not an async one")
            if functions:
                self[name] = functions

    def preceded_by(self, **functions: Callable[[Any], Any]) -> Hooks:
        """These hooks, with one more function before those of each event named."""
        hooks = Hooks()
        hooks.update(self | {name: (each, *self.get(name, ())) for name, each in functions.items()})
        return hooks

    def tell_now(self, name: str, event: Any) -> None:
        """Call the plain functions for an event."""
        for function in self.get(name, ()):
            function(event)

    async def tell(self, name: str, event: Any) -> None:
        """Call the functions for an event, one after the other, and await what is async."""
        for function in self.get(name, ()):
            result = function(event)
            if inspect.isawaitable(result):
                await result


def log_answer(request: PreparedRequest, response: Response) -> None:
    """A line for each answer, at level DEBUG."""
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug(
            "%s %s %d, %s bytes up, %.3f s",
            request.method,
            request.target.place,
            response.status_code,
            response.upload.sent,
            response.elapsed.total_seconds(),
        )


def log_failure(request: PreparedRequest, error: RequestException) -> None:
    """A line for each exchange that brought no answer, at level DEBUG: the caller gets the error itself."""
    logger.debug("%s %s failed: %s", request.method, request.target.place, type(error).__name__)


def log_attempt(event: AttemptEvent) -> None:
    """A line for each retry, at level INFO: nobody else tells the caller of it."""
    why = type(event.error).__name__ if event.error is not None else event.response and event.response.status_code
    logger.info(
        "%s %s: attempt %d in %.2f s, after %s",
        event.request.method,
        event.request.target.place,
        event.number,
        event.delay,
        why,
    )
