"""The code blocks of a page, and running them as they stand.

The standard library is enough here: `python -m tests.pages README.md keras` runs the blocks that
stand below `pip install 'cyclerate[keras]'`, where that was installed and nothing else
(scripts/test_install.py).
"""

from __future__ import annotations

import ast
import doctest
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```(?P<kind>\w*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALL = re.compile(r"pip install '?cyclerate(?:\[(?P<extras>[\w,]+)\])?")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
ANYTHING = "<anything>\n"


class Checker(doctest.OutputChecker):
    """Accepts any output of a plain statement; what follows `>>>` must be as shown."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return want == ANYTHING or super().check_output(want, got, optionflags)


@dataclass(frozen=True)
class Block:
    """A fenced block: its code, the number of the line before its first, and what it needs."""

    code: str
    line: int
    extras: str | None
    """Of the last `pip install` line above it, "" for none; None without such a line."""


def blocks(page: Path, kind: str) -> list[Block]:
    """The fenced blocks of one kind, in their order."""
    text = page.read_text(encoding="utf-8")
    installs = [(match.start(), match["extras"] or "") for match in INSTALL.finditer(text)]
    return [
        Block(
            match["code"],
            text.count("\n", 0, match.start("code")),
            next((extras for at, extras in reversed(installs) if at < match.start()), None),
        )
        for match in FENCE.finditer(text)
        if match["kind"] == kind
    ]


def examples(block: Block) -> list[doctest.Example]:
    """The statements of a block; line numbers are those of the page."""
    if ">>>" in block.code:
        found = doctest.DocTestParser().get_examples(block.code)
        for example in found:
            example.lineno += block.line
        return found
    return [
        doctest.Example(segment(block.code, node), ANYTHING, lineno=block.line + node.lineno - 1)
        for node in ast.parse(block.code).body
    ]


def segment(code: str, statement: ast.stmt) -> str:
    """The lines of a statement, with its decorators."""
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(node.lineno for node in decorators)])
    return "\n".join(code.splitlines()[first - 1 : statement.end_lineno])


def faults(page: Path, extras: str | None = None) -> str:
    """Runs the blocks of a page, or those that need certain extras, in their order.

    They share one namespace. Returns a report of what did not go as shown: "" if all did.
    """
    chosen = [block for block in blocks(page, "python") if extras in (None, block.extras)]
    found = [example for block in chosen for example in examples(block)]
    test = doctest.DocTest(found, {"__name__": "__main__"}, page.name, str(page), 0, None)
    report: list[str] = []
    doctest.DocTestRunner(Checker(), optionflags=FLAGS).run(test, out=report.append)
    return "".join(report)


def main(page: str, extras: str) -> None:
    path = Path(page).resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # a page may write files
        report = faults(path, extras)
        os.chdir(path.parent)
    sys.exit(report or 0)  # a text is printed, and means failure


if __name__ == "__main__":
    main(*sys.argv[1:])
