"""How far a run has come: counted as things happen, told a few times a second."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ._item import UploadResult

# How often a callback is called at most, in seconds.
_INTERVAL = 0.1
# Speed is that of the last seconds, seen in so many steps.
_SPAN = 5.0
_STEPS = 50


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """How far a bulk upload has come.

    Attributes:
        total: how many items there are, or None when nobody knows yet.
        total_bytes: bytes of them all, or None.
        uploaded: items that have arrived in this run.
        skipped: items that the journal knew as done.
        failed: items that have failed.
        in_flight: items on the way.
        limit: how many may be on the way at a time, as things are.
        retries: attempts beyond the first ones.
        bytes_sent: bytes of bodies that have left, those of failed attempts included.
        bytes_done: bytes of the items that have arrived, those of skipped ones included.
        speed: bytes that left per second, lately.
        elapsed: seconds since the beginning.
    """

    total: int | None = None
    total_bytes: int | None = None
    uploaded: int = 0
    skipped: int = 0
    failed: int = 0
    in_flight: int = 0
    limit: int = 0
    retries: int = 0
    bytes_sent: int = 0
    bytes_done: int = 0
    speed: float = 0.0
    elapsed: float = 0.0

    @property
    def finished(self) -> int:
        """Items that have a result."""
        return self.uploaded + self.skipped + self.failed

    @property
    def remaining(self) -> float | None:
        """Seconds until the end if all goes on like this, or None when that can't be said."""
        worked = self.uploaded + self.failed
        if self.total is None or not worked:
            return None
        by_number = (self.total - self.finished) * self.elapsed / worked
        if self.total_bytes is None or not self.bytes_sent:
            return max(0.0, by_number)
        by_bytes = (self.total_bytes - self.bytes_done) * self.elapsed / self.bytes_sent
        # Small files take their time by number, large ones by size: whichever there are more of decides.
        return max(0.0, by_number, by_bytes)


class Tally:
    """The counts of one run.

    Args:
        begun: the loop's time.
    """

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self.total: int | None = None
        self.total_bytes: int | None = None
        self.uploaded = 0
        self.skipped = 0
        self.failed = 0
        self.retries = 0
        self.bytes_sent = 0
        self.bytes_done = 0
        self._seen: deque[tuple[float, int]] = deque([(begun, 0)], maxlen=_STEPS)
        self._due = begun

    @property
    def finished(self) -> int:
        """Items that have a result."""
        return self.uploaded + self.skipped + self.failed

    def count(self, result: UploadResult) -> None:
        """An item has its result."""
        ok = result.ok
        if result.skipped:
            self.skipped += 1
        elif ok:
            self.uploaded += 1
        else:
            self.failed += 1
        if ok:
            self.bytes_done += result.size or 0
        if result.attempts > 1:
            self.retries += result.attempts - 1

    def moved(self, size: int, now: float) -> None:
        """So many bytes have left."""
        self.bytes_sent += size
        if now - self._seen[-1][0] >= _SPAN / _STEPS:
            self._seen.append((now, self.bytes_sent))

    def is_due(self, now: float) -> bool:
        """Whether it is time to tell of it again; then it is some time until the next time."""
        if now < self._due:
            return False
        self._due = now + _INTERVAL
        return True

    def snapshot(self, now: float, in_flight: int, limit: int) -> BulkProgress:
        """How far it has come now."""
        while len(self._seen) > 1 and self._seen[1][0] <= now - _SPAN:
            self._seen.popleft()
        since, before = self._seen[0]
        return BulkProgress(
            total=self.total,
            total_bytes=self.total_bytes,
            uploaded=self.uploaded,
            skipped=self.skipped,
            failed=self.failed,
            in_flight=in_flight,
            limit=limit,
            retries=self.retries,
            bytes_sent=self.bytes_sent,
            bytes_done=self.bytes_done,
            speed=(self.bytes_sent - before) / max(now - since, 1e-3),
            elapsed=now - self._begun,
        )
