"""A virtual environment for each library: niquests replaces urllib3, and none shall lend another its dependencies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
ROOT = BENCHMARKS.parent
_ENVIRONMENTS = BENCHMARKS / ".envs"
_INSTALL_LIMIT = 300


@dataclass(frozen=True)
class Library:
    """A column of the table."""

    name: str
    requirement: str
    """What pip installs: a name, or the folder of this repository."""

    @property
    def program(self) -> Path:
        return BENCHMARKS / "fault_clients" / f"with_{self.name}.py"

    @property
    def python(self) -> Path:
        return _ENVIRONMENTS / self.name / ("Scripts" if os.name == "nt" else "bin") / "python"

    def install(self, *, fresh: bool) -> None:
        """Make the environment unless it is there; this repository is installed anew each time, as it is now."""
        folder = _ENVIRONMENTS / self.name
        ready = folder / "ready"
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        if ready.exists() and self.requirement != str(ROOT):
            return
        if not ready.exists():
            # A half-made environment is worth nothing.
            venv.create(folder, with_pip=True, clear=True)
        # aiofiles is for the case that sends one of its files.
        self._run("-m", "pip", "install", "--quiet", "--disable-pip-version-check", self.requirement, "aiofiles")
        ready.touch()

    def version(self) -> str:
        return self._run("-c", f"import importlib.metadata as m; print(m.version({self.name!r}))").strip()

    def _run(self, *arguments: str) -> str:
        command = [str(self.python), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_LIMIT, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
        return done.stdout


LIBRARIES = (
    Library("aioreq", str(ROOT)),
    Library("aiohttp", "aiohttp"),
    Library("httpx2", "httpx2"),
    Library("niquests", "niquests"),
)
