from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from cyclerate.finder import RangeTest, Sweep
from cyclerate.finder._suggest import (
    RULES,
    fastai_window,
    lagged_mean,
    minimum,
    slide,
    steepest,
    suggest_by,
    valley,
)
from tests.finder.curves import LOG_LRS, SWEEP, fall_and_blow_up, noise, sweep_over

LRS = SWEEP.lrs()


def test_the_lagged_mean_by_its_definition():
    losses = np.array([4.0, 2.0, 1.0])
    expected = [
        4.0,
        (0.98 * 4.0 + 2.0) / 1.98,
        (0.98**2 * 4.0 + 0.98 * 2.0 + 1.0) / (1 + 0.98 + 0.98**2),
    ]
    assert np.allclose(lagged_mean(losses), expected)


def test_the_window_leaves_out_a_tenth_and_five():
    lrs, losses = fastai_window(LRS, np.linspace(2.0, 1.0, 100), 100)
    assert (lrs[0], lrs[-1], len(losses)) == (LRS[10], LRS[94], 85)


def test_the_window_ends_at_nan_and_at_four_times_the_best():
    losses = np.linspace(2.0, 1.0, 100)
    losses[60] = np.nan
    assert fastai_window(LRS, losses, 100)[0][-1] == LRS[59]
    losses[60:] = 1e6
    # The point that exceeds it is recorded, then five are left out.
    assert fastai_window(LRS, losses, 100)[0][-1] == LRS[55]
    assert fastai_window(LRS, losses, 100, stop=False)[0][-1] == LRS[94]


def valley_by_definition(losses: list[float]) -> int:
    lengths = [1]
    for i in range(1, len(losses)):
        lengths.append(1 + max((lengths[j] for j in range(i) if losses[j] > losses[i]), default=0))
    end = lengths.index(max(lengths))
    start = end - lengths[end] if end else 0
    return start + int((end - start) / 3) + int((end - start) / 6)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=60))
def test_valley_by_its_definition(losses: list[int]):
    lrs = LRS[: len(losses)]
    expected = lrs[valley_by_definition([float(loss) for loss in losses])]
    assert valley(lrs, np.array(losses, dtype=np.float64)) == expected


def test_valley_is_the_middle_of_a_clean_descent():
    losses = np.r_[np.full(20, 3.0), np.linspace(2.9, 1.0, 31), np.linspace(1.1, 9.0, 20)]
    # It starts one before the last flat point: 32 decreasing values end at 50, 50 - 32 = 18.
    assert valley(LRS[:71], losses) == LRS[18 + 10 + 5]


def test_slide_stops_left_of_where_the_slopes_agree():
    losses = np.r_[np.full(40, 2.0), np.linspace(2.0, 0.5, 20), np.full(40, 0.5)]
    assert slide(LRS, losses) == LRS[-16]
    parabola = np.r_[np.full(40, 2.0), 2.0 + 0.01 * (np.arange(40) - 15) ** 2 - 2.25]
    # The slopes of two points 15 apart differ until both lie on the flat part, left of 40.
    assert slide(LRS[:80], parabola) == LRS[40 - 15]
    assert slide(LRS[:15], parabola[:15]) is None


def test_steepest_and_minimum():
    losses = fall_and_blow_up(centre=-3.0, edge=-1.0)
    assert steepest(LRS, losses) == pytest.approx(1e-3, rel=0.25)
    assert minimum(LRS, losses) == pytest.approx(LRS[np.argmin(losses)] / 10)


def test_smith_reads_where_improving_starts_and_where_it_slows():
    test = RangeTest(Sweep(0.0, 0.02, steps=200, spacing="linear"), metric="accuracy", mode="max")
    lrs = test.sweep.lrs()
    accuracy = 0.1 + 0.5 * np.clip((lrs - 0.001) / 0.005, 0, 1) - 20 * np.maximum(0, lrs - 0.015)
    for i, value in enumerate(accuracy + noise(0, 0.005, 200)):
        assert test.tell(value) is (i < 199)
    assert test.result().suggest("smith") == pytest.approx(0.006, rel=0.1)


def test_smith_stops_where_the_curve_gets_ragged():
    smooth = 2.3 - 2.0 / (1 + np.exp(-1.5 * (LOG_LRS + 2.0)))
    ragged = smooth + noise(0, 0.01) + np.where(LOG_LRS > -1.0, noise(1, 0.4), 0.0)
    options = {"mode": "min", "planned_steps": 100}
    calm = suggest_by("smith", LRS, smooth + noise(0, 0.01), **options)
    found = suggest_by("smith", LRS, ragged, **options)
    assert calm is not None
    assert found == pytest.approx(0.1, rel=0.6)
    assert found < calm


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_lies_in_the_sweep_on_an_ordinary_curve(rule: str):
    result = sweep_over(fall_and_blow_up() + noise(0, 0.05))
    answer = result.suggest(rule)
    assert answer is not None
    assert 1e-4 < answer < 1.0


@pytest.mark.parametrize("rule", RULES)
@given(losses=st.lists(st.floats(-100, 100) | st.just(float("nan")), max_size=30))
def test_no_rule_raises_on_short_and_stopped_curves(rule: str, losses: list[float]):
    answer = sweep_over(losses, Sweep(1e-5, 1.0, steps=30)).suggest(rule)
    assert answer is None or 1e-7 < answer <= 1.0


@pytest.mark.parametrize("rule", RULES)
def test_a_sweep_of_nothing_has_no_answer(rule: str):
    assert RangeTest().result().suggest(rule) is None
    assert sweep_over([float("nan")]).suggest(rule) is None


def test_an_accuracy_is_read_upside_down():
    accuracy = (2.3 - fall_and_blow_up(edge=5.0)) / 2.5
    for rule in ("valley", "steepest", "minimum"):
        of_loss = suggest_by(rule, LRS, -accuracy + 9.0, mode="min", planned_steps=100)
        of_accuracy = suggest_by(rule, LRS, accuracy, mode="max", planned_steps=100)
        assert of_accuracy == pytest.approx(of_loss)


def test_unknown_rules_are_refused_with_the_list():
    with pytest.raises(ValueError, match="'valley', 'slide', 'steepest', 'minimum', 'smith'"):
        RangeTest().result().suggest("best")
