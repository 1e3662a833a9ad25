"""What a person sees of a run: a bar where there is a terminal and rich, plain lines elsewhere, or nothing."""

from __future__ import annotations

import re
import sys
from typing import Any, TextIO

from ..bulk import BulkProgress
from ..bulk._picture import size_text, time_text

# Without a total, a line comes with each so many files.
_LINE_EVERY = 1000


class Display:
    """Shows nothing but what is said."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def begin(self) -> None:
        """The run begins."""

    def show(self, progress: BulkProgress) -> None:
        """So far it has come."""

    def say(self, text: str) -> None:
        """A line that stays."""
        print(printable(text), file=self._stream, flush=True)

    def end(self) -> None:
        """The run is over."""


class Lines(Display):
    """A line for each tenth of the files, or for each thousand where nobody knows how many there are."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._step = 0

    def show(self, progress: BulkProgress) -> None:
        """So far it has come."""
        finished, total = progress.finished, progress.total
        step = finished // _LINE_EVERY if total is None else finished * 10 // max(total, 1)
        if step > self._step and finished != total:
            self._step = step
            told = (counted(progress), f"{size_text(progress.bytes_sent)} sent", _speed(progress), _left(progress))
            self.say(", ".join(filter(None, told)))


class Bar(Display):
    """A progress bar that stays at the foot of the terminal."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns: tuple[Any, ...] = (
            TextColumn("{task.fields[files]}"),
            BarColumn(None),
            TextColumn("{task.fields[bytes]}"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = Progress(*columns, console=Console(file=stream, highlight=False, soft_wrap=True))
        self._task = self._bar.add_task("", total=None, files="", bytes="", speed="", left="")

    def begin(self) -> None:
        """The run begins."""
        self._bar.start()

    def show(self, progress: BulkProgress) -> None:
        """So far it has come."""
        by_bytes = bool(progress.total_bytes)
        self._bar.update(
            self._task,
            total=progress.total_bytes if by_bytes else progress.total,
            completed=progress.bytes_done if by_bytes else progress.finished,
            files=counted(progress),
            bytes=size_text(progress.bytes_sent),
            speed=_speed(progress),
            left=_left(progress),
        )

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        self._bar.console.print(printable(text), markup=False)

    def end(self) -> None:
        """The run is over."""
        self._bar.stop()


def display_for(*, silent: bool, stream: TextIO | None = None) -> Display:
    """The display that fits what the program's messages go to."""
    stream = stream or sys.stderr
    if silent:
        return Display(stream)
    if not stream.isatty():
        return Lines(stream)
    try:
        return Bar(stream)
    except ImportError:
        return Lines(stream)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Text without what a terminal would obey: a file may be called anything."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def counted(progress: BulkProgress) -> str:
    """Files as they stand: 12 of 34 files, 1 failed."""
    total = "" if progress.total is None else f" of {progress.total:,}"
    failed = f", {progress.failed:,} failed" if progress.failed else ""
    return f"{progress.finished:,}{total} files{failed}"


def _speed(progress: BulkProgress) -> str:
    return f"{size_text(progress.speed)}/s"


def _left(progress: BulkProgress) -> str:
    left = progress.remaining
    return "" if left is None else f"{time_text(max(1, round(left)))} left"
