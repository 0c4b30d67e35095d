from __future__ import annotations

import dataclasses
import io
import math
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cyclerate.finder import RangeTest, RangeTestResult, Sweep, combine
from cyclerate.finder._prior import RateReading
from tests.finder.curves import fall_and_blow_up, noise, sweep_over


def good() -> RangeTestResult:
    return sweep_over(fall_and_blow_up() + noise(0, 0.05))


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_it_shows_the_rates_with_their_numbers():
    result = good()
    ax = result.plot()
    assert f"max_lr {result.max_lr:.2g}" in texts(ax)
    assert f"base_lr {result.base_lr:.2g}" in texts(ax)
    assert f"max_lr {result.max_lr:.2g}" in ax.get_title()
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == ("log", "learning rate", "loss")


def test_it_draws_the_raw_points_and_the_smoothed_line():
    result = good()
    points, line = result.plot().lines[:2]
    assert np.array_equal(np.asarray(points.get_ydata()), result.losses)
    assert (points.get_marker(), points.get_linestyle()) == (".", "None")
    assert np.array_equal(np.asarray(line.get_ydata()), result.smoothed)


@pytest.mark.parametrize("blow_up", [1e3, 1e30])
def test_the_blow_up_does_not_squash_the_descent(blow_up: float):
    curve = fall_and_blow_up() + noise(0, 0.05)
    curve[85:] = blow_up
    low, high = sweep_over(curve, stop_early=False).plot().get_ylim()
    assert -0.5 < low < 0.3
    assert 2.3 < high < 3.8


def test_an_accuracy_is_shown_upright():
    curve = 0.9 - 0.35 * np.minimum(fall_and_blow_up(), 2.3) + noise(0, 0.02)
    result = sweep_over(curve, metric="accuracy", mode="max")
    ax = result.plot()
    low, high = ax.get_ylim()
    assert -0.1 < low < 0.12
    assert 0.78 < high < 1.0
    assert ax.get_ylabel() == "accuracy"


def test_a_linear_sweep_has_a_linear_axis():
    sweep = Sweep(0.0, 1.0, steps=50, spacing="linear")
    assert sweep_over(np.linspace(2, 1, 50), sweep).plot().get_xscale() == "linear"


def test_without_an_answer_the_title_says_why():
    ax = sweep_over(2.3 + noise(0, 0.05)).plot()
    assert ax.get_title().startswith("No clear answer")
    assert texts(ax) == []


def test_it_draws_on_the_axes_it_is_given():
    ax = Figure().add_subplot()
    assert good().plot(ax) is ax


def test_repeats_show_the_points_of_all_runs():
    runs = [good(), sweep_over(fall_and_blow_up() + noise(1, 0.05))]
    ax = combine(runs).plot()
    assert np.array_equal(np.asarray(ax.lines[1].get_ydata()), runs[1].losses)


RACES = ((0.01, 0.4), (0.03, 0.2), (0.1, 50.0), (0.3, None))


def raced(result: RangeTestResult) -> RangeTestResult:
    return dataclasses.replace(result, method="probe", races=RACES)


def test_races_are_points_and_those_that_came_to_nothing_crosses_at_the_edge():
    ax = raced(good()).plot()
    inside, outside = ax.lines[-4:-2]
    assert np.asarray(inside.get_xydata()).tolist() == [[0.01, 0.4], [0.03, 0.2]]
    assert (inside.get_marker(), inside.get_label()) == ("D", "loss after a race")
    assert np.asarray(outside.get_xdata()).tolist() == [0.1, 0.3]
    assert set(np.asarray(outside.get_ydata()).tolist()) == {0.97}
    assert outside.get_marker() == "x"
    low, high = ax.get_ylim()
    assert low < 0.2
    assert 2.3 < high < 3.8


def test_what_is_known_of_the_rate_is_a_hill_at_the_foot():
    readings = [RateReading("prior", 0.02, 0.3, 0.3), RateReading("races", 0.05, 0.2, 0.2)]
    ax = dataclasses.replace(raced(good()), readings=readings).plot()
    prior, posterior = (np.asarray(hill.get_paths()[0].vertices) for hill in ax.collections)
    tops = [hill[:, 1].max() for hill in (prior, posterior)]
    assert tops[1] == pytest.approx(0.22)
    assert 0.05 < tops[0] < tops[1]
    assert 0.03 < posterior[np.argmax(posterior[:, 1]), 0] < 0.05
    assert len(good().plot().collections) == 0


def test_a_sweep_alone_has_no_legend():
    assert good().plot().get_legend() is None


def test_races_are_in_sight_where_the_sweep_broke_at_once():
    ax = raced(sweep_over([math.nan])).plot()
    low, high = ax.get_ylim()
    assert low < 0.2
    assert high > 0.4


@pytest.mark.parametrize(
    "result",
    [
        good(),
        raced(good()),
        raced(sweep_over([math.nan])),
        raced(combine([good(), good()])),
        RangeTest().result(),
        sweep_over([math.nan]),
        sweep_over([2.0, 1.0, math.nan]),
        sweep_over(np.full(100, 2.0)),
        sweep_over(np.zeros(100)),
        combine([good(), sweep_over([math.nan])]),
        sweep_over(np.linspace(1, 0, 50), Sweep(0.0, 1.0, 50, "linear")),
    ],
    ids=repr,
)
def test_every_result_can_be_saved_as_a_picture_without_a_warning(result: RangeTestResult):
    picture = io.BytesIO()
    figure = result.plot().figure
    figure.savefig(picture, format="png", dpi=50)  # pyright: ignore[reportAttributeAccessIssue]
    assert picture.getvalue().startswith(b"\x89PNG")
    assert len(picture.getvalue()) > 2000


def test_drawing_needs_matplotlib_and_nothing_else_does():
    script = """
import sys
from cyclerate.finder import RangeTest
sys.modules["matplotlib"] = sys.modules["matplotlib.pyplot"] = None
result = RangeTest().result()
try:
    result.plot()
except ImportError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    assert "pip install 'cyclerate[plot]'" in run.stdout
