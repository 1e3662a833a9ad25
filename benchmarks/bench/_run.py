"""All of it: each scenario, its peers round-robin in random order, several rounds, and one more to look for stalls."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench._measure import Bench, Failure, Sample
from bench._peers import Peer
from bench._scenarios import Scenario
from bench._server import Certificates, Sink, running_sink

Note = Callable[[str], None]

NOT_ASKED = "not asked"
_STEADY_ROUNDS = 3


@dataclass
class Result:
    """What came of one peer in one scenario: samples, one for each round, or why there are none.

    `amount` is how much it was given, less than the scenario has if it was slow; `stall` is from a round of its own.
    """

    amount: int = 0
    samples: list[Sample | None] = field(default_factory=list)
    stall: float | None = None
    problem: str | None = None
    absent: str | None = None
    """Why it was not asked to."""

    @property
    def good(self) -> list[Sample]:
        return [] if self.problem else [sample for sample in self.samples if sample]

    @property
    def median(self) -> float:
        return statistics.median(sample.value for sample in self.good)


Results = dict[str, Result]
"""By the peer's name."""


@dataclass(frozen=True)
class Server:
    """What sinks are made from; without certificates there is no TLS, and `no_tls` says why."""

    program: Path
    certificates: Certificates | None
    no_tls: str = ""


class Course:
    """The run of one scenario."""

    def __init__(
        self,
        scenario: Scenario,
        pythons: Mapping[Peer, Path],
        bench: Bench,
        rounds: int,
        order: random.Random,
        note: Note,
    ) -> None:
        self._scenario, self._pythons, self._bench = scenario, pythons, bench
        self._rounds, self._order, self._note = rounds, order, note
        self.results: Results = {}

    def run(self, peers: Sequence[Peer], server: Server) -> Results:
        """Let them run.

        A peer that fails once is not asked again, and what it failed with stands in its place.
        """
        for peer in peers:
            self.results[peer.name] = Result(absent=_why_absent(self._scenario, peer, server))
        self._peers = [peer for peer in peers if not self.results[peer.name].absent]
        certificates = server.certificates if self._scenario.tls else None
        with running_sink(server.program, self._bench.cores.server, certificates) as sink:
            self._probe(sink)
            rounds = min(self._rounds, _STEADY_ROUNDS) if self._scenario.steady else self._rounds
            for number in range(rounds):
                self._round(sink, f"{number + 1} of {rounds}")
            if self._scenario.scales:
                self._look_for_stalls(sink)
        return self.results

    def _probe(self, sink: Sink) -> None:
        """Find out how much each can do in its time. It also loads what is loaded from the disk."""
        for peer in self._shuffled():
            if self._scenario.steady:
                self.results[peer.name].amount = self._scenario.whole
            elif probe := self._measured(peer, sink, self._scenario.probe):
                self.results[peer.name].amount = _fitting(self._scenario, probe)

    def _round(self, sink: Sink, which: str) -> None:
        for peer in self._shuffled():
            result = self.results[peer.name]
            result.samples.append(self._measured(peer, sink, result.amount))
        medians = ", ".join(f"{name} {result.median:.4g}" for name, result in self.results.items() if result.good)
        self._note(f"{self._scenario.key}, round {which}: {medians}")

    def _look_for_stalls(self, sink: Sink) -> None:
        for peer in self._shuffled():
            result = self.results[peer.name]
            if sample := self._measured(peer, sink, result.amount, watch=True):
                result.stall = sample.stall

    def _measured(self, peer: Peer, sink: Sink, amount: int, *, watch: bool = False) -> Sample | None:
        """One run; None if it failed, which is the last that is heard of the peer here."""
        python = self._pythons[peer]
        try:
            if self._scenario.operation == "import":
                return self._bench.run_import(peer, python)
            return self._bench.run(self._scenario, peer, python, sink, amount, watch=watch)
        except Failure as failure:
            self.results[peer.name].problem = str(failure)
            self._note(f"{self._scenario.key}: {peer.name}: {failure}")
            return None

    def _shuffled(self) -> list[Peer]:
        """Those that still run, in another order each time: nobody is always the first after a pause."""
        running = [peer for peer in self._peers if not self.results[peer.name].problem]
        self._order.shuffle(running)
        return running


def _why_absent(scenario: Scenario, peer: Peer, server: Server) -> str | None:
    if scenario.tls and not server.certificates:
        return server.no_tls
    if peer.only is not None and scenario.key not in peer.only:
        return NOT_ASKED
    return peer.cannot.get(scenario.key)


def _fitting(scenario: Scenario, probe: Sample) -> int:
    """As much as fits into the scenario's seconds: of a file a half, a quarter and so on, else a number."""
    if not scenario.scales:
        return scenario.whole
    rate = probe.value * (1e9 if scenario.amounts == "bytes" else 1)
    room = max(rate * scenario.seconds, scenario.probe)
    if scenario.amounts == "count":
        return min(scenario.whole, int(room))
    amount = scenario.whole
    while amount > room:
        amount //= 2
    return max(amount, scenario.probe)
