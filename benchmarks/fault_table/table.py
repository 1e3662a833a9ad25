"""The verdicts as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fault_table.play import Case, Verdict

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


def _cell(verdict: Verdict) -> str:
    text = verdict.text.replace("|", "\\|")
    return f"**{text}**" if verdict.right is False else text
