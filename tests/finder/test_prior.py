from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from cyclerate.finder._prior import Prior, kind_of, prior_lr

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
