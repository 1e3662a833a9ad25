"""Pages that mark a place for what a benchmark finds."""

from __future__ import annotations

import re
from pathlib import Path


def put_between_markers(path: Path, name: str, text: str) -> bool:
    """Put text between `<!-- name:begin -->` and `<!-- name:end -->`, each on a line; False where they are not."""
    between = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    page = path.read_text(encoding="utf-8")
    changed, places = between.subn(lambda match: match[1] + text + match[2], page)
    if places:
        path.write_text(changed, encoding="utf-8")
    return bool(places)
