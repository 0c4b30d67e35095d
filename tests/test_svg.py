"""Charts as SVG: every mark is where its numbers are, and no text becomes markup."""

from __future__ import annotations

import math
import subprocess
import sys
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import cyclerate as cr
from cyclerate._svg import Axis, Chart, apart, around, notebook, steps_text, thinned
from cyclerate._theme import CSS, Style
from cyclerate.finder import RecommendationSettings, drive
from tests.compare.records import raced, range_result

EVIL = '</svg><script>alert("x")</script>'


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def points(svg: str) -> list[list[tuple[float, float]]]:
    """The points of every line of a chart, in its own units: the axes are 340 by 188."""
    lines = [line.attrib["points"].split() for line in parse(svg).iter("polyline")]
    pairs = [[place.split(",") for place in line] for line in lines]
    return [[(float(x), float(y)) for x, y in line] for line in pairs]


def test_a_line_is_where_its_numbers_are():
    chart = Chart(Axis(0, 10), Axis(0, 2), "t", "a")
    chart.line([0, 5, 10], [0, 2, 1], "red")
    assert points(chart.svg()) == [[(0, 188), (170, 0), (340, 94)]]


def test_a_logarithmic_axis_has_equal_decades():
    axis = Axis(1e-4, 1.0, log=True)
    assert axis.share([1e-4, 1e-2, 1.0]) == pytest.approx([0, 0.5, 1])
    assert axis.share(0.0) == -4  # far outside, and still a number


def test_what_is_far_outside_stays_a_number():
    assert Axis(0, 1).share([1e300, -math.inf, math.nan]).tolist() == [4, -4, -4]


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0.0, 1.0), [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Axis(0.53, 0.71), [0.55, 0.6, 0.65, 0.7]),
        (Axis(-3, 3), [-2, 0, 2]),
        (Axis(0, 8000), [0, 2000, 4000, 6000, 8000]),
        (Axis(1e-7, 10, log=True), [1e-7, 1e-5, 1e-3, 1e-1, 10]),
        (Axis(0.3, 6, log=True), [0.5, 1, 2, 5]),
        (Axis(2.0, 2.0), [2.0]),
    ],
)
def test_ticks_are_round(axis: Axis, ticks: list[float]):
    assert axis.ticks() == pytest.approx(ticks)


def test_steps_are_written_short():
    assert [steps_text(value) for value in (0, 950, 1500, 2e6, 3e9)] == [
        "0",
        "950",
        "1.5k",
        "2M",
        "3G",
    ]


def test_a_margin_is_left_around_values():
    assert around([1.0, 2.0, math.nan]) == pytest.approx((0.94, 2.06))
    assert around([2.0]) == pytest.approx((1.9, 2.1))
    assert around([]) == (0.0, 1.0)


def test_a_million_points_keep_their_extremes():
    values = np.sin(np.arange(1_000_000) / 7)
    values[123_456], values[777_777] = 9.0, -9.0
    x, y = thinned(np.arange(1_000_000), values)
    assert len(x) <= 2000
    assert (np.diff(x) > 0).all()
    assert dict(zip(x.tolist(), y.tolist(), strict=True))[123_456] == 9.0
    assert (float(y.max()), float(y.min())) == (9.0, -9.0)
    bins = np.array_split(values, 1000)
    kept = np.array_split(np.arange(1_000_000), 1000)
    for part, places in zip(bins[::97], kept[::97], strict=True):
        inside = y[(x >= places[0]) & (x <= places[-1])]
        assert (inside.max(), inside.min()) == (part.max(), part.min())


def test_few_points_stay_as_they_are_without_those_that_are_none():
    x, y = thinned([0, 1, 2, 3], [1.0, math.nan, 3.0, math.inf])
    assert (x.tolist(), y.tolist()) == ([0, 2], [1, 3])


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


def test_text_is_text_in_every_place():
    chart = Chart(Axis(0, 1, label=EVIL), Axis(0, 1), EVIL, EVIL)
    chart.rule("x", 0.5, CSS.ink, EVIL)
    chart.names([(EVIL, 0.5, Style("red", "solid"))])
    chart.remark(0.2, "a\x1bb\x00c")
    root = parse(chart.svg([EVIL]))
    said = [text.text for text in root.iter("text")]
    assert said.count(EVIL) == 5
    assert "a b c" in said
    assert root.attrib["aria-label"] == EVIL
    assert {one.tag for one in root.iter()} == {"svg", "path", "line", "text"}
    assert "<script>" not in notebook(EVIL)


def recommended() -> cr.Recommendation:
    weight = [1.0]

    def restore():
        weight[0] = 1.0

    def step(lr: float) -> float:
        weight[0] -= lr * 2 * weight[0]
        return weight[0] ** 2

    recommender = RecommendationSettings(budget_steps=1000).new()
    drive(recommender, restore=restore, step=step, score=lambda: weight[0] ** 2)
    return recommender.recommendation()


def shown(thing: object, charts: int) -> str:
    """What a notebook shows: so many whole charts, and nothing that runs."""
    page: str = thing._repr_html_()  # type: ignore[attr-defined]
    root = parse(f"<body>{page}</body>")
    assert len([one for one in root.iter("svg") if one.get("role") == "img"]) == charts
    assert not list(root.iter("script"))
    assert all(one.get("aria-label") for one in root.iter("svg") if one.get("role") == "img")
    return " ".join("".join(root.itertext()).split())


def test_a_schedule_draws_itself_over_its_own_length():
    text = shown(cr.OneCycle(max_lr=0.1, total_steps=500), 1)
    assert "OneCycle(max_lr=0.1, total_steps=500" in text
    alt = cr.OneCycle(max_lr=0.1, total_steps=500)._repr_html_()
    assert "over 500 steps, from 4e-07 to 0.1." in alt
    joined = cr.Sequence([cr.Linear(0.0, 1.0, 10), cr.Cosine(1.0, 0.0, 50)], [10])
    assert "over 71 steps" in joined._repr_html_()
    mirrored = cr.Triangular(0.001, 0.006, step_size=20).mirrored(0.85, 0.95)
    assert "over 160 steps, from 0.85 to 0.95." in mirrored._repr_html_()


@pytest.mark.parametrize("schedule", [cr.Constant(0.0), cr.OneCycle(0.1, 1), cr.Linear(0, 0, 1)])
def test_schedules_of_the_edge_draw_themselves(schedule: cr.Schedule):
    assert "nan" not in shown(schedule, 1)


def test_a_range_test_draws_itself():
    result = range_result()
    text = shown(result, 1)
    assert f"max_lr {result.max_lr:.2g}" in text
    assert result.verdict in text
    assert "no clear answer" in shown(range_result(flat=True), 1)


def test_a_recommendation_draws_its_schedule_and_its_evidence():
    found = recommended()
    text = shown(found, 2)
    assert f"one_cycle with max_lr {found.max_lr:.2g}" in text
    assert f"over {found.training_steps:,} steps" in found._repr_html_()


def test_a_comparison_draws_its_table_and_its_curves():
    made = raced({"fixed": 0.35, "triangular": 5.0}, diverging=[("triangular", 1)])
    text = shown(made, 1)
    assert "3 seeds, 8,000 steps a run." in text
    assert "triangular" in text
    page = made._repr_html_()
    assert len(points(page[page.index("<svg class") : -len("</div>")])) == 6 + 2  # runs and means


def test_drawing_in_a_notebook_loads_numpy_alone():
    code = (
        "import sys, cyclerate as cr\n"
        "cr.OneCycle(0.1, 100)._repr_html_()\n"
        "heavy = {'matplotlib', 'jinja2', 'pandas', 'scipy', 'keras', 'jax', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"
