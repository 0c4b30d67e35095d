"""What the figures draw, as numbers."""

from __future__ import annotations

import numpy as np
import pytest

import cyclerate as cr
from cyclerate.compare._curves import axis_of, curves, is_wide, span
from cyclerate.schedules._drawing import rate_envelope
from tests.compare.records import cell


def of(*cells, names=("fixed",)):
    return curves(cells, names, "heldout_loss")


def test_the_mean_is_taken_at_the_steps_that_all_seeds_have():
    first = cell("fixed", 0, [0.9, 0.7, 0.5])
    second = cell("fixed", 1, [0.8, None, 0.3])
    (curve,) = of(first, second)
    assert curve.mean.steps.tolist() == [100, 300]
    assert curve.mean.values == pytest.approx([0.85, 0.4])
    assert [len(line) for line in curve.seeds] == [3, 2]
    assert curve.end == pytest.approx(0.4)


def test_a_diverged_run_is_kept_apart_up_to_its_last_finite_value():
    (curve,) = of(cell("fixed", 0, [0.9, 0.7]), cell("fixed", 1, [0.9, 50.0, None], diverged=True))
    assert curve.mean.values.tolist() == [0.9, 0.7]
    assert curve.diverged[0].values.tolist() == [0.9, 50.0]
    assert span([curve]) == (0.7, 0.9)


def test_where_every_run_diverged_the_curve_ends_with_the_run():
    (curve,) = of(cell("fixed", 0, [0.9, 50.0], diverged=True))
    assert len(curve.mean) == 0
    assert curve.end == 50.0
    assert span([curve]) == (0.9, 50.0)


def test_a_policy_without_a_point_has_no_curve():
    drawn = of(
        cell("fixed", 0, [0.5]), cell("triangular", 0, [None]), names=("fixed", "triangular")
    )
    assert [curve.policy for curve in drawn] == ["fixed"]


@pytest.mark.parametrize(
    ("low", "high", "wide"),
    [(0.1, 2.0, True), (0.1, 1.9, False), (0.0, 9.0, False), (-1, 9, False)],
)
def test_wide_means_a_large_ratio_of_positive_values(low, high, wide):
    assert is_wide(low, high, 20.0) is wide


def test_steps_over_two_decades_need_a_logarithm():
    assert axis_of(of(cell("fixed", 0, [1.0, 0.9, 0.8], steps=[0, 10, 1000]))).log
    assert not axis_of(of(cell("fixed", 0, [1.0, 0.9], steps=[10, 900]))).log
    assert not axis_of(of(cell("fixed", 0, [1.0], steps=[0]))).log


def test_a_short_schedule_is_drawn_step_by_step():
    schedule = cr.Triangular(0.1, 0.5, 2)
    steps, low, high = rate_envelope(schedule, 5)
    assert steps.tolist() == [0, 1, 2, 3, 4]
    assert low == pytest.approx([0.1, 0.3, 0.5, 0.3, 0.1])
    assert np.array_equal(low, high)


@pytest.mark.parametrize("total_steps", [341, 12_345, 10**9])
def test_a_long_schedule_keeps_its_peaks(total_steps: int):
    schedule = cr.Triangular(0.1, 0.5, 3)
    steps, low, high = rate_envelope(schedule, total_steps)
    assert len(steps) == len(low) == len(high) == 340
    assert (np.diff(steps) > 0).all()
    assert 0 <= steps[0] < steps[-1] < total_steps
    assert (low <= high).all()
    if total_steps > 340 * 6:
        assert low == pytest.approx(0.1, abs=1e-3)
        assert high == pytest.approx(0.5, abs=1e-3)


def test_one_step_is_enough():
    steps, _, high = rate_envelope(cr.Constant(0.2), 1)
    assert (steps.tolist(), high.tolist()) == ([0.0], [0.2])
