"""What HTTP clients do when an upload goes wrong: aioreq, aiohttp, httpx2 and niquests, side by side.

    python benchmarks/faults.py                  print the table
    python benchmarks/faults.py --write          put it into docs/faults.md and README.md as well
    python benchmarks/faults.py --only shrinks --client aiohttp --evidence

Each library has a virtual environment of its own in benchmarks/.envs (made on the first run, from PyPI), each case a
process of its own with a time limit. The server is `aioreq.testing.FaultServer`, in this process, on loopback.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fault_table import table
from fault_table.cases import CASES
from fault_table.environments import LIBRARIES, ROOT, Library
from fault_table.play import Case, Evidence, Verdict
from marked_pages import put_between_markers

_PAGE = ROOT / "docs" / "faults.md"
_README = ROOT / "README.md"


def main() -> None:
    options = _parse(sys.argv[1:])
    libraries = [library for library in LIBRARIES if library.name in (options.client or library.name)]
    cases = [case for case in CASES if options.only.lower() in case.title.lower()]
    for library in libraries:
        library.install(fresh=options.fresh)
    versions = {library.name: library.version() for library in libraries}
    began = time.monotonic()
    rows = [(case, {library.name: _play(case, library, options.evidence) for library in libraries}) for case in cases]
    print(table.render(rows, versions))
    _note(f"{len(cases)} cases, {len(libraries)} libraries, {time.monotonic() - began:.0f} s")
    if options.write:
        _write(rows, versions)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/faults.md and README.md")
    parser.add_argument("--only", default="", metavar="TEXT", help="the cases with this in their title")
    parser.add_argument("--client", choices=[library.name for library in LIBRARIES], help="one library only")
    parser.add_argument("--fresh", action="store_true", help="make the environments anew, with the newest releases")
    parser.add_argument("--evidence", action="store_true", help="show what the verdicts are made from")
    options = parser.parse_args(arguments)
    if options.write and (options.only or options.client):
        parser.error("--write is for the whole table")
    return options


def _play(case: Case, library: Library, show: bool) -> Verdict:
    with tempfile.TemporaryDirectory() as folder:
        evidence = case.play(library, Path(folder), _content(case.file_size))
    verdict = case.judge(evidence)
    _note(f"{case.title}: {library.name}: {verdict.text}")
    if show:
        _show(evidence)
    return verdict


def _content(size: int) -> bytes:
    """The same bytes each time, without a pattern that could hide a shift."""
    return random.Random(size).randbytes(size)


def _show(evidence: Evidence) -> None:
    _note(json.dumps(evidence.report, indent=2, ensure_ascii=False))
    for request in evidence.requests:
        whole = "whole" if request.complete else "not whole"
        _note(f"  {request.method} {request.target}: {request.received} of {request.declared} bytes, {whole}")
    for line in (*evidence.violations, evidence.last_words):
        _note(f"  {line}")


def _write(rows: Sequence[table.Row], versions: dict[str, str]) -> None:
    facts = {
        "table": table.render(rows, versions),
        "promises": table.promises(rows),
        "system": f"CPython {platform.python_version()} on {platform.system()}",
        "day": dt.datetime.now(tz=dt.UTC).date(),
    }
    _PAGE.write_text(_PAGE_TEXT.format(**facts), encoding="utf-8")
    if not put_between_markers(_README, "faults", _README_TEXT.format(**facts)):
        _note("README.md has no place marked for the table")


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


_README_TEXT = """\
{table}
Made on {day} by `python benchmarks/faults.py --write`, which anyone can repeat; [what right means, and how the clients
were asked](docs/faults.md).
"""

_PAGE_TEXT = """\
# When uploads go wrong

Uploads in the real world meet servers that refuse half-way, disks that stall, files that change and tasks that are
cancelled. This is what four asyncio clients do then.

{table}
Made on {day} by `python benchmarks/faults.py --write`, with {system}, which anyone can repeat: it installs the
libraries, each into an environment of its own, and runs them against the server of [`aioreq.testing`](testing.md).

**Bold** is what went wrong. *Not offered* is what a library does not claim to do. An exception of the library's own, or
of Python's, is named as it is; one of a dependency that comes through raw is named with its home.

## What right means

{promises}
## How the clients were asked

- Each does what its documentation advises: aioreq `files=`; aiohttp `FormData`, `expect100=`; httpx2 `AsyncClient` with
  `files=` and `follow_redirects=True`; niquests `AsyncSession` with `files=`. All send an async generator with its
  length declared, in niquests as an iterable with a `len()`, unless the case says chunked.
- Where a case is about patience, each has 2 s (5 s in some) in every limit that it has for silence. A limit on the
  whole call is not used: it would cut off slow uploads that move.
- A client that has not ended after 10 s (20 s for the slow disk, 6 s for the generator without end) is cut off.
- After each fault a plain request follows on the same session, and where it fails the cell says so.
- What arrived is judged from the server's log, byte for byte. What no server can see, such as an exception, a closed
  file or an event loop that stands still, is measured in the client's process, in the same way for all.
- niquests has no streaming encoder for forms, as its documentation says, and reads files of forms into memory; the
  cells say where that is what kept it out of trouble.
- How many of ten answers are lost is a matter of timing and differs from run to run; seconds depend on the machine.
"""


if __name__ == "__main__":
    main()
