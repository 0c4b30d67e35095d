"""The README and the pages under docs/ do what they show.

A ```python block is run; what stands behind `>>>` in it must give the answer shown. The blocks of a
page share one namespace and one empty folder. A ```console block may call only what exists.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from scripts.docs_search import BOOST, on_page_content
from tests.one_thread import one_thread
from tests.pages import blocks, faults
from tests.source import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_WORDS = 12000
LEFT_OUT = re.compile(r"^```.*?^```$|<!--.*?-->|^\|[^\n]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)(?P<target>[^)#\s]+)(#[^)]*)?\)")


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


def test_every_page_is_in_the_site():
    docs = ROOT / "docs"
    pages = [page.relative_to(docs).as_posix() for page in docs.rglob("*.md")]
    named = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(pages)


def test_what_is_to_be_read_stays_short():
    """Words of the pages but measurements and reference, without code, tables and comments."""
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    sections = re.split(r"^  - ", nav, flags=re.MULTILINE)
    read = [one for one in sections if not one.startswith(("Measured:", "Reference:"))]
    words = {
        page: len(LEFT_OUT.sub("", (ROOT / "docs" / page).read_text("utf-8")).split())
        for page in re.findall(r": (\S+\.md)$", "\n".join(read), re.MULTILINE)
    }
    assert len(words) > 30
    assert sum(words.values()) <= MOST_WORDS, sorted(words.items(), key=lambda one: -one[1])[:5]


def test_the_search_weighs_sections_that_there_are():
    sections = re.findall(r"^  - ([^:]+):$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert set(BOOST) <= set(sections)
    page = SimpleNamespace(ancestors=[SimpleNamespace(title="Start")], meta={})
    assert on_page_content("<p>", page=page) == "<p>"
    reference = SimpleNamespace(ancestors=[SimpleNamespace(title="Reference")], meta={})
    on_page_content("", page=reference)
    assert page.meta["search"]["boost"] > 2 > reference.meta["search"]["boost"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_stands_below_a_line_that_installs_what_it_needs(page: Path):
    assert [block.line for block in blocks(page, "python") if block.extras is None] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_console_line_calls_what_exists(page: Path):
    lines = [line for block in blocks(page, "console") for line in block.code.splitlines()]
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
        for block in blocks(ROOT / "docs" / "command.md", "console")
        for line in block.code.splitlines()
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
