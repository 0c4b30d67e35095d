"""Runs the notebooks of examples/notebooks, and writes them as pages: docs/notebooks.

    python scripts/notebooks.py [NAME]...      all of them, without names

A notebook is a Python file with `# %%` cells, as Jupytext, VS Code and PyCharm open them. Its page
has the text and the code of each cell, what the cell printed, and its pictures.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS, PAGES = ROOT / "examples" / "notebooks", ROOT / "docs" / "notebooks"
MARK = re.compile(r"^# %%(?P<text> \[markdown\])?\n", re.MULTILINE)
OUTPUT = re.compile(r"^```text\n.*?^```\n\n|^!\[[^\n]*\n\n", re.MULTILINE | re.DOTALL)
LINE = "from __future__ import annotations\n\n"


class Cell(NamedTuple):
    """A cell: Markdown, or code."""

    source: str
    is_text: bool


def cells(path: Path) -> Iterator[Cell]:
    """The cells of a notebook, but the last: it asserts what the tests want to know."""
    _, *parts = MARK.split(path.read_text(encoding="utf-8"))
    for mark, source in list(zip(parts[::2], parts[1::2], strict=True))[:-1]:
        if mark:
            yield Cell(re.sub(r"^# ?", "", source.strip(), flags=re.MULTILINE), is_text=True)
        else:
            yield Cell(source.removeprefix(LINE).strip(), is_text=False)


def page(path: Path, outputs: Iterator[str] | None = None) -> str:
    """The page of a notebook; without its outputs if there are none."""
    written = [f"<!-- written by scripts/notebooks.py from {path.relative_to(ROOT)} -->\n\n"]
    for cell in cells(path):
        if cell.is_text:
            written.append(f"{cell.source}\n\n")
        else:
            written.append(f"```python\n{cell.source}\n```\n\n")
            written.append("" if outputs is None else next(outputs))
    where = f"`{path.relative_to(ROOT).as_posix()}`"
    return "".join(
        [*written, f"The file: {where}. Jupytext, VS Code and PyCharm open its cells.\n"]
    )


def without_outputs(text: str) -> str:
    """A page as it is before its notebook is run."""
    return OUTPUT.sub("", text)


def pictures_in(text: str) -> list[str]:
    """The files of the pictures on a page."""
    return re.findall(r"^!\[[^\]]*\]\((\S+)\)$", text, re.MULTILINE)


def run(path: Path) -> Iterator[str]:
    """Runs a notebook, cell by cell; gives the outputs of each cell of code as Markdown."""
    import matplotlib.pyplot as plt

    names: dict[str, Any] = {"__name__": "__main__"}
    number = 0
    for cell in cells(path):
        if cell.is_text:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), warnings.catch_warnings(action="ignore"):
            exec(compile(cell.source, path.name, "exec"), names)  # noqa: S102 - it is our own
        said = printed.getvalue().strip()
        output = f"```text\n{said}\n```\n\n" if said else ""
        for figure in map(plt.figure, plt.get_fignums()):
            number += 1
            picture = PAGES / f"{path.stem}-{number}.png"
            figure.savefig(picture, dpi=90)
            output += f"![Output of the cell above]({picture.name})\n\n"
        plt.close("all")
        yield output


def main() -> None:
    os.environ.setdefault("MPLBACKEND", "agg")
    PAGES.mkdir(exist_ok=True)
    chosen = sys.argv[1:] or [path.stem for path in sorted(NOTEBOOKS.glob("*.py"))]
    for name in chosen:
        path = NOTEBOOKS / f"{name}.py"
        written = page(path, run(path))
        (PAGES / f"{name}.md").write_text(written, encoding="utf-8")
        print(f"docs/notebooks/{name}.md")


if __name__ == "__main__":
    main()
