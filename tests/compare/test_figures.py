"""The figures show the record's numbers, whatever they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from cyclerate.compare._answer import Answer
from cyclerate.compare._drawing import apart, drawable, png
from cyclerate.compare._figures import (
    draw_all,
    final,
    learning_curves,
    range_test,
    schedules,
    steps_to_reference,
)
from cyclerate.compare._record import PolicyInfo
from cyclerate.compare._theme import DARK, LIGHT
from tests.compare.records import answer, cell, raced, range_result, row

RACE = Answer(raced({"fixed": 0.35, "triangular": 5.0, "one_cycle": 2.0}))


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def lines_of(ax: Axes) -> Any:
    """Of their values matplotlib says no more than that they are like an array."""
    return ax.lines


def points(ax: Axes) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in lines_of(ax)]


def lost_everywhere():
    lost = [row(n, None, None, metric_mean=None, diverged=1) for n in ("fixed", "triangular")]
    cells = [cell(r.policy, 0, [0.7, 90.0, None], diverged=True) for r in lost]
    return answer(lost, seeds=[0], cells=cells)


def test_the_loss_figure_shows_curves_finish_line_and_arrivals():
    (ax,) = learning_curves(RACE, "loss").axes
    by_name = {r.policy: r for r in RACE.rows}
    goal = by_name["fixed"].loss_mean
    drawn = points(ax)
    assert ([0, 1], [goal, goal]) in drawn
    for name in ("triangular", "one_cycle"):
        assert ([by_name[name].steps_to_reference], [goal]) in drawn
    cells = RACE.comparison.runs_of("triangular")
    mean = np.mean(np.array([c.heldout_loss for c in cells], dtype=float), axis=0)
    assert any(np.array_equal(y, mean) for _, y in drawn if len(y) == len(mean))
    assert all((list(c.steps), list(c.heldout_loss)) in drawn for c in cells)
    assert texts(ax) == ["fixed", "triangular", "one cycle"]
    assert ax.get_xscale() == "linear"
    assert ax.get_xlim()[0] == 0.0


def test_the_metric_figure_has_no_finish_line():
    (ax,) = learning_curves(RACE, "metric").axes
    assert all(len(x) != 2 or list(x) == [1.03, 1.13] for x, _ in points(ax))
    assert ax.get_title(loc="left") == "Held-out accuracy"


def test_axes_become_logarithmic_where_values_span_decades():
    cells = [cell("fixed", 0, [100.0, 1.0, 0.1], steps=[1, 50, 5000])]
    (ax,) = learning_curves(answer([row("fixed", 0.1)], seeds=[0], cells=cells)).axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_shares_keep_a_linear_axis():
    cells = [cell("fixed", 0, [0.9, 0.5], metrics=[0.01, 0.99])]
    made = answer([row("fixed", 0.5, metric_mean=0.99)], seeds=[0], cells=cells)
    (ax,) = learning_curves(made, "metric").axes
    assert ax.get_yscale() == "linear"


def test_a_diverged_run_ends_in_a_cross_and_does_not_stretch_the_axes():
    made = Answer(raced({"fixed": 0.35, "triangular": 5.0}, diverging=[("triangular", 1)]))
    (ax,) = learning_curves(made).axes
    assert ax.get_ylim()[1] < 1.0
    (cross,) = [line for line in lines_of(ax) if line.get_marker() == "x"]
    assert cross.get_ydata() == [ax.get_ylim()[1]]
    assert made.comparison.runs_of("triangular")[1].steps[-2] == cross.get_xdata()[0]


def test_one_evaluation_is_a_dot():
    (ax,) = learning_curves(Answer(raced({"fixed": 0.35}, points=1))).axes
    dots = [line.get_marker() for line in lines_of(ax) if len(line.get_xdata()) == 1]
    assert dots.count("o") == 1


def test_the_final_figure_shows_every_seed_and_the_mean():
    (ax,) = final(RACE).axes
    ends = [c.heldout_metric[-1] for c in RACE.comparison.runs_of("one_cycle")]
    assert (ends, [2, 2, 2]) in points(ax)
    assert texts(ax) == ["72.4 %", "73.4 %", "73.3 %"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "fixed",
        "triangular",
        "one cycle",
    ]


def test_steps_to_the_reference_are_written_beside_their_lines():
    rows = [
        row("fixed", 0.563),
        row("triangular", 0.548, steps_to_reference=480.0),
        row("one_cycle", 0.6),
        row("exp_range", None, None, diverged=3),
    ]
    (ax,) = steps_to_reference(answer(rows)).axes
    assert texts(ax) == ["8,000", "480", "not reached", "diverged"]
    assert ax.get_xscale() == "log"
    assert ([480.0], [1]) in points(ax)


def test_steps_to_a_reference_that_diverged_are_refused():
    with pytest.raises(ValueError, match="reference must be a policy with a final loss"):
        steps_to_reference(lost_everywhere())


def test_the_range_test_is_drawn_by_its_own_result():
    result = range_result()
    (ax,) = range_test(answer([row("fixed")], range_test=result)).axes
    assert texts(ax) == [f"base_lr {result.base_lr:.2g}", f"max_lr {result.max_lr:.2g}"]
    assert ax.get_ylabel() == "loss of each batch"
    assert any(np.array_equal(y, result.smoothed, equal_nan=True) for _, y in points(ax))


def test_schedules_have_a_panel_each_with_the_exact_rates():
    figure = schedules(RACE)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["fixed", "triangular", "one cycle"]
    assert [ax.get_title(loc="right") for ax in figure.axes][:2] == ["0.01", "0.001 to 0.08"]
    highest = max(lines_of(figure.axes[1])[0].get_ydata())
    assert highest == pytest.approx(0.08, rel=0.02)


def test_a_schedule_that_cannot_be_made_is_left_out():
    foreign = PolicyInfo("mine", "mine", {"type": "Triangular", "scale_fn": "nowhere:f"}, "")
    policies = RACE.comparison.about.policies
    assert len(schedules(answer(RACE.rows, policies=(*policies, foreign))).axes) == 3
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
    figures = draw_all(made, DARK)
    assert set(figures) == names
    assert all(png(figure).startswith(b"\x89PNG") for figure in figures.values())


def test_names_are_drawn_as_they_are_and_never_as_formulas():
    names = ["$\\frac{", "a\nb\x1b", "学習率", "x" * 300]
    policies = [PolicyInfo(n, n, {"type": "Constant", "value": 0.1}, "") for n in names]
    cells = [cell(n, 0, [0.9, 0.5]) for n in names]
    rows = [row(n, 0.5, None, metric_std=None) for n in names]
    made = answer(rows, seeds=[0], cells=cells, reference=names[0], policies=tuple(policies))
    assert all(png(figure) for figure in draw_all(made).values())
    (ax,) = learning_curves(made).axes
    assert texts(ax) == ["$\\frac{", "a b\N{REPLACEMENT CHARACTER}", "???", "x" * 13 + "…"]


def test_the_same_record_gives_the_same_bytes():
    assert png(final(RACE)) == png(final(RACE))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_figures_have_the_paper_of_their_page(theme):
    figure = final(RACE, theme)
    assert figure.get_facecolor() == figure.axes[0].get_facecolor()
    assert figure.axes[0].get_xaxis().label.get_color() == theme.ink


def test_wrong_quantity_is_refused():
    with pytest.raises(ValueError, match="quantity must be one of 'loss', 'metric'"):
        learning_curves(RACE, "accuracy")


@pytest.mark.parametrize(
    ("heights", "placed"),
    [
        ([0.9, 0.1, 0.5], [0.9, 0.1, 0.5]),
        ([0.5, 0.5, 0.5], [0.3, 0.5, 0.7]),
        ([0.0, 0.0], [0.0, 0.2]),
        ([1.0, 1.3, 0.95], [0.8, 1.0, 0.6]),
        ([-5.0, 5.0], [0.0, 1.0]),
        ([], []),
    ],
)
def test_labels_are_moved_apart_as_little_as_needed(heights, placed):
    assert apart(heights, 0.2) == pytest.approx(placed)


def test_more_labels_than_room_keep_their_order():
    placed = apart([0.5] * 9, 0.2)
    assert np.diff(placed) == pytest.approx([0.2] * 8)
    assert np.mean(placed) == pytest.approx(0.5)


def test_drawable_keeps_what_the_font_has():
    assert drawable("Größe ± 1 → ∞") == "Größe ± 1 → ∞"
