"""What the demo needs beside the uploads: files to send, a bin to send them to, and a display."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from aioreq.bulk import BulkProgress

# Names that need UTF-8 or escapes; Python's own files have none.
UNUSUAL_NAMES = ("grüße.txt", "文件.py", "файл.bin", "emoji 🎉.txt", 'quo"te.txt', "percent%22.txt", "back\\slash.txt")
LEAST = 1000


@contextlib.contextmanager
def ends_on_ctrl_c() -> Iterator[None]:
    """Ctrl-C ends the program with a word and the status that shells expect, not with a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)


@contextlib.contextmanager
def embedded_bin(url: str | None) -> Iterator[str]:
    """The URL that was given, or that of a bin in a process of its own, ended with the block."""
    if url is not None:
        yield url
        return
    command = [sys.executable, str(Path(__file__).with_name("postbin.py")), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[0]
        finally:
            server.terminate()


@contextlib.contextmanager
def files_to_send(paths: list[str]) -> Iterator[list[Path]]:
    """The files under ``paths``; without any, the files of this Python installation, and some with unusual names."""
    if paths:
        if missing := [path for path in paths if not Path(path).exists()]:
            sys.exit(f"not uploaded: there is no {missing[0]!r}")
        yield [file for path in map(Path, paths) for file in (_files_under(path) if path.is_dir() else [path])]
        return
    with tempfile.TemporaryDirectory(prefix="aioreq-demo-") as folder:
        yield _python_files() + _unusual_files(Path(folder))


def _python_files() -> list[Path]:
    roots = dict.fromkeys(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "scripts"))
    found = dict.fromkeys(file for root in roots for file in _files_under(root))
    files = [*list(found)[: 4 * LEAST], max(found, key=lambda file: file.stat().st_size)]
    if len(files) < LEAST:
        sys.exit(f"only {len(files)} files found in this Python installation; name some folders to upload")
    return list(dict.fromkeys(files))


def _files_under(folder: Path) -> list[Path]:
    """Regular files that can be read, in an order that is the same each time; bytecode may change any moment."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc")


def _unusual_files(folder: Path) -> list[Path]:
    made = [folder / name for name in UNUSUAL_NAMES]
    for path in made:
        shutil.copyfile(__file__, path)
    (empty := folder / "empty").touch()
    (large := folder / "48 MiB.bin").write_bytes(bytes(range(256)) * (48 * 4096))
    return [*made, empty, large]


class Display:
    """A progress bar where there is a terminal, a line for each tenth where there is none; and the sum at the end."""

    def __init__(self) -> None:
        self._tenths = self._verified = 0
        self._failures: list[str] = []
        self._console = Console()
        columns: tuple[Any, ...] = (
            TextColumn("{task.fields[files]}"),
            BarColumn(None),
            DownloadColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console) if self._console.is_terminal else None

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=None, files="", speed="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, progress: BulkProgress) -> None:
        """So far it has come."""
        files, speed = f"{progress.finished:,} of {progress.total:,} files", f"{progress.speed / 1e6:,.1f} MB/s"
        if self._bar is not None:
            done, total = progress.bytes_done, progress.total_bytes
            self._bar.update(self._task, total=total, completed=done, files=files, speed=speed)
        elif progress.finished * 10 // (progress.total or 1) > self._tenths:
            self._tenths = progress.finished * 10 // (progress.total or 1)
            print(f"{files}, {progress.bytes_done / 1e6:,.1f} MB, {speed}", flush=True)

    def finished(self, path: str, problem: str | None) -> None:
        """One file is through; ``problem`` says what went wrong, or None."""
        if problem is None:
            self._verified += 1
        else:
            self._failures.append(f"{path}: {problem}")

    def summary(self, progress: BulkProgress) -> int:
        """Print the sum; the exit status: 0 only if every file arrived as it is."""
        for failure in self._failures:
            print("FAILED", failure)
        megabytes, seconds = progress.bytes_done / 1e6, progress.elapsed
        print(
            f"{self._verified:,} of {progress.finished:,} files verified by SHA-256, {megabytes:,.1f} MB "
            f"in {seconds:.1f} s ({megabytes / seconds:,.1f} MB/s), "
            f"{progress.retries:,} retries, {len(self._failures):,} failures"
        )
        return 1 if self._failures or not self._verified else 0
