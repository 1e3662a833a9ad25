"""``bulk_upload``: what callers hold in their hands."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Literal

from .._headers import header_pairs
from .._message import checked_method
from .._progress import check_callback
from .._rules.auth import as_auth
from .._rules.retry import Retry
from .._session import Session
from .._timeout import Timeout
from .._url import parse_url
from ._concurrency import Concurrency
from ._digest import Algorithm, Digest
from ._item import UNSET, Unset, Upload, UploadResult
from ._job import Job
from ._plan import Planned, plan
from ._progress import BulkProgress
from ._rate import RateLimit
from ._run import OnError, Run, Settings
from ._sources import walk

DEFAULT_RETRY = Retry(attempts=5)
DEFAULT_MEMORY = 64 * 1024 * 1024


class BulkUpload:
    """A bulk upload: iterate over it once, and its results come as they land.

    Leaving the loop early, or cancelling it, gives up what is on the way. ``async with`` around the loop waits until
    that is done; without it, it is done soon after.
    """

    def __init__(self, job: Job, items: Any, settings: Settings) -> None:
        self._job = job
        self._items = items
        self._settings = settings
        self._run: Run | None = None
        self._begun = False
        self._expected: tuple[int, int | None] | None = None

    def __repr__(self) -> str:
        return f"<BulkUpload [{self._job.method}]>"

    def __aiter__(self) -> AsyncGenerator[UploadResult, None]:
        if self._begun:
            raise RuntimeError("a bulk upload runs once: make another one")
        self._begun = True
        # A generator, because the loop ends what is left of one that nobody iterates over any more.
        return self._results()

    async def _results(self) -> AsyncGenerator[UploadResult, None]:
        self._run = run = Run(self._job, self._items, self._settings)
        if self._expected is not None:
            run.expect(*self._expected)
        try:
            await run.begin()
            while (result := await run.next()) is not None:
                yield result
        finally:
            await run.aclose()

    async def plan(self) -> AsyncGenerator[Planned, None]:
        """What would be done with each item, found out without sending anything; then the run can't be begun.

        A journal is looked into if it is there.

        Raises:
            JournalError: the journal is another job's, or in use.
        """
        self._begun = True
        async with aclosing(plan(self._job, self._items, self._settings.journal)) as planned:
            async for each in planned:
                yield each

    def stop(self) -> None:
        """Begin nothing more. What is on the way is finished, and its results still come."""
        if self._run is not None:
            self._run.stop()
        self._begun = True

    @property
    def rate_limit(self) -> RateLimit:
        """Its rate limit, which can be changed at any time. What is on the way without one goes on without."""
        return self._settings.rate_limit

    @property
    def progress(self) -> BulkProgress:
        """How far it has come."""
        return BulkProgress() if self._run is None else self._run.progress

    def expect(self, total: int, total_bytes: int | None = None) -> None:
        """Tell how many items there will be, and of how many bytes, where that is known otherwise: for the progress."""
        self._expected = total, total_bytes
        if self._run is not None:
            self._run.expect(*self._expected)

    async def aclose(self) -> None:
        """Give up what is on the way, and wait until nothing is left of it. Closing twice is fine."""
        self._begun = True
        if self._run is not None:
            await self._run.aclose()

    async def __aenter__(self) -> BulkUpload:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def bulk_upload(
    url: str | Callable[[Upload], Any] | None,
    items: Any,
    *,
    field: str | Unset | None = UNSET,
    method: str = "POST",
    data: Any = None,
    headers: Any = None,
    auth: Any = None,
    digest: Digest | Algorithm | None = None,
    concurrency: int | Concurrency | Literal["auto"] | None = None,
    retry: Retry | int | None = DEFAULT_RETRY,
    timeout: Any = UNSET,
    session: Session | None = None,
    journal: str | os.PathLike[str] | None = None,
    rate_limit: float | RateLimit | None = None,
    progress: Callable[[BulkProgress], object] | None = None,
    on_error: OnError = "collect",
    memory: int = DEFAULT_MEMORY,
) -> BulkUpload:
    """Upload any number of items, and iterate over their results as they land::

        async for result in aioreq.bulk_upload("https://example.org/upload", pathlib.Path("photos").rglob("*.jpg")):
            print(result.status, result.item.label, result.problem or "")

    Args:
        url: where to: a URL, a function of the item (plain or async), or None when each item has its own. A raw upload
            to a URL that ends with a slash goes to the item's name beneath it. A plain function is called once for an
            item; an async one anew before each attempt, so that a presigned URL is fresh.
        items: an iterable or an async iterable of paths (text or path objects) and :class:`Upload` items, or one path:
            a folder stands for all files below it, named by their path from there (see :func:`walk`). It is taken as
            far as there is room and never held as a whole: 1,024 items at most are taken and not finished. A plain
            iterable is advanced in a thread of its own unless it is a list, a tuple, a set or a dict.
        field: the form's field that the file goes into; None sends the file itself as the body. By default "file",
            and None where the method is PUT.
        method: of each request.
        data: further fields of the form, before the file: a mapping or pairs, or a function of the item.
        headers: of each request, or a function of the item. Each has an Idempotency-Key, the same in all attempts;
            None as its value leaves it out, and then only what is idempotent by its method is tried again.
        auth: credentials, as for any request.
        digest: a :class:`Digest`, or "sha256", "md5" or "crc32c": computed of each source while it is read (of a file
            above 256 KiB before it is sent), sent along, and compared with what the server says, if it is told how.
        concurrency: uploads on the way at a time, shared fairly between hosts; 16 by default. "auto" finds the number
            for each host by what gets through, between 1 and 128; a :class:`Concurrency` sets other bounds. An upload
            needs three descriptors at most, so a third of RLIMIT_NOFILE, 64 less, is the limit: a default above it is
            lowered to it, a number of yours is refused.
        retry: the policy of trying again: an :class:`aioreq.Retry`, a number of attempts, or None for one attempt.
            An item that waits for its next attempt holds no place.
        timeout: of each attempt; the session's by default.
        session: what to send over; by default one is made, and closed at the end.
        journal: the path of a SQLite file (with the extra ``aioreq[journal]``). A run that was killed at any moment
            and is started again with the same journal sends what is left; what was done comes as a result that is
            ``skipped``. An item is known by its URL (without what only signs it), field, path, size and time of
            change: a changed file is sent again.
        rate_limit: bytes of bodies per second in all, or a :class:`RateLimit`, which can also hold for each host, be
            shared between runs, and be changed while they go on.
        progress: called with a :class:`BulkProgress` as things happen, ten times a second at most, and at the end.
            What it raises ends the run and is raised behind the last result.
        on_error: "collect" goes on when an item fails; "stop" begins nothing more then, finishes what is on the way,
            and raises that item's error behind the last result.
        memory: bytes of files that may be read ahead at a time. Files above 256 KiB are never held in memory.

    Returns:
        A :class:`BulkUpload`. Whatever goes wrong with one item is in its result; what the iterable raises is raised
        behind the results of the items before it.

    Raises:
        ValueError, TypeError: an argument can't mean anything, a URL among them (InvalidURL), or
            ``concurrency`` is above its limit.
        JournalError: when it is iterated over: the journal is another job's, is in use, or can't be written to.
    """
    if on_error not in ("collect", "stop"):
        raise ValueError(f"on_error is 'collect' or 'stop', not {on_error!r}")
    method = checked_method(method)
    _check(url, headers, auth, timeout, session, progress)
    if isinstance(url, str) and session is None:
        parse_url(url)  # a session may have the beginning of it; without one, better said now than of each item
    if isinstance(field, Unset):
        field = None if method == "PUT" else "file"
    if field is None and data is not None:
        raise ValueError("data= holds fields of a form, but the body is the file itself: give field= too")
    job = Job(url, method, field, data, headers, auth, Digest.of(digest))
    return BulkUpload(
        job,
        _below(items) if isinstance(items, (str, os.PathLike)) else items,
        Settings(
            concurrency=Concurrency.of(concurrency),
            retry=Retry.of(retry),
            options={} if isinstance(timeout, Unset) else {"timeout": timeout},
            session=session,
            on_error=on_error,
            memory=_checked_memory(memory),
            journal=journal,
            rate_limit=rate_limit if isinstance(rate_limit, RateLimit) else RateLimit(rate_limit),
            progress=progress,
        ),
    )


def _below(path: str | os.PathLike[str]) -> Any:
    """The files of a folder, or the one file that is there."""
    return walk(path) if os.path.isdir(path) else [path]  # noqa: PTH112 - a path of any kind


def _check(url: Any, headers: Any, auth: Any, timeout: Any, session: Any, progress: Any) -> None:
    """Refuse at once what would otherwise be told of each item."""
    if url is not None and not isinstance(url, str) and not callable(url):
        raise TypeError(f"url is text, a function of the item, or None, not {type(url).__name__}; items come behind it")
    if headers is not None and not callable(headers):
        header_pairs(headers)
    as_auth(auth)
    if not isinstance(timeout, Unset):
        Timeout.of(timeout)
    if session is not None and not isinstance(session, Session):
        raise TypeError(f"session= is an aioreq.Session, not {type(session).__name__}")
    check_callback(progress, "a BulkProgress")


def _checked_memory(memory: Any) -> int:
    if isinstance(memory, bool) or not isinstance(memory, int) or memory < 1:
        raise ValueError(f"memory={memory!r} is not a number of bytes above 0")
    return memory
