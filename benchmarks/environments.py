"""Virtual environments of what is compared: niquests replaces urllib3, and none shall lend another its dependencies."""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent
ROOT = BENCHMARKS.parent
PLACE = BENCHMARKS / ".envs"
_LIMIT = 300  # seconds for pip


class InstallError(Exception):
    """An environment could not be made, or a program in it failed."""


def interpreter(folder: Path) -> Path:
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def make(folder: Path, requirements: Sequence[str], *, fresh: bool) -> Path:
    """The interpreter of an environment with these requirements, which is made unless it is there.

    This repository, where it is among them, is installed anew each time, as it is now.

    Args:
        folder: where the environment is.
        requirements: what pip installs: names, or the folder of this repository.
        fresh: make it anew, with the newest releases.

    Raises:
        InstallError: pip failed, or took too long.
    """
    python, ready, wanted = interpreter(folder), folder / "ready", " ".join(requirements)
    there = not fresh and ready.exists() and ready.read_text(encoding="utf-8") == wanted
    if there and str(ROOT) not in requirements:
        return python
    if not there:
        # A half-made environment is worth nothing.
        venv.create(folder, with_pip=True, clear=True)
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
    ready.write_text(wanted, encoding="utf-8")
    return python


def run(python: Path, *arguments: str) -> str:
    """What a program prints.

    Raises:
        InstallError: it failed, or took too long.
    """
    command = [str(python), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise InstallError(f"{' '.join(command)} took more than {_LIMIT} s") from None
    if done.returncode:
        raise InstallError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout
