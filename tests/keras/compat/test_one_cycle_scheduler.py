"""OneCycleScheduler: the textbook's three straight lines, and no further."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cyclerate.keras as ck
from tests.keras.toys import Weights, fit_steps, mean_of_output, one_weight


def published(step: int, iterations: int, max_rate: float) -> float:
    """The rate as the book's listing computes it, with its defaults."""
    start_rate = max_rate / 10
    half = (iterations - (iterations // 10 + 1)) // 2
    corners = [0, half, 2 * half, iterations]
    rates = [start_rate, max_rate, start_rate, start_rate / 1000]
    return float(np.interp(step, corners, rates))


def test_the_updates_follow_the_listing_over_several_epochs():
    cycle = ck.OneCycleScheduler(20, max_rate=0.4)
    model, weights = one_weight(keras.optimizers.SGD(), mean_of_output), Weights()
    fit_steps(model, 20, cycle, weights, epochs=4)
    used = -np.diff([1.0, *weights.seen])
    expected = [published(step, 20, 0.4) for step in range(20)]
    np.testing.assert_allclose(used, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(cycle.history["learning_rate"], expected, rtol=1e-12)
    assert (cycle.iteration, cycle.half_iteration, cycle.last_iterations) == (20, 8, 3)


def test_it_holds_the_last_rate_where_the_original_fell_below_zero():
    cycle = ck.OneCycleScheduler(iterations=10, max_rate=1.0)
    rate = cycle.schedules["learning_rate"]
    assert [rate(10), rate(11), rate(1000)] == [pytest.approx(1e-4)] * 3


def test_all_arguments():
    cycle = ck.OneCycleScheduler(10, 1.0, start_rate=0.2, last_iterations=4, last_rate=0.01)
    rate = cycle.schedules["learning_rate"]
    found = [rate(step) for step in (0, 3, 6, 8, 10)]
    assert found == pytest.approx([0.2, 1.0, 0.2, 0.105, 0.01], rel=1e-12)


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_tiny_cycles_stay_within_their_rates(iterations):
    rate = ck.OneCycleScheduler(iterations, 1.0).schedules["learning_rate"]
    assert rate(0) == pytest.approx(0.1)
    assert 0 < min(rate(n) for n in range(5)) <= max(rate(n) for n in range(5)) <= 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"iterations": 0, "max_rate": 1.0}, "iterations must be"),
        ({"iterations": 2**63, "max_rate": 1.0}, "iterations must be"),
        ({"iterations": 10, "max_rate": -1.0}, "max_rate must be"),
        ({"iterations": 10, "max_rate": 1e39}, "max_rate must be at most"),
        ({"iterations": 10, "max_rate": 1.0, "last_iterations": 11}, "last_iterations must be"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        ck.OneCycleScheduler(**wrong)
