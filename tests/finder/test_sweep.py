from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

from cyclerate import Exponential, Linear
from cyclerate.finder import Sweep
from cyclerate.finder._sweep import MIN_STEPS

rates = st.floats(1e-12, 1e3)
lengths = st.integers(MIN_STEPS, 3000)


@given(rates, rates, lengths, st.sampled_from(["exponential", "linear"]))
def test_the_ends_are_exact_and_rates_rise(a: float, b: float, steps: int, spacing: str):
    assume(a != b and max(a, b) / min(a, b) > 1.001)
    sweep = Sweep(min(a, b), max(a, b), steps, spacing)
    lrs = sweep.lrs()
    assert len(lrs) == steps
    assert (lrs[0], lrs[-1]) == (min(a, b), max(a, b))
    assert (sweep.lr(0), sweep.lr(steps - 1)) == (min(a, b), max(a, b))
    assert (np.diff(lrs) > 0).all()
    assert [sweep.lr(i) for i in range(0, steps, 97)] == lrs[::97].tolist()


def test_exponential_rates_have_one_ratio_and_linear_ones_one_difference():
    exponential = Sweep(1e-6, 1.0, steps=61).lrs()
    assert np.allclose(exponential[1:] / exponential[:-1], 10**0.1, rtol=1e-12)
    linear = Sweep(0.0, 0.02, steps=81, spacing="linear").lrs()
    assert np.allclose(np.diff(linear), 0.02 / 80, rtol=1e-9)


def test_the_schedule_is_the_ramp_of_the_schedules():
    assert Sweep(1e-5, 1.0, 50).schedule() == Exponential(1e-5, 1.0, 49)
    assert Sweep(0.0, 1.0, 50, "linear").schedule() == Linear(0.0, 1.0, 49)


def test_defaults():
    assert Sweep() == Sweep(1e-7, 10.0, 100, "exponential")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"start_lr": 0.0}, "start_lr must be a finite number > 0"),
        ({"start_lr": -1e-3}, "start_lr"),
        ({"start_lr": -1e-3, "spacing": "linear"}, "start_lr"),
        ({"start_lr": math.nan}, "start_lr"),
        ({"start_lr": 1.0, "end_lr": 1.0}, "end_lr must be a finite number > 1"),
        ({"start_lr": 1.0, "end_lr": 0.1}, "end_lr"),
        ({"end_lr": math.inf}, "end_lr"),
        ({"end_lr": "10"}, "end_lr"),
        ({"steps": 9}, "steps must be a whole number >= 10. Received: 9"),
        ({"steps": 0}, "steps"),
        ({"steps": 99.5}, "steps"),
        ({"steps": 10**6}, "steps must be a whole number >= 10 and below 1,000,000"),
        ({"spacing": "log"}, "spacing must be one of 'exponential', 'linear'. Received: 'log'"),
    ],
)
def test_impossible_sweeps_are_refused_by_name(arguments: dict[str, object], named: str):
    with pytest.raises(ValueError, match=named):
        Sweep(**arguments)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("i", [-1, 100, 0.5])
def test_a_step_outside_the_sweep_is_refused(i: int):
    with pytest.raises(ValueError, match="i must be"):
        Sweep().lr(i)
