"""Which schedule the rate follows in a fit, and where in it the fit is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cyclerate._errors import bad_argument
from cyclerate.keras._internals import RATE, rate_of, raw_iterations
from cyclerate.keras._train_function import ScheduledFunction
from cyclerate.keras.hyper import innermost
from cyclerate.keras.schedule import KerasSchedule
from cyclerate.schedules import Schedule
from cyclerate.schedules._base import check_schedule


@dataclass(frozen=True)
class RateInUse:
    """The schedule of the rate, and how a fit goes through it.

    Attributes:
        schedule: The schedule.
        offset: Steps that were made before the schedule's step 0.
        batches_before: Batches that the optimizer had counted before the fit.
        batches_per_epoch: Batches of an epoch; None if Keras does not know.
        epochs: Epochs that are to come.
        accumulated: Batches of a step of the schedule.
    """

    schedule: Schedule
    offset: int
    batches_before: int
    batches_per_epoch: int | None
    epochs: int
    accumulated: int = 1

    def step_at(self, batches: int) -> int:
        """The step of the schedule that comes next, when the optimizer has counted so many."""
        return batches // self.accumulated - self.offset

    def batches_until(self, step: int) -> int:
        """Batches of this fit until a step of the schedule has been made."""
        return (step + 1 + self.offset) * self.accumulated - self.batches_before

    @property
    def start_step(self) -> int:
        """The step of the schedule that the fit begins with."""
        return self.step_at(self.batches_before)

    @property
    def epoch_ends(self) -> list[int]:
        """The step that comes after each epoch.

        Raises:
            ValueError: Keras does not know how many batches an epoch has.
        """
        if self.batches_per_epoch is None:
            allowed = "given in fit where the data's length is unknown: when does a cycle end?"
            raise bad_argument("steps_per_epoch", allowed, None)
        before, batches = self.batches_before, self.batches_per_epoch
        return [self.step_at(before + (i + 1) * batches) for i in range(self.epochs)]


def rate_in_use(
    model: Any,
    schedule: Schedule | None,
    params: Mapping[str, Any],
    first_epoch: int,
    *,
    must_be_scheduled: bool = False,
) -> RateInUse:
    """Looks at a fit whose first epoch begins: all callbacks have had their `on_train_begin`.

    Args:
        model: The model in its fit.
        schedule: What to take where the fit has no schedule; if it has one, that must be it.
        params: What Keras tells a callback about the fit: "epochs" and "steps".
        first_epoch: The number of the epoch that begins.
        must_be_scheduled: Refuse a fit without a schedule, also where one is given here.

    Raises:
        ValueError: There is no schedule, or another one.
    """
    optimizer = innermost(model.optimizer)
    batches_before = int(raw_iterations(optimizer))
    found, offset, accumulated = _found(model, optimizer)
    if found is None:
        if schedule is None or must_be_scheduled:
            allowed = "set by ck.ScheduleCallback(lr=schedule) or ck.as_schedule(schedule)"
            raise bad_argument("schedule", allowed, "a fit whose rate is not scheduled")
        offset = batches_before // accumulated
    elif schedule not in (None, found):
        raise bad_argument("schedule", f"that of the fit, {found!r}, or left out", schedule)
    return RateInUse(
        check_schedule("schedule", schedule if found is None else found),
        offset,
        batches_before,
        batches_per_epoch=params.get("steps"),
        epochs=params["epochs"] - first_epoch,
        accumulated=accumulated,
    )


def _found(model: Any, optimizer: Any) -> tuple[Schedule | None, int, int]:
    """The schedule, the steps before its step 0, and how many batches make a step of it."""
    function, accumulated = model.train_function, optimizer.gradient_accumulation_steps or 1
    for plan in function.plans if isinstance(function, ScheduledFunction) else ():
        if plan.attribute == RATE:
            return plan.schedule, plan.offset, accumulated
    rate = rate_of(optimizer)
    if isinstance(rate, KerasSchedule):  # Keras gives it the count of batches, not of updates
        return rate.schedule, 0, 1
    return None, 0, accumulated
