"""What the evidence says, in a few words: the parts that the cases' judges are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aioreq.testing import RequestLog
from fault_table.play import Evidence, Verdict

Judge = Callable[[Evidence], Verdict]

MIB = 1 << 20
_FROZEN_MS = 1500.0
_PLAIN_ERRORS = {"TimeoutError", "ValueError"}


def right(detail: str = "") -> Verdict:
    return Verdict(f"right ({detail})" if detail else "right", right=True)


def wrong(what: str) -> Verdict:
    return Verdict(what, right=False)


def not_offered(detail: str = "") -> Verdict:
    return Verdict(f"not offered ({detail})" if detail else "not offered", right=None)


def judged(judge: Judge) -> Judge:
    """First what any case may come to: not offered, hung, dead. Then the judge. A right answer whose connection or
    session is spoiled for the next request is not right."""

    def verdict(evidence: Evidence) -> Verdict:
        report = evidence.report
        if report.get("not_offered"):
            detail = report["not_offered"]
            return not_offered("" if detail == "not offered" else detail)
        found = _no_end(evidence) or judge(evidence)
        following = report.get("next")
        if found.right and following and not is_own_answer(following, "next"):
            return wrong(f"the next request fails ({outcome_words(following)})")
        return found

    return verdict


def _no_end(evidence: Evidence) -> Verdict | None:
    report = evidence.report
    if not report:
        return wrong("the process dies")
    if not report["hung"]:
        return None
    if report["stall_ms"] > _FROZEN_MS:
        return wrong(f"freezes its event loop ({report['stall_ms'] / 1000:.0f} s, then cut)")
    return wrong("hangs (cut off)")


def is_own_answer(outcome: dict[str, Any], token: str) -> bool:
    """Whether a request got the answer that was made for it."""
    if outcome.get("status") != 200:
        return False
    try:
        return bool(json.loads(outcome["content"])["token"] == token)
    except (ValueError, KeyError, TypeError):
        return False


def outcome_words(outcome: dict[str, Any]) -> str:
    return outcome.get("exception") or str(outcome["status"])


def is_own_error(evidence: Evidence, outcome: dict[str, Any]) -> bool:
    """Whether the exception is one of the library's, or one of Python's that says what a library would mean by it."""
    return outcome["module"].split(".")[0] == evidence.report["library"] or outcome["exception"] in _PLAIN_ERRORS


def error_words(evidence: Evidence, outcome: dict[str, Any]) -> str:
    """The exception's name, and its home where that is not the library."""
    name: str = outcome["exception"]
    home = outcome["module"].split(".")[0]
    return name if home in {evidence.report["library"], "builtins"} else f"{name} of {home}"


def memory_note(evidence: Evidence) -> str:
    """Said of a client that holds all of a big file."""
    size = len(evidence.content)
    return "whole file in memory" if size > 8 * MIB and evidence.report["memory_growth"] > size * 3 // 4 else ""


def is_whole_form(request: RequestLog, content: bytes) -> bool:
    """Whether the request is a form with `content` as its file, and its closing boundary in its place."""
    if not request.complete:
        return False
    boundary = request.body[: request.body.find(b"\r\n")]
    return request.body.endswith(b"\r\n" + boundary + b"--\r\n") and b"\r\n\r\n" + content + b"\r\n" in request.body


def part_head(request: RequestLog, mark: bytes) -> list[bytes]:
    """The header lines of the part whose head has `mark`, or none."""
    boundary = request.body[: request.body.find(b"\r\n")]
    for part in request.body.split(boundary):
        head = part.partition(b"\r\n\r\n")[0]
        if mark in head:
            return head.strip().split(b"\r\n")
    return []
