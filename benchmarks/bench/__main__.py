"""How fast aioreq is beside its peers, measured on this machine.

    make bench                                     everything: the tables, results.json, results.svg
    python -m bench --scenario S3 --peer aioreq --peer aiohttp       some of it (in the folder benchmarks)
    python -m bench --write                        put the results into the repository, README.md included
    python -m bench --quick                        everything for a moment: does it run?

Each library has a virtual environment of its own in benchmarks/.envs (made on the first run, from PyPI). The server is
sink.c, which needs a C compiler, and OpenSSL's headers and program for TLS. All traffic stays on loopback.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from environments import BENCHMARKS, ROOT, InstallError
from marked_pages import put_between_markers

from bench import _plot, _table
from bench._environments import Environments, versions
from bench._files import NoRoom, temporary_files
from bench._machine import Cores, describe
from bench._measure import Bench
from bench._peers import PEERS, Peer
from bench._report import Report, as_json
from bench._run import Course, Result, Server
from bench._scenarios import MIB, SCENARIOS, Scenario
from bench._server import Certificates, ServerMissing, compile_sink, make_certificates

_LIMIT, _QUICK_LIMIT = 60, 20  # seconds for one run of a client
_QUICK_ROOM = 200 * MIB


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    scenarios = [scenario.small() if options.quick else scenario for scenario in _chosen_scenarios(options)]
    try:
        report = _measure(options, scenarios, _chosen_peers(options))
    except (NoRoom, ServerMissing) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(_table.whole(report))
    _save(report, options)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", action="append", metavar="KEY", help="only this one (S1 to S10); can be repeated")
    parser.add_argument("--peer", action="append", metavar="NAME", help="only this one; can be repeated")
    parser.add_argument("--rounds", type=int, default=None, help="how many rounds (5; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see whether all runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the picture there")
    parser.add_argument("--write", action="store_true", help="results.json, results.svg, RESULTS.md and README.md")
    parser.add_argument("--here", action="store_true", help="all from the environment of this Python; install nothing")
    parser.add_argument("--fresh", action="store_true", help="make the environments anew, with the newest releases")
    parser.add_argument("--seed", type=int, default=None, help="for the order of the peers")
    options = parser.parse_args(arguments)
    if options.write and (options.scenario or options.peer or options.quick):
        parser.error("--write is for all of it")
    options.rounds = options.rounds or (1 if options.quick else 5)
    return options


def _chosen_scenarios(options: argparse.Namespace) -> list[Scenario]:
    """By key; S8 stands for both its halves."""
    wanted = options.scenario or [""]
    chosen = [
        one for one in SCENARIOS if any(one.key == key or one.key.startswith(f"{key} ".lstrip()) for key in wanted)
    ]
    if not chosen:
        sys.exit(f"bench: no scenario {', '.join(wanted)}: there are {', '.join(one.key for one in SCENARIOS)}")
    return chosen


def _chosen_peers(options: argparse.Namespace) -> list[Peer]:
    chosen = [peer for peer in PEERS if not options.peer or peer.name in options.peer]
    if not chosen:
        sys.exit(f"bench: no peer {', '.join(options.peer)}: there are {', '.join(peer.name for peer in PEERS)}")
    return chosen


def _measure(options: argparse.Namespace, scenarios: Sequence[Scenario], peers: Sequence[Peer]) -> Report:
    began = time.monotonic()
    machine = describe()
    pythons, missing = _install(peers, Environments(here=options.here, fresh=options.fresh))
    with (
        tempfile.TemporaryDirectory(prefix="aioreq-bench-sink-") as place,
        temporary_files(**({"needed": _QUICK_ROOM} if options.quick else {})) as files,
    ):
        server = _make_server(Path(place), tls=any(scenario.tls for scenario in scenarios))
        bench = Bench(Cores.choose(), files, _QUICK_LIMIT if options.quick else _LIMIT)
        order = random.Random(options.seed)
        found = {}
        for scenario in scenarios:
            course = Course(scenario, pythons, bench, options.rounds, order, _note)
            found[scenario] = {**course.run(list(pythons), server), **missing}
    return Report(
        made=str(dt.datetime.now(tz=dt.UTC).date()),
        seconds=time.monotonic() - began,
        rounds=options.rounds,
        machine=machine,
        versions=versions(pythons),
        by_scenario=found,
    )


def _install(peers: Sequence[Peer], environments: Environments) -> tuple[dict[Peer, Path], dict[str, Result]]:
    """Who can run, and who can't for want of an environment."""
    pythons: dict[Peer, Path] = {}
    missing: dict[str, Result] = {}
    for peer in peers:
        _note(f"environment of {peer.name}")
        try:
            pythons[peer] = environments.python(peer)
        except InstallError as error:
            last = str(error).strip().splitlines()[-1]
            missing[peer.name] = Result(problem=f"not installed: {last}")
            _note(f"{peer.name}: {error}")
    return pythons, missing


def _make_server(place: Path, *, tls: bool) -> Server:
    program, can_tls = compile_sink(place)
    certificates: Certificates | None = None
    why = "" if can_tls else "the server was built without OpenSSL's headers"
    if tls and can_tls:
        try:
            certificates = make_certificates(place)
        except ServerMissing as error:
            why = str(error)
    return Server(program, certificates, why)


def _save(report: Report, options: argparse.Namespace) -> None:
    to_json = options.json or (BENCHMARKS / "results.json" if options.write else None)
    to_svg = options.svg or (BENCHMARKS / "results.svg" if options.write else None)
    if to_json:
        to_json.write_text(json.dumps(as_json(report), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if to_svg:
        to_svg.write_text(_plot.draw(report), encoding="utf-8")
    if options.write:
        (BENCHMARKS / "RESULTS.md").write_text(_RESULTS.format(tables=_table.whole(report)), encoding="utf-8")
        essence = _README.format(table=_table.essence(report), caption=_table.caption(report))
        if not put_between_markers(ROOT / "README.md", "speed", essence):
            _note("README.md has no place marked for the table")


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


_RESULTS = """\
# Results

Made by `make bench ARGS=--write`; how to read it is told in [README.md](README.md).

{tables}"""

_README = """\
![Speed of aioreq and its peers](benchmarks/results.svg)

{table}
{caption}
`make bench` repeats it; [all peers, CPU, memory and stalls](benchmarks/RESULTS.md),
[how it is measured](benchmarks/README.md).
"""


if __name__ == "__main__":
    sys.exit(main())
