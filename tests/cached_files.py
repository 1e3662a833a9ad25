"""For tests of files that are read without waiting, since the system has them in memory."""

from pathlib import Path

import pytest

from aioreq import _page_cache as page_cache
from aioreq._files import FileSource


def require_device_that_answers(folder: Path) -> int:
    """Find out, as the first upload does, that the folder's device can be asked; its number. Else skip the test."""
    first = folder / "first"
    first.write_bytes(b"x")
    FileSource.from_path(str(first)).read_into(memoryview(bytearray(1)))
    device = first.stat().st_dev
    if not page_cache.answers(device):
        pytest.skip("files of this folder can't be read without waiting: not on a tmpfs, and only on Linux")
    return device
