"""The generated part of a page: what stands between two marks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cyclerate._files import write_text


def counted(
    of: str, columns: Mapping[str, str], counts: Mapping[str, Counter[str]], *, total: bool = False
) -> str:
    """A table of counts: a row for each name and one for all, a column for each outcome.

    Args:
        of: What the rows are.
        columns: The outcomes, and what they are called.
        counts: The outcomes of each row.
        total: Whether the first column is the number of all.
    """
    heads = [*(["number"] if total else []), *columns.values()]
    rows = [*counts.items(), ("all", sum(counts.values(), Counter()))]
    lines = [f"| {of} | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for name, count in rows:
        cells = [*([count.total()] if total else []), *(count[outcome] for outcome in columns)]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def write_generated(page: Path, text: str, part: str = "") -> None:
    """Replaces what stands between the two marks of a page, or of a part that is named in both."""
    name = f" {part}" if part else ""
    marked = re.compile(rf"(<!-- generated{name} -->\n)(?:.*?\n)?(<!-- end{name} -->)", re.DOTALL)
    before = page.read_text(encoding="utf-8")
    after, count = marked.subn(lambda mark: f"{mark[1]}\n{text}\n\n{mark[2]}", before)
    if count != 1:
        raise ValueError(f"{page} has no <!-- generated{name} --> ... <!-- end{name} -->")
    write_text(page, after)
