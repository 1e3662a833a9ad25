"""The results as a picture: a panel for each scenario, a bar for each peer, the range as a whisker.

Written as SVG by hand, so that nothing needs to be installed; it follows the reader's light or dark theme.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from bench._report import LIMIT, OURS, Report, spread
from bench._run import Result, Results
from bench._scenarios import Scenario
from bench._table import number

_COLUMNS = 3
_PANEL, _GAP = 330, 24
_LABEL, _VALUE = 112, 58  # room for names on the left of the bars, for numbers on the right
_TITLE, _ROW, _BAR = 42, 17, 10
_MARGIN = 16

_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #3d444d }
.title { font-weight: 600; font-size: 12px; fill: #1f2328 }
.unit, .failed { fill: #656d76 }
.ours { font-weight: 600; fill: #0b6bcb }
.bar { fill: #c3c9d1 } .bar.ours { fill: #1a7fe0 }
.whisker { stroke: #656d76; stroke-width: 1 }
.mark { stroke: #cf6a1e; stroke-width: 1.2; stroke-dasharray: 3 3 } .limit { fill: #a34f0f }
.page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #b7bfc8 } .title { fill: #f0f3f6 } .unit, .failed { fill: #8d96a0 } .ours { fill: #5cb0ff }
.bar { fill: #495059 } .bar.ours { fill: #2f8eea } .whisker { stroke: #aab3bd } .limit { fill: #eda062 }
.page { fill: #0d1117 }
}
"""


def draw(report: Report) -> str:
    """The picture, as the text of an SVG file."""
    panels = [(scenario, results) for scenario, results in report.by_scenario.items() if _rows(scenario, results)]
    rows = [panels[at : at + _COLUMNS] for at in range(0, len(panels), _COLUMNS)]
    parts: list[str] = []
    top = float(_MARGIN)
    for row in rows:
        for column, (scenario, results) in enumerate(row):
            left = _MARGIN + column * (_PANEL + _GAP)
            parts.append(f'<g transform="translate({left},{top:g})">{"".join(_panel(scenario, results))}</g>')
        top += max(_TITLE + _ROW * len(_rows(scenario, results)) for scenario, results in row) + _GAP
    width = 2 * _MARGIN + _COLUMNS * _PANEL + (_COLUMNS - 1) * _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top:g}" role="img" '
        f'aria-label="Speed of aioreq and its peers">\n<style>{_STYLE}</style>\n'
        f'<rect class="page" width="{width}" height="{top:g}" rx="6"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _rows(scenario: Scenario, results: Results) -> list[tuple[str, Result]]:
    """The best first, then those that failed."""
    sign = -1 if scenario.better == "more" else 1
    shown = [(name, result) for name, result in results.items() if not result.absent and name != LIMIT]
    return sorted(shown, key=lambda row: (not row[1].good, sign * row[1].median if row[1].good else 0))


def _panel(scenario: Scenario, results: Results) -> Iterator[str]:
    rows = _rows(scenario, results)
    limit = results.get(LIMIT)
    values = [result.median for _, result in rows if result.good]
    most = max([spread(result).high for _, result in rows if result.good], default=1.0)
    if limit and limit.good and values and limit.median < 2.5 * max(values):
        most = max(most, limit.median)
    scale = (_PANEL - _LABEL - _VALUE) / most
    yield f'<text class="title" x="0" y="11">{escape(scenario.title)}</text>'
    direction = "more is better" if scenario.better == "more" else "less is better"
    yield f'<text class="unit" x="0" y="26">{escape(scenario.unit)}, {direction}{_beyond(limit, most)}</text>'
    for index, (name, result) in enumerate(rows):
        yield from _row(name, result, _TITLE + index * _ROW, scale)
    if limit and limit.good and limit.median <= most:
        at = _LABEL + limit.median * scale
        yield f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{_TITLE - 6}" y2="{_TITLE + len(rows) * _ROW}"/>'


def _beyond(limit: Result | None, most: float) -> str:
    """What the dashed line is, or where it would be."""
    if not limit or not limit.good:
        return ""
    mark = "dashed" if limit.median <= most else "not drawn"
    return f'; <tspan class="limit">limit {number(limit.median)} ({mark})</tspan>'


def _row(name: str, result: Result, top: int, scale: float) -> Iterator[str]:
    ours = " ours" if name == OURS or name.startswith(f"{OURS} ") else ""
    line = top + _BAR - 1
    yield f'<text class="name{ours}" x="{_LABEL - 6}" y="{line}" text-anchor="end">{escape(name)}</text>'
    if not result.good:
        yield f'<text class="failed" x="{_LABEL}" y="{line}">{escape((result.problem or "")[:34])}</text>'
        return
    found = spread(result)
    width = found.median * scale
    yield f'<rect class="bar{ours}" x="{_LABEL}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="1.5"/>'
    low, high, middle = _LABEL + found.low * scale, _LABEL + found.high * scale, top + _BAR / 2
    yield f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"/>'
    yield f'<text class="value{ours}" x="{high + 5:.1f}" y="{line}">{number(found.median)}</text>'
