"""One attempt: an item sent once, watched on its way, and what its end means."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from .._message import PreparedRequest, Request, Response
from .._progress import UploadProgress
from .._rules.retry import Retry
from .._session import Session, prepare_ahead
from .._url import parse_url
from ..exceptions import ConnectionError, RequestException, SSLError, Timeout
from ._concurrency import Level, Outcome
from ._delivery import Delivery
from ._item import UploadResult
from ._job import Job
from ._rate import RateLimit

# Answers that say the server has too much to do.
_TOO_MUCH = (429, 503)


@dataclass(slots=True, eq=False)
class Attempt:
    """What came of sending an item once.

    Attributes:
        started: when, by ``perf_counter``.
        duration: seconds.
        response: the answer, or None.
        error: why there is none, or None.
        sent: bytes of the body that left.
    """

    started: float
    duration: float
    response: Response | None = None
    error: Exception | None = None
    sent: int = 0

    @property
    def outcome(self) -> Outcome:
        """What it tells of the number of uploads at a time."""
        if self.response is not None:
            return Outcome.TOO_MUCH if self.response.status_code in _TOO_MUCH else Outcome.GOOD
        unreachable = isinstance(self.error, ConnectionError) and self.error.sent is None
        if isinstance(self.error, SSLError):
            return Outcome.NEITHER
        return Outcome.TOO_MUCH if unreachable or isinstance(self.error, Timeout) else Outcome.NEITHER


class Courier:
    """Sends items over a session.

    Args:
        job: what they have in common.
        session: what they go over.
        retry: the policy of trying again, or None.
        options: of each request, as :meth:`aioreq.Session.send` has them.
        rate_limit: what each body keeps to.
        moved: called with the number of bytes that have left, as they leave.
    """

    def __init__(
        self,
        job: Job,
        session: Session,
        retry: Retry | None,
        options: dict[str, Any],
        rate_limit: RateLimit,
        moved: Callable[[int], None],
    ) -> None:
        self._job = job
        self._session = session
        self._retry = retry
        self._options = options
        self._rate_limit = rate_limit
        self._moved = moved
        self._begun = perf_counter()  # not the loop's time, which goes in steps of a millisecond on uvloop

    def make_requests(self, deliveries: Iterable[Delivery]) -> None:
        """Make the requests of those deliveries that need nothing but their bytes, now that these are there.

        Many at a time, and not each between another's answer and its own leaving: a small file takes a tenth less.
        Whatever is wrong with one is noted in it.
        """
        if self._rate_limit.is_set:  # its body would be another one
            return
        for delivery in deliveries:
            if not delivery.ready or delivery.problem is not None:
                continue
            try:
                delivery.request = request = self._job.request_now(delivery)
                if request is not None:
                    prepare_ahead(self._session, request, self._options.get("expect_continue"))
            except Exception as error:
                delivery.problem = error

    def send(self, delivery: Delivery, level: Level) -> Coroutine[Any, Any, Attempt]:
        """Send an item once; to be awaited. Whatever goes wrong is in the attempt."""
        if not delivery.attempts:
            delivery.begun = perf_counter()
        request, delivery.request = delivery.request, None
        if request is None or delivery.problem is not None or self._rate_limit.is_set:
            return self._make_and_send(request, delivery, level)
        return self._exchange(request, delivery, level)

    async def _make_and_send(self, request: Request | None, delivery: Delivery, level: Level) -> Attempt:
        """Send what could not be made ahead, or is to be sent slowly."""
        started = perf_counter()
        if delivery.problem is not None:
            return Attempt(started, 0.0, error=delivery.problem)
        try:
            request = request or self._job.request_now(delivery) or await self._job.request(delivery)
            if self._rate_limit.is_set:
                request.data = await self._rate_limit.paced(request.data, parse_url(str(request.url)).origin)
        except Exception as error:
            return Attempt(started, perf_counter() - started, error=error)
        exchange = self._exchange(request, delivery, level)
        del request  # the traceback of an error keeps this frame, too, from Python 3.12 on, and so what was sent
        return await exchange

    async def _exchange(self, request: Request, delivery: Delivery, level: Level) -> Attempt:
        delivery.attempts += 1
        started = perf_counter()
        # While somebody watches, a small body would not leave in one write: it is counted behind that.
        body = request.data
        watch = None if body.in_memory or body.is_small else _Watch(self._moved, level.moved)
        level.begun(started)
        response = error = None
        try:
            response = await self._session.send(request, retry=None, progress=watch, **self._options)
            if self._job.digest is not None and delivery.digest is not None:
                self._job.digest.check(response, delivery.digest)
        except Exception as raised:
            error = raised
        sent = _sent(error) if response is None else response.upload.sent
        if watch is None:
            self._moved(sent)
            level.moved(sent)
        now = perf_counter()
        attempt = Attempt(started, now - started, response, error, sent)
        level.ended(now, attempt.duration, attempt.outcome)
        return attempt

    def delay(self, delivery: Delivery, attempt: Attempt) -> float | None:
        """Seconds until an item is to be tried again, or None when this attempt was its last."""
        if self._retry is None:
            return None
        response, error = attempt.response, attempt.error
        if response is not None and error is None:
            return self._retry.after_answer(response.request, response, delivery.attempts)
        if isinstance(error, RequestException) and isinstance(error.request, PreparedRequest):
            return self._retry.after_error(error.request, error, delivery.attempts)
        return None

    def result(self, delivery: Delivery, attempt: Attempt) -> UploadResult:
        """What became of an item whose last attempt this was."""
        response, started, duration = attempt.response, attempt.started, attempt.duration
        # By place, in the order of the fields: with a class, so many arguments by name take 2 µs more.
        return UploadResult(
            delivery.item,
            response,
            attempt.error,
            delivery.attempts,
            attempt.sent,
            started + duration - delivery.begun if delivery.attempts else 0.0,  # elapsed
            delivery.size,
            started - self._begun,
            duration,
            delivery.url if response is None else response.url,
            delivery.key,
            None if delivery.digest is None else delivery.digest.hex(),
            False,  # skipped
            None if response is None else response.status_code,
        )


def _sent(error: Exception | None) -> int:
    """Bytes of the body that had left."""
    sent = getattr(error, "sent", None)
    return sent if isinstance(sent, int) else 0


class _Watch:
    """A callback that counts the bytes of one body as they leave."""

    def __init__(self, *moved: Callable[[int], None]) -> None:
        self._moved = moved
        self._told = 0

    def __call__(self, progress: UploadProgress) -> None:
        """Pass on what has left since the last time."""
        if progress.sent < self._told:
            self._told = 0  # it is sent again, behind a redirect or a challenge
        for moved in self._moved:
            moved(progress.sent - self._told)
        self._told = progress.sent


def forget_what_was_sent(attempt: Attempt) -> None:
    """Who keeps an answer or an error must not keep what was sent: requests let their bodies go, tracebacks theirs.

    A traceback stays readable; the variables of its frames are gone.
    """
    if attempt.response is not None:
        attempt.response.request.body = None
        for earlier in attempt.response.history:
            earlier.request.body = None
    error: BaseException | None = attempt.error
    while error is not None:
        if isinstance(error, RequestException) and isinstance(error.request, PreparedRequest):
            error.request.body = None
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
