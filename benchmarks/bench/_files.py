"""The files that go up: made once for all, of real bytes, read from the page cache, and removed at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench._scenarios import GIB, MIB, Scenario

_NEEDED = 3 * GIB
_BLOCK = 4 * MIB


class NoRoom(Exception):
    """The disk is too small, in words for whoever runs this."""


class Files:
    """Folders of files of one size; a folder is made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.small = self._one(root / "small.bin", 1024)

    def folder(self, scenario: Scenario, amount: int) -> Path:
        """A folder with what a scenario uploads: one file of so many bytes, or so many files and more."""
        if scenario.amounts == "bytes":
            return self._filled(amount, 1)
        return self._filled(scenario.file_size, scenario.whole if scenario.operation != "stalled" else 1)

    def _filled(self, size: int, count: int) -> Path:
        folder = self._root / f"{count}x{size}"
        if not folder.exists():
            folder.mkdir()
            for number in range(count):
                self._one(folder / f"{number:05}.bin", size)
            os.sync()  # nothing shall be written to the disk while clients are measured
        return folder

    @staticmethod
    def _one(path: Path, size: int) -> Path:
        block = os.urandom(min(size, _BLOCK))
        with path.open("wb") as file:
            for at in range(0, size, len(block)):
                file.write(block[: size - at])
        return path


@contextmanager
def temporary_files(*, needed: int = _NEEDED) -> Iterator[Files]:
    """Files in the system's folder for temporary ones (TMPDIR says which).

    Raises:
        NoRoom: the folder's disk has less than is needed.
    """
    place = Path(tempfile.gettempdir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise NoRoom(f"{place} has {free / GIB:.1f} GiB free, and {needed / GIB:.1f} are needed: set TMPDIR")
    with tempfile.TemporaryDirectory(prefix="aioreq-bench-") as folder:
        yield Files(Path(folder))
