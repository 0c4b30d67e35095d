"""Laws that hold for every policy, whatever its arguments."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import cyclerate as cr
from tests.schedules import policies as p


@given(p.policies, p.steps)
def test_bounds_are_kept(schedule, step):
    low, high = schedule.bounds
    assert low <= schedule(step) <= high


@given(p.policies, st.lists(p.steps, min_size=1, max_size=40))
def test_scalar_equals_vector_exactly(schedule, steps):
    values = schedule(np.array(steps))
    assert values.dtype == np.float64
    assert values.tolist() == [schedule(step) for step in steps]


def test_a_million_steps_equal_the_single_calls():
    for schedule in p.EXAMPLES:
        many = schedule(np.arange(1_000_000))
        some = np.random.default_rng(0).integers(0, 1_000_000, 300)
        assert many[some].tolist() == [schedule(int(step)) for step in some]


@given(p.ramps)
def test_ramps_hit_both_ends_and_hold(ramp):
    assert ramp(0) == ramp.start
    assert [ramp(ramp.steps), ramp(ramp.steps + 1), ramp(2**40)] == [ramp.end] * 3


@given(p.ramps)
def test_ramps_are_monotone(ramp):
    change = np.diff(ramp(np.arange(ramp.steps + 2)))
    rounding = 4e-16 * max(ramp.start, ramp.end)
    assert np.all(change >= -rounding if ramp.end >= ramp.start else change <= rounding)


@given(p.cycles, st.integers(0, 50))
def test_cycles_hit_their_bounds(cycle, number):
    first = number * cycle.cycle_steps
    assert cycle(first) == cycle.base_lr
    if isinstance(cycle, cr.Triangular):
        assert cycle(first + cycle.step_size) == cycle.max_lr


@given(p.triangulars, p.steps, st.integers(1, 2**30))
def test_triangular_is_periodic(cycle, step, cycles):
    assert cycle(step + cycles * cycle.cycle_steps) == cycle(step)


@given(p.cycles, p.steps)
def test_cycles_follow_the_published_formula(cycle, step):
    """The textbook form, in floats, for a symmetric triangle of whatever envelope."""
    cycle = dataclasses.replace(cycle, step_size_down=None, shape="triangle")
    number = math.floor(1 + step / (2 * cycle.step_size))
    x = abs(step / cycle.step_size - 2 * number + 1)
    scale = {
        cr.Triangular: lambda: 1.0,
        cr.Triangular2: lambda: 1 / (2.0 ** (number - 1)) if number < 1000 else 0.0,
        cr.ExpRange: lambda: cycle.gamma**step,
        cr.Cyclic: lambda: (
            1.0
            if cycle.scale_fn is None
            else cycle.scale_fn(number if cycle.scale_mode == "cycle" else step)
        ),
    }[type(cycle)]()
    expected = cycle.base_lr + (cycle.max_lr - cycle.base_lr) * max(0, 1 - x) * scale
    assert cycle(step) == pytest.approx(expected, rel=1e-9, abs=1e-11 * cycle.max_lr)


@given(p.lengths, p.lengths, p.steps)
def test_shapes_are_functions_of_the_triangle(up, down, step):
    def height(shape):
        return cr.Triangular(0.0, 1.0, up, down, shape)(step)

    u = height("triangle")
    assert height("linear") == u
    assert height("cosine") == pytest.approx((1 - math.cos(math.pi * u)) / 2, abs=1e-12)
    assert height("welch") == pytest.approx(1 - (1 - u) ** 2, abs=1e-12)


@given(p.triangular2s, st.integers(0, 900))
def test_triangular2_halves_its_amplitude(cycle, before):
    peak = cycle(before * cycle.cycle_steps + cycle.step_size)
    expected = cycle.base_lr + (cycle.max_lr - cycle.base_lr) * 0.5**before
    assert peak == pytest.approx(expected, rel=1e-12)


@given(p.policies, st.integers(0, 5000))
def test_continuous_but_for_restarts(schedule, step):
    """No step changes the value by more than the steepest slope of its shapes allows."""
    change = abs(schedule(step + 1) - schedule(step))
    assert change <= _largest_change(schedule, step) * (1 + 1e-9) + 1e-15


def _largest_change(schedule, step):
    low, high = schedule.bounds
    reach = high - low
    if isinstance(schedule, cr.Constant):
        return 0.0
    if isinstance(schedule, cr.Polynomial):
        return reach * max(1 / schedule.steps**schedule.power, schedule.power / schedule.steps)
    if isinstance(schedule, cr.Exponential):
        return high * (1 - (low / high) ** (1 / schedule.steps))
    if isinstance(schedule, (cr.Linear, cr.Cosine)):
        return reach * math.pi / 2 / schedule.steps
    if isinstance(schedule, (cr.Triangular, cr.Triangular2, cr.ExpRange)):
        shortest = min(schedule.step_size, schedule.cycle_steps - schedule.step_size)
        decay = 1 - getattr(schedule, "gamma", 1.0)
        return reach * (2 / shortest + decay)
    if isinstance(schedule, cr.WarmRestarts) and schedule(step + 1) != schedule.max_lr:
        return reach * math.pi / 2 / schedule.cycle_steps
    if isinstance(schedule, cr.OneCycle):
        legs = _leg_lengths(schedule)
        return reach * math.pi / 2 / min(legs) if legs else 0.0
    return reach  # restarts, user functions, and sequences that may jump where they are joined


def _leg_lengths(schedule):
    top, last = schedule.peak_step, schedule.total_steps - 1
    corners = [0, top, 2 * top, last] if schedule.three_phase else [0, top, last]
    return [b - a for a, b in itertools.pairwise(corners) if b > a]


@given(p.restarts, st.integers(0, 6))
def test_restarts_take_effect_on_their_own_step(schedule, number):
    lengths = [round(schedule.cycle_steps * schedule.cycle_mult**i) for i in range(number)]
    at = sum(lengths)
    assert schedule(at) == schedule.max_lr
    if lengths and lengths[-1] > 1 and schedule.max_lr > schedule.min_lr * 1.01:
        assert schedule(at - 1) < schedule.max_lr


def test_restarts_hit_where_a_logarithm_misses():
    for mult, steps in [(3, (1210, 295240)), (10, (1110,))]:
        schedule = cr.WarmRestarts(1.0, 10, mult)
        for step in steps:
            assert schedule(step) == 1.0
            assert schedule(step - 1) < 0.01


@given(p.one_cycles)
def test_one_cycle_hits_start_peak_and_end(schedule):
    last = schedule.total_steps - 1
    assert 0 <= schedule.peak_step <= last
    assert schedule(schedule.peak_step) == schedule.max_lr
    if schedule.peak_step > 0:
        assert schedule(0) == schedule.start_lr
    if schedule.peak_step < last:
        assert schedule(last) == schedule.end_lr
    if schedule.three_phase and 0 < 2 * schedule.peak_step < last:
        assert schedule(2 * schedule.peak_step) == schedule.start_lr


@given(p.warmup_stable_decays)
def test_warmup_stable_decay_hits_its_corners(schedule):
    last = schedule.total_steps - 1
    values = schedule(np.arange(schedule.total_steps))
    assert values.max() == schedule.max_lr or last == 0
    if schedule.decay_frac > 0 and last > 0:
        assert values[-1] == schedule.min_lr
    if schedule.warmup_frac == 0:
        assert values[0] == schedule.max_lr


@given(p.finite)
def test_past_its_end_a_policy_holds(schedule):
    last = schedule(schedule.total_steps - 1)
    assert [schedule(schedule.total_steps + more) for more in (0, 1, 2**40)] == [last] * 3


@pytest.mark.parametrize("total", range(1, 11))
@pytest.mark.parametrize("fraction", [0.0, 1e-9, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 1.0])
def test_every_small_total_is_sane(total, fraction):
    """Ordinary small runs: all values positive and within bounds, the peak used exactly once."""
    schedules = [
        cr.OneCycle(1.0, total, fraction, shape=shape, three_phase=three)
        for shape in ("cosine", "linear")
        for three in ((False, True) if fraction <= 0.5 else (False,))
    ]
    for schedule in schedules:
        values = [schedule(step) for step in range(total)]
        assert values.count(1.0) == 1
        assert all(schedule.end_lr <= value <= 1.0 for value in values)
        top = values.index(1.0)
        assert values[: top + 1] == sorted(values[: top + 1])
        assert values[top:] == sorted(values[top:], reverse=True)
    wsd = cr.WarmupStableDecay(1.0, total, fraction, 1 - fraction, min_lr=0.01)
    values = [wsd(step) for step in range(total)]
    assert all(0.01 <= value <= 1.0 for value in values)
    assert max(values) == 1.0
    for kind in (cr.Linear, cr.Cosine, cr.Exponential, cr.Polynomial):
        ramp = kind(1.0, 0.01, total)
        assert [ramp(0), ramp(total)] == [1.0, 0.01]


def test_coslog_is_the_formula_of_realmlp():
    t = np.arange(640) / 640
    expected = 0.04 * 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t)))
    assert cr.CosLog(0.04, 640)(range(640)) == pytest.approx(expected, abs=1e-15)


def test_cycles_of_coslog_double_in_length():
    lr = cr.CosLog(1.0, 1500)
    ends = [0, 100, 300, 700, 1500]
    assert lr(ends[:-1]) == pytest.approx([0.0] * 4, abs=1e-20)
    for start, end in itertools.pairwise(ends):
        assert max(lr(range(start, end))) == pytest.approx(1.0, abs=1e-3)
    assert lr(1499) == lr(10**9) < 1e-4
    assert [cr.CosLog(1.0, 1)(step) for step in (0, 5)] == [1.0, 1.0]


def test_one_cycle_of_few_steps_by_value():
    assert [cr.OneCycle(1.0, 1)(t) for t in range(2)] == [1.0, 1.0]
    assert [cr.OneCycle(1.0, 2)(t) for t in range(2)] == [1.0, 1 / 25 / 1e4]
    assert [cr.OneCycle(1.0, 3)(t) for t in range(3)] == [1 / 25, 1.0, 1 / 25 / 1e4]
    three = cr.OneCycle(1.0, 4, three_phase=True)
    assert [three(t) for t in range(4)] == [1 / 25, 1.0, 1 / 25, 1 / 25 / 1e4]
    assert cr.OneCycle(1.0, 10, up_frac=1.0)(9) == 1.0
    assert cr.OneCycle(1.0, 10, up_frac=0.0)(0) == 1.0


@pytest.mark.parametrize("schedule", p.EXAMPLES, ids=repr)
def test_far_steps_are_as_exact_as_near_ones(schedule):
    far = 2**40
    plain_restarts = isinstance(schedule, cr.WarmRestarts) and schedule.cycle_mult == 1
    if isinstance(schedule, cr.Triangular) or plain_restarts:
        assert schedule(far) == schedule(far % schedule.cycle_steps)
    elif isinstance(schedule, cr.WarmRestarts):
        lengths = [10]
        while sum(lengths) <= far:
            lengths.append(round(10 * schedule.cycle_mult ** len(lengths)))
        progress = (far - sum(lengths[:-1])) / lengths[-1]
        reach = schedule.max_lr - schedule.min_lr
        expected = schedule.min_lr + reach * (1 + math.cos(math.pi * progress)) / 2
        assert schedule(far) == pytest.approx(expected, rel=1e-12)
    else:
        assert schedule(np.array([far]))[0] == schedule(far)
        assert schedule.bounds[0] <= schedule(far) <= schedule.bounds[1]


@given(p.policies)
def test_round_trip_through_json(schedule):
    text = json.dumps(schedule.to_dict(), allow_nan=False)
    again = cr.from_dict(json.loads(text))
    assert again == schedule
    assert hash(again) == hash(schedule)
    steps = np.arange(0, 4000, 7)
    assert again(steps).tolist() == schedule(steps).tolist()


@given(p.policies)
def test_immutable(schedule):
    field = dataclasses.fields(schedule)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, field, 1.0)


def test_equal_by_value_and_not_by_type():
    whole = cr.Triangular(0.1, 1, 2000.0)  # pyright: ignore[reportArgumentType]
    assert whole == cr.Triangular(base_lr=0.1, max_lr=1.0, step_size=2000)
    assert cr.Linear(0.1, 1.0, 5) != cr.Cosine(0.1, 1.0, 5)
    assert cr.Triangular(0.1, 1.0, 5) != cr.Triangular(0.1, 1.0, 6)


def test_printable():
    assert repr(cr.WarmRestarts(0.1, 10)) == (
        "WarmRestarts(max_lr=0.1, cycle_steps=10, cycle_mult=1, min_lr=0.0)"
    )


@given(st.one_of(p.cycles, p.one_cycles, p.restarts), p.steps)
def test_mirrored_is_the_inverse_cycle(schedule, step):
    low, high = schedule.bounds
    if low == high:
        return
    momentum = schedule.mirrored(0.85, 0.95)
    assert 0.85 <= momentum(step) <= 0.95
    if schedule(step) == high:
        assert momentum(step) == pytest.approx(0.85, abs=1e-12)
    if not isinstance(schedule, cr.OneCycle) and not getattr(schedule, "scale_fn", None):
        expected = 0.95 - 0.1 * (schedule(step) - low) / (high - low)
        # The rate is a sum that may have rounded its own height away.
        assert momentum(step) == pytest.approx(expected, abs=1e-15 * high / (high - low) + 1e-12)


def test_mirrored_one_cycle_returns_to_its_highest():
    momentum = cr.OneCycle(1.0, 100, three_phase=True).mirrored(0.85, 0.95)
    assert [momentum(t) for t in (0, 29, 58, 80, 99)] == [0.95, 0.85, 0.95, 0.95, 0.95]
