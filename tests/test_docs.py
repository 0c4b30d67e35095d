"""The README and the pages under docs/ do what they show.

A ```python block is run; what stands behind `>>>` in it must give the answer shown. The blocks of a
page share one namespace and one empty folder. A ```console block may call only what exists.
"""

from __future__ import annotations

import ast
import doctest
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.one_thread import one_thread
from tests.source import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(?P<kind>\w*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
ANYTHING = "<anything>\n"
LINK = re.compile(r"\]\((?!https?://|#)(?P<target>[^)#\s]+)(#[^)]*)?\)")


class Checker(doctest.OutputChecker):
    """Accepts any output of a plain statement; what follows `>>>` must be as shown."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return want == ANYTHING or super().check_output(want, got, optionflags)


def blocks(page: Path, kind: str) -> list[tuple[str, int]]:
    """The fenced blocks of one kind, each with the number of the line before its first."""
    text = page.read_text(encoding="utf-8")
    return [
        (match["code"], text.count("\n", 0, match.start("code")))
        for match in FENCE.finditer(text)
        if match["kind"] == kind
    ]


def examples(code: str, line: int) -> list[doctest.Example]:
    """The statements of a block; line numbers are those of the page."""
    if ">>>" in code:
        found = doctest.DocTestParser().get_examples(code)
        for example in found:
            example.lineno += line
        return found
    return [
        doctest.Example(segment(code, node), ANYTHING, lineno=line + node.lineno - 1)
        for node in ast.parse(code).body
    ]


def segment(code: str, statement: ast.stmt) -> str:
    """The lines of a statement, with its decorators."""
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(node.lineno for node in decorators)])
    return "\n".join(code.splitlines()[first - 1 : statement.end_lineno])


def faults(page: Path) -> str:
    """Runs the blocks of a page, in their order; reports what did not go as shown."""
    found = [example for block in blocks(page, "python") for example in examples(*block)]
    test = doctest.DocTest(found, {"__name__": "__main__"}, page.name, str(page), 0, None)
    report: list[str] = []
    doctest.DocTestRunner(Checker(), optionflags=FLAGS).run(test, out=report.append)
    return "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with one_thread():
        assert faults(page) == ""


def test_a_fault_on_a_page_is_found_with_its_line(tmp_path: Path):
    page = tmp_path / "page.md"
    text = "one\n\n```python\nx = 2\nx\n```\n\ntwo\n\n```python\n>>> x\n2\n>>> x + 1\n4\n```\n"
    page.write_text(text)
    assert "line 13" in faults(page)
    assert "Expected:\n    4\nGot:\n    3" in faults(page)
    page.write_text(text.replace("4", "3"))
    assert faults(page) == ""
    page.write_text(text.replace("x = 2", "\n@print\ndef f():\n    pass\nx = 1 / 0"))
    assert "line 8" in faults(page)
    assert "ZeroDivisionError" in faults(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_console_line_calls_what_exists(page: Path):
    lines = [line for code, _ in blocks(page, "console") for line in code.splitlines()]
    commands = [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]
    assert [words for words in commands if not exists(words)] == []


def exists(words: list[str]) -> bool:
    """Whether a command of the docs names a known program, subcommand, target, and options."""
    program, *arguments = words
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [word for word in arguments if "=" not in word]
        return all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    if program != "cyclerate":
        return program in {"pip", "git", "cd"}
    if arguments[0] == "plot":  # its options are the arguments of the schedules: it is run below
        return True
    shown = cyclerate(arguments[0], "--help")
    return all(word in shown for word in arguments if word.startswith("--"))


def cyclerate(*arguments: str) -> str:
    """What the command prints; fails where it fails."""
    from cyclerate.cli._app import app

    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_pictures_of_the_command_page_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    lines = [
        line
        for code, _ in blocks(ROOT / "docs" / "command.md", "console")
        for line in code.splitlines()
    ]
    plots = [line for line in lines if line.startswith("$ cyclerate plot")]
    assert len(plots) == 2
    drawn = [cyclerate(*shlex.split(line)[2:]) for line in plots]
    assert (tmp_path / "triangular2.png").read_bytes().startswith(b"\x89PNG")
    assert "0.1" in drawn[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page: Path):
    targets = [match["target"] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []
