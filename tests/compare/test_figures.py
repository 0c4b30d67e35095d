"""The figures show the record's numbers, whatever they are."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from cyclerate._theme import CSS
from cyclerate.compare._answer import Answer
from cyclerate.compare._figures import Figure, draw_all
from cyclerate.compare._record import PolicyInfo
from tests.compare.records import answer, cell, raced, range_result, row

RACE = Answer(raced({"fixed": 0.35, "triangular": 5.0, "one_cycle": 2.0}))
DRAWN = draw_all(RACE)


def charts(figure: Figure) -> list[ET.Element]:
    """The charts of a figure, parsed: they are whole."""
    return list(ET.fromstring(f"<div>{figure.svg}</div>"))


def texts(figure: Figure) -> list[str]:
    """All that is written in a figure."""
    return [text.text or "" for chart in charts(figure) for text in chart.iter("text")]


def lines(figure: Figure, color: str) -> list[list[list[float]]]:
    """The lines of one colour in a figure, point by point, in the pixels of the chart."""
    found = [
        one.attrib["points"]
        for chart in charts(figure)
        for one in chart.iter("polyline")
        if f"stroke:{color};" in one.attrib["style"]
    ]
    return [[[float(part) for part in place.split(",")] for place in one.split()] for one in found]


def lost_everywhere():
    lost = [row(n, None, None, metric_mean=None, diverged=1) for n in ("fixed", "triangular")]
    cells = [cell(r.policy, 0, [0.7, 90.0, None], diverged=True) for r in lost]
    return answer(lost, seeds=[0], cells=cells)


def test_the_loss_figure_shows_runs_means_and_the_finish_line():
    figure = DRAWN["learning_curves_loss"]
    assert texts(figure)[-3:] == ["fixed", "triangular", "one cycle"]
    drawn = lines(figure, CSS.lines[0])
    assert [len(one) for one in drawn] == [80] * 4  # three seeds and their mean
    (chart,) = charts(figure)
    dashed = [one for one in chart.iter("line") if "dasharray" in one.attrib.get("style", "")]
    assert len([one for one in dashed if one.attrib["x1"] == "0"]) == 1
    assert figure.caption == (
        "Held-out loss after each evaluation. Strong lines are means, pale ones single seeds. "
        "Dashed: the final loss of the fixed rate. Shaded: every second cycle of triangular."
    )
    assert figure.heads == ["Steps", "fixed", "triangular", "one cycle"]
    assert [line[0] for line in figure.rows][:2] == ["100", "800"]
    assert list(figure.rows[-1]) == ["8,000", "0.5501", "0.5399", "0.5402"]


def test_the_metric_figure_has_no_finish_line_and_counts_in_percent():
    figure = DRAWN["learning_curves_metric"]
    assert "Held-out accuracy" in texts(figure)
    assert "Dashed" not in figure.caption
    assert list(figure.rows[-1]) == ["8,000", "72.4 %", "73.4 %", "73.3 %"]
    assert "70 %" in texts(figure)


def test_axes_become_logarithmic_where_values_span_decades():
    cells = [cell("fixed", 0, [100.0, 1.0, 0.1], steps=[1, 50, 5000])]
    figure = draw_all(answer([row("fixed", 0.1)], seeds=[0], cells=cells))["learning_curves_loss"]
    said = texts(figure)
    assert {"1", "10", "100", "1k"} <= set(said)  # steps
    assert {"0.1", "1", "10", "100"} <= set(said)  # losses


def test_a_diverged_run_ends_in_a_cross_and_does_not_stretch_the_axes():
    made = draw_all(
        Answer(raced({"fixed": 0.35, "triangular": 5.0}, diverging=[("triangular", 1)]))
    )
    figure = made["learning_curves_loss"]
    paths = [one.attrib["d"] for one in charts(figure)[0].iter("path")]
    (cross,) = [d for d in paths if "m-8,0" in d]
    assert cross.partition(",")[2].startswith("1l")  # at the upper edge: 5 less 4
    assert "A cross ends a run that diverged." in figure.caption
    assert max(float(text) for text in texts(figure)[1:] if text.startswith("0.")) < 1.0


def test_the_final_figure_shows_every_seed_and_the_mean():
    figure = DRAWN["final"]
    assert {"72.4 %", "73.4 %", "73.3 %", "fixed", "triangular", "one cycle"} <= set(texts(figure))
    ends = [100 * run.heldout_metric[-1] for run in RACE.comparison.runs_of("one_cycle")]
    assert list(figure.rows[2]) == [
        "one cycle",
        "73.3 % ± 0.1",
        ", ".join(f"{end:.1f} %" for end in ends),
    ]
    alt = charts(figure)[0].attrib["aria-label"]
    assert alt == (
        "Dot chart of the final held-out accuracy: fixed 72.4 % ± 0.1; triangular 73.4 % ± 0.2; "
        "one cycle 73.3 % ± 0.1."
    )


def test_steps_to_the_reference_are_written_beside_their_lines():
    rows = [
        row("fixed", 0.563),
        row("triangular", 0.548, steps_to_reference=480.0),
        row("one_cycle", 0.6),
        row("exp_range", None, None, diverged=3),
    ]
    figure = draw_all(answer(rows))["steps_to_reference"]
    assert {"8,000", "480", "not reached", "diverged"} <= set(texts(figure))
    assert "optimizer steps (log scale)" in texts(figure)
    assert [list(line) for line in figure.rows][:2] == [["fixed", "8,000"], ["triangular", "480"]]


def test_the_range_test_tells_its_rates_and_its_sweep():
    result = range_result()
    figure = draw_all(answer([row("fixed")], range_test=result))["range_test"]
    assert {f"base_lr {result.base_lr:.2g}", f"max_lr {result.max_lr:.2g}"} <= set(texts(figure))
    assert len(lines(figure, CSS.lines[0])[0]) == len(result.lrs)
    assert figure.rows[0] == ("1e-05", "sweep", f"{result.smoothed[0]:.4g}")
    assert len(figure.rows) == 13


def test_schedules_have_a_panel_each_with_the_exact_rates():
    figure = DRAWN["schedules"]
    titles = [next(chart.iter("text")).text for chart in charts(figure)]
    assert [text for text in texts(figure) if ": " in text] == [
        "fixed: 0.01",
        "triangular: 0.001 to 0.08",
        "one cycle: 3.2e-07 to 0.08",
    ]
    assert len(titles) == 3
    assert list(figure.rows[-1]) == ["7,999", "0.01", "0.0012", "3.2e-07"]
    assert min(y for _, y in lines(figure, CSS.lines[0])[0]) == pytest.approx(64 * 0.08 / 1.08, 1)


def test_a_schedule_that_cannot_be_made_is_left_out():
    foreign = PolicyInfo("mine", "mine", {"type": "Triangular", "scale_fn": "nowhere:f"}, "")
    policies = RACE.comparison.about.policies
    made = draw_all(answer(RACE.rows, policies=(*policies, foreign)))
    assert len(charts(made["schedules"])) == 3
    assert draw_all(answer([], policies=(foreign,))) == {}


EVERYTHING = {
    "learning_curves_loss",
    "learning_curves_metric",
    "final",
    "steps_to_reference",
    "range_test",
    "schedules",
}


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (
            Answer(raced({"fixed": 1.0, "wsd": 2.0}, range_test=range_result(flat=True))),
            EVERYTHING,
        ),
        (lost_everywhere(), EVERYTHING - {"final", "steps_to_reference", "range_test"}),
        (answer([]), set()),
        (answer([row("fixed", 0.5)], total_steps=1), {"final", "schedules"}),
        (answer([row("fixed", 0.5)], total_steps=10**9), {"final", "schedules"}),
    ],
    ids=["flat range test", "all diverged", "nothing", "one step", "a billion steps"],
)
def test_only_figures_with_something_to_show_are_drawn(made, names):
    figures = draw_all(made)
    assert set(figures) == names
    for figure in figures.values():
        assert all(chart.attrib["aria-label"] for chart in charts(figure))
        assert all(len(line) == len(figure.heads) for line in figure.rows)
        assert "nan" not in figure.svg


def test_names_are_drawn_as_they_are():
    names = ["$\\frac{", "a\nb\x1b", "学習率", "x" * 300, "</text><b>"]
    policies = [PolicyInfo(n, n, {"type": "Constant", "value": 0.1}, "") for n in names]
    cells = [cell(n, 0, [0.9, 0.5]) for n in names]
    rows = [row(n, 0.5, None, metric_std=None) for n in names]
    made = answer(rows, seeds=[0], cells=cells, reference=names[0], policies=tuple(policies))
    drawn = draw_all(made)
    said = texts(drawn["learning_curves_loss"])
    assert {"$\\frac{", "a b ", "学習率", "x" * 11 + "…", "</text><b>"} <= set(said)
    assert "<b>" not in "".join(figure.svg for figure in drawn.values())


def test_the_same_record_gives_the_same_figure():
    again = Answer(raced({"fixed": 0.35, "triangular": 5.0, "one_cycle": 2.0}))
    assert draw_all(again)["final"] == DRAWN["final"]
