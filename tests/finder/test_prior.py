from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from cyclerate.finder._prior import (
    Prior,
    RateReading,
    density_of,
    grid_of,
    kind_of,
    prior_lr,
    quantile_of,
    share_below,
)

KINDS = ("adam", "adamw", "rmsprop", "adagrad", "lion", "momentum", "nesterov", "sgd")


@given(
    kind=st.sampled_from(KINDS),
    batch_size=st.none() | st.integers(1, 10**6),
    total_steps=st.none() | st.integers(1, 10**7),
    fine_tuned=st.booleans(),
    parameters=st.none() | st.integers(1, 10**12),
)
def test_there_is_always_an_answer(kind, batch_size, total_steps, fine_tuned, parameters):
    found = prior_lr(
        kind,
        batch_size=batch_size,
        total_steps=total_steps,
        fine_tuned=fine_tuned,
        parameters=parameters,
    )
    assert 0 < found.lr < math.inf
    assert 0.3 <= found.decades < 1.5


def test_a_large_model_has_a_lower_rate_and_a_tuned_one_a_lower_still():
    small, large = (prior_lr("adamw", parameters=n).lr for n in (4_000, 100_000_000))
    tuned = prior_lr("adamw", parameters=100_000_000, fine_tuned=True).lr
    assert small > 3 * large > 9 * tuned


@pytest.mark.parametrize(("kind", "rises"), [("sgd", True), ("momentum", True), ("adam", False)])
def test_a_larger_batch(kind: str, rises: bool):
    small, large = (prior_lr(kind, batch_size=size).lr for size in (16, 512))
    assert (large > small) is rises


def test_larger_models_are_less_certain():
    spreads = [prior_lr("adam", parameters=n).decades for n in (4_000, 10**6, 10**9)]
    assert spreads == sorted(spreads)
    assert spreads[0] == 0.3


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("SGD", {}, "sgd"),
        ("SGD", {"momentum": 0.9}, "momentum"),
        ("SGD", {"momentum": 0.9, "nesterov": True}, "nesterov"),
        ("AdamW", {}, "adamw"),
        ("Adagrad", {}, "adagrad"),
        ("Lion", {}, "lion"),
        ("rmsprop", {}, "rmsprop"),
        ("Adafactor", {}, "adam"),
    ],
)
def test_kinds_by_the_names_of_optimizers(name, options, kind):
    assert kind_of(name, **options) == kind


def test_what_is_wrong_is_refused():
    with pytest.raises(ValueError, match="kind must be one of 'adam'"):
        prior_lr("adamm")
    with pytest.raises(ValueError, match="batch_size must be a whole number >= 1"):
        prior_lr("adam", batch_size=-1)
    with pytest.raises(ValueError, match="lr must be a finite number > 0"):
        Prior(0.0, 0.3)


RATES = st.floats(1e-6, 1e2)
PRIORS = st.builds(Prior, lr=RATES, decades=st.floats(0.2, 1.2))


@given(PRIORS, RATES)
def test_a_reading_is_drawn_towards_the_prior_and_never_past_it(prior: Prior, reading: float):
    top = prior.top_after(reading, None)
    low, high = sorted([reading, prior.lr])
    assert low * (1 - 1e-12) <= top <= high * (1 + 1e-12)
    assert abs(math.log10(top / reading)) <= 0.4 + 1e-9


@given(PRIORS, st.none() | RATES, RATES)
def test_the_top_stays_below_the_rate_that_diverged(prior: Prior, reading, diverged_at):
    assert prior.top_after(reading, diverged_at) <= diverged_at / 10**0.5 * (1 + 1e-12)


@given(PRIORS, RATES, st.floats(1e-3, 1e3))
def test_in_another_unit_of_the_rate_it_is_the_same_rate(prior: Prior, reading: float, unit: float):
    scaled = prior.times(unit).top_after(reading * unit, None)
    assert scaled == pytest.approx(unit * prior.top_after(reading, None))
    low, high = prior.times(unit).interval
    assert (low, high) == pytest.approx((unit * prior.interval[0], unit * prior.interval[1]))
    assert low < prior.lr * unit < high


def test_a_reading_reaches_further_where_less_is_known():
    reading = RateReading("races", 0.01, below=0.1, above=0.5)
    log_lrs = grid_of([reading])
    density = density_of([reading], log_lrs)
    assert np.sum(density[log_lrs > -2]) > 4 * np.sum(density[log_lrs < -2])
    likelihood = reading.log_likelihood(np.array([-2.1, -2.0, -1.5]))
    assert likelihood == pytest.approx([-2.5 * np.log(1.25), 0.0, -2.5 * np.log(1.25)])
    middle, low, high = (quantile_of([reading], share) for share in (0.5, 0.05, 0.95))
    assert low < -2 < middle < high
    assert high - middle > 2 * (middle - low)
    assert share_below([reading], middle) == pytest.approx(0.5)


def test_sources_that_agree_are_surer_than_each_and_one_far_off_is_outvoted():
    near = [RateReading("prior", 0.01, 0.3, 0.3), RateReading("sweep", 0.012, 0.3, 0.3)]
    odd = RateReading("races", 10.0, 0.3, 0.3)

    def width(readings: list[RateReading]) -> float:
        return quantile_of(readings, 0.8) - quantile_of(readings, 0.2)

    assert width(near) < 0.8 * width(near[:1])
    assert quantile_of([*near, odd], 0.5) == pytest.approx(-1.96, abs=0.1)
