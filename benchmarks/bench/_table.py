"""The results as Markdown: everything for RESULTS.md and the screen, the essence for the README."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench._report import LIMIT, OURS, Report, Spread, best_of_the_others, middle, ratio, spread
from bench._run import NOT_ASKED, Result, Results
from bench._scenarios import MIB, Scenario


def whole(report: Report) -> str:
    """A table for each scenario, and under what circumstances it was made."""
    parts = [_of_one(scenario, results) for scenario, results in report.by_scenario.items()]
    return "\n".join([*parts, caption(report)])


def essence(report: Report) -> str:
    """A row for each scenario: aioreq, aiohttp, the best of the others, and the limit."""
    lines = [
        "| | aioreq | aiohttp | best of the others | × aiohttp | × best | of the limit |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_essence_of(scenario, results) for scenario, results in report.by_scenario.items()]
    return "\n".join(lines) + "\n"


def caption(report: Report) -> str:
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in sorted(report.versions.items()))
    rounds = "1 round" if report.rounds == 1 else f"medians of {report.rounds} rounds with their range"
    return (
        f"Made on {report.made} in {report.seconds / 60:.0f} minutes: {rounds}; ratios are of the same round. "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']}, "
        f"{machine['openssl']}; client and server on a core each. curl {machine['curl']}, {versions}.\n"
    )


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 1000:
        return f"{round(value, 1 - len(str(int(value))) + 2):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


# -- One scenario --------------------------------------------------------------------------------------------------


def _of_one(scenario: Scenario, results: Results) -> str:
    names = _ordered(scenario, results)
    columns = [(title, cells) for title, cell in _columns(scenario) if any(cells := [cell(results, n) for n in names])]
    lines = [
        f"### {scenario.key}: {scenario.title}\n",
        f"| {scenario.better} is better | " + " | ".join(title for title, _ in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for index, name in enumerate(names):
        shown = f"**{name}**" if name == OURS else name
        lines.append(f"| {shown} | " + " | ".join(cells[index] for _, cells in columns) + " |")
    best = best_of_the_others(scenario, results)
    if best and (against := _against(best, OURS, results)):
        lines.append(f"\naioreq against the best of the others ({best}): {_times(against)}")
    return "\n".join(lines) + "\n"


def _ordered(scenario: Scenario, results: Results) -> Sequence[str]:
    """The best first, at the end who could not. Who is not asked is told of on the page about reading this."""
    sign = -1 if scenario.better == "more" else 1
    done = sorted((name for name in results if results[name].good), key=lambda name: sign * results[name].median)
    return [*done, *(name for name, result in results.items() if not result.good and result.absent != NOT_ASKED)]


_Cell = Callable[[Results, str], str]


def _columns(scenario: Scenario) -> Sequence[tuple[str, _Cell]]:
    """The title of each column, and what it says of a peer."""

    def value(results: Results, name: str) -> str:
        result = results[name]
        if not result.good:
            return f"*{_escaped(result.absent or result.problem or 'nothing')}*"
        return _ranged(spread(result)) + _if_less(scenario, result)

    def share(results: Results, name: str) -> str:
        return _share(_against(LIMIT, name, results)) if scenario.scales else ""

    def stall(results: Results, name: str) -> str:
        seconds = results[name].stall
        return "" if seconds is None else number(seconds * 1000)

    return (
        (scenario.unit, value),
        ("× aiohttp", lambda results, name: _times(_against("aiohttp", name, results))),
        ("of the limit", share),
        (scenario.cost, lambda results, name: _known(middle(sample.cost for sample in results[name].good))),
        ("memory, MiB", lambda results, name: _mebibytes(middle(sample.memory for sample in results[name].good))),
        ("longest stall, ms", stall),
    )


def _essence_of(scenario: Scenario, results: Results) -> str:
    best = best_of_the_others(scenario, results)
    cells = [
        f"{scenario.title}, {scenario.unit}",
        _median(results.get(OURS)),
        _median(results.get("aiohttp")),
        f"{_median(results[best])} ({best})" if best else "",
        _times(_against("aiohttp", OURS, results)),
        _times(_against(best, OURS, results)),
        _share(_against(LIMIT, OURS, results)) if scenario.scales else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _against(other: str | None, name: str, results: Results) -> Spread | None:
    if other is None or other == name or other not in results or name not in results:
        return None
    return ratio(results[name], results[other])


def _median(result: Result | None) -> str:
    if result is None or result.absent:
        return ""
    return number(result.median) if result.good else f"*{_escaped(result.problem or '')}*"


def _if_less(scenario: Scenario, result: Result) -> str:
    """How much a slow peer was given, where that is less than the title says."""
    if result.amount == scenario.whole or scenario.operation in ("get", "form", "import"):
        return ""
    given = f"{result.amount // MIB} MiB" if scenario.amounts == "bytes" else f"{result.amount:,}"
    return f", {given} only"


def _ranged(found: Spread) -> str:
    if found.low == found.high:
        return number(found.median)
    return f"{number(found.median)} ({number(found.low)}–{number(found.high)})"


def _times(found: Spread | None) -> str:
    if found is None:
        return ""
    span = "" if found.low == found.high else f" ({found.low:.2f}–{found.high:.2f})"
    return f"{found.median:.2f} ×{span}"


def _share(found: Spread | None) -> str:
    return "" if found is None else f"{found.median:.0%}"


def _known(value: float | None) -> str:
    return "" if value is None else number(value)


def _mebibytes(value: float | None) -> str:
    return "" if value is None else f"{value / MIB:.1f}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
