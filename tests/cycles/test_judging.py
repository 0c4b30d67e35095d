from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

import cyclerate as cr
from cyclerate.cycles._ends import CycleJudge, EpochsThatEndCycles

NAN = math.nan


def judged(values: list[float], **options) -> tuple[CycleJudge, int]:
    """The judge, and the number of cycles after which it was done."""
    judge = CycleJudge(**options)
    for value in values:
        judge.is_best(value)
        if judge.done:
            break
    return judge, judge.cycles


def test_it_is_done_when_so_many_cycles_brought_nothing_better():
    judge, cycles = judged([0.5, 0.4, 0.45, 0.41, 0.3], patience=2)
    assert (cycles, judge.best, judge.best_cycle) == (4, 0.4, 2)


def test_higher_is_better_on_request():
    judge, cycles = judged([0.5, 0.6, 0.55], mode="max")
    assert (cycles, judge.best) == (3, 0.6)


def test_nan_is_never_the_best_and_counts_as_a_cycle():
    judge, cycles = judged([NAN, NAN, 0.1], patience=2)
    assert (cycles, judge.best, judge.best_cycle) == (2, None, None)
    judge, _ = judged([0.5, NAN, 0.4], patience=2)
    assert judge.best == 0.4


def test_an_improvement_must_be_large_enough():
    judge, cycles = judged([0.5, 0.45, 0.39], min_delta=0.1)
    assert (cycles, judge.best) == (2, 0.5)


@given(st.lists(st.floats(-10, 10), min_size=1), st.sampled_from(["min", "max"]))
def test_the_best_is_the_extreme_of_all(values: list[float], mode: str):
    judge, cycles = judged(values, mode=mode, patience=1000)
    assert cycles == len(values)
    assert judge.best == {"min": min, "max": max}[mode](values)
    assert judge.best is not None
    assert judge.best_cycle == 1 + values.index(judge.best)


def epochs_that_end_cycles(
    schedule: cr.Schedule, epoch_ends: Sequence[int], start_step: int = 0
) -> tuple[int, ...]:
    found = EpochsThatEndCycles(schedule, epoch_ends, start_step)
    return tuple(epoch for epoch in range(len(epoch_ends) + 2) if epoch in found)


class TestEpochs:
    def test_a_triangle_begun_at_its_first_step_ends_one_step_after_the_epoch(self):
        schedule = cr.Triangular(0.1, 1.0, 10)
        assert epochs_that_end_cycles(schedule, [5, 10, 15, 20, 25, 30, 35, 40]) == (3, 7)

    def test_begun_at_step_1_it_ends_with_the_epoch(self):
        schedule = cr.Triangular(0.1, 1.0, 10)
        assert epochs_that_end_cycles(schedule, [11, 21, 31, 41], start_step=1) == (1, 3)

    def test_warm_restarts_end_with_their_last_step(self):
        assert epochs_that_end_cycles(cr.WarmRestarts(1.0, 10, 2), [10, 20, 30]) == (0, 2)

    def test_begun_at_a_lowest_step_it_ends_no_cycle_there(self):
        schedule = cr.Triangular(0.1, 1.0, 10)
        assert epochs_that_end_cycles(schedule, [21, 40, 61], start_step=20) == (1, 2)

    def test_epochs_of_one_step_end_one_cycle_once(self):
        assert epochs_that_end_cycles(cr.Triangular(0.1, 1.0, 2), range(1, 10)) == (4, 8)

    def test_a_cycle_that_ends_inside_an_epoch_is_refused_with_the_numbers(self):
        with pytest.raises(ValueError, match=r"a multiple of 8 steps.* ends at step 20"):
            epochs_that_end_cycles(cr.Triangular(0.1, 1.0, 10), [8, 16, 24, 32])

    def test_a_training_without_the_end_of_a_cycle_is_refused(self):
        with pytest.raises(ValueError, match="a cycle that ends in this training"):
            epochs_that_end_cycles(cr.Constant(0.1), [8, 16])


@pytest.mark.parametrize(
    ("name", "options"),
    [("mode", {"mode": "auto"}), ("patience", {"patience": 0}), ("min_delta", {"min_delta": -1})],
)
def test_wrong_arguments_are_named(name: str, options: dict):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        CycleJudge(**options)
