"""Memory, whatever the number of files."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "bulk_memory.py"


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--journal",)], ids=["plain", "journal"])
def test_it_is_flat(options: tuple[str, ...]):
    """It does not grow with the files; each arrives once, and is told of in the order of arrival.

    The benchmark asserts that, by default of 100,000 files.
    """
    command = [sys.executable, "-W", "error", str(BENCHMARK), "--files", "4000", *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "4,000 results, 0 failed" in ran.stdout
    assert "the bin has 4,000 uploads" in ran.stdout
