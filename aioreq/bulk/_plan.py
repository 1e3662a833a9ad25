"""What a run would do, found out without sending anything."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from .._threads import READERS
from ._feed import feed_from
from ._item import Upload
from ._job import Job
from ._journal import Journal
from ._ledger import Ledger, description, look_at
from ._loading import is_path, load_other

_AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class Planned:
    """What would be done with one item.

    Attributes:
        item: the item.
        method: of its request.
        url: where it would go, or None when that is only known when its turn comes.
        size: bytes of its source, or None.
        done: whether the journal knows it as done, so that nothing would be sent.
        problem: why it can't be sent, or None.
    """

    item: Upload
    method: str
    url: str | None
    size: int | None
    done: bool
    problem: Exception | None


async def plan(job: Job, items: Any, journal: str | os.PathLike[str] | None) -> AsyncGenerator[Planned, None]:
    """What would be done with each item. A journal is looked into if it is there; none is begun."""
    async with AsyncExitStack() as life:
        ledger: Ledger | None = None
        if journal is not None and await READERS.start(os.path.exists, journal):
            ledger = Ledger(await Journal.open(journal, description(job)), job)
            life.push_async_callback(ledger.aclose)
        feed = await life.enter_async_context(aclosing(feed_from(items)))
        while taken := await feed.take(_AT_A_TIME):
            deliveries = [job.start(Upload.of(item)) for item in taken]
            for delivery in deliveries:
                if delivery.problem is None and not is_path(delivery):
                    load_other(delivery)
            await READERS.start(look_at, deliveries)
            done = set() if ledger is None else {id(each) for each, _ in (await ledger.sort(deliveries))[1]}
            for each in deliveries:
                yield Planned(each.item, job.method_of(each.item), each.url, each.size, id(each) in done, each.problem)
