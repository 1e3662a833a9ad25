"""A result as a record: what reports and programs get to know of it."""

from __future__ import annotations

from typing import Any

from ._item import UploadResult
from ._place import stable_url
from ._plan import Planned


def record_of(result: UploadResult) -> dict[str, Any]:
    """A result as plain values, ready for JSON. What signs a URL is left out, and so are headers and bodies."""
    return {
        "path": result.item.path,
        "name": result.item.file_name,
        "url": stable_url(result.url),
        "ok": result.ok,
        "status": result.status,
        "skipped": result.skipped,
        "problem": result.problem,
        "attempts": result.attempts,
        "size": result.size,
        "sent": result.sent,
        "started": round(result.started, 6),
        "duration": round(result.duration, 6),
        "elapsed": round(result.elapsed, 6),
        "key": result.key,
        "digest": result.digest,
    }


def plan_record_of(planned: Planned) -> dict[str, Any]:
    """What would be done with an item, as plain values."""
    return {
        "path": planned.item.path,
        "name": planned.item.file_name,
        "method": planned.method,
        "url": stable_url(planned.url),
        "size": planned.size,
        "done": planned.done,
        "problem": None if planned.problem is None else str(planned.problem),
    }
