"""The rate of a training that is set up already: read it, and set another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch.optim import Optimizer

from cyclerate.torch._groups import updated
from cyclerate.torch._scheduler import ScheduledLR
from cyclerate.torch.scaling import scaling

_IN_GROUPS = ("lr", "initial_lr", "max_lr", "min_lr")  # the last two are those of OneCycleLR
_IN_SCHEDULERS = ("base_lrs", "max_lrs", "_last_lr")


def rate_of(optimizer: Optimizer, schedulers: Iterable[Any]) -> float:
    """Returns the rate that a training is set up with, that of the group with the highest one.

    It is the highest rate of the schedule where that is known (`ScheduledLR`, `OneCycleLR`,
    `CyclicLR`); otherwise the rate that the scheduler started from; without one, the present rate.
    """
    found = [*_each(schedulers)]
    peaks = [s.max_lr for s in found if isinstance(s, ScheduledLR) and s.max_lr is not None]
    peaks = peaks or [peak for scheduler in found for peak in getattr(scheduler, "max_lrs", ())]
    names = ("max_lr", "initial_lr", "lr")
    rates = peaks or [next(g[n] for n in names if n in g) for g in optimizer.param_groups]
    return max(float(rate) for rate in rates)


def set_rate(optimizer: Optimizer, schedulers: Iterable[Any], rate: float) -> None:
    """Multiplies all rates by one factor, such that `rate_of` is `rate` then.

    The groups keep the ratios of their rates, the schedulers their steps and the shapes of their
    curves. A lower bound that a scheduler has of its own (`eta_min`, `min_lrs`) stays.

    Raises:
        ValueError: The rate is 0 now, or a schedule is of a type whose rates are not known.
    """
    found = [*_each(schedulers)]
    scaled = scaling(rate_of(optimizer, found), rate)
    new = [{n: scaled(g[n]) for n in _IN_GROUPS if n in g} for g in optimizer.param_groups]
    for scheduler in found:
        if isinstance(scheduler, ScheduledLR):
            if scheduler.max_lr is not None:  # first of all: it may refuse
                scheduler.set_max_lr(scaled(scheduler.max_lr))
            continue
        for name in _IN_SCHEDULERS:
            if name in vars(scheduler):
                values = getattr(scheduler, name)
                setattr(scheduler, name, [updated(value, scaled(value)) for value in values])
    for group, rates in zip(optimizer.param_groups, new, strict=True):
        group.update({name: updated(group[name], value) for name, value in rates.items()})


def _each(schedulers: Iterable[Any]) -> Iterator[Any]:
    """The schedulers, out of the wrappers of Accelerate, with those that they consist of."""
    for given in schedulers:
        scheduler = getattr(given, "scheduler", given)
        yield scheduler
        yield from _each(getattr(scheduler, "_schedulers", ()))
