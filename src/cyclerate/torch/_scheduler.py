"""Schedules as a learning-rate scheduler of PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cyclerate._errors import bad_argument, check_count, check_rate
from cyclerate.schedules import Schedule
from cyclerate.schedules._namespaces import FARTHEST
from cyclerate.torch._depth import scaling
from cyclerate.torch._groups import (
    Grouped,
    LookAhead,
    Shared,
    copied,
    keep_momentum_buffers,
    leave_out,
    momentum_setting,
    rate_setting,
    updated,
    was_written_over,
    weight_decay_setting,
)

Schedules = Schedule | Sequence[Schedule | None]
"""One schedule for all parameter groups, or one for each; None leaves a group as it is."""


class ScheduledLR(LRScheduler):
    """Sets the rate, and on request momentum and weight decay, to what schedules say for the step.

    At step `n`, counted in calls of `step()` from 0, group `i` has `lr(n) * scale[i]`. It is a
    `torch.optim.lr_scheduler.LRScheduler`: Lightning, Accelerate, Ignite and the Trainer of
    Transformers take it as one of PyTorch's own. Call `step()` once after every `optimizer.step()`;
    past the end of a schedule its last value holds.

    Its state is the number of steps and the description of the schedules. Values are computed from
    the step alone, so training resumes exactly: whether the scheduler is made before or after the
    optimizer's state is loaded, from its own state alone, or by `last_epoch`.

    A rate that is a tensor (`capturable=True`, or for `torch.compile`) is filled in place, and so
    is a first beta that is a tensor: neither makes a compiled optimizer compile again.

    A warning says once where something else sets the same values between two steps, as
    `ReduceLROnPlateau` on the same optimizer does: the schedule's are written over them.

    Args:
        optimizer: The optimizer.
        lr: The schedule of the rate, for all parameter groups; or a list with one for each group,
            where None leaves the group as it is. Default: rates stay as they are.
        momentum: The same for the momentum of SGD or RMSprop, or the first beta of Adam and its
            kin; in [0, 1). `schedule.mirrored(0.85, 0.95)` is the usual one.
        weight_decay: The same for the weight decay.
        layer_decay: The factor of the rate from one group to the one before it, above 0 and at most
            1: with groups ordered from the first layers to the last, the last group has the full
            rate.
        group_scale: One factor of the rate for each group; or "keep", for the ratios that the
            optimizer's own rates have, the highest being 1; timm's `lr_scale` of a group counts.
        last_epoch: One below the step to begin at, as in PyTorch: -1 begins at step 0.

    Raises:
        ValueError: Nothing to schedule, something that is no schedule, a list of another length
            than the groups, a value that the optimizer does not have or cannot take, one weight
            decay for groups of which some have none, two ways of scaling.

    Source: the mirrored momentum is that of Smith 2018, arXiv 1803.09820, section 4.2; rates by
    layer are the discriminative fine-tuning of Howard and Ruder 2018, arXiv 1801.06146, section
    3.2.

    >>> import torch
    >>> import cyclerate as cr
    >>> weights = torch.nn.Parameter(torch.zeros(3))
    >>> optimizer = torch.optim.SGD([weights], lr=0.1, momentum=0.9)
    >>> policy = cr.OneCycle(max_lr=0.1, total_steps=100)
    >>> scheduler = ScheduledLR(optimizer, policy, momentum=policy.mirrored(0.85, 0.95))
    >>> for _ in range(29):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> scheduler.get_last_lr(), optimizer.param_groups[0]["momentum"]
    ([0.1], 0.85)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr: Schedules | None = None,
        momentum: Schedules | None = None,
        weight_decay: Schedules | None = None,
        *,
        layer_decay: float | None = None,
        group_scale: Sequence[float] | str | None = None,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise bad_argument("optimizer", "a torch.optim.Optimizer", optimizer)
        if lr is None and momentum is None and weight_decay is None:
            raise bad_argument("lr", "a schedule, where nothing else is scheduled either", lr)
        groups = optimizer.param_groups
        self._rates = rate_setting(groups, lr, layer_decay, group_scale)
        others = [momentum_setting(groups, momentum), weight_decay_setting(groups, weight_decay)]
        self._others = [setting for setting in others if setting is not None]
        last_epoch = check_count("last_epoch", last_epoch, low=-1, below=FARTHEST)
        leave_out(type(self), ScheduledLR, LookAhead, Shared, Grouped)
        leave_out(updated, copied, was_written_over)
        for group in groups:  # PyTorch asks for it where last_epoch is given
            group.setdefault("initial_lr", copied(group["lr"]))
        super().__init__(optimizer, last_epoch)
        self._keep_buffers()

    def step(self, epoch: int | None = None) -> None:
        """Goes on by one step and writes its values; call it after `optimizer.step()`.

        Args:
            epoch: A step to go to instead; deprecated by PyTorch, which warns.
        """
        if epoch is not None:
            epoch = check_count("epoch", epoch, low=0, below=FARTHEST)
        if epoch is None and self._step_count > 1:
            self._step_count += 1
            self._go_to(self.last_epoch + 1)
        else:  # PyTorch's own warnings, of a deprecated argument or a wrong order of calls
            super().step(epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the step that the scheduler stands at, one for each parameter group.

        They are written, too, with what else is scheduled: a driver that moves `last_epoch` itself,
        as Ignite does, and then writes these rates would leave the momentum behind.
        """
        self._jump_to(self.last_epoch)
        return self.get_last_lr()

    def get_last_lr(self) -> list[float | Tensor]:
        """The rates last written, one for each parameter group.

        A scheduled rate is the schedule's float, also where the optimizer holds a tensor: nothing
        waits for a device.
        """
        return [copied(rate) for rate in self._last_lr]

    @property
    def max_lr(self) -> float | None:
        """The highest rate that the schedules can take in any group; None without a schedule."""
        return None if self._rates is None else self._rates.highest

    def set_max_lr(self, max_lr: float) -> None:
        """Multiplies the rates of all schedules by one factor, such that the highest is `max_lr`.

        The step stays, and the rates of that step are written: for a rate that was found after the
        scheduler had been made. The state is then that of a scheduler made with these rates.

        Args:
            max_lr: The new highest rate, above 0.

        Raises:
            ValueError: There is no schedule of the rate, or it is 0 throughout, or of a type whose
                rates are not known.
        """
        max_lr = check_rate("max_lr", max_lr)
        if self._rates is None:
            raise bad_argument("lr", "scheduled, to be given another max_lr", None)
        self._rates = self._rates.with_rates(scaling(self._rates.highest, max_lr))
        self._jump_to(self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """The step and the schedules, as values that JSON and `torch.load(weights_only=True)` take.

        Of a schedule with a custom function that has no name to find it by (a lambda), only the
        type is saved: whoever resumes brings the function.
        """
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "schedules": self._description(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any], *, strict: bool = True) -> None:
        """Goes to the saved step and writes its values into the optimizer.

        Args:
            state_dict: What `state_dict` gave; it is not changed.
            strict: Refuse the state of other schedules. False keeps the schedules that this
                scheduler was made with, and takes the step alone.

        Raises:
            ValueError: It is no state of a `ScheduledLR`, or one of other schedules.
        """
        try:
            step = check_count("last_epoch", state_dict["last_epoch"], low=0)
            calls = check_count("_step_count", state_dict["_step_count"], low=1)
            saved = dict(state_dict["schedules"])
        except (KeyError, TypeError) as error:
            raise bad_argument("state_dict", "the state of a ScheduledLR", state_dict) from error
        own = self._description()
        different = sorted(name for name in own | saved if saved.get(name) != own.get(name))
        if strict and different:
            name = different[0]
            allowed = f"saved with the same {name}, {own.get(name)} (or loaded with strict=False)"
            raise bad_argument("state_dict", allowed, saved.get(name))
        self._jump_to(step)
        self._step_count = calls

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._keep_buffers()  # a copied optimizer has no hooks

    def _keep_buffers(self) -> None:
        if any(setting.key == "momentum" for setting in self._others):
            keep_momentum_buffers(self.optimizer)

    def _update_lr(self, epoch: int | None = None) -> None:
        """Moves the scheduler; PyTorch's `step` and `SequentialLR` call it."""
        self._jump_to(self.last_epoch + 1 if epoch is None else epoch)

    def _jump_to(self, step: int) -> None:
        """Goes to a step from wherever the rates were: loaded, or another scheduler's before."""
        for setting in [*self._others, *([] if self._rates is None else [self._rates])]:
            setting.left = None
        self._go_to(step)

    def _go_to(self, step: int) -> None:
        groups = self.optimizer.param_groups
        for setting in self._others:
            setting.write(groups, step)
        rates = self._rates
        self._last_lr = rates.write(groups, step) if rates else [copied(g["lr"]) for g in groups]
        self.last_epoch = step  # a schedule that fails at a step leaves the one before

    def _description(self) -> dict[str, Any]:
        rates = None if self._rates is None else self._rates.description()
        return {"lr": rates, **{other.key: other.description() for other in self._others}}


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
