from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

import cyclerate as cr
from cyclerate.cycles._rules import FIRST_STEP, CyclePlan, cycle_policy, plan_cycles


@pytest.mark.parametrize(
    ("asked", "cycles", "step_size_epochs"),
    [
        ({}, 3, 2),
        ({"cycles": 5}, 5, 2),
        ({"step_size_epochs": 8}, 3, 8),
        ({"epochs": 12}, 3, 2),
        ({"epochs": 100}, 5, 10),  # half a cycle is at most 10 epochs
        ({"epochs": 33}, 3, 5),
        ({"epochs": 33, "step_size_epochs": 2}, 8, 2),
        ({"epochs": 33, "cycles": 4}, 4, 4),
        ({"epochs": 20, "cycles": 4, "step_size_epochs": 2}, 4, 2),
    ],
)
def test_what_is_missing_follows(asked: dict, cycles: int, step_size_epochs: int):
    assert plan_cycles(**asked) == CyclePlan(cycles, step_size_epochs)


@given(st.integers(12, 1000))
def test_whole_cycles_fill_the_epochs_but_for_less_than_one(epochs: int):
    plan = plan_cycles(epochs=epochs)
    assert plan.cycles >= 3
    assert 2 <= plan.step_size_epochs <= 10
    assert plan.epochs <= epochs < plan.epochs + 2 * plan.cycles + 20


@pytest.mark.parametrize("policy", ["triangular", "triangular2", "exp_range"])
def test_the_last_update_of_every_cycle_is_at_the_lowest_rate(policy: str):
    plan = plan_cycles(cycles=3, step_size_epochs=2)
    size = plan.step_size(batches_per_epoch=5)
    gamma = 0.99 if policy == "exp_range" else None
    schedule = cycle_policy(policy, None, 0.4, size, gamma)
    updates = range(FIRST_STEP, FIRST_STEP + 5 * plan.epochs)
    assert [schedule(step) for step in updates[19::20]] == pytest.approx([0.1] * 3)
    assert schedule(updates[-1]) == min(schedule(updates))


def test_accumulated_batches_make_fewer_steps():
    assert plan_cycles().step_size(batches_per_epoch=6, accumulated=4) == 3
    with pytest.raises(ValueError, match="a divisor of the 10 batches"):
        plan_cycles().step_size(batches_per_epoch=5, accumulated=4)


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("^cycles must be at least 3", {"cycles": 2}),
        ("^cycles must be a whole number", {"cycles": 2**63}),
        ("^step_size_epochs must be 2 to 10", {"step_size_epochs": 1}),
        ("^step_size_epochs must be 2 to 10", {"step_size_epochs": 11}),
        ("^epochs must be at least 12", {"epochs": 11}),
        ("^epochs must be at least 24", {"epochs": 23, "step_size_epochs": 4}),
        ("^epochs must be at least 20", {"epochs": 19, "cycles": 5}),
        ("^epochs must be at least 32", {"epochs": 31, "cycles": 4, "step_size_epochs": 4}),
    ],
)
def test_what_breaks_the_rules_is_refused(message: str, asked: dict):
    with pytest.raises(ValueError, match=message):
        plan_cycles(**asked)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("policy", ("one_cycle", None, 0.1, 5, None)),
        ("gamma", ("exp_range", None, 0.1, 5, None)),
        ("gamma", ("triangular", None, 0.1, 5, 0.9)),
        ("max_lr", ("triangular", None, -0.1, 5, None)),
        ("base_lr", ("triangular", 0.2, 0.1, 5, None)),
    ],
)
def test_a_wrong_policy_is_named(name: str, arguments: tuple):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        cycle_policy(*arguments)


def test_base_lr_is_a_quarter_where_it_is_not_given():
    assert cycle_policy("triangular2", 0.01, 0.4, 5, None) == cr.Triangular2(0.01, 0.4, 5)
    assert cycle_policy("triangular2", 2.0, None, 5, None) == cr.Triangular2(2.0, 2.0, 5)
    assert cycle_policy("triangular2", None, 0.4, 5, None) == cr.Triangular2(0.1, 0.4, 5)
