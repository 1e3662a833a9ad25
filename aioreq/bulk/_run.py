"""A bulk upload while it runs: items in, uploads out, results back, and nothing unbounded in between.

    feed ── items ──> lanes ── batches ──> reader threads ── bytes ──> lanes ── one by one ──> workers ──> outlet

Nothing moves unless there is room ahead: the caller takes results, which lets workers finish, which lets batches be
read, which lets items be taken. What is bounded: items taken and not finished (the window), bytes read and not sent
(the memory), uploads on the way (the concurrency), results not taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Callable, Coroutine, Sized
from dataclasses import dataclass
from typing import Any, Literal

from .. import _threads
from .._net.pool import Limits
from .._rules.retry import Retry
from .._session import Session
from .._threads import READERS
from ..exceptions import SessionClosed
from ._attempt import Courier, forget_what_was_sent
from ._concurrency import Concurrency
from ._delivery import Delivery
from ._feed import feed_from
from ._item import Upload, UploadResult
from ._job import Job
from ._journal import Done, Journal
from ._lanes import Lanes
from ._ledger import Ledger, description, look_at
from ._loading import Loader, is_path, load_other
from ._outlet import Outlet
from ._progress import BulkProgress, Tally
from ._rate import RateLimit

# Items that are taken and not finished: how far ahead of a slow server the others' items are seen.
WINDOW = 1024

OnError = Literal["collect", "stop"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a job is done.

    Attributes:
        concurrency: how many uploads may be on the way at a time.
        retry: the policy of trying again, or None.
        options: of each request, as :meth:`aioreq.Session.send` has them.
        session: the caller's, or None for one of our own.
        on_error: whether a failed item ends the run.
        memory: bytes that may be read ahead at a time.
        journal: the path of the journal's file, or None.
        rate_limit: what all bodies keep to.
        progress: the caller's callback, or None.
    """

    concurrency: Concurrency
    retry: Retry | None
    options: dict[str, Any]
    session: Session | None
    on_error: OnError
    memory: int
    journal: str | os.PathLike[str] | None
    rate_limit: RateLimit
    progress: Callable[[BulkProgress], object] | None


class Run:
    """All that is under way."""

    def __init__(self, job: Job, items: Any, settings: Settings) -> None:
        self._job = job
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._feed = feed_from(items)
        self._session = settings.session or _own_session(settings.concurrency.most)
        self._courier = Courier(job, self._session, settings.retry, settings.options, settings.rate_limit, self._moved)
        self._ledger: Ledger | None = None
        self._loader = Loader(job.digest)
        self._lanes = Lanes(settings.concurrency, settings.memory)
        self._outlet = Outlet(settings.concurrency.most)
        self._tally = Tally(self._loop.time())
        if isinstance(items, Sized):
            self._tally.total = len(items)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pauses: set[asyncio.TimerHandle] = set()
        self._life = contextlib.AsyncExitStack()
        self._id = uuid.uuid4().hex
        self._numbered = 0
        self._open = 0
        self._freed = asyncio.Event()
        self._all_taken = False
        self._stopping = False
        self._failure: BaseException | None = None
        self._closing: asyncio.Task[None] | None = None

    # --- life

    async def begin(self) -> None:
        """Open what is needed, and start."""
        if self._session.closed:
            raise SessionClosed("the session is closed: make a new one")
        _threads.hold()
        self._life.callback(_threads.release)
        if self._settings.session is None:
            await self._life.enter_async_context(self._session)
        if self._settings.journal is not None:
            journal = await Journal.open(self._settings.journal, description(self._job))
            self._ledger = Ledger(journal, self._job)
            self._life.push_async_callback(self._ledger.aclose)
        self._spawn(self._take_items())

    def next(self) -> Coroutine[Any, Any, UploadResult | None]:
        """The next result in the order of landing, or None at the end. Raises what the run ended with."""
        return self._outlet.get()

    def stop(self) -> None:
        """Begin nothing more; what is on the way is finished, and its results still come."""
        if self._stopping:
            return
        self._stopping = True
        for pause in self._pauses:
            pause.cancel()
        dropped = len(self._pauses) + self._lanes.drop()
        self._pauses.clear()
        if self._ledger is not None:
            dropped += self._ledger.drop()
        self._settle(dropped)

    async def aclose(self) -> None:
        """Give up what is on the way, and wait until nothing is left of the run. Any number of callers may wait."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._stopping = True
        for pause in self._pauses:
            pause.cancel()
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._feed.aclose()
        finally:
            await self._life.aclose()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._outlet.end(error)

    # --- in

    async def _take_items(self) -> None:
        """Take items as long as the window has room. What their iterable raises ends the run, behind those before."""
        try:
            while items := await self._feed.take(await self._room()):
                if self._stopping:
                    break
                await self._admit([self._start(Upload.of(item)) for item in items])
        except Exception as error:
            self._failure = self._failure or error
        self._all_taken = True
        self._settle(0)

    async def _room(self) -> int:
        """How many items may be taken: many at a time, so that they can be read many at a time."""
        while WINDOW - self._open < WINDOW // 4:
            self._freed.clear()
            await self._freed.wait()
        return WINDOW - self._open

    def _start(self, item: Upload) -> Delivery:
        delivery = self._job.start(item)
        self._numbered += 1
        delivery.key = item.key or f"{self._id}-{self._numbered}"
        self._open += 1
        self._describe(delivery)
        return delivery

    def _describe(self, delivery: Delivery) -> None:
        """Make ready what needs no thread: bytes in memory, unless their digest is wanted, and what can't be sent."""
        if delivery.problem is None and not is_path(delivery):
            load_other(delivery)
            delivery.ready = self._job.digest is None
        delivery.ready = delivery.ready or delivery.problem is not None

    async def _admit(self, deliveries: list[Delivery]) -> None:
        """Put into their lanes what the journal does not know as done."""
        if self._ledger is not None:
            await READERS.start(look_at, deliveries)
            deliveries, done = await self._ledger.sort(deliveries)
            for delivery, entry in done:
                self._report(_skipped(delivery, entry))
                await self._outlet.room()
                self._settle(1)
        if self._stopping:
            self._settle(len(deliveries))
            return
        for delivery in deliveries:
            if delivery.ready or delivery.problem is not None:
                self._lanes.add_ready(delivery)
            else:
                self._lanes.add(delivery)
        self._dispatch()

    # --- between

    def _dispatch(self) -> None:
        """Have read and sent what may be read and sent now."""
        self._read_ahead()
        while delivery := self._lanes.take():
            self._spawn(self._work(delivery))

    def _read_ahead(self) -> None:
        while batch := self._lanes.take_batch():
            self._spawn(self._read(batch))

    async def _read(self, batch: list[Delivery]) -> None:
        await self._loader.load(batch)
        self._courier.make_requests(batch)
        self._lanes.put_batch(batch)
        if self._stopping:
            self._settle(self._lanes.drop())
        self._dispatch()

    # --- out

    async def _work(self, delivery: Delivery | None) -> None:
        """Send one item after the other, as long as there are any."""
        while delivery is not None:
            await self._deliver(delivery)
            self._read_ahead()
            delivery = self._lanes.take()

    async def _deliver(self, delivery: Delivery) -> None:
        attempt = await self._courier.send(delivery, self._lanes.level_of(delivery))
        delay = None if self._stopping else self._courier.delay(delivery, attempt)
        forget_what_was_sent(attempt)
        if delay is not None:
            self._lanes.finished(delivery)
            self._pause(delay, delivery)
            return
        result = self._courier.result(delivery, attempt)
        if self._ledger is not None:
            # It keeps its place until it is written down: no more is ever lost than is on the way.
            await self._ledger.record(delivery, result)
        self._report(result)
        if self._outlet.is_full:  # seldom: a coroutine less for each item
            await self._outlet.room()
        self._lanes.finished(delivery)
        if self._ledger is not None and (followers := self._ledger.release(delivery)):
            await self._admit(followers)
        self._settle(1)

    def _pause(self, delay: float, delivery: Delivery) -> None:
        """Have an item wait outside of everything: it holds no place and no bytes meanwhile."""

        def over() -> None:
            self._pauses.discard(handle)
            self._admit_again(delivery)

        handle = self._loop.call_later(delay, over)
        self._pauses.add(handle)

    def _admit_again(self, delivery: Delivery) -> None:
        self._describe(delivery)
        if delivery.ready:
            self._lanes.add_ready(delivery)
        else:
            self._lanes.add_again(delivery)
        self._dispatch()

    # --- back

    def _report(self, result: UploadResult) -> None:
        self._tally.count(result)
        self._tell()
        self._outlet.put(result)
        if self._settings.on_error == "stop" and not result.ok and not self._stopping:
            self._failure = result.failure()
            self.stop()

    def _settle(self, number: int) -> None:
        """So many items are through; the last one is followed by the end."""
        self._open -= number
        self._freed.set()
        if not self._open and (self._all_taken or self._stopping):
            self._tally.total = self._tally.finished
            self._tell(last=True)
            self._outlet.end(self._failure)

    # --- how far

    @property
    def progress(self) -> BulkProgress:
        """How far it has come."""
        return self._tally.snapshot(self._loop.time(), self._lanes.in_flight, self._lanes.limit)

    def expect(self, total: int, total_bytes: int | None) -> None:
        """So much there will be."""
        self._tally.total, self._tally.total_bytes = total, total_bytes

    def _moved(self, size: int) -> None:
        self._tally.moved(size, self._loop.time())
        self._tell()

    def _tell(self, *, last: bool = False) -> None:
        """Call the caller's callback if it is time. What it raises ends the run and is raised there."""
        callback = self._settings.progress
        if callback is None or not (last or self._tally.is_due(self._loop.time())):
            return
        try:
            callback(self.progress)
        except Exception as error:
            self._outlet.end(error)


def _skipped(delivery: Delivery, entry: Done) -> UploadResult:
    """The result of an item that has arrived in an earlier run."""
    return UploadResult(
        item=delivery.item,
        size=delivery.size,
        url=delivery.url,
        key=delivery.key,
        digest=entry.digest,
        skipped=True,
        status=entry.status,
    )


def _own_session(connections: int) -> Session:
    return Session(limits=Limits(max_connections=connections, max_idle=connections))
