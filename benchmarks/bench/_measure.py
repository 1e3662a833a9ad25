"""One client, once: started on its core, cut off if it takes too long, and believed only if the sink agrees."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench._files import Files
from bench._machine import Cores
from bench._peers import Peer
from bench._scenarios import GIB, Scenario
from bench._server import Counts, Sink

_FRAMING = 1024  # what a form adds to a file, at most
_WARM_FILE = 1024
_FORM = {"title": "Holiday", "place": "Lisbon", "year": "2024", "public": "yes"}
_FORM_SIZE = len(urlencode(_FORM))


class Failure(Exception):
    """A client that did not do it, in words for the table."""


@dataclass(frozen=True)
class Sample:
    """What one run took: `value` in the scenario's unit, CPU seconds per GB or milliseconds per thousand, bytes."""

    value: float
    cost: float | None = None
    memory: int | None = None
    stall: float | None = None


@dataclass(frozen=True)
class Bench:
    """Where things run."""

    cores: Cores
    files: Files
    limit: float
    """Seconds that a client has for one run, start included."""

    def run(
        self, scenario: Scenario, peer: Peer, python: Path, sink: Sink, amount: int, *, watch: bool = False
    ) -> Sample:
        """Let one client do an amount of a scenario.

        Raises:
            Failure: it failed, took too long, or sent something else than it should have.
        """
        job = self._job(scenario, peer, sink, amount, watch=watch)
        before = sink.counts()
        try:
            told = self._output([str(python), str(peer.path), json.dumps(job)], cwd=peer.path.parent)
        except Failure:
            _let_settle(sink)
            raise
        report = _parse(told)
        _verify(scenario, amount, report, sink.counts() - before)
        return _sample(scenario, amount, report)

    def run_import(self, peer: Peer, python: Path) -> Sample:
        """How long an interpreter takes longer when it imports a library, in milliseconds."""
        bare = self._seconds([str(python), "-c", "pass"])
        whole = self._seconds([str(python), "-c", f"import {peer.imports}"])
        return Sample((whole - bare) * 1000)

    def _seconds(self, command: list[str]) -> float:
        began = time.perf_counter()
        self._output(command, cwd=self.files.small.parent)
        return time.perf_counter() - began

    def _job(self, scenario: Scenario, peer: Peer, sink: Sink, amount: int, *, watch: bool) -> dict[str, Any]:
        certificates = sink.certificates
        in_bytes = scenario.amounts == "bytes"
        uploads = scenario.operation in ("file", "bulk", "stalled")
        return {
            "operation": scenario.operation,
            "url": sink.url,
            "count": 1 if in_bytes else amount,
            "concurrency": scenario.concurrency,
            "folder": str(self.files.folder(scenario, amount)) if uploads else "",
            "warm_path": str(self.files.small),
            "size": amount if in_bytes else 0,
            "form": _FORM,
            "certificate": str(certificates.authority) if certificates else None,
            "loop": peer.loop,
            "watch": watch,
        }

    def _output(self, command: list[str], cwd: Path) -> str:
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=self.limit,
                check=False,
                preexec_fn=self._settle,
                cwd=cwd,
                env=_environment(),
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"not in {self.limit:.0f} s") from None
        if done.returncode:
            raise Failure(_last_words(done.stderr) or f"exit {done.returncode}")
        return done.stdout

    def _settle(self) -> None:
        """In the client's process: its core, as many descriptors as may be, and no more memory than half of all."""
        os.sched_setaffinity(0, {self.cores.client})
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        half = max(2 * GIB, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
        resource.setrlimit(resource.RLIMIT_AS, (half, half))


_NOT_THEIRS = ("_proxy", "_ca_bundle", "ssl_cert_file", "ssl_cert_dir")
_LAST_WORDS = 120
_SETTLED = 0.05  # seconds without a change


def _environment() -> dict[str, str]:
    """Without what changes clients (proxies and the system's own certificates) or interpreters."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith(_NOT_THEIRS) and not name.startswith(("PYTHON", "COV_"))
    }


def _let_settle(sink: Sink) -> None:
    """Wait until nothing more comes from a client that has ended, so that the next one's count is its own."""
    last = None
    while (now := sink.counts()) != last:
        last = now
        time.sleep(_SETTLED)


def _parse(told: str) -> dict[str, Any]:
    """The report is the last line; a library may have printed something before it."""
    try:
        report: dict[str, Any] = json.loads(told.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise Failure("ended without a report") from None
    return report


def _last_words(text: str) -> str:
    """The exception, without the names of the modules that it comes from."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if not lines:
        return ""
    name, colon, message = lines[-1].partition(":")
    return f"{name.rpartition('.')[2]}{colon}{message}"[:_LAST_WORDS]


def _verify(scenario: Scenario, amount: int, report: dict[str, Any], counts: Counts) -> None:
    """What the sink has counted is what was to be done, to the byte where a form adds nothing of its own."""
    in_bytes = scenario.amounts == "bytes"
    requests = 1 if in_bytes else amount
    warmed = int(report["warmed"])
    if scenario.operation == "stalled":
        if counts.stalled != requests:
            raise Failure(f"{counts.stalled} of {requests} uploads reached the server")
        return
    if counts.requests != requests + warmed:
        raise Failure(f"the server saw {counts.requests} requests instead of {requests + warmed}")
    if scenario.operation == "form" and counts.received != requests * _FORM_SIZE:
        raise Failure(f"the server saw {counts.received} bytes instead of {requests * _FORM_SIZE}")
    if scenario.operation in ("file", "bulk"):
        content = amount if in_bytes else amount * scenario.file_size
        # curl and the limit warm up without a file.
        least, most = content, content + _WARM_FILE + (requests + 1) * _FRAMING
        if not least <= counts.received <= most:
            raise Failure(f"the server saw {counts.received} bytes instead of {least} and their frame")
    if scenario.operation == "download" and counts.sent != amount:
        raise Failure(f"the server sent {counts.sent} bytes instead of {amount}")


def _sample(scenario: Scenario, amount: int, report: dict[str, Any]) -> Sample:
    if scenario.operation in ("idle", "stalled"):
        return Sample(report["each"] / 1024)
    many = amount / 1e9 if scenario.amounts == "bytes" else amount
    cost = report["cpu"] / many
    return Sample(
        many / report["seconds"],
        cost if scenario.amounts == "bytes" else cost * 1e6,  # milliseconds per thousand
        report.get("grown"),
        report.get("stall"),
    )
