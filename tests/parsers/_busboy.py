"""busboy on Node, which Multer and most uploads to Express go through."""

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.requirements import require, require_node_module

from ._shape import (
    ParsedPart,
    Parser,
    ends_in_a_lone_backslash,
    without_doubled_backslashes,
)

_BRIDGE = Path(__file__).with_name("busboy_bridge.mjs")

_SECONDS_TO_END = 5


class _Bridge:
    """A Node process that parses one form after another, since one process for each form would take all the time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Runs the process. The test is skipped without Node or busboy, or fails under CI."""
        require_node_module("busboy")
        command = [require("node"), str(_BRIDGE)]
        # stderr is the test run's own: what Node says of a crash belongs in its output.
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            self._process = process
            try:
                yield
            finally:
                self._process = None
                _end(process)

    def begin(self, content_type: str) -> "_BusboyReader":
        """A reader of one form."""
        return _BusboyReader(self, content_type)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """One question and its answer, as busboy_bridge.mjs describes them."""
        if self._process is None:
            raise RuntimeError("busboy is not running: enter Parser.opened() first")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("busboy's process has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()


class _BusboyReader:
    """Keeps the pieces and has busboy read them one by one in the end.

    Configured to read names as UTF-8 and to keep the path of filenames. What has no switch:

    - Names are unquoted as quoted strings: a pair of backslashes becomes one, percent signs stay.
    - A control character in a part's head other than a tab is an error.
    - An empty filename is none, and the part is a field.
    - Of a part's Content-Type only type and subtype are told, in lower case, and text/plain where it has none.
    - A field is text. One that names UTF-8 and is not valid in it does not come back as its bytes, and one that names
      another charset may be an error.
    - All heads of a part together take 16 KiB at most.
    """

    def __init__(self, bridge: _Bridge, content_type: str) -> None:
        self._bridge = bridge
        self._content_type = content_type
        self._pieces: list[str] = []

    def feed(self, chunk: bytes) -> None:
        self._pieces.append(base64.b64encode(chunk).decode())

    def finish(self) -> list[ParsedPart]:
        answer = self._bridge.ask({"contentType": self._content_type, "pieces": self._pieces})
        if "error" in answer:
            raise ValueError(answer["error"])
        return [
            ParsedPart(part["name"], part["filename"], part["contentType"], base64.b64decode(part["data"]))
            for part in answer["parts"]
        ]


def _expected_filename(wire_value: str) -> str | None:
    return without_doubled_backslashes(wire_value) or None


def _expected_content_type(content_type: str | None) -> str:
    return "text/plain" if content_type is None else content_type.partition(";")[0].strip().lower()


def _misreads(wire_value: str) -> bool:
    return ends_in_a_lone_backslash(wire_value) or bool(re.search(r"[\x00-\x08\x0A-\x1F\x7F]", wire_value))


_bridge = _Bridge()

BUSBOY = Parser(
    name="busboy",
    begin=_bridge.begin,
    expected_name=without_doubled_backslashes,
    expected_filename=_expected_filename,
    expected_content_type=_expected_content_type,
    misreads=_misreads,
    opened=_bridge.opened,
)
