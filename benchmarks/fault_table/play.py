"""One case played by one client: the client in a process of its own, the fault server here, and the evidence.

What happened is told by the server's log as far as it can be; only what no server can see (an exception, a loop that
stood still, a closed file) is taken from the client's report.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aioreq.testing import FaultServer, RequestLog, Script
from fault_table.environments import Library

# The client's own watchdog speaks at the limit; the process that does not even do that is killed this much later.
_GRACE = 5.0

_USUAL_PATHS = {"url": "/upload", "next_url": "/next"}


@dataclass(frozen=True)
class Evidence:
    """What is known after a case has been played."""

    report: dict[str, Any]
    """The client's, as in `frame.Report`; empty if it was killed or died."""
    requests: list[RequestLog]
    violations: list[str]
    content: bytes
    """Of the file that was to be sent, as it was when the request was made."""
    last_words: str = ""
    """The end of what the client wrote to its standard error."""

    @property
    def attempts(self) -> list[dict[str, Any]]:
        return list(self.report.get("attempts", ()))

    def to(self, path: str) -> list[RequestLog]:
        """The requests that arrived for `path`."""
        return [request for request in self.requests if request.path == path]


class Play:
    """Takes a case and a client through it. A stage, which a case may have its own of, calls these in turn."""

    def __init__(
        self, library: Library, routes: Mapping[str, Script], job: Mapping[str, Any], folder: Path, content: bytes
    ) -> None:
        self.server = FaultServer(routes, keep_body=1 << 26, patience=float(job["limit"]))
        self.path = folder / "upload.bin"
        self.path.write_bytes(content)
        self._content = content
        self._library = library
        self._job = dict(job)
        self._errors = folder / "stderr"
        self._report: dict[str, Any] = {}
        self._process: subprocess.Popen[str] | None = None
        self._guard: threading.Timer | None = None

    def start(self) -> None:
        """Start the client; the server has its port by now."""
        job = {**self._job, "path": str(self.path)}
        for name in _USUAL_PATHS:
            job[name] = self.server.url + job[name]
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [str(self._library.python), str(self._library.program), json.dumps(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            )
        self._guard = threading.Timer(job["limit"] + _GRACE, self._process.kill)
        self._guard.start()

    def wait_for_client(self) -> bool:
        """Wait until the client says where it is; False if it has nothing more to say but its report."""
        assert self._process
        assert self._process.stdout
        line = self._process.stdout.readline()
        said = json.loads(line) if line else {}
        if "at" not in said:
            self._report = said
        return "at" in said

    def let_client_go(self) -> None:
        assert self._process
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("go\n")
            self._process.stdin.flush()

    def finish(self) -> None:
        """Wait for the client's report and its end, then until the server has read what it left behind."""
        assert self._process
        while self.wait_for_client():
            self.let_client_go()
        self._process.communicate()
        self.server.release()
        with contextlib.suppress(TimeoutError):
            self.server.reached("closed", len(self.server.connections)).wait()

    def close(self) -> Evidence:
        """Whatever has happened, leave no process behind; then say what is known."""
        if self._guard:
            self._guard.cancel()
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
        last_words = self._errors.read_text(errors="replace")[-2000:] if self._errors.exists() else ""
        server = self.server
        return Evidence(self._report, server.requests, server.violations, self._content, last_words)


def straight(play: Play) -> None:
    """The usual stage: the server does all that is to be done."""
    with play.server:
        play.start()
        play.finish()


Stage = Callable[[Play], None]


@dataclass(frozen=True)
class Verdict:
    """A cell of the table."""

    text: str
    right: bool | None
    """None where the library does not offer what the case needs."""


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    title: str
    promise: str
    """What a client does that gets it right."""
    job: Mapping[str, Any]
    """What the client is told; see `frame`."""
    routes: Callable[[], Mapping[str, Script]]
    judge: Callable[[Evidence], Verdict]
    stage: Stage = straight
    file_size: int = 100_000
    limit: float = 10.0
    """Seconds until the client is cut off."""

    def play(self, library: Library, folder: Path, content: bytes) -> Evidence:
        job = {**_USUAL_PATHS, **self.job, "limit": self.limit}
        play = Play(library, self.routes(), job, folder, content)
        try:
            self.stage(play)
        finally:
            evidence = play.close()
        return evidence
