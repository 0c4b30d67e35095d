"""The page of a toy: everything is on it, and nothing on it is markup that a text brought."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from cyclerate._theme import DARK
from reproductions import _page, _phrases as say
from reproductions._charts import Chart, Line, draw, line
from reproductions._drawing import drawable
from reproductions._experiment import Table, run
from reproductions._page import origins, write_page
from reproductions._phrases import measured, reached_after
from reproductions._record import Size
from tests.reproductions.toys import MADE, Toy, record_of, toy


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("toy")
    experiment = toy(Toy(), a=1, b=2)
    record = run(experiment, Size((0, 1), quick=True), out, "python -m reproductions toy")
    record = dataclasses.replace(
        record, runs=tuple(dataclasses.replace(one, provenance=MADE) for one in record.runs)
    )
    path = write_page(experiment, record, out)
    assert path == out / "report.html"
    assert (out / "losses.png").read_bytes().startswith(b"\x89PNG")
    return path.read_text()


def test_the_page_shows_all_and_escapes_all(page: str):
    for text in (
        "A toy &lt;script&gt;alert(1)&lt;/script&gt;",
        "Nobody &amp; Co.",
        "It &lt;em&gt;says&lt;/em&gt; so.",
        "None &amp; nothing.",
        "made of &lt;b&gt;nothing&lt;/b&gt;",
        "4 runs &lt;done&gt;",
        "Losses &amp; more",
        "of &lt;toys&gt;",
        "&lt;u&gt;see&lt;/u&gt;",
        "&#34;quoted&#34; &lt;alt&gt;",
        "&lt;i&gt;a&lt;/i&gt;: seeds 0, 1",
        "python -m reproductions toy",
        "2 January 2026, 03:04 UTC",
        "A quick run, on small or made-up data",
    ):
        assert text in page, text
    tags = {tag.lower() for tag in re.findall(r"<([A-Za-z]+)", page)}
    assert not tags & {"script", "em", "b", "i", "u", "toys", "done", "alt", "iframe", "object"}


def test_where_runs_come_from_is_said_once_for_each_machine():
    first, second = record_of(a=(0.5, 0.7)).runs
    later = dataclasses.replace(second, provenance={**MADE, "created": "2026-01-03T04:05:06+00:00"})
    record = dataclasses.replace(record_of(), runs=(later, first))
    (made,) = origins(record)
    assert made["when"] == "2 January 2026, 03:04 UTC to 3 January 2026, 04:05 UTC"
    other = dataclasses.replace(later, provenance={**later.provenance, "machine": {"cores": "8"}})
    assert [
        one["machine"] for one in origins(dataclasses.replace(record, runs=(other, first)))
    ] == [
        {},
        {"cores": "8"},
    ]


def test_a_shorter_record_follows_the_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_page, "DOCS", tmp_path)
    (tmp_path / "images").mkdir()
    experiment, record = toy(Toy(), a=1, b=2), record_of(a=(0.5,))
    shorter = dataclasses.replace(record, size=Size((0,), scale=0.5))
    text = _page.section(experiment, shorter, again=True)
    assert text.startswith(f"## {experiment.title}: 0.5 of the length\n\n**Every training was 0.5")
    assert "**Not run yet: <i>b</i>.**" in text
    assert "What the article has" not in text
    assert "What the article has" in _page.section(experiment, record)
    assert sorted(file.name for file in (tmp_path / "images").iterdir()) == [
        "reproduce-toy-scale-0.5.png",
        "reproduce-toy.png",
    ]


def test_the_table_of_the_page_has_means_and_spreads(page: str):
    assert re.search(
        r'<th scope="row">a</th>\s*<td>\s*1\.050\s*<span class="spread">±&nbsp;0\.071', page
    )


def test_a_measured_value_says_what_was_lost():
    record = record_of(a=(0.5, 0.7), b=(0.5, None), c=(None, None), d=(0.25,))
    assert measured(record, "a", "loss") == "0.6000 ± 0.1414"
    assert measured(record, "b", "loss") == "0.5000 (1 of 2 diverged)"
    assert measured(record, "c", "loss") == "diverged"
    assert measured(record, "d", "loss", share=True) == "25.0 %"
    assert measured(record, "e", "loss") == "\N{EN DASH}"


def test_what_differs_is_said_only_if_it_is_more_than_the_seeds():
    record = record_of(a=(0.50, 0.52), b=(0.60, 0.62), c=(0.50, 0.70), one=(0.4,))
    assert say.compared(record, "b", "a", "loss") == "above it by 10.0 points"
    assert say.compared(record, "a", "b", "loss") == "below it by 10.0 points"
    assert say.compared(record, "c", "a", "loss") == "+9.0 points (level within the spread)"
    assert say.compared(record, "one", "a", "loss") == "-11.0 points (with one seed)"
    assert say.compared(record, "nothing", "a", "loss") == "without a result"
    assert say.loss_beside(record, "a", "b") == "a lower loss than"
    assert say.loss_beside(record, "c", "a") == "no clearly lower or higher loss than"
    assert say.loss_beside(record, "one", "a") == "a lower loss (one seed) than"
    assert say.loss_beside(record, "a", "nothing") is None


def test_how_soon_a_loss_was_reached():
    # The toy's curves begin at 1.0 and end, after 2 steps, at the loss given.
    record = record_of(slow=(0.5, 0.6), fast=(0.4, 0.6), worse=(0.9, 0.3), lost=(None, 0.1))
    assert reached_after(record, "fast", "slow") == 1.0
    assert reached_after(record, "worse", "slow") is None
    assert reached_after(record, "slow", "lost") is None
    assert reached_after(record_of(a=(0.5,), high=(1.0,)), "a", "high") == 0.5


def test_a_line_is_the_mean_of_its_seeds_while_all_of_them_run():
    record = record_of(a=(0.5, 0.7), b=(0.5, None))
    drawn = line(record, "a", "name", "loss", steps_per_epoch=2)
    assert (list(drawn.x), list(drawn.y), len(drawn.pale)) == ([0.5, 1.0], [1.0, 0.6], 2)
    assert list(line(record, "b", "name", "loss").y) == [1.0, None]
    assert line(record, "nothing", "name", "loss").x == ()


def test_a_chart_draws_the_lines_that_have_points():
    lines = (
        Line("falls", (1, 10, 100), (3.0, None, 1.0), (((1, 10), (3.0, 9.0)),)),
        Line("empty", (), ()),
        Line("lost", (1, 2), (None, float("nan"))),
    )
    chart = Chart("n", "title", "x", "y", lines, "", "", log_x=True, y_limits=(0.0, 4.0))
    assert Chart("n", "title", "x", "y", (), "", "").drawn == ()
    assert [a.name for a in chart.drawn] == ["falls"]
    figure = draw(chart, DARK)
    ax = figure.axes[0]
    # The pale line, the line, and the piece before its name.
    assert [np.asarray(a.get_xdata()).tolist() for a in ax.lines[:2]] == [[1, 10], [1, 100]]
    assert len(ax.lines) == 3
    assert (ax.get_xscale(), ax.get_ylim()) == ("log", (0.0, 4.0))
    assert [text.get_text() for text in ax.texts] == ["falls"]


def test_a_table_is_as_wide_as_its_heads_and_says_so_in_markdown():
    table = Table("t", ("cell", "loss"), (("a|b", "1.0"), ("c", "10.0")))
    assert table.text() == "cell  loss\na|b    1.0\nc     10.0"
    assert table.markdown() == "| cell | loss |\n| --- | ---: |\n| a\\|b | 1.0 |\n| c | 10.0 |"
    with pytest.raises(ValueError, match="rows must be as wide as the heads"):
        Table("t", ("cell", "loss"), (("a",),))


def test_drawable_keeps_what_the_font_has():
    assert drawable("Größe ± 1 → ∞") == "Größe ± 1 → ∞"
    assert drawable("学習率") == "???"
    assert drawable("x" * 300) == "x" * 13 + "…"
