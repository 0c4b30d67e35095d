"""The rate of a training that is set up already is read, and another one set."""

from __future__ import annotations

import pytest
import torch
from torch.optim import SGD, lr_scheduler

import cyclerate as cr
import cyclerate.torch as ct
from cyclerate.torch._scheduler import rate_of, set_rate

SCHEDULES = [
    cr.Constant(0.4),
    cr.Linear(0.1, 0.4, steps=5),
    cr.Exponential(0.4, 0.1, steps=5),
    cr.Cosine(0.4, 0.0, steps=5),
    cr.Polynomial(0.4, 0.1, steps=5, power=2.0),
    cr.Triangular(0.1, 0.4, step_size=2),
    cr.Triangular2(0.1, 0.4, step_size=2),
    cr.ExpRange(0.1, 0.4, step_size=2, gamma=0.9),
    cr.Cyclic(0.1, 0.4, step_size=2, shape="cosine"),
    cr.OneCycle(0.4, total_steps=8),
    cr.WarmRestarts(0.4, cycle_steps=4, min_lr=0.1),
    cr.WarmupStableDecay(0.4, total_steps=8),
    cr.Sequence([cr.Linear(0.0, 0.4, steps=3), cr.Cosine(0.4, 0.1, steps=3)], [3]),
    cr.Triangular(0.1, 0.4, step_size=2).mirrored(0.1, 0.4),
]


def optimizer_of(*rates):
    return SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates])


def moved(scheduler, steps):
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step()
    return scheduler


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_a_schedule_is_multiplied_whole(schedule):
    scheduler = moved(ct.ScheduledLR(optimizer_of(1.0), schedule), 2)
    scheduler.set_max_lr(0.05)
    assert scheduler.max_lr == 0.05
    assert scheduler.last_epoch == 2
    found = [scheduler.optimizer.param_groups[0]["lr"]]
    for _ in range(6):
        moved(scheduler, 1)
        found.append(scheduler.get_last_lr()[0])
    assert found == pytest.approx((schedule(range(2, 9)) / 8).tolist(), rel=1e-12, abs=1e-18)


def test_the_state_is_that_of_a_scheduler_made_with_the_rate():
    found = ct.ScheduledLR(optimizer_of(1.0), cr.OneCycle(0.3, total_steps=8))
    found.set_max_lr(0.07)
    known = ct.ScheduledLR(optimizer_of(1.0), cr.OneCycle(0.07, total_steps=8))
    assert found.state_dict() == known.state_dict()


def test_scaled_groups_keep_their_ratios_and_what_is_not_scheduled_stays():
    schedules = [cr.Constant(0.2), None, cr.Constant(0.4)]
    scheduler = ct.ScheduledLR(optimizer_of(1.0, 0.7, 1.0), schedules, group_scale=[1.0, 1.0, 0.25])
    assert scheduler.max_lr == 0.2
    scheduler.set_max_lr(1.0)
    assert [group["lr"] for group in scheduler.optimizer.param_groups] == [1.0, 0.7, 0.5]


class Own(cr.Schedule):
    @property
    def bounds(self):
        return 0.0, 1.0

    def value_at(self, n, xp):
        return 0.5


def test_max_lr_is_refused_where_there_is_none_to_set():
    optimizer = optimizer_of(1.0)
    optimizer.param_groups[0]["momentum"] = 0.9
    momentum_only = ct.ScheduledLR(optimizer, momentum=cr.Constant(0.5))
    assert momentum_only.max_lr is None
    for scheduler, rate, message in [
        (momentum_only, 0.1, "lr must be scheduled"),
        (ct.ScheduledLR(optimizer_of(1.0), cr.Constant(0.0)), 0.1, "above 0 before"),
        (ct.ScheduledLR(optimizer_of(1.0), cr.Constant(1.0)), 0.0, "max_lr must be"),
        (ct.ScheduledLR(optimizer_of(1.0), Own()), 0.1, "must be one with rate_fields"),
    ]:
        before = scheduler.get_last_lr()
        with pytest.raises(ValueError, match=message):
            scheduler.set_max_lr(rate)
        assert scheduler.get_last_lr() == before


def test_nothing_is_half_done():
    optimizer = optimizer_of(1.0)
    scheduler = ct.ScheduledLR(optimizer, Own())
    with pytest.raises(ValueError, match="the schedule must be one with rate_fields"):
        set_rate(optimizer, [scheduler], 0.1)
    [group] = optimizer.param_groups
    assert (group["lr"], group["initial_lr"], scheduler.get_last_lr()) == (0.5, 1.0, [0.5])


MAKE = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: step / 10),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 8),
    "WarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(
        o, [2 * g["lr"] for g in o.param_groups], total_steps=9, cycle_momentum=False
    ),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(
        o,
        [g["lr"] / 4 for g in o.param_groups],
        [g["lr"] for g in o.param_groups],
        step_size_up=2,
        cycle_momentum=False,
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, 0.5, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.5, 3), lr_scheduler.ExponentialLR(o, 0.9)], [3]
    ),
    "ReduceLROnPlateau": lambda o: Plateau(o, patience=1),
}


class Plateau(lr_scheduler.ReduceLROnPlateau):
    def step(self):
        super().step(1.0)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("at", [0, 4])
def test_schedulers_of_pytorch_go_on_as_if_made_with_the_rate(name, at):
    tried = moved(MAKE[name](optimizer_of(0.2, 0.05)), at)
    twin = moved(MAKE[name](optimizer_of(0.02, 0.005)), at)
    factor = rate_of(tried.optimizer, [tried]) / rate_of(twin.optimizer, [twin])
    assert factor == pytest.approx(10.0)
    set_rate(tried.optimizer, [tried], rate_of(twin.optimizer, [twin]))
    for _ in range(5):
        rates = [[g["lr"] for g in s.optimizer.param_groups] for s in (tried, twin)]
        assert rates[0] == pytest.approx(rates[1], rel=1e-12)
        assert tried.get_last_lr() == pytest.approx(twin.get_last_lr(), rel=1e-12)
        moved(tried, 1)
        moved(twin, 1)


def test_the_rate_alone_is_set_exactly_and_a_tensor_stays_itself():
    optimizer = optimizer_of(torch.tensor(0.3), torch.tensor(0.03))
    held = [group["lr"] for group in optimizer.param_groups]
    set_rate(optimizer, [], 0.7)
    assert [group["lr"] for group in optimizer.param_groups] == held
    assert all(a is g["lr"] for a, g in zip(held, optimizer.param_groups, strict=True))
    assert [float(rate) for rate in held] == pytest.approx([0.7, 0.07])
    plain = optimizer_of(0.3, 0.03)
    set_rate(plain, [], 0.1)
    assert plain.param_groups[0]["lr"] == 0.1
    with pytest.raises(ValueError, match=r"the rate must be above 0.*Received: 0.0"):
        set_rate(optimizer_of(0.0), [], 0.1)
