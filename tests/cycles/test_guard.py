from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import cyclerate as cr
from cyclerate.cycles._ends import Explosion, Guard

SCHEDULE = cr.Triangular(0.1, 1.1, step_size=100)


def explosion(losses: list[float], **options) -> Explosion | None:
    guard = Guard(SCHEDULE, **options)
    found = (guard.take(step, loss) for step, loss in enumerate(losses))
    return next((one for one in found if one is not None), None)


def falling(steps: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.1, steps)
    return 2.3 * np.exp(-np.arange(steps) / 100) + noise


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_seen_at_once(value: float):
    found = explosion([*falling(40), value])
    assert found is not None
    assert found.step == 40
    assert found.lr == SCHEDULE(39)  # the update before made it
    assert found.max_lr == pytest.approx(SCHEDULE(39) / 3)


@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 100))
def test_an_explosion_is_seen_within_five_steps_whatever_sign_and_scale(
    scale: float, shift: float, seed: int
):
    losses = [*falling(60, seed), *(10 * 2.0 ** np.arange(10))]
    found = explosion([scale * (loss + shift) for loss in losses])
    assert found is not None
    assert 60 <= found.step <= 64


@given(st.integers(0, 300))
def test_a_rise_at_the_peak_of_a_cycle_is_no_explosion(seed: int):
    # The rate is highest at step 100: the loss goes back up to where it began.
    bump = 1.5 * np.exp(-(((np.arange(400) - 100) / 30) ** 2))
    assert explosion((falling(400, seed) + bump).tolist()) is None


def test_an_explosion_in_the_first_steps_is_seen_too():
    noise = np.random.default_rng(0).normal(0, 0.5, 40)
    found = explosion([2.3, *(50 + noise)])
    assert found is not None
    assert found.step < 10


def test_a_spike_of_two_steps_passes():
    losses = falling(100)
    losses[50:52] = 1e6
    assert explosion(losses.tolist()) is None


def test_the_advice_has_the_numbers():
    found = explosion([*falling(40), math.nan], batch_size=64)
    assert found is not None
    text = found.advice
    assert "became nan at step 40, at a rate of 0.49" in text
    assert "Lower max_lr from 1.1 to 0.163" in text
    assert "batches of 32 instead of 64 want 0.0817 (linear scaling) to 0.115" in text


def test_nan_in_the_first_steps_may_be_in_the_data():
    found = explosion([math.nan])
    assert found is not None
    assert found.lr == SCHEDULE(0)
    assert "look for NaN in the data" in found.advice


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"^schedule must be"):
        Guard(0.1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"^batch_size must be"):
        Guard(SCHEDULE, 0)
