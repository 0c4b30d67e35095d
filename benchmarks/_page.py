"""The generated part of a page: what stands between two marks."""

from __future__ import annotations

import re
from pathlib import Path

from cyclerate._files import write_text

_PART = re.compile(r"(<!-- generated -->\n).*(\n<!-- end -->)", re.DOTALL)


def write_generated(page: Path, text: str) -> None:
    """Replaces what stands between the two marks of a page."""
    before = page.read_text(encoding="utf-8")
    after, count = _PART.subn(lambda mark: f"{mark[1]}\n{text}\n{mark[2]}", before)
    if count != 1:
        raise ValueError(f"{page} has no <!-- generated --> ... <!-- end -->")
    write_text(page, after)
