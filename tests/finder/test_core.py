from __future__ import annotations

import math

import numpy as np
import pytest

from cyclerate._errors import CyclerateError
from cyclerate.finder import RangeTest, StopReason, Sweep
from tests.finder.curves import SWEEP, drive, fall_and_blow_up, noise


def test_it_asks_for_every_rate_in_turn():
    test = RangeTest(SWEEP)
    asked = []
    while not test.done:
        assert test.index == len(asked)
        asked.append(test.lr)
        test.tell(1.0)
    assert asked == SWEEP.lrs().tolist()
    assert test.stop_reason is StopReason.END_OF_RANGE
    assert (test.index, test.lr) == (100, 10.0)


def test_tell_says_whether_to_go_on():
    test = RangeTest(Sweep(steps=10))
    assert [test.tell(1.0) for _ in range(10)] == [True] * 9 + [False]
    assert test.done


def test_a_sweep_that_is_over_takes_no_more():
    test = drive([math.nan])
    with pytest.raises(CyclerateError, match="over"):
        test.tell(1.0)
    assert test.index == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e305])
@pytest.mark.parametrize("stop_early", [True, False])
def test_what_is_not_finite_ends_it(value: float, stop_early: bool):
    result = drive([1.0, 2.0, value], stop_early=stop_early).result()
    assert result.stop_reason is StopReason.NON_FINITE
    assert result.losses[:2].tolist() == [1.0, 2.0]
    assert math.isnan(result.losses[2])
    assert result.steps == 3


def test_divergence_ends_it_unless_told_otherwise():
    curve = fall_and_blow_up() + noise(0, 0.05)
    stopped = drive(curve).result()
    assert stopped.stop_reason is StopReason.DIVERGED
    assert 80 < stopped.steps < 95
    assert drive(curve, stop_early=False).result().stop_reason is StopReason.END_OF_RANGE


def test_an_accuracy_that_collapses_ends_it():
    curve = 0.9 - 0.3 * fall_and_blow_up() - noise(0, 0.02)
    test = drive(curve, metric="accuracy", mode="max")
    assert test.stop_reason is StopReason.DIVERGED
    assert drive(-curve).index == test.index


def test_ended_from_outside_is_cut_short():
    test = drive([1.0, 1.0, 1.0])
    assert test.stop_reason is None
    result = test.result(method="other", seconds=2)
    assert result.stop_reason is StopReason.CUT_SHORT
    assert (result.method, result.seconds, result.steps, result.planned_steps) == (
        "other",
        2.0,
        3,
        100,
    )


def test_the_result_holds_what_was_told():
    values = fall_and_blow_up() + noise(0, 0.05)
    test = drive(values, metric="error")
    result = test.result()
    assert result.lrs.tolist() == SWEEP.lrs()[: test.index].tolist()
    assert result.losses.tolist() == values[: test.index].tolist()
    assert (result.metric, result.mode, result.spacing) == ("error", "min", "exponential")
    assert (result.method, result.seconds, result.runs) == ("range", None, ())


def test_a_result_may_be_read_on_the_way_and_does_not_change():
    test = drive([2.0] * 20)
    before = test.result()
    test.tell(1.0)
    assert len(before.losses) == 20
    assert len(test.result().losses) == 21


@pytest.mark.parametrize("value", [1.5, np.float32(1.5), np.array(1.5)])
def test_numbers_of_every_kind_are_taken(value: object):
    test = RangeTest()
    test.tell(value)
    assert test.result().losses.tolist() == [1.5]


@pytest.mark.parametrize("value", ["1.5", None, [1.0, 2.0], np.ones(3), 1j, b"1"])
def test_what_is_no_number_is_refused_and_nothing_happens(value: object):
    test = RangeTest()
    with pytest.raises(ValueError, match="value must be a single number"):
        test.tell(value)
    assert test.index == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"mode": "maximum"}, "mode must be one of 'min', 'max'. Received: 'maximum'"),
        ({"metric": ""}, "metric"),
        ({"metric": 3}, "metric"),
        ({"sweep": (1e-7, 10.0)}, "sweep must be a Sweep"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments: dict[str, object], named: str):
    with pytest.raises(ValueError, match=named):
        RangeTest(**arguments)  # pyright: ignore[reportArgumentType]


def test_without_a_sweep_it_is_the_default_one():
    assert RangeTest().sweep == Sweep()


def test_gradient_descent_on_a_parabola_stays_below_its_limit():
    position = 10.0
    test = RangeTest(Sweep(start_lr=1e-4, end_lr=10.0, steps=60))
    while not test.done:
        position -= test.lr * 2.0 * position
        test.tell(position**2)
    result = test.result()
    assert result.max_lr is not None
    assert 0.01 < result.max_lr < 1.0  # x**2 diverges above 1


def test_telling_costs_little():
    from timeit import repeat

    curve = fall_and_blow_up(edge=5.0) + noise(0, 0.05)
    # 100 tells and the reading; a step of a small network alone takes some 100 microseconds.
    assert min(repeat(lambda: drive(curve).result(), number=1, repeat=5)) < 0.05
