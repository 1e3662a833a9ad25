"""The verdicts as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fault_table.play import Case, Verdict

_BETWEEN = re.compile(r"(<!-- faults:begin -->\n).*?(<!-- faults:end -->)", re.DOTALL)

Row = tuple[Case, Mapping[str, Verdict]]


def render(rows: Sequence[Row], versions: Mapping[str, str]) -> str:
    """The table: a row for each case, a column for each library."""
    lines = [
        "| the fault | " + " | ".join(f"{name} {version}" for name, version in versions.items()) + " |",
        "|---|" + "---|" * len(versions),
    ]
    for case, verdicts in rows:
        lines.append("| " + " | ".join([case.title, *(_cell(verdicts[name]) for name in versions)]) + " |")
    return "\n".join(lines) + "\n"


def promises(rows: Sequence[Row]) -> str:
    """What right means, for each case."""
    return "".join(f"- **{case.title}**: {case.promise}.\n" for case, _ in rows)


def put_between_markers(path: Path, table: str) -> bool:
    """Put the table where the page marks a place for it; False if it does not."""
    page = path.read_text(encoding="utf-8")
    changed, places = _BETWEEN.subn(lambda match: match[1] + table + match[2], page)
    if places:
        path.write_text(changed, encoding="utf-8")
    return bool(places)


def _cell(verdict: Verdict) -> str:
    text = verdict.text.replace("|", "\\|")
    return f"**{text}**" if verdict.right is False else text
