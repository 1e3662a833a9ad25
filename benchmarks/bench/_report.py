"""What a whole run found: as JSON, and the ratios that the table and the picture are made from."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench._run import Result, Results
from bench._scenarios import Scenario

OURS, LIMIT = "aioreq", "limit"


@dataclass(frozen=True)
class Spread:
    """A median, and what it lies between."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))


@dataclass(frozen=True)
class Report:
    """Everything that is known at the end; `by_scenario` in the order they ran in."""

    made: str
    seconds: float
    rounds: int
    machine: Mapping[str, str | int | float]
    versions: Mapping[str, str]
    by_scenario: Mapping[Scenario, Results]


def spread(result: Result) -> Spread:
    return Spread.of(sample.value for sample in result.good)


def ratio(one: Result, other: Result) -> Spread | None:
    """One against the other, round by round: noise that lasts longer than a round is in both."""
    if not one.good or not other.good:
        return None
    pairs = zip(one.samples, other.samples, strict=False)
    return Spread.of(mine.value / its.value for mine, its in pairs if mine and its)


def best_of_the_others(scenario: Scenario, results: Results) -> str | None:
    """Who was best beside aioreq, whatever the loop."""
    others = {name: r.median for name, r in results.items() if r.good and not name.startswith(OURS) and name != LIMIT}
    if not others:
        return None
    choose = max if scenario.better == "more" else min
    return choose(others, key=others.__getitem__)


def as_json(report: Report) -> dict[str, Any]:
    return {
        "made": report.made,
        "seconds": round(report.seconds),
        "rounds": report.rounds,
        "machine": dict(report.machine),
        "versions": dict(report.versions),
        "scenarios": [_scenario(scenario, results) for scenario, results in report.by_scenario.items()],
    }


def _scenario(scenario: Scenario, results: Results) -> dict[str, Any]:
    return {
        "key": scenario.key,
        "title": scenario.title,
        "unit": scenario.unit,
        "better": scenario.better,
        "cost unit": scenario.cost,
        "peers": {name: _peer(scenario, result) for name, result in results.items()},
    }


def _peer(scenario: Scenario, result: Result) -> dict[str, Any]:
    if result.absent:
        return {"absent": result.absent}
    if not result.good:
        return {"problem": result.problem}
    return {
        "median": _short(result.median),
        "values": [_short(sample.value) for sample in result.good],
        "cost": _short(middle(sample.cost for sample in result.good)),
        "memory": middle(sample.memory for sample in result.good),
        "stall": _short(result.stall),
        "amount": result.amount,
        "whole": result.amount == scenario.whole,
    }


def middle(values: Iterable[float | None]) -> float | None:
    """The median of what there is."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
