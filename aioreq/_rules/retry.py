"""When to try again, and after how long."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from .._message import PreparedRequest, Response, checked_method
from .._value import Value
from ..exceptions import ConnectionError, ProxyError, RequestException, SSLError, Timeout

# RFC 9110, section 9.2.2: doing it twice is the same as doing it once.
IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))


class Retry(Value):
    """A policy of trying again, as a value.

    Args:
        attempts: how many times a request is sent at most, the first included.
        statuses: answers that are tried again.
        methods: methods that are tried again; the idempotent ones by default. A request with an Idempotency-Key
            header is tried again whatever its method.
        backoff: seconds before the second attempt; doubled each time, and shortened by up to a half at random.
        max_delay: seconds between attempts at most, also where the server asks for more.
        respect_retry_after: whether a Retry-After header sets the delay (RFC 9110, section 10.2.3).

    Raises:
        ValueError: an argument is of a kind that makes no sense, a number is negative, or there is no attempt at all.
    """

    __match_args__ = ("attempts", "statuses", "methods", "backoff", "max_delay", "respect_retry_after")
    __slots__ = __match_args__

    attempts: int
    statuses: Collection[int]
    methods: Collection[str]
    backoff: float
    max_delay: float
    respect_retry_after: bool

    def __init__(
        self,
        attempts: int = 3,
        statuses: Collection[int] = frozenset((429, 502, 503, 504)),
        methods: Collection[str] = IDEMPOTENT,
        backoff: float = 0.5,
        max_delay: float = 60.0,
        respect_retry_after: bool = True,
    ) -> None:
        self._set(attempts, statuses, methods, backoff, max_delay, respect_retry_after)
        for name, kind, least in (("attempts", int, 1), ("backoff", (int, float), 0), ("max_delay", (int, float), 0)):
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool) or not value >= least:
                raise ValueError(
                    f"Retry({name}={value!r}): attempts is 1 or more, backoff and max_delay are seconds, 0 or more"
                )
        if not _is_collection(int, self.statuses):
            raise ValueError(f"Retry(statuses={self.statuses!r}): a collection of numbers, such as {{502, 503}}")
        if not _is_collection(str, self.methods):
            raise ValueError(f"Retry(methods={self.methods!r}): a collection of names, such as {{'GET', 'POST'}}")
        object.__setattr__(self, "methods", frozenset(checked_method(method) for method in self.methods))

    @classmethod
    def of(cls, value: Any) -> Retry | None:
        """The policy for what callers pass: one, a number of attempts, or None for a single attempt.

        Raises:
            TypeError: it is none of these.
        """
        if value is None or isinstance(value, Retry):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return cls(attempts=value)
        raise TypeError(f"retry is a Retry, a number of attempts or None, not {type(value).__name__}")

    def may_follow(self, status: int) -> bool:
        """Whether there are answers with this status that are tried again."""
        return status in self.statuses

    def after_answer(self, request: PreparedRequest, response: Response, attempt: int) -> float | None:
        """Seconds to wait before trying again, or None when this answer is the last."""
        if response.status_code not in self.statuses or not self._may_repeat(request, attempt):
            return None
        asked = retry_after(response) if self.respect_retry_after else None
        return self._delay(attempt) if asked is None else min(asked, self.max_delay)

    def after_error(self, request: PreparedRequest, error: RequestException, attempt: int) -> float | None:
        """Seconds to wait before trying again, or None when this error is the last."""
        if not _is_passing(error) or not self._may_repeat(request, attempt):
            return None
        return self._delay(attempt)

    def _may_repeat(self, request: PreparedRequest, attempt: int) -> bool:
        wanted = request.method in self.methods or "Idempotency-Key" in request.headers
        return attempt < self.attempts and wanted and (request.body is None or request.body.is_fresh)

    def _delay(self, attempt: int) -> float:
        import random

        delay = min(self.backoff * 2.0 ** (attempt - 1), self.max_delay)
        return delay * (1 - random.random() / 2)  # noqa: S311 - spreads clients, guards nothing


def _is_collection(kind: type, values: Any) -> bool:
    """Whether they are some of a kind; a text is a collection of letters, which nobody means here."""
    if not isinstance(values, Collection) or isinstance(values, (str, bytes)):
        return False
    return all(isinstance(value, kind) for value in values)


def _is_passing(error: RequestException) -> bool:
    """Whether it may be gone the next time: no certificate is trusted, and no password accepted, for asking again."""
    if isinstance(error, ProxyError) and error.status_code is not None:
        return error.status_code >= 500
    return isinstance(error, (ConnectionError, Timeout)) and not isinstance(error, SSLError)


def retry_after(response: Response) -> float | None:
    """What a Retry-After header asks for, in seconds from now; None without one, or with one that says nothing."""
    from email.utils import parsedate_to_datetime

    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def may_send_again(request: PreparedRequest, sent: int | None) -> bool:
    """Whether a request that a dead connection swallowed can go out on another without doing its work twice."""
    body = request.body
    if body is not None and not body.is_fresh:
        return False
    # Nobody can have acted on it without the first byte of its body; but with an empty one, its head was all of it.
    return request.method in IDEMPOTENT or (body is not None and bool(body.length) and sent == 0)
