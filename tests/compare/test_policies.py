"""The policies of a comparison: Smith's rules, by value."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

import cyclerate as cr
from cyclerate.compare._policies import (
    POLICIES,
    Budget,
    Rates,
    named_policies,
    plan_budget,
    raced_policy,
    without_rate,
)
from cyclerate.compare._record import PolicyInfo

RATES = Rates(0.01, base_lr=0.1, max_lr=0.4, default_of="SGD in Keras")
BUDGET = plan_budget(24, 100)


def make_policies(names: Iterable[str], rates: Rates, budget: Budget) -> tuple[PolicyInfo, ...]:
    made = [(policy, policy.schedule(rates, budget)) for policy in named_policies(names)]
    return tuple(policy.described(found.to_dict(), rates, budget) for policy, found in made)


@pytest.mark.parametrize(
    ("epochs", "steps_per_epoch", "cycles", "step_size"),
    [
        (24, 100, 4, 300),
        (10, 100, 3, 166),  # at least 3 cycles, shortened by 4 steps to whole ones
        (48, 10, 8, 30),
        (100, 10, 8, 62),
        (300, 10, 15, 100),  # half a cycle of at most 10 epochs
        (6, 1, 3, 1),
        (24, 1, 4, 3),
    ],
)
def test_a_run_is_whole_cycles(epochs: int, steps_per_epoch: int, cycles: int, step_size: int):
    budget = plan_budget(epochs, steps_per_epoch)
    assert budget == Budget(steps_per_epoch, cycles, step_size)
    assert 0 <= epochs * steps_per_epoch - budget.total_steps < 2 * cycles


@pytest.mark.parametrize("epochs", [1, 5])
def test_a_run_without_room_for_three_cycles_is_refused(epochs: int):
    with pytest.raises(ValueError, match="epochs must be enough for 6 optimizer steps"):
        plan_budget(epochs, 1)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("fixed", cr.Constant(0.01)),
        ("found", cr.Constant(0.4)),
        ("triangular", cr.Triangular(0.1, 0.4, 300)),
        ("triangular2", cr.Triangular2(0.1, 0.4, 300)),
        ("one_cycle", cr.OneCycle(0.4, 2400)),
        ("restarts", cr.WarmRestarts(0.4, 600)),
    ],
)
def test_the_schedules(name: str, schedule: cr.Schedule):
    (policy,) = make_policies([name], RATES, BUDGET)
    assert cr.from_dict(policy.schedule) == schedule


def test_exp_range_falls_to_a_tenth():
    (policy,) = make_policies(["exp_range"], RATES, BUDGET)
    schedule = cr.from_dict(policy.schedule)
    assert isinstance(schedule, cr.ExpRange)
    assert schedule.gamma**BUDGET.total_steps == pytest.approx(0.1)


@pytest.mark.parametrize("name", [n for n in POLICIES if n not in {"fixed", "found"}])
def test_a_run_ends_where_the_rate_is_low(name: str):
    (policy,) = make_policies([name], RATES, BUDGET)
    schedule = cr.from_dict(policy.schedule)
    last = schedule(BUDGET.total_steps - 1)
    assert last <= 0.1 + 0.3 / BUDGET.step_size + 1e-12


def test_every_policy_says_why():
    whys = [policy.why for policy in make_policies(list(POLICIES), RATES, BUDGET)]
    assert whys[0] == "The default rate of SGD in Keras."
    assert whys[2] == (
        "4 cycles between base_lr and max_lr of the range test; "
        "half a cycle is 300 steps (3 epochs)."
    )
    assert not any("{" in why for why in whys)


def test_rates_that_were_found_are_rounded_to_three_digits():
    rates = Rates(0.0123456, base_lr=0.0123456, max_lr=0.456789)
    assert (rates.default_lr, rates.base_lr, rates.max_lr) == (0.0123456, 0.0123, 0.457)
    (policy,) = make_policies(["triangular"], rates, BUDGET)
    assert (policy.schedule["base_lr"], policy.schedule["max_lr"]) == (0.0123, 0.457)


@pytest.mark.parametrize(
    ("asked", "raced"),
    [
        (["fixed", "found"], "constant"),
        (["one_cycle"], "one_cycle"),
        (["fixed", "triangular2"], "triangular"),
        (["one_cycle", "found"], "triangular"),
        (["fixed"], "triangular"),
    ],
)
def test_one_race_finds_the_rate_for_all_policies(asked: list[str], raced: str):
    assert raced_policy(named_policies(asked)) == raced


def test_base_lr_is_a_quarter_where_none_was_found():
    (policy,) = make_policies(["triangular"], Rates(0.01, None, 0.4), BUDGET)
    assert policy.schedule["base_lr"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        (["fixed", "triangular"], ["fixed"]),
        (["triangular", "one_cycle"], ["fixed"]),
        (list(POLICIES), ["fixed"]),
    ],
)
def test_without_a_suggestion_only_the_fixed_rate_remains(asked: list[str], left: list[str]):
    assert [policy.name for policy in without_rate(named_policies(asked))] == left


def test_names_keep_their_order_and_count_once():
    names = ["one_cycle", "fixed", "one_cycle"]
    assert [p.name for p in make_policies(names, RATES, BUDGET)] == ["one_cycle", "fixed"]


@pytest.mark.parametrize(
    ("names", "says"), [(["magic"], "one of 'fixed', 'found'"), ([], "some of")]
)
def test_unknown_policies_are_refused(names: list[str], says: str):
    with pytest.raises(ValueError, match=f"policies must be {says}"):
        make_policies(names, RATES, BUDGET)
