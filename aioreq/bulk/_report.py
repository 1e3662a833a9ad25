"""The account of a run: what a summary tells and a picture shows, in a memory that does not grow with the run."""

from __future__ import annotations

import heapq
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from ._item import UploadResult
from ._picture import KINDS, count_text, over_time, scatter, size_text, time_text

_BINS = 240
_FIRST_WIDTH = 0.05
_POINTS = 2000
_SLOWEST = 10
_FAILURES = 100


@dataclass(slots=True)
class Bin:
    """What happened in one stretch of time.

    Attributes:
        bytes: that went out, as far as that can be told from the results: spread evenly over each upload.
        busy: seconds of uploads; divided by the width, the mean number on the way.
        finished: uploads that ended well.
        failed: uploads that failed.
        retries: attempts beyond the first of the uploads that ended here.
    """

    bytes: float = 0.0
    busy: float = 0.0
    finished: int = 0
    failed: int = 0
    retries: int = 0

    def add(self, other: Bin) -> None:
        """Take another stretch in."""
        self.bytes += other.bytes
        self.busy += other.busy
        self.finished += other.finished
        self.failed += other.failed
        self.retries += other.retries


class Timeline:
    """A run in stretches of equal width. When there are too many, two become one each.

    Attributes:
        width: seconds of one stretch.
        bins: the stretches, from the beginning.
    """

    def __init__(self) -> None:
        self.width = _FIRST_WIDTH
        self.bins: list[Bin] = [Bin()]

    def add(self, result: UploadResult) -> None:
        """Enter an upload."""
        end = result.started + result.duration
        last = self._bin(end)
        last.finished += result.ok
        last.failed += not result.ok
        last.retries += max(0, result.attempts - 1)
        for index in range(int(result.started / self.width), int(end / self.width) + 1):
            begins = index * self.width
            overlap = max(0.0, min(end, begins + self.width) - max(result.started, begins))
            self.bins[index].busy += overlap
            share = overlap / result.duration if result.duration else 1.0
            self.bins[index].bytes += result.sent * share

    def _bin(self, time: float) -> Bin:
        while int(time / self.width) >= _BINS:
            self._halve()
        missing = int(time / self.width) + 1 - len(self.bins)
        self.bins += [Bin() for _ in range(missing)]
        return self.bins[int(time / self.width)]

    def _halve(self) -> None:
        self.width *= 2
        for even, odd in zip(self.bins[::2], self.bins[1::2], strict=False):
            even.add(odd)
        self.bins = self.bins[::2]


@dataclass(slots=True)
class Report:
    """The account of a run. Give it each result; whatever their number, it stays small.

    Attributes:
        title: what it is the account of.
        uploaded: items that have arrived.
        skipped: items that were done before.
        failed: items that have failed.
        retries: attempts beyond the first ones.
        bytes: of the items that have arrived in this run.
        seconds: from the beginning to the end of the last upload.
        slowest: results of the uploads that took longest, the longest first.
        failures: the first results that have failed.
    """

    title: str = "Bulk upload"
    uploaded: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    retries: int = field(default=0, init=False)
    bytes: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    failures: list[UploadResult] = field(default_factory=list, init=False)
    _timeline: Timeline = field(default_factory=Timeline, init=False)
    _points: list[tuple[float, float, int]] = field(default_factory=list, init=False)
    _slow: list[tuple[float, int, UploadResult]] = field(default_factory=list, init=False)
    _seen: int = field(default=0, init=False)
    _random: random.Random = field(default_factory=lambda: random.Random(0), init=False)  # noqa: S311 - a sample

    def add(self, result: UploadResult) -> None:
        """Enter a result."""
        if result.skipped:
            self.skipped += 1
            return
        if result.ok:
            self.uploaded += 1
            self.bytes += result.size or 0
        else:
            self.failed += 1
            if len(self.failures) < _FAILURES:
                self.failures.append(result)
        self.retries += max(0, result.attempts - 1)
        if result.attempts:
            self._add_times(result)

    def _add_times(self, result: UploadResult) -> None:
        self.seconds = max(self.seconds, result.started + result.duration)
        self._timeline.add(result)
        self._seen += 1
        heapq.heappush(self._slow, (result.duration, -self._seen, result))
        if len(self._slow) > _SLOWEST:
            heapq.heappop(self._slow)
        # A fair sample of all, whatever their number (Vitter's algorithm R).
        if len(self._points) < _POINTS:
            self._points.append(_point(result))
        elif (place := self._random.randrange(self._seen)) < _POINTS:
            self._points[place] = _point(result)

    @property
    def slowest(self) -> list[UploadResult]:
        """Results of the uploads that took longest, the longest first."""
        return [result for _, _, result in sorted(self._slow, reverse=True)]

    def html(self) -> str:
        """One page with everything in it: it loads nothing, and runs nothing."""
        template = files(__package__).joinpath("report.html").read_text("utf-8")
        parts = {
            "title": escape(self.title),
            "numbers": "".join(
                f"<div><b>{escape(number)}</b> {escape(what)}</div>" for what, number in self._numbers()
            ),
            "charts": "".join(self._charts()),
            "failed": _table("Failed", "what went wrong", self.failures, self.failed, _problem),
            "slowest": _table("Slowest", "took", self.slowest, len(self.slowest), _time),
        }
        # In one pass: a file may be called {{failed}}.
        return re.sub(r"\{\{(\w+)\}\}", lambda name: parts[name[1]], template)

    def _numbers(self) -> Iterator[tuple[str, str]]:
        yield "uploaded", f"{self.uploaded:,}"
        if self.failed:
            yield "failed", f"{self.failed:,}"
        if self.skipped:
            yield "done before", f"{self.skipped:,}"
        if self.retries:
            yield "retry" if self.retries == 1 else "retries", f"{self.retries:,}"
        yield "sent", size_text(self.bytes)
        yield "taken", time_text(self.seconds)
        if self.seconds:
            yield "on average", f"{size_text(self.bytes / self.seconds)}/s"

    def _charts(self) -> Iterator[str]:
        if not self._points:
            return
        line = self._timeline
        marks = (
            ("retried", [each.retries for each in line.bins]),
            ("failed", [each.failed for each in line.bins]),
        )
        throughput = [each.bytes / line.width for each in line.bins]
        yield over_time("Bytes per second", throughput, line.width, size_text, marks)
        finished = [each.finished / line.width for each in line.bins]
        yield over_time("Files per second", finished, line.width, count_text, marks)
        on_the_way = [each.busy / line.width for each in line.bins]
        yield over_time("Uploads at a time", on_the_way, line.width, count_text)
        yield scatter("Size and duration", self._points, size_text, time_text)


def _point(result: UploadResult) -> tuple[float, float, int]:
    """Size, duration, and which kind of point it is."""
    kind = "failed" if not result.ok else "retried" if result.attempts > 1 else "done"
    return result.size or 0, result.duration, KINDS.index(kind)


def _table(
    title: str, column: str, results: Sequence[UploadResult], number: int, cell: Callable[[UploadResult], str]
) -> str:
    if not results:
        return ""
    rows = "".join(
        f"<tr><td>{escape(result.item.label)}</td><td>{escape(size_text(result.size or 0))}</td>"
        f"<td>{escape(cell(result))}</td></tr>"
        for result in results
    )
    more = f"<p>and {number - len(results):,} more</p>" if number > len(results) else ""
    return (
        f"<h2>{escape(title)}</h2><div class=wide><table><tr><th>file</th><th>size</th><th>{escape(column)}</th></tr>"
        f"{rows}</table></div>{more}"
    )


def _problem(result: UploadResult) -> str:
    tried = f" (tried {result.attempts} times)" if result.attempts > 1 else ""
    return (result.problem or "") + tried


def _time(result: UploadResult) -> str:
    return time_text(result.duration)
