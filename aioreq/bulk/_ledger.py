"""Who has arrived already, who is on the way, and under which keys: the journal's part in a run."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable

from ..exceptions import FileUnreadable, InvalidBody
from ._delivery import Delivery
from ._item import UploadResult
from ._job import Job
from ._journal import Done, Entry, Journal
from ._place import stable_url


class Ledger:
    """Sorts the items of a run by what the journal knows of them."""

    def __init__(self, journal: Journal, job: Job) -> None:
        self._journal = journal
        self._job = job
        self._followers: dict[bytes, list[Delivery]] = {}

    async def sort(self, deliveries: list[Delivery]) -> tuple[list[Delivery], list[tuple[Delivery, Done]]]:
        """Those to be sent now, and those that have arrived. What is on the way already is kept until that is over."""
        to_send: list[Delivery] = []
        unsure: list[Delivery] = []
        for delivery in deliveries:
            if delivery.problem is not None or not self._identify(delivery):
                to_send.append(delivery)
            elif not self._follows(delivery):  # before the journal is asked: meanwhile it could be finished
                unsure.append(delivery)
        known = await self._journal.done([_identity(delivery) for delivery in unsure])
        done: list[tuple[Delivery, Done]] = []
        for delivery in unsure:
            if (entry := known.get(_identity(delivery))) is None:
                to_send.append(delivery)
            else:
                done += [(each, entry) for each in (delivery, *self.release(delivery))]
        return to_send, done

    def _identify(self, delivery: Delivery) -> bool:
        """Give it its identity and its key; false when it has none, which is noted as its problem."""
        item = delivery.item
        path = None if item.path is None else os.path.abspath(item.path)  # noqa: PTH100 - it is text
        if path is None and item.key is None:
            delivery.problem = InvalidBody(f"{item.label} has no path for the journal to know it by: give it key=")
            return False
        place = item.key or stable_url(delivery.url)
        what = (place, self._job.field_of(item), path, delivery.size, delivery.mtime)
        delivery.identity = hashlib.blake2b(json.dumps(what).encode(), digest_size=16).digest()
        delivery.key = (
            item.key or hashlib.blake2b(delivery.identity, key=self._journal.id.encode(), digest_size=16).hexdigest()
        )
        return True

    def _follows(self, delivery: Delivery) -> bool:
        """Whether the same item is on the way already; it then waits for what becomes of that one."""
        followers = self._followers.get(_identity(delivery))
        if followers is None:
            self._followers[_identity(delivery)] = []
            return False
        followers.append(delivery)
        return True

    async def record(self, delivery: Delivery, result: UploadResult) -> None:
        """Write a result down.

        Raises:
            JournalError: it could not be written.
        """
        if delivery.identity is None:
            return
        item = delivery.item
        await self._journal.record(
            Entry(
                identity=delivery.identity,
                url=stable_url(delivery.url),
                field=self._job.field_of(item),
                path=item.path,
                size=delivery.size,
                mtime=delivery.mtime,
                key=delivery.key,
                ok=result.ok,
                status=result.status,
                digest=result.digest,
                problem=result.problem,
                attempts=result.attempts,
                finished=time.time(),
            )
        )

    def release(self, delivery: Delivery) -> list[Delivery]:
        """Those that waited for what became of this item."""
        return [] if delivery.identity is None else self._followers.pop(delivery.identity, [])

    def drop(self) -> int:
        """Forget those that wait for others; how many there were."""
        dropped = sum(map(len, self._followers.values()))
        self._followers.clear()
        return dropped

    async def aclose(self) -> None:
        """Write what is left, and close the journal."""
        await self._journal.aclose()


def _identity(delivery: Delivery) -> bytes:
    assert delivery.identity is not None
    return delivery.identity


def look_at(deliveries: Iterable[Delivery]) -> None:
    """Note size and time of change of files. Blocks: for a reader thread. What can't be looked at has a problem."""
    for delivery in deliveries:
        path = delivery.item.path
        if path is None:
            continue
        try:
            status = os.stat(path)  # noqa: PTH116 - it is text
        except OSError as error:
            delivery.problem = FileUnreadable.from_oserror(error, path)
        else:
            delivery.size, delivery.mtime = status.st_size, status.st_mtime_ns


def description(job: Job) -> str:
    """A job in words that are the same each time it is started; nothing secret is in them."""
    where = stable_url(job.url) if isinstance(job.url, str) else "one URL for each item"
    how = "raw bodies" if job.field is None else f"forms with the field {job.field!r}"
    return f"{job.method} to {where}, {how}"
