from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from benchmarks._page import write_generated
from benchmarks._timing import compare, ratio
from tests.source import ROOT


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds():
    found = ratio([2.0, 30.0, 9.0], [1.0, 10.0, 1.0])
    assert (found.median, found.seconds) == (3.0, 9.0)
    assert (found.quarter, found.three_quarters) == (2.5, 6.0)


def test_everything_is_run_once_to_warm_up_and_once_a_round():
    ran: list[str] = []
    ticks = itertools.count()
    runs = {"slow": lambda: (ran.append("slow"), next(ticks)), "fast": lambda: ran.append("fast")}
    found = compare("fast", runs, 5, clock=lambda: next(ticks))
    assert ran[:2] == ["slow", "fast"]
    assert ran.count("slow") == ran.count("fast") == 6
    assert ran[2:] != ["slow", "fast"] * 5  # in a new order each round
    assert found["slow"].median == 2.0
    assert found["fast"].median == 1.0


def test_the_generated_part_of_a_page_is_replaced(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- generated -->\nold\n<!-- end -->\nafter\n")
    write_generated(page, "\\1 new")
    assert page.read_text() == "before\n<!-- generated -->\n\n\\1 new\n\n<!-- end -->\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="generated"):
        write_generated(page, "new")


@pytest.mark.parametrize("name", ["overhead.md", "finders.md", "reach.md", "budget.md"])
def test_pages_keep_their_marks(name: str):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert text.count("<!-- generated -->\n") == text.count("\n<!-- end -->") == 1


def test_the_table_of_costs_fits_a_terminal_and_names_who_takes_part():
    text = (ROOT / "docs" / "overhead.md").read_text(encoding="utf-8")
    table = text.partition("<!-- generated -->")[2]
    assert max(map(len, table.splitlines())) <= 80
    for name in ("cyclerate range_test", "torch-lr-finder", "fastai lr_find", "Lightning lr_find"):
        assert f"\n{name}" in table
