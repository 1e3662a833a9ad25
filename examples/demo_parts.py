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
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

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

    def __init__(self, files: list[Path]) -> None:
        self._sizes = {file: file.stat().st_size for file in files}
        self._total = sum(self._sizes.values())
        self._done = self._bytes = self._tenths = 0
        self.failures: list[str] = []
        self._console = Console()
        columns: tuple[Any, ...] = (
            TextColumn("{task.fields[files]}"),
            BarColumn(None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console) if self._console.is_terminal else None

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total, files="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def finished(self, path: Path, problem: str | None) -> None:
        """One file is through; ``problem`` says what went wrong, or None."""
        self._done += 1
        self._bytes += self._sizes[path]
        if problem is not None:
            self.failures.append(f"{path}: {problem}")
        counted = f"{self._done:,} of {len(self._sizes):,} files"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._bytes, files=counted)
        elif self._done * 10 // len(self._sizes) > self._tenths:
            self._tenths = self._done * 10 // len(self._sizes)
            print(f"{counted}, {self._bytes / 1e6:,.1f} of {self._total / 1e6:,.1f} MB", flush=True)

    def summary(self, seconds: float) -> int:
        """Print the sum; the exit status: 0 only if every file arrived as it is."""
        for failure in self.failures:
            print("FAILED", failure)
        verified = self._done - len(self.failures)
        print(
            f"{verified:,} of {len(self._sizes):,} files verified by SHA-256, {self._bytes / 1e6:,.1f} MB "
            f"in {seconds:.1f} s ({self._bytes / 1e6 / seconds:,.1f} MB/s), {len(self.failures)} failures"
        )
        return 0 if verified == len(self._sizes) else 1
