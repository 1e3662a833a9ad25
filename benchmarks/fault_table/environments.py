"""The libraries, each in a virtual environment of its own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import environments
from environments import BENCHMARKS, ROOT


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
        return environments.interpreter(environments.PLACE / self.name)

    def install(self, *, fresh: bool) -> None:
        """Make the environment unless it is there; this repository is installed anew each time, as it is now."""
        # aiofiles is for the case that sends one of its files.
        try:
            environments.make(environments.PLACE / self.name, (self.requirement, "aiofiles"), fresh=fresh)
        except environments.InstallError as error:
            sys.exit(str(error))

    def version(self) -> str:
        return environments.run(
            self.python, "-c", f"import importlib.metadata as m; print(m.version({self.name!r}))"
        ).strip()


LIBRARIES = (
    Library("aioreq", str(ROOT)),
    Library("aiohttp", "aiohttp"),
    Library("httpx2", "httpx2"),
    Library("niquests", "niquests"),
)
