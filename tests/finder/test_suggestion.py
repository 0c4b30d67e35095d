from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from cyclerate.finder import RangeTestResult, StopReason, Sweep
from tests.finder.curves import SWEEP, fall_and_blow_up, noise, sweep_over

LRS = SWEEP.lrs()

curves = st.builds(
    lambda seed, centre, edge, drop, sd: (
        fall_and_blow_up(centre=centre, edge=edge, drop=drop) + noise(seed, sd)
    ),
    st.integers(0, 10_000),
    st.floats(-4, -2),
    st.floats(-1.5, 0.0),
    st.floats(1.0, 2.2),
    st.floats(0.01, 0.15),
)


def answer(result: RangeTestResult) -> np.ndarray:
    assert result.interval is not None
    return np.array([result.base_lr, result.max_lr, *result.interval])


@given(curves)
def test_the_answer_is_in_order_and_between_descent_and_blow_up(curve: np.ndarray):
    result = sweep_over(curve)
    base_lr, max_lr, low, high = answer(result)
    assert base_lr == max_lr / 4
    assert low < max_lr < high
    assert high / low >= 4
    assert result.lrs[0] <= max_lr <= result.lrs[-1]


@given(
    st.lists(st.floats(-1e6, 1e6) | st.integers(0, 3).map(float), min_size=10, max_size=40),
    st.sampled_from(["exponential", "linear"]),
    st.booleans(),
)
def test_whatever_the_curve_the_answer_is_whole_or_none(
    values: list[float], spacing: str, falling: bool
):
    sweep = Sweep(0.0 if spacing == "linear" else 1e-6, 1.0, steps=40, spacing=spacing)
    curve = sorted(values, reverse=True) if falling else values
    result = sweep_over(curve, sweep, stop_early=False)
    if result.max_lr is None:
        assert result.verdict.startswith("No clear answer")
    else:
        base_lr, max_lr, low, high = answer(result)
        assert 0 < base_lr < max_lr <= 1.0
        assert low < max_lr < high


@given(st.integers(0, 1000), st.floats(-4.0, -2.5))
def test_max_lr_lies_between_the_fall_and_the_edge(seed: int, centre: float):
    curve = fall_and_blow_up(centre=centre, edge=centre + 2.0) + noise(seed, 0.05)
    _, max_lr, _, _ = answer(sweep_over(curve))
    assert 10**centre < max_lr < 10 ** (centre + 2.0)


@given(curves, st.floats(0.01, 100), st.floats(-20, 20))
def test_shift_and_scale_of_the_loss_do_not_matter(curve: np.ndarray, a: float, b: float):
    moved = answer(sweep_over(a * curve + a * b))
    assert np.allclose(moved, answer(sweep_over(curve)), rtol=1e-6)


@given(curves, st.floats(1e-3, 1e3))
def test_another_unit_of_the_rate_scales_the_answer(curve: np.ndarray, unit: float):
    other = Sweep(SWEEP.start_lr * unit, SWEEP.end_lr * unit, SWEEP.steps)
    assert np.allclose(
        answer(sweep_over(curve, other)), unit * answer(sweep_over(curve)), rtol=1e-6
    )


@given(curves)
def test_an_accuracy_is_the_mirror_of_a_loss(curve: np.ndarray):
    loss = sweep_over(curve)
    accuracy = sweep_over(-curve, metric="accuracy", mode="max")
    assert np.array_equal(answer(accuracy), answer(loss))
    assert np.allclose(accuracy.smoothed, -loss.smoothed)
    assert accuracy.stop_reason is loss.stop_reason


@given(curves)
def test_the_answer_does_not_hang_on_how_far_the_blow_up_was_followed(curve: np.ndarray):
    stopped = answer(sweep_over(curve))
    followed = answer(sweep_over(curve, stop_early=False))
    assert np.abs(np.log10(followed / stopped)).max() < 0.35


@pytest.mark.parametrize("shape", ["normal", "t", "lognormal", "left tail", "short", "long"])
def test_pure_noise_has_no_clear_answer(shape: str):
    rng = np.random.default_rng(0)
    steps = {"short": 20, "long": 300}.get(shape, 100)
    draw = {
        "t": lambda: rng.standard_t(3, size=steps),
        "lognormal": lambda: rng.lognormal(size=steps),
        "left tail": lambda: -rng.exponential(size=steps),
    }.get(shape, lambda: rng.normal(size=steps))
    results = [sweep_over(2.3 + 0.2 * draw(), Sweep(steps=steps)) for _ in range(200)]
    assert sum(result.max_lr is not None for result in results) <= 4


@pytest.mark.parametrize(("sds", "found"), [(2.0, 80), (3.0, 97), (5.0, 100)])
def test_a_drop_of_a_few_noise_sds_is_found(sds: float, found: int):
    results = [
        sweep_over(fall_and_blow_up(drop=sds * 0.2) + noise(seed, 0.2)) for seed in range(100)
    ]
    rates = np.array([result.max_lr for result in results if result.max_lr is not None])
    assert len(rates) >= found
    assert np.mean((rates > 10**-3.0) & (rates < 10**0.0)) > 0.95


def test_a_flat_curve_has_no_clear_answer_and_says_what_to_do():
    for curve in (np.full(100, 2.3), 2.3 + noise(1, 0.05), np.zeros(100)):
        result = sweep_over(curve)
        assert (result.base_lr, result.max_lr, result.interval) == (None, None, None)
        assert result.verdict.startswith("No clear answer: the loss improves no more than its")
        assert "raise end_lr" in result.verdict
        assert result.stop_reason is StopReason.END_OF_RANGE


def test_float32_jitter_on_a_constant_is_not_an_improvement():
    rng = np.random.default_rng(0)
    jitter = np.float32(2.3) + np.float32(2.4e-7) * rng.integers(-1, 2, size=(200, 100))
    assert sum(sweep_over(curve).max_lr is not None for curve in jitter) <= 4


def test_a_curve_that_only_rises_has_no_clear_answer():
    result = sweep_over(2.3 + np.geomspace(1e-3, 1e3, 100) + noise(0, 0.01))
    assert result.max_lr is None
    assert result.verdict.startswith("No clear answer: the loss only gets worse; lower start_lr")
    assert result.stop_reason is StopReason.DIVERGED


def test_a_curve_that_breaks_down_without_a_fall_has_no_clear_answer_and_says_where():
    result = sweep_over(fall_and_blow_up(drop=0.0, edge=-1.0) + noise(0, 0.2))
    assert result.max_lr is None
    assert result.verdict.startswith("No clear answer: the loss does not fall beyond its noise")
    near = float(result.verdict.partition("breaks down near ")[2].partition(";")[0])
    assert 10**-1.2 < near < 10**-0.3


def test_a_weak_fall_gives_a_lower_rate_a_wider_interval_and_says_so():
    clear = [sweep_over(fall_and_blow_up() + noise(seed, 0.05)) for seed in range(10)]
    weak = [sweep_over(fall_and_blow_up() + noise(seed, 1.6)) for seed in range(40)]
    weak = [result for result in weak if result.verdict.startswith("Uncertain: the loss improves")]
    assert len(weak) >= 5
    assert all(result.verdict.startswith("The loss improves by") for result in clear)
    rates = [np.median([answer(result)[1] for result in results]) for results in (clear, weak)]
    assert rates[1] < 0.8 * rates[0]
    widths = [
        np.median([np.ptp(np.log10(answer(r)[2:])) for r in results]) for results in (clear, weak)
    ]
    assert widths[1] > widths[0] + 0.5


def test_the_answer_is_the_middle_one_of_the_three_readings():
    result = sweep_over(fall_and_blow_up() + noise(0, 0.05))
    assert result.verdict.startswith("The loss improves by")
    _, max_lr, low, high = answer(result)
    lowest, highest = 2 * low, high / 2  # a clear fall: the interval is twice as wide on each side
    assert 1.1 * lowest < max_lr < highest / 1.1
    listed = [float(rate.rstrip(".")) for rate in result.verdict.split(" at ")[1].split(", ")]
    assert [lowest, max_lr, highest] == pytest.approx(listed, rel=0.05)


def test_a_deeper_valley_beyond_the_ruin_of_the_model_is_not_read():
    def step_at(place: float) -> np.ndarray:
        return 1 / (1 + np.exp(-4.0 * (np.log10(LRS) - place)))

    first = 2.3 - 1.4 * step_at(-5)
    ruined = first + 1.2 * step_at(-3)
    _, alone, _, _ = answer(sweep_over(ruined + noise(0, 0.05)))
    _, max_lr, _, _ = answer(sweep_over(ruined - 1.8 * step_at(-1) + noise(0, 0.05)))
    assert 10**-5 < max_lr < 10**-3
    assert abs(np.log10(max_lr / alone)) < 0.2


def test_a_dip_among_the_first_points_is_no_valley():
    curve = fall_and_blow_up(drop=1.0) + noise(6, 0.3)
    curve[:3] = 0.3
    _, max_lr, _, _ = answer(sweep_over(curve))
    assert 10**-3.0 < max_lr < 10**0.0


def test_nine_finite_values_are_too_few_and_ten_are_read():
    values = [*np.linspace(5.0, 1.0, 10), np.nan]
    ten = sweep_over(values, Sweep(1e-3, 1.0, steps=12))
    assert ten.max_lr is not None
    nine = sweep_over(values[1:], Sweep(1e-3, 1.0, steps=12))
    assert nine.max_lr is None
    assert "only 9 finite values of the loss, and 10 are needed" in nine.verdict
    assert nine.stop_reason is StopReason.NON_FINITE


def test_nan_at_the_end_is_left_out():
    curve = fall_and_blow_up(edge=-1.0) + noise(0, 0.05)
    curve[80:] = np.nan
    result = sweep_over(curve)
    assert len(result.losses) == 81
    assert np.isnan(result.losses[-1])
    assert np.isnan(result.smoothed[-1])
    assert np.isfinite(result.smoothed[:-1]).all()
    assert np.allclose(answer(result), answer(sweep_over(curve[:80])))


def test_a_spike_does_not_move_the_answer():
    curve = fall_and_blow_up() + noise(5, 0.05)
    spiked = curve.copy()
    spiked[[20, 52]] += 20.0
    shift = np.log10(answer(sweep_over(spiked)) / answer(sweep_over(curve)))
    assert np.abs(shift).max() < 0.05


def test_a_linear_sweep_from_zero_has_an_answer():
    sweep = Sweep(0.0, 0.02, steps=200, spacing="linear")
    accuracy = 0.6 - 0.5 * np.exp(-sweep.lrs() / 0.002) + noise(0, 0.02, 200)
    result = sweep_over(accuracy, sweep, metric="accuracy", mode="max")
    _, max_lr, _, _ = answer(result)
    assert 0.002 < max_lr < 0.02


def test_the_verdict_warns_of_a_range_that_is_too_narrow():
    curve = fall_and_blow_up()
    late = sweep_over(curve[55:], Sweep(LRS[55], LRS[-1], steps=45))
    assert "a lower start_lr would tell more" in late.verdict
    early = sweep_over(curve[:60], Sweep(LRS[0], LRS[59], steps=60))
    assert "a higher end_lr would tell more" in early.verdict
    whole = sweep_over(curve + noise(0, 0.02))
    assert "would tell more" not in whole.verdict
    assert whole.verdict.startswith("The loss improves by")


def short_sweep(steps: int) -> RangeTestResult:
    sweep = Sweep(1e-5, 10.0, steps=steps)
    return sweep_over(np.interp(np.log10(sweep.lrs()), np.log10(LRS), fall_and_blow_up()), sweep)


@pytest.mark.parametrize("steps", [20, 30, 50])
def test_short_sweeps_of_a_clean_curve_are_read(steps: int):
    _, max_lr, _, _ = answer(short_sweep(steps))
    assert 10**-3.0 < max_lr < 10**-0.3


@pytest.mark.parametrize("steps", [10, 12, 15])
def test_two_steps_a_decade_do_not_tell_a_fall_from_noise(steps: int):
    result = short_sweep(steps)
    assert result.max_lr is None
    assert "more steps" in result.verdict
