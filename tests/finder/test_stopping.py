from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from cyclerate.finder import StopReason
from cyclerate.finder._curve import DivergenceMonitor
from cyclerate.finder._suggest import lagged_mean
from tests.finder.curves import LOG_LRS, fall_and_blow_up, noise


def stopping_step(values: np.ndarray) -> int | None:
    monitor = DivergenceMonitor()
    return next((i for i, value in enumerate(values) if monitor.update(float(value))), None)


curves = st.builds(
    lambda seed, centre, edge, drop, sd: (
        fall_and_blow_up(centre=centre, edge=edge, drop=drop) + noise(seed, sd)
    ),
    st.integers(0, 10_000),
    st.floats(-4, -2),
    st.floats(-1.5, 0.5),
    st.floats(0.5, 2.2),
    st.floats(0.01, 0.3),
)


@given(curves, st.floats(0.01, 100), st.floats(-50, 50))
def test_shift_and_scale_of_the_loss_do_not_matter(curve: np.ndarray, a: float, b: float):
    step = stopping_step(curve)
    assert step is not None
    assert stopping_step(a * curve + b * a) == step


@given(
    st.integers(0, 10_000),
    st.floats(-4, -2),
    st.floats(-1.5, 0.0),
    st.floats(0.5, 2.2),
    st.floats(0.01, 0.2),
)
def test_a_blow_up_is_seen_within_a_decade_and_not_before(
    seed: int, centre: float, edge: float, drop: float, sd: float
):
    clean = fall_and_blow_up(centre=centre, edge=edge, drop=drop)
    lost_everything = int(np.argmax(clean > 2.3))
    step = stopping_step(clean + noise(seed, sd))
    assert step is not None
    assert lost_everything <= step <= lost_everything + 12


@pytest.mark.parametrize("start", [2.3, 0.0, -2.3, -1000.0])
def test_positive_zero_and_negative_losses_stop_alike(start: float):
    curve = fall_and_blow_up(start=start) + noise(3, 0.1)
    assert stopping_step(curve) == stopping_step(fall_and_blow_up() + noise(3, 0.1))


def test_it_stops_no_later_than_four_times_the_best_by_more_than_a_few_steps():
    for seed in range(50):
        for centre, edge, drop in ((-3.0, -1.0, 2.2), (-2.5, -0.5, 1.0), (-2.0, 0.0, 1.8)):
            curve = fall_and_blow_up(centre=centre, edge=edge, drop=drop) + noise(seed, 0.05)
            mean = lagged_mean(curve)
            classic = np.flatnonzero(mean > 4 * np.minimum.accumulate(mean))
            step = stopping_step(curve)
            assert step is not None
            assert step <= (classic[0] if len(classic) else 100) + 2


def test_spikes_early_and_late_do_not_stop_it():
    curve = 2.0 - 1.5 / (1 + np.exp(-4 * (LOG_LRS + 2.5))) + noise(4, 0.05)
    curve[[2, 6, 30, 31, 60, 80]] += 50.0
    assert stopping_step(curve) is None


@pytest.mark.parametrize("draw", ["normal", "t", "exponential", "lognormal"])
def test_pure_noise_hardly_ever_stops_it(draw: str):
    rng = np.random.default_rng(0)
    shape = {
        "normal": lambda: rng.normal(size=200),
        "t": lambda: rng.standard_t(3, size=200),
        "exponential": lambda: rng.exponential(size=200),
        "lognormal": lambda: rng.lognormal(size=200),
    }[draw]
    stopped = sum(stopping_step(shape()) is not None for _ in range(200))
    assert stopped <= 4


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0])
def test_a_constant_does_not_stop_it(value: float):
    assert stopping_step(np.full(100, value)) is None


@pytest.mark.parametrize("value", [5.0, -5.0, 1e-4])
def test_the_last_digit_of_float32_does_not_stop_it(value: float):
    curve = np.full(100, np.float32(value))
    curve[50:] = np.nextafter(np.float32(value), np.float32(np.inf))
    assert curve[50] > curve[49]
    assert stopping_step(curve) is None


def test_a_curve_that_only_rises_is_stopped():
    assert stopping_step(np.geomspace(1.0, 1e6, 60)) is not None


def test_the_advice_is_text_and_goes_from_mild_to_severe():
    assert [reason.name for reason in StopReason] == [
        "END_OF_RANGE",
        "CUT_SHORT",
        "DIVERGED",
        "NON_FINITE",
    ]
    assert "raise end_lr" in StopReason.END_OF_RANGE.value
    assert "lower start_lr" in StopReason.NON_FINITE.value
    assert all(reason.value.endswith(".") for reason in StopReason)
