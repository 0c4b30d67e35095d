"""Which schedule the rate follows in a fit, and where in it the fit is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cyclerate._errors import bad_argument
from cyclerate.keras.hyper import innermost
from cyclerate.keras.internals import RATE, rate_of, raw_iterations
from cyclerate.keras.schedule import KerasSchedule
from cyclerate.keras.scheduled_function import ScheduledFunction
from cyclerate.schedules import Schedule
from cyclerate.schedules.base import check_schedule


@dataclass(frozen=True)
class RateInUse:
    """The schedule of the rate, and how a fit goes through it.

    Attributes:
        schedule: The schedule.
        start_step: Its step for the first update of the fit.
        batches_per_epoch: Batches of an epoch.
        epochs: Epochs that are to come.
        batches_before: Batches that the optimizer had counted before.
        accumulated: Batches of a step of the schedule.
    """

    schedule: Schedule
    start_step: int
    batches_per_epoch: int
    epochs: int
    batches_before: int = 0
    accumulated: int = 1

    def step_after(self, batches: int) -> int:
        """The step of the schedule that comes next, after so many batches of this fit."""
        updates = (self.batches_before + batches) // self.accumulated
        return self.start_step + updates - self.batches_before // self.accumulated

    @property
    def epoch_ends(self) -> list[int]:
        """The step that comes after each epoch."""
        return [self.step_after((i + 1) * self.batches_per_epoch) for i in range(self.epochs)]


def rate_in_use(
    model: Any, schedule: Schedule | None, params: dict[str, Any], first_epoch: int
) -> RateInUse:
    """Looks at a fit whose first epoch begins: all callbacks have had their `on_train_begin`.

    Args:
        model: The model in its fit.
        schedule: What to take where the fit has no schedule; if it has one, that must be it.
        params: The parameters that Keras gives callbacks.
        first_epoch: The number of the epoch that begins.

    Raises:
        ValueError: There is no schedule, or another one; Keras does not know how many batches an
            epoch has.
    """
    if params.get("steps") is None:
        raise bad_argument("steps_per_epoch", "given, so that a cycle's end is known", None)
    optimizer = innermost(model.optimizer)
    found, start_step, accumulated = _found(model, optimizer)
    if schedule is None and found is None:
        allowed = "given, where neither ScheduleCallback nor as_schedule is in use"
        raise bad_argument("schedule", allowed, None)
    if schedule is not None and found is not None and schedule != found:
        raise bad_argument("schedule", f"that of this training, {found!r}, or None", schedule)
    return RateInUse(
        check_schedule("schedule", schedule or found),
        start_step,
        batches_per_epoch=params["steps"],
        epochs=params["epochs"] - first_epoch,
        batches_before=int(raw_iterations(optimizer)),
        accumulated=accumulated,
    )


def _found(model: Any, optimizer: Any) -> tuple[Schedule | None, int, int]:
    """The schedule, its step, and how many batches make a step of it."""
    function, accumulated = model.train_function, optimizer.gradient_accumulation_steps or 1
    for plan in function.plans if isinstance(function, ScheduledFunction) else ():
        if plan.attribute == RATE:
            return plan.schedule, int(optimizer.iterations) - plan.offset, accumulated
    rate = rate_of(optimizer)
    if isinstance(rate, KerasSchedule):  # it counts batches
        return rate.schedule, int(raw_iterations(optimizer)), 1
    return None, 0, accumulated
