from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from cyclerate.finder import RangeTestResult, StopReason, Sweep, combine
from cyclerate.finder._prior import RateReading
from tests.finder.curves import fall_and_blow_up, noise, sweep_over


def sweeps(count: int, sd: float = 0.05, drop: float = 2.0) -> list[RangeTestResult]:
    return [sweep_over(fall_and_blow_up(drop=drop) + noise(seed, sd)) for seed in range(count)]


def test_the_middle_answer_and_the_union_of_the_intervals():
    runs = sweeps(3)
    both = combine(runs)
    rates = sorted(run.max_lr for run in runs if run.max_lr is not None)
    intervals = np.array([run.interval for run in runs])
    assert both.max_lr == pytest.approx(rates[1])
    assert both.interval == (intervals[:, 0].min(), intervals[:, 1].max())
    assert both.base_lr is not None
    assert both.base_lr < rates[1] / 4 * (1 + 1e-12)
    assert both.runs == tuple(runs)
    assert both.steps == sum(run.steps for run in runs)
    assert "3 of 3 sweeps" in both.verdict


def test_of_two_it_is_the_geometric_mean():
    a, b = sweeps(2)
    assert a.max_lr is not None
    assert b.max_lr is not None
    assert combine([a, b]).max_lr == pytest.approx(math.sqrt(a.max_lr * b.max_lr))


def test_the_order_does_not_matter():
    runs = sweeps(4)
    forward, backward = combine(runs), combine(runs[::-1])
    assert (forward.max_lr, forward.base_lr, forward.interval) == (
        backward.max_lr,
        backward.base_lr,
        backward.interval,
    )
    assert np.array_equal(forward.losses, backward.losses)


def test_the_curve_goes_as_far_as_all_of_them():
    runs = sweeps(3)
    both = combine(runs)
    length = min(len(run.lrs) for run in runs)
    assert len(both.lrs) == len(both.losses) == len(both.smoothed) == length
    middle = np.median([run.losses[:length] for run in runs], axis=0)
    assert np.array_equal(both.losses, middle)


def test_one_result_is_itself_and_repeats_are_flattened():
    a, b, c = sweeps(3)
    assert combine([a]) is a
    assert combine([combine([a, b]), c]).runs == (a, b, c)


def test_an_odd_one_out_does_not_count():
    flat = sweep_over(2.3 + noise(9, 0.05))
    runs = sweeps(2)
    both = combine([*runs, flat])
    assert both.max_lr == pytest.approx(combine(runs).max_lr)
    assert "2 of 3 sweeps" in both.verdict


def test_where_most_have_no_answer_there_is_none():
    flat = [sweep_over(2.3 + noise(seed, 0.05)) for seed in range(3)]
    both = combine(flat)
    assert (both.max_lr, both.base_lr, both.interval) == (None, None, None)
    assert both.verdict.startswith("No clear answer")


def test_what_noise_hides_in_each_shows_in_their_median():
    found = 0
    for first in range(0, 60, 6):
        runs = [sweep_over(fall_and_blow_up(drop=0.24) + noise(first + i, 0.25)) for i in range(6)]
        hidden = [run for run in runs if run.max_lr is None]
        if len(hidden) == 6 or len(hidden) >= 3:
            found += combine(hidden).max_lr is not None
    assert found >= 6


def test_the_gravest_reason_is_kept_and_unknown_time_stays_unknown():
    curve = fall_and_blow_up() + noise(0, 0.05)
    stopped = sweep_over(curve)
    through = sweep_over(curve, stop_early=False)
    broken = sweep_over([*curve[:50], math.nan])
    assert combine([through, stopped]).stop_reason is StopReason.DIVERGED
    assert combine([stopped, broken, through]).stop_reason is StopReason.NON_FINITE
    assert combine([stopped, through]).seconds is None


def test_times_are_summed():
    from dataclasses import replace

    a, b = (replace(run, seconds=1.5) for run in sweeps(2))
    assert combine([a, b]).seconds == 3.0


def test_a_run_that_broke_at_once_leaves_the_others_their_answer():
    runs = sweeps(2)
    both = combine([*runs, sweep_over([math.nan])])
    assert both.max_lr == pytest.approx(combine(runs).max_lr)
    assert len(both.lrs) == 1


@pytest.mark.parametrize("rule", ["valley", "minimum"])
def test_rules_take_the_middle_of_the_runs(rule: str):
    runs = sweeps(3)
    answers = sorted(run.suggest(rule) or 0.0 for run in runs)
    assert combine(runs).suggest(rule) == pytest.approx(answers[1])


def test_nothing_and_different_sweeps_are_refused():
    with pytest.raises(ValueError, match="results must be at least one result"):
        combine([])
    usual = sweeps(1)[0]
    curve = fall_and_blow_up() + noise(0, 0.05)
    others = [
        sweep_over(curve, metric="error"),
        sweep_over(-curve, mode="max"),
        sweep_over(curve, Sweep(steps=101)),
        sweep_over(curve, Sweep(start_lr=1e-6)),
    ]
    for other in others:
        with pytest.raises(ValueError, match="results must be of the same sweep"):
            combine([usual, other])


def probes(*rates: float | None) -> list[RangeTestResult]:
    swept = sweeps(1)[0]
    answers = [
        {
            "max_lr": rate,
            "base_lr": rate / 10,
            "interval": (rate / 2, rate * 2),
            "verdict": "Raced.",
        }
        if rate
        else {
            "max_lr": None,
            "base_lr": None,
            "interval": None,
            "verdict": f"No clear answer: reason {i}.",
        }
        for i, rate in enumerate(rates)
    ]
    races = [((0.1 / (1 + i), 1.0 + i),) for i in range(len(rates))]
    return [
        dataclasses.replace(swept, method="probe", races=race, **answer)
        for race, answer in zip(races, answers, strict=True)
    ]


def test_of_probes_it_is_the_middle_of_their_answers_with_the_races_of_all():
    both = combine(probes(0.1, None, 0.3, 0.2))
    assert both.max_lr == pytest.approx(0.2)
    assert both.interval == (0.05, 0.6)
    assert both.method == "probe"
    assert both.verdict == (
        "3 of 4 probes, a seed each, had an answer, and put max_lr at 0.1, 0.2, 0.3."
    )
    assert both.races == ((0.025, 4.0), (0.1 / 3, 3.0), (0.05, 2.0), (0.1, 1.0))


def test_where_half_of_the_probes_have_no_answer_their_sweeps_are_not_read_instead():
    both = combine(probes(0.1, None))
    assert (both.max_lr, both.base_lr, both.interval) == (None, None, None)
    assert both.verdict == "1 of 2 probes had no answer. The first: No clear answer: reason 1."


def test_sweeps_and_probes_do_not_mix():
    with pytest.raises(ValueError, match="method"):
        combine([*sweeps(1), *probes(0.1)])


def test_the_density_of_repeats_is_the_mean_of_theirs():
    swept = sweeps(1)[0]
    runs = [
        dataclasses.replace(swept, readings=[RateReading("prior", lr, 0.2, 0.2)])
        for lr in (0.01, 0.1)
    ]
    both = combine([*runs, swept])
    assert both.posterior is not None
    rates, density = both.posterior
    peaks = [density[np.argmin(np.abs(np.log10(rates) - log_lr))] for log_lr in (-2, -1.5, -1)]
    assert peaks[0] == pytest.approx(peaks[2])
    assert peaks[1] < peaks[0] / 4
    assert np.sum(0.02 * density) == pytest.approx(1)
    assert both.density("races") is None
    assert swept.posterior is None
    with pytest.raises(ValueError, match="source must be one of"):
        both.density("hunch")
