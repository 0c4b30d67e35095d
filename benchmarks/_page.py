"""The generated part of a page: what stands between two marks."""

from __future__ import annotations

import re
from pathlib import Path

from cyclerate._files import write_text


def write_generated(page: Path, text: str, part: str = "") -> None:
    """Replaces what stands between the two marks of a page, or of a part that is named in both."""
    name = f" {part}" if part else ""
    marked = re.compile(rf"(<!-- generated{name} -->\n)(?:.*?\n)?(<!-- end{name} -->)", re.DOTALL)
    before = page.read_text(encoding="utf-8")
    after, count = marked.subn(lambda mark: f"{mark[1]}\n{text}\n\n{mark[2]}", before)
    if count != 1:
        raise ValueError(f"{page} has no <!-- generated{name} --> ... <!-- end{name} -->")
    write_text(page, after)
