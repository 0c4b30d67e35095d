"""Training that is broken off and resumed goes on at the very rates of training that was not."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st

import cyclerate as cr
import cyclerate.torch as ct
from tests.schedules.policies import EXAMPLES, halved, policies
from tests.torch.small import decays_of, momenta_of, optimizer_of, rates_of, train_one_step

BEFORE, AFTER = 13, 30


def make_optimizer():
    return optimizer_of(torch.optim.AdamW, groups=2, lr=0.3, weight_decay=0.1)


def make_scheduler(optimizer, schedule, **options):
    return ct.ScheduledLR(
        optimizer,
        schedule,
        cr.Linear(0.8, 0.95, 40),
        cr.Cosine(0.1, 0.0, 40),
        group_scale=[0.1, 1.0],
        **options,
    )


def all_of(optimizer):
    return [*rates_of(optimizer), *momenta_of(optimizer), *decays_of(optimizer)]


def trained(scheduler, steps):
    """What stands in the optimizer at each of so many steps."""
    held = []
    for _ in range(steps):
        held.append(all_of(scheduler.optimizer))
        train_one_step(scheduler.optimizer)
        scheduler.step()
    return held


def saved(scheduler):
    """The two states, after the way through a file that a checkpoint takes."""
    file = io.BytesIO()
    states = {"optimizer": scheduler.optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save(states, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def built_then_both(schedule, state):
    optimizer = make_optimizer()
    scheduler = make_scheduler(optimizer, schedule)
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    return scheduler


def built_then_both_scheduler_first(schedule, state):
    optimizer = make_optimizer()
    scheduler = make_scheduler(optimizer, schedule)
    scheduler.load_state_dict(state["scheduler"])
    optimizer.load_state_dict(state["optimizer"])
    return scheduler


def optimizer_before_it_is_built(schedule, state):
    optimizer = make_optimizer()
    optimizer.load_state_dict(state["optimizer"])
    scheduler = make_scheduler(optimizer, schedule)
    scheduler.load_state_dict(state["scheduler"])
    return scheduler


def scheduler_only(schedule, state):
    scheduler = make_scheduler(make_optimizer(), schedule)
    scheduler.load_state_dict(state["scheduler"])
    return scheduler


def by_last_epoch(schedule, state):
    optimizer = make_optimizer()
    optimizer.load_state_dict(state["optimizer"])
    return make_scheduler(optimizer, schedule, last_epoch=BEFORE - 1)


def by_last_epoch_alone(schedule, state):
    return make_scheduler(make_optimizer(), schedule, last_epoch=BEFORE - 1)


ORDERS = [
    built_then_both,
    built_then_both_scheduler_first,
    optimizer_before_it_is_built,
    scheduler_only,
    by_last_epoch,
    by_last_epoch_alone,
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__)
@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_every_order_of_loading_goes_on_exactly(order, schedule):
    scheduler = make_scheduler(make_optimizer(), schedule)
    trained(scheduler, BEFORE)
    state = saved(scheduler)
    resumed = order(schedule, state)
    assert resumed.get_last_lr() == scheduler.get_last_lr()
    assert trained(resumed, AFTER) == trained(scheduler, AFTER)


@given(policies, st.integers(0, 10**6))
def test_a_state_holds_its_step_and_its_schedule(schedule, step):
    scheduler = ct.ScheduledLR(optimizer_of(), schedule, last_epoch=step - 1)
    state = json.loads(json.dumps(scheduler.state_dict()))
    assert state["last_epoch"] == step
    assert cr.from_dict(state["schedules"]["lr"]) == schedule
    again = ct.ScheduledLR(optimizer_of(), schedule)
    again.load_state_dict(state)
    assert again.last_epoch == step
    assert again.get_last_lr() == [schedule(step)]


def test_rates_that_are_tensors_resume_in_place():
    schedule = cr.Triangular(0.1, 0.5, 4)
    scheduler = ct.ScheduledLR(optimizer_of(lr=torch.tensor(0.1)), schedule, last_epoch=6)
    optimizer = optimizer_of(lr=torch.tensor(0.1))
    rate = optimizer.param_groups[0]["lr"]
    ct.ScheduledLR(optimizer, schedule).load_state_dict(scheduler.state_dict())
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == torch.tensor(schedule(7)).item()


def test_the_state_is_nobodys_to_change_and_loading_leaves_it_alone():
    scheduler = make_scheduler(make_optimizer(), cr.OneCycle(0.4, 40))
    trained(scheduler, BEFORE)
    state = scheduler.state_dict()
    before = copy.deepcopy(state)
    for _ in range(2):
        make_scheduler(make_optimizer(), cr.OneCycle(0.4, 40)).load_state_dict(state)
    assert state == before
    state["schedules"]["lr"]["scales"][0] = 99.0
    assert scheduler.state_dict() == before


def test_resuming_before_the_first_step_still_warns_of_a_wrong_order_and_later_does_not():
    policy = cr.OneCycle(0.4, 40)
    fresh = ct.ScheduledLR(optimizer_of(), policy)
    fresh.load_state_dict(ct.ScheduledLR(optimizer_of(), policy).state_dict())
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        fresh.step()
    resumed = ct.ScheduledLR(optimizer_of(), policy)
    resumed.load_state_dict(fresh.state_dict())
    resumed.step()  # warnings are errors
    assert resumed.get_last_lr() == [policy(2)]


OTHERS = {
    "rate": (cr.OneCycle(0.5, 40), {}, "lr"),
    "momentum": (cr.OneCycle(0.4, 40), {"momentum": cr.Linear(0.7, 0.9, 40)}, "momentum"),
    "no momentum": (cr.OneCycle(0.4, 40), {"momentum": None}, "momentum"),
    "decay": (cr.OneCycle(0.4, 40), {"weight_decay": cr.Constant(0.1)}, "weight_decay"),
    "layer decay": (cr.OneCycle(0.4, 40), {"layer_decay": 0.5}, "lr"),
}


@pytest.mark.parametrize(("schedule", "options", "name"), OTHERS.values(), ids=OTHERS)
def test_a_state_of_other_schedules_is_refused_unless_told_otherwise(schedule, options, name):
    momentum: dict[str, Any] = {"momentum": cr.Linear(0.8, 0.9, 40)}
    saved_from = ct.ScheduledLR(
        optimizer_of(groups=2, momentum=0.9), cr.OneCycle(0.4, 40), **momentum, last_epoch=6
    )
    optimizer = optimizer_of(groups=2, momentum=0.9, weight_decay=0.1)
    other = ct.ScheduledLR(optimizer, schedule, **{**momentum, **options})
    before = all_of(optimizer)
    with pytest.raises(
        ValueError, match=rf"state_dict must be saved with the same {name}, .*strict"
    ):
        other.load_state_dict(saved_from.state_dict())
    assert other.last_epoch == 0
    assert all_of(optimizer) == before
    other.load_state_dict(saved_from.state_dict(), strict=False)
    assert other.last_epoch == 7
    scale = options.get("layer_decay", 1.0)
    assert other.get_last_lr() == [schedule(7) * scale, schedule(7)]


def test_a_custom_function_is_found_by_its_name_or_must_be_brought_again():
    named = cr.Cyclic(0.1, 0.5, 4, scale_fn=halved)
    scheduler = ct.ScheduledLR(optimizer_of(), named, last_epoch=9)
    assert cr.from_dict(scheduler.state_dict()["schedules"]["lr"]) == named

    unnamed = cr.Cyclic(0.1, 0.5, 4, scale_fn=lambda cycle: 0.5**cycle)
    scheduler = ct.ScheduledLR(optimizer_of(), unnamed, last_epoch=9)
    state = saved(scheduler)["scheduler"]
    assert state["schedules"]["lr"] == {"type": "Cyclic", "described": False}
    resumed = ct.ScheduledLR(optimizer_of(), unnamed)
    resumed.load_state_dict(state)
    assert resumed.get_last_lr() == [unnamed(10)]
    with pytest.raises(ValueError, match="saved with the same lr"):
        ct.ScheduledLR(optimizer_of(), named).load_state_dict(state)


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"last_epoch": 3, "_step_count": 4},
        torch.optim.lr_scheduler.StepLR(optimizer_of(), 3).state_dict(),
        {"last_epoch": 3, "_step_count": 4, "schedules": None},
    ],
    ids=["none", "empty", "half", "another scheduler's", "without schedules"],
)
def test_what_is_no_state_of_it_is_refused(state):
    scheduler = ct.ScheduledLR(optimizer_of(), cr.OneCycle(0.4, 40))
    with pytest.raises(ValueError, match="state_dict must be the state of a ScheduledLR"):
        scheduler.load_state_dict(state)
    assert scheduler.last_epoch == 0


@pytest.mark.parametrize("step", [-1, 2.5, "7"])
def test_a_state_with_an_impossible_step_is_refused(step):
    scheduler = ct.ScheduledLR(optimizer_of(), cr.OneCycle(0.4, 40))
    state = {**scheduler.state_dict(), "last_epoch": step}
    with pytest.raises(ValueError, match="last_epoch must be a whole number >= 0"):
        scheduler.load_state_dict(state)
    assert rates_of(scheduler.optimizer) == [cr.OneCycle(0.4, 40)(0)]
