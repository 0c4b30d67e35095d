from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

import cyclerate as cr

rates = st.floats(1e-6, 10.0)
sizes = st.integers(1, 10**6)
rules = st.sampled_from(["linear", "sqrt"])


@given(rates, sizes, sizes, rules)
def test_there_and_back_is_the_same_rate(lr: float, old: int, new: int, rule: str):
    there = cr.scale_lr(lr, old, new, rule)
    assert cr.scale_lr(there, new, old, rule) == pytest.approx(lr, rel=1e-12)


@given(rates, sizes, rules)
def test_the_same_batch_size_has_the_same_rate(lr: float, size: int, rule: str):
    assert cr.scale_lr(lr, size, size, rule) == lr


@given(rates, sizes, sizes)
def test_the_square_root_rule_changes_the_rate_by_half_as_many_decades(
    lr: float, old: int, new: int
):
    linear, root = (math.log(cr.scale_lr(lr, old, new, rule) / lr) for rule in ("linear", "sqrt"))
    assert root == pytest.approx(linear / 2, abs=1e-9)


def test_a_batch_four_times_as_large():
    assert cr.scale_lr(0.1, 64, 256) == pytest.approx(0.4)
    assert cr.scale_lr(0.1, 64, 256, rule="sqrt") == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("lr", (0.0, 1, 1)),
        ("batch_size", (0.1, 0, 1)),
        ("new_batch_size", (0.1, 1, 2.5)),
        ("rule", (0.1, 1, 1, "cubic")),
    ],
)
def test_wrong_arguments_are_named(name: str, arguments: tuple):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        cr.scale_lr(*arguments)
