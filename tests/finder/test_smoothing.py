from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from cyclerate.finder._curve import (
    despike,
    local_linear,
    local_scale,
    noise_level,
    running_median,
)
from cyclerate.finder._suggest import lagged_mean
from tests.finder.curves import noise

sizes = st.integers(2, 300)
bandwidths = st.floats(0.5, 12.0)
heights = st.floats(-100, 100)
seeds = st.integers(0, 10_000)


@given(sizes, bandwidths, heights, heights)
def test_a_straight_line_comes_back_up_to_its_ends(n: int, bandwidth: float, a: float, b: float):
    line = a + b * np.arange(n, dtype=np.float64)
    assert np.allclose(local_linear(line, bandwidth).values, line, rtol=0, atol=1e-8 * (1 + n))


@given(seeds, st.floats(0.01, 100), heights, bandwidths)
def test_smoothing_commutes_with_shift_and_scale(seed: int, scale: float, shift: float, bw: float):
    values = np.random.default_rng(seed).normal(size=60)
    moved = local_linear(scale * values + shift, bw).values
    assert np.allclose(moved, scale * local_linear(values, bw).values + shift, atol=1e-9)


@given(st.floats(30, 70), st.floats(1.0, 6.0), st.floats(1.0, 5.0))
def test_the_midpoint_of_a_sigmoid_stays(centre: float, width: float, bandwidth: float):
    index = np.arange(101.0)
    smooth = local_linear(1 / (1 + np.exp((index - centre) / width)), bandwidth).values
    assert abs(np.interp(-0.5, -smooth, index) - centre) < 0.1


def test_a_step_stays_where_the_lagged_mean_moves_it_by_thirty_steps():
    index = np.arange(101.0)
    step = np.where(index < 50, 1.0, 0.0)
    assert abs(np.interp(-0.5, -local_linear(step, 3.0).values, index) - 49.5) < 1e-6
    assert np.interp(-0.5, -lagged_mean(step), index) - 49.5 > 20


@given(seeds, bandwidths)
def test_a_reversed_curve_is_smoothed_in_reverse(seed: int, bandwidth: float):
    values = np.random.default_rng(seed).normal(size=40)
    backwards = local_linear(values[::-1], bandwidth)
    assert np.allclose(backwards.values[::-1], local_linear(values, bandwidth).values, atol=1e-9)


def test_nan_takes_no_part_and_stays_at_the_ends():
    line = 3.0 + 2.0 * np.arange(40.0)
    holes = line.copy()
    holes[[0, 1, 17, 18, 30, 39]] = np.nan
    smooth = local_linear(holes, 2.0).values
    assert np.allclose(smooth[2:39], line[2:39])
    assert np.isnan(smooth[[0, 1, 39]]).all()


def test_a_gap_wider_than_the_window_is_bridged_by_a_straight_line():
    values = np.full(60, np.nan)
    values[:10], values[50:] = 1.0, 2.0
    smooth = local_linear(values, 1.0).values
    assert np.isfinite(smooth).all()
    assert abs(smooth[30] - 1.5) < 0.1


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
def test_a_curve_without_values_has_no_smooth_curve(values: list[float]):
    smooth = local_linear(np.array(values, dtype=np.float64), 2.0).values
    assert len(smooth) == len(values)
    assert np.isnan(smooth).all()


def test_a_single_value_is_its_own_smooth_curve():
    assert local_linear(np.array([np.nan, 4.0, np.nan]), 2.0).values[1] == 4.0


def test_the_noise_gain_is_what_is_left_of_noise():
    smoothed = [local_linear(noise(seed, 1.0), 3.0) for seed in range(400)]
    left = np.std([one.values for one in smoothed], axis=0)
    assert np.allclose(left, smoothed[0].noise_gain, rtol=0.2)
    assert smoothed[0].noise_gain[50] < 0.35
    assert smoothed[0].noise_gain[0] > 2 * smoothed[0].noise_gain[50]


@given(st.lists(heights, min_size=1, max_size=60))
def test_despiking_leaves_monotone_curves_alone(values: list[float]):
    rising = np.sort(np.array(values))
    assert np.array_equal(despike(rising), rising)
    assert np.array_equal(despike(rising[::-1]), rising[::-1])


def test_despiking_takes_spikes_out_and_keeps_nan():
    values = np.linspace(5.0, 1.0, 50) + noise(1, 0.05, 50)
    spiked = values.copy()
    spiked[[10, 25]] += (30.0, -30.0)
    spiked[40] = np.nan
    cleaned = despike(spiked)
    assert np.abs(cleaned[[10, 25]] - values[[10, 25]]).max() < 0.3
    assert np.isnan(cleaned[40])
    untouched = np.delete(np.arange(50), [10, 25, 40])
    assert np.mean(cleaned[untouched] == values[untouched]) > 0.95


@given(st.lists(heights, min_size=1, max_size=30), st.integers(1, 9))
def test_running_median_by_its_definition(values: list[float], window: int):
    array = np.array(values)
    half = min(window // 2, (len(array) - 1) // 2)
    reach = [min(half, i, len(array) - 1 - i) for i in range(len(array))]
    expected = [np.median(array[i - r : i + r + 1]) for i, r in enumerate(reach)]
    assert np.allclose(running_median(array, window), expected, rtol=0, atol=1e-12)


def test_the_noise_level_sees_noise_only():
    slope = np.linspace(10.0, 0.0, 200)
    assert noise_level(slope + noise(0, 0.3, 200)) == pytest.approx(0.3, rel=0.2)
    blown_up = slope + noise(0, 0.3, 200)
    blown_up[190:] = 10.0 ** np.arange(10)
    assert noise_level(blown_up) == pytest.approx(0.3, rel=0.25)
    assert noise_level(slope) < 1e-5
    assert noise_level(np.array([1.0, 2.0])) == 0.0


def test_the_local_scale_follows_the_noise():
    residuals = noise(2, 1.0, 400) * np.where(np.arange(400) < 200, 1.0, 5.0)
    residuals[7] = np.nan
    scale = local_scale(residuals, 20.0)
    assert scale[60:120].mean() == pytest.approx(1.0, rel=0.2)
    assert scale[280:340].mean() == pytest.approx(5.0, rel=0.2)
