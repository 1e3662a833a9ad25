"""``aioreq upload``."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TextIO

from .._rules.retry import Retry
from .._url import parse_url
from ..bulk import BulkUpload, Concurrency, Planned, Report, Upload, UploadResult, bulk_upload, read_manifest, walk
from ..bulk._picture import size_text, time_text
from ..bulk._place import quoted, stable_url
from ..bulk._record import plan_record_of, record_of
from ..exceptions import InvalidURL
from ._again import same_again
from ._arguments import Options
from ._connection import session_for
from ._display import Display, display_for, printable

_FILLED_IN = re.compile(r"\{\w*\}")
_SHOWN_FAILURES = 10
_SHOWN_SLOWEST = 3


def upload(options: Options) -> int:
    """Upload what the options say; returns the exit status."""
    if options.dry_run:
        return asyncio.run(_plan(options))
    with ExitStack() as life:
        # Before anything is sent: a report that can't be written is told at once.
        reports = {path: life.enter_context(_opened(path)) for path in options.report}
        return asyncio.run(_Command(options, reports).run())


def _opened(path: str) -> TextIO:
    try:
        # A file's name need not be UTF-8.
        return Path(path).open("w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ValueError(f"can't write the report '{path}': {error.strerror}") from error


# --- what is to be uploaded


def _items(options: Options) -> Iterator[Upload]:
    for path in options.paths:
        if os.path.isdir(path):  # noqa: PTH112 - as it was typed
            yield from walk(path, _prefix(path))
        else:
            yield Upload(path)
    for manifest in options.manifest:
        yield from read_manifest(sys.stdin.fileno() if manifest == "-" else manifest)


def _prefix(folder: str) -> str:
    """What the names of a folder's files begin with: the folder's name, unless it ends with a slash (as with rsync)."""
    name = os.path.basename(folder)  # noqa: PTH119 - Path would forget the slash
    return "" if name in ("", ".", "..") else f"{name}/"


def _url(text: str) -> str | Callable[[Upload], str] | None:
    """The URL, or a function of the item where parts of it depend on that.

    Raises:
        InvalidURL: it is none; better said once than of each item.
    """
    if text == "-":
        return None
    parse_url(text)
    for unknown in sorted(set(_FILLED_IN.findall(text)) - {"{name}", "{base}"}):
        raise InvalidURL(f"the URL has {unknown}: what can be filled in is {{name}} and {{base}}")
    if "{name}" not in text and "{base}" not in text:
        return text

    def filled(item: Upload) -> str:
        name = item.file_name or ""
        return text.replace("{name}", quoted(name)).replace("{base}", quoted(name.rpartition("/")[2], safe=""))

    return filled


def _run_for(options: Options, session: Any, **more: Any) -> BulkUpload:
    return bulk_upload(
        _url(options.url),
        _items(options),
        field=None if options.raw else options.field or "file",
        method=options.method,
        data=options.data,
        headers=options.header,
        digest=options.digest,
        concurrency=options.concurrency,
        retry=Retry(attempts=options.retries + 1),
        rate_limit=options.rate_limit,
        journal=options.journal,
        session=session,
        **more,
    )


async def _plan(options: Options) -> int:
    """--dry-run: say what would be sent."""
    number = size = done = failed = 0
    async for planned in _run_for(options, None).plan():
        if planned.problem is not None:
            failed += 1
        elif planned.done:
            done += 1
        else:
            number += 1
            size += planned.size or 0
        _tell_plan(planned, options)
    print(
        f"{number:,} to upload, {size_text(size)}"
        + (f"; {done:,} done before" if done else "")
        + (f"; {failed:,} can't be" if failed else ""),
        file=sys.stderr if options.json else sys.stdout,
    )
    return 1 if failed else 0


def _tell_plan(planned: Planned, options: Options) -> None:
    if options.json:
        print(json.dumps(plan_record_of(planned)))  # noqa: T201 - a command line talks
    elif planned.problem is not None:
        print(printable(f"can't: {planned.item.label}: {planned.problem}"))  # noqa: T201
    elif not planned.done and not options.quiet:
        where = stable_url(planned.url) or "(its own URL)"
        print(printable(f"{planned.method} {where} {planned.item.label}"))  # noqa: T201


# --- doing it


class _Command:
    """One run, from its beginning to its summary."""

    def __init__(self, options: Options, reports: Mapping[str, TextIO]) -> None:
        self._options = options
        concurrency = Concurrency.of(options.concurrency)
        self._session = session_for(options, concurrency.most)
        self._display = display_for(silent=options.quiet or options.json)
        self._run = _run_for(options, self._session, progress=self._display.show)
        self._report = Report(f"{options.method} to {stable_url(options.url)}")
        self._interrupts = _Interrupts(self._run, self._display)
        self._pictures = [report for path, report in reports.items() if path.endswith(".html")]
        self._writers = [report for path, report in reports.items() if path.endswith(".jsonl")]
        if options.json:
            self._writers.append(sys.stdout)

    async def run(self) -> int:
        """Do it; returns the exit status."""
        async with self._session:
            with self._interrupts:
                self._count_ahead()
                self._display.begin()
                try:
                    await self._upload()
                finally:
                    self._display.end()
        self._conclude()
        return self._status()

    async def _upload(self) -> None:
        try:
            async with self._run:
                async for result in self._run:
                    self._take(result)
        except asyncio.CancelledError:
            if not self._interrupts.number:
                raise

    def _take(self, result: UploadResult) -> None:
        self._report.add(result)
        for writer in self._writers:
            writer.write(json.dumps(record_of(result)) + "\n")
            if writer is sys.stdout:
                writer.flush()
        if not result.ok:
            self._display.say(f"failed: {result.item.label}: {result.problem}")
            if self._options.stop_on_error:
                self._run.stop()

    def _count_ahead(self) -> None:
        """Find out how much there is, beside the uploading, for the display. A manifest can't be read twice."""
        if self._options.manifest or self._options.quiet or self._options.json:
            return
        loop = asyncio.get_running_loop()

        def count() -> None:
            number = size = 0
            for item in _items(self._options):
                number += 1
                size += _size_of(item)
            with suppress(RuntimeError):  # it was uploaded before it was counted
                loop.call_soon_threadsafe(self._run.expect, number, size)

        threading.Thread(target=count, name="aioreq-count", daemon=True).start()

    # --- what became of it

    def _conclude(self) -> None:
        for picture in self._pictures:
            picture.write(self._report.html())
        if not self._options.quiet:
            stream = sys.stderr if self._options.json else sys.stdout
            for line in _summary(self._report):
                print(printable(line), file=stream)
        if self._interrupts.number:
            print(self._how_to_go_on(), file=sys.stderr)  # noqa: T201

    def _how_to_go_on(self) -> str:
        command = same_again(self._options.words)
        if self._options.journal:
            return f"interrupted. What is done is in the journal; this goes on with the rest:\n  {command}"
        return f"interrupted. With --journal FILE this would have gone on with the rest:\n  {command}"

    def _status(self) -> int:
        if self._interrupts.number:
            return 130
        return 1 if self._report.failed else 0


def _size_of(item: Upload) -> int:
    try:
        return os.stat(item.source).st_size  # noqa: PTH116 - it is text
    except OSError:
        return 0


def _summary(report: Report) -> Iterator[str]:
    parts = [f"{report.uploaded:,} uploaded"]
    if report.uploaded and report.seconds:
        speed = f"{size_text(report.bytes / report.seconds)}/s"
        parts[0] += f" ({size_text(report.bytes)} in {time_text(report.seconds)}, {speed})"
    if report.skipped:
        parts.append(f"{report.skipped:,} done before")
    if report.failed:
        parts.append(f"{report.failed:,} failed")
    if report.retries:
        parts.append(f"{report.retries:,} {'retry' if report.retries == 1 else 'retries'}")
    yield ", ".join(parts)
    if report.uploaded > _SHOWN_SLOWEST:
        for result in report.slowest[:_SHOWN_SLOWEST]:
            yield f"  slowest: {time_text(result.duration)} {result.item.label} ({size_text(result.size or 0)})"
    for result in report.failures[:_SHOWN_FAILURES]:
        yield f"  failed: {result.item.label}: {result.problem}"
    if report.failed > _SHOWN_FAILURES:
        yield f"  and {report.failed - _SHOWN_FAILURES:,} more"


class _Interrupts:
    """Ctrl-C: once lets what is on the way be finished, twice gives it up.

    Attributes:
        number: how often it was pressed.
    """

    def __init__(self, run: BulkUpload, display: Display) -> None:
        self.number = 0
        self._run = run
        self._display = display
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._pressed)
        except NotImplementedError:  # Windows: the first Ctrl-C ends the program
            self._task = None

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    def _pressed(self) -> None:
        self.number += 1
        if self.number == 1:
            number = self._run.progress.in_flight
            self._display.say(f"finishing {number} uploads that are on the way; Ctrl-C again gives them up")
            self._run.stop()
        elif self._task is not None:
            self._task.cancel()
