"""The benchmark of speed (benchmarks/bench): that it runs, and that it does not believe what it is told."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the server is epoll's, the pinning Linux's"),
    # Where everything has to be there, a missing compiler is a failure.
    pytest.mark.skipif(not shutil.which("cc") and not os.environ.get("CI"), reason="the server needs a C compiler"),
]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package's inner modules."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("measure", "report", "run", "scenarios", "server", "table", "plot")
    return SimpleNamespace(**{name: importlib.import_module(f"bench._{name}") for name in names})


@pytest.fixture
def sink(bench: Any, tmp_path: Path) -> Iterator[Any]:
    program, _ = bench.server.compile_sink(tmp_path)
    with bench.server.running_sink(program, min(os.sched_getaffinity(0))) as sink:
        yield sink


def say(sink: Any, message: bytes) -> bytes:
    """Send these bytes, and read until the server's answer is whole."""
    with socket.create_connection(("127.0.0.1", sink.port), timeout=5) as connection:
        connection.sendall(message)
        answer = b""
        while not answer.endswith(b"ok"):
            answer += connection.recv(65536)
        return answer


@pytest.mark.slow
def test_it_measures_every_kind_of_scenario(tmp_path: Path) -> None:
    """One command measures the peers it is asked for, and tells it as JSON, as a picture and as tables."""
    wanted = ["S3", "S5", "S9 idle", "S10"]
    command = [sys.executable, "-m", "bench", "--quick", "--here", "--json", str(tmp_path / "found.json")]
    command += ["--svg", str(tmp_path / "found.svg"), "--peer", "aioreq", "--peer", "aiohttp"]
    command += [argument for key in wanted for argument in ("--scenario", key)]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert {one["key"] for one in found["scenarios"]} == set(wanted)
    for scenario in found["scenarios"]:
        for name in ("aioreq", "aiohttp"):
            assert scenario["peers"][name].get("median", 0) > 0, (scenario["key"], name, scenario["peers"][name])
    assert found["versions"].keys() >= {"aioreq", "aiohttp"}
    assert "### S10:" in done.stdout
    picture = ET.fromstring((tmp_path / "found.svg").read_text())
    assert len(picture.findall("{http://www.w3.org/2000/svg}g")) == len(found["scenarios"])


def test_a_peer_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    """A peer that cannot run keeps its row, and the row says why."""
    command = [sys.executable, "-m", "bench", "--quick", "--here", "--scenario", "S1", "--peer", "wreq"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "| wreq | *ModuleNotFoundError: No module named 'wreq'* |" in done.stdout


def test_the_server_counts_bodies_with_a_length(sink: Any) -> None:
    """Bytes of bodies are counted, those of heads are not, and the question for the counts counts nowhere."""
    say(sink, b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
    say(sink, b"GET / HTTP/1.1\r\n\r\n")
    counts = sink.counts()
    assert (counts.requests, counts.received) == (2, 5)
    assert sink.counts() == counts


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_server_counts_chunked_bodies(sink: Any, size: int) -> None:
    """Of a chunked body only the content counts, wherever the pieces are cut."""
    message = (
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", sink.port), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(message), size):
            connection.sendall(message[at : at + size])
        assert connection.recv(65536).endswith(b"ok")
    assert (sink.counts().requests, sink.counts().received) == (1, 13)


def test_the_server_says_100_to_who_waits_for_it(sink: Any) -> None:
    """A client that expects 100-continue does not wait in vain."""
    with socket.create_connection(("127.0.0.1", sink.port), timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"hello")
        assert connection.recv(65536).endswith(b"ok")


@pytest.mark.parametrize(
    ("key", "amount", "counts"),
    [
        ("S2", 500, (699, 0, 0, 0)),  # one GET less than the 500 and 200 of the warm-up
        ("S5", 500, (700, 500 * 46, 0, 0)),  # a byte less in each form
        ("S3", 1_000_000, (2, 999_999, 0, 0)),
        ("S6", 1_000_000, (2, 0, 999_999, 0)),
        ("S9 upload", 500, (1, 0, 0, 499)),
    ],
)
def test_a_client_that_claims_too_much_fails(
    bench: Any, key: str, amount: int, counts: tuple[int, int, int, int]
) -> None:
    """What a client reports is a failure unless the server has counted as much."""
    scenario = next(one for one in bench.scenarios.SCENARIOS if one.key == key)
    report = {"seconds": 1.0, "cpu": 1.0, "warmed": 1 if amount == 1_000_000 or key == "S9 upload" else 200}
    with pytest.raises(bench.measure.Failure, match="the server"):
        bench.measure._verify(scenario, amount, report, bench.server.Counts(*counts))


def test_ratios_are_of_the_same_round(bench: Any) -> None:
    """Noise that hits a whole round is in both numbers and leaves their ratio alone."""
    sample, result = bench.measure.Sample, bench.run.Result
    fast = result(samples=[sample(20.0), sample(2.0), sample(40.0)])
    slow = result(samples=[sample(10.0), sample(1.0), sample(20.0)])
    assert bench.report.ratio(fast, slow) == bench.report.Spread(2.0, 2.0, 2.0)


@pytest.mark.parametrize(("value", "shown"), [(0.5678, "0.568"), (12.34, "12.3"), (123.4, "123"), (98_765.4, "98,800")])
def test_numbers_have_three_digits(bench: Any, value: float, shown: str) -> None:
    """No digit is shown that the noise makes worthless."""
    assert bench.table.number(value) == shown


def test_the_readme_gets_the_essence_between_its_marks(bench: Any, tmp_path: Path) -> None:
    """A page's mark is filled with a row for each scenario, whose ratios are against aiohttp and against the best."""
    scenario = next(one for one in bench.scenarios.SCENARIOS if one.key == "S2")
    sample, result = bench.measure.Sample, bench.run.Result
    found = {
        "aioreq": result(amount=40_000, samples=[sample(300.0), sample(310.0), sample(290.0)]),
        "aiohttp": result(amount=40_000, samples=[sample(100.0), sample(100.0), sample(100.0)]),
        "wreq": result(amount=40_000, samples=[sample(150.0), sample(155.0), sample(145.0)]),
        "primp": result(problem="not in 60 s"),
        "limit": result(amount=40_000, samples=[sample(600.0), sample(620.0), sample(580.0)]),
    }
    report = bench.report.Report("2030-01-01", 60.0, 3, {}, {}, {scenario: found})
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- speed:begin -->\nold\n<!-- speed:end -->\nbehind\n")
    assert importlib.import_module("marked_pages").put_between_markers(page, "speed", bench.table.essence(report))
    before, *table, behind = page.read_text().splitlines()
    assert (before, behind) == ("before", "behind")
    row = "| small GET, 50 at a time, requests/s | 300 | 100 | 150 (wreq) | 3.00 × (2.90–3.10) | 2.00 × | 50% |"
    assert table[-2] == row
    assert "old" not in table
