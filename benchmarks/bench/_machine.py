"""The machine: its cores, of which the client has one and the server another, and what is told of it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_CPU = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Cores:
    """Where the client runs, and where the server; the same core if there is only one."""

    client: int
    server: int

    @classmethod
    def choose(cls) -> Cores:
        """The last core for the client, the one before it that is not its other half for the server."""
        usable = sorted(os.sched_getaffinity(0))
        client = usable[-1]
        others = [core for core in usable if core not in _siblings(client)]
        return cls(client, (others or usable)[-1])


def _siblings(core: int) -> set[int]:
    """The hardware threads of a core, itself among them."""
    path = _CPU / f"cpu{core}" / "topology" / "thread_siblings_list"
    if not path.exists():
        return {core}
    found: set[int] = set()
    for part in path.read_text().strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def describe() -> dict[str, str | int | float]:
    """What a reader needs to know to compare."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count() or 1,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": ssl.OPENSSL_VERSION,
        "curl": _curl(),
        "load before": round(os.getloadavg()[0], 2),
    }


def _curl() -> str:
    """The version of the program, if it is there."""
    if not (program := shutil.which("curl")):
        return "none"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return told.partition(" (")[0].removeprefix("curl ")
