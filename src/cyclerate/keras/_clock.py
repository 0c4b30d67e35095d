"""Follows the cycles of a fit: the schedule of its rate, and the batches that end a cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from cyclerate._errors import bad_argument, check_count
from cyclerate.cycles._ends import CycleEnds
from cyclerate.keras._internals import RATE, innermost, rate_of, raw_iterations
from cyclerate.keras._schedule import KerasSchedule
from cyclerate.keras._step import Updates
from cyclerate.keras._train_function import Plan, ScheduledFunction
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
    def epoch_ends(self) -> Sequence[int]:
        """The step that comes after each epoch, computed as it is asked for."""
        if self.batches_per_epoch is None:
            allowed = "given in fit where the data's length is unknown: when does a cycle end?"
            raise bad_argument("steps_per_epoch", allowed, None)
        return EpochEnds(self, self.batches_per_epoch)


class EpochEnds(Sequence[int]):
    """The step that comes after each epoch of a fit: there may be a billion of them."""

    def __init__(self, rate: RateInUse, batches: int) -> None:
        self._rate, self._epochs = rate, range(1, rate.epochs + 1)
        self._batches = batches

    def __len__(self) -> int:
        return len(self._epochs)

    def __getitem__(self, epoch: Any) -> Any:
        rate = self._rate
        return rate.step_at(rate.batches_before + self._epochs[epoch] * self._batches)


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
    """
    optimizer = innermost(model.optimizer)
    if isinstance(model.train_function, ScheduledFunction):
        model.train_function.begin(first_epoch)
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
    """The schedule, the steps before its step 0, and the number of batches in a step of it."""
    function, accumulated = model.train_function, optimizer.gradient_accumulation_steps or 1
    for plan in function.plans if isinstance(function, ScheduledFunction) else ():
        if isinstance(plan, Plan) and plan.attribute == RATE:
            return plan.schedule, plan.offset, accumulated
    rate = rate_of(optimizer)
    if isinstance(rate, KerasSchedule):  # Keras gives it the count of batches, not of updates
        return rate.schedule, 0, 1
    return None, 0, accumulated


class CycleEnd(NamedTuple):
    """The step whose update ends a cycle, and the number of that cycle, from 1."""

    step: int
    cycle: int


class CycleClock:
    """Follows a fit, batch by batch, and says when a cycle of its rate has ended.

    Made when the first epoch begins. A batch that a LossScaleOptimizer skips is no step.

    Args:
        model: The model in its fit.
        rate: What its rate follows.
        total_steps: The length of the training, counted from the schedule's step 0; None for what
            this fit reaches.

    Attributes:
        step: The step of the schedule that comes next.
    """

    def __init__(self, model: Any, rate: RateInUse, total_steps: int | None = None) -> None:
        self._model, self._rate = model, rate
        self._optimizer = innermost(model.optimizer)
        self._skips = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        self._ends = CycleEnds(rate.schedule, total_steps or rate.epoch_ends[-1])
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Reads the optimizer's count; its variables are up to date when an epoch begins."""
        self._counted = int(raw_iterations(self._optimizer))
        self.step = self._rate.step_at(self._counted)

    def batches_after(self, batch: int) -> int:
        """Returns how many batches of the epoch are done, as Keras tells of this one.

        The last of several steps in one execution may lie beyond the end of the epoch.
        """
        return min(batch + 1, self._rate.batches_per_epoch or batch + 1)

    def ended(self, batch: int) -> CycleEnd | None:
        """Goes on to after this batch of the epoch; tells of the cycle that it ended, if any."""
        if self._skips:
            # A skipped batch makes no update, and only the optimizer knows.
            counted = batches_counted(self._model)
        else:
            counted = self._counted + self.batches_after(batch)
        made = range(self.step, self._rate.step_at(counted))
        self.step = made.stop
        ends = [(step, cycle) for step in made if (cycle := self._ends.cycle_at(step)) is not None]
        return CycleEnd(*ends[-1]) if ends else None

    def check_executions(self) -> None:
        """Refuses an end that falls inside an execution of several steps: nobody could look."""
        steps, batches = self._model.steps_per_execution, self._rate.batches_per_epoch
        if steps == 1:
            return
        if self._skips or batches is None:
            raise bad_argument(
                "steps_per_execution",
                "1 with a LossScaleOptimizer, or where an epoch's length is unknown",
                steps,
            )
        for step in self._ends:
            until = self._rate.batches_until(step)
            place = (until - 1) % batches + 1
            if until > 0 and place % steps and place != batches:
                allowed = (
                    f"1, or such that an execution ends with batch {place} of an epoch, after "
                    f"which a cycle ends (step {step})"
                )
                raise bad_argument("steps_per_execution", allowed, steps)


def loss_in(logs: Mapping[str, Any] | None) -> float:
    """The loss in what Keras tells of a batch.

    Raises:
        ValueError: There is none.
    """
    if logs is None or "loss" not in logs:
        raise bad_argument("train_step", 'one that returns a "loss"', [*(logs or {})])
    return float(logs["loss"])


_NEAR = 1e-4  # of each other, a mean and a loss are not told apart; rounding is far smaller


class OwnLosses:
    """The loss of each batch of a fit, from the mean of the epoch so far that Keras tells.

    A `train_step` of the user's own may tell each batch's loss instead: then no metric of the
    model, updated in the step, has the value that it tells. This shows at the first batch where
    the two can differ; until then they are the same.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        usual = getattr(type(model), "train_step", None) is keras.Model.train_step
        self._are_means = True if usual else None  # None: not known yet
        self.begin()

    def begin(self, batches: int = 0) -> None:
        """Begins an epoch, or after so many batches of it, when the metrics have been reset."""
        self._not_in_it = self._batches = batches
        self._mean = 0.0

    def after(self, batches: int, logs: Mapping[str, Any] | None) -> float:
        """Returns the loss of the latest of so many batches; the mean of those since the last call.

        Where the epoch's last batch is smaller, its distance from the mean is smaller by as much.
        """
        told, mean, before = loss_in(logs), self._mean, self._batches
        counted = batches - self._not_in_it
        first = before == self._not_in_it
        if self._are_means is None and not first and abs(told - mean) > _NEAR * abs(mean):
            self._are_means = _is_a_mean(self._model, told)
        self._mean, self._batches = told, batches
        if first or not self._are_means:
            return told
        return mean + (told - mean) * counted / (batches - before)


def _is_a_mean(model: Any, told: float) -> bool:
    """Whether a metric of the model, as Keras's own loss or one of the user's, has this value."""
    up_to_date(model)
    values = [metric.result() for metric in model.metrics if metric.variables]
    numbers = [float(value) for value in values if getattr(value, "shape", None) == ()]
    return any(abs(number - told) <= _NEAR / 10 * abs(told) for number in numbers)


def up_to_date(model: Any) -> None:
    """Brings the model's variables to the step just made: on JAX they lag behind in an epoch."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()


class CycleCallback(keras.callbacks.Callback):
    """Calls `on_cycle_end` after the update that ends a cycle, with the model up to date.

    Args:
        schedule: The schedule of the rate; None for the one that the fit has.
        start_cycle: The first cycle that counts, from 1.
        total_steps: Optimizer steps of the training, from the schedule's step 0; None for what the
            fit reaches.
    """

    def __init__(
        self, schedule: Schedule | None, start_cycle: int, total_steps: int | None
    ) -> None:
        super().__init__()
        self.schedule = None if schedule is None else check_schedule("schedule", schedule)
        self.start_cycle = check_count("start_cycle", start_cycle)
        self.total_steps = None if total_steps is None else check_count("total_steps", total_steps)
        self._clock: CycleClock | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self._clock = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._clock is not None:
            self._clock.begin_epoch()
            return
        # By now every callback has begun its training.
        rate = rate_in_use(self.model, self.schedule, self.params, epoch, must_be_scheduled=True)
        clock = CycleClock(self.model, rate, self.total_steps)
        clock.check_executions()
        self.on_schedule(rate.schedule)
        self._clock = clock

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        end = None if self._clock is None else self._clock.ended(batch)
        if end is not None and end.cycle >= self.start_cycle:
            up_to_date(self.model)
            self.on_cycle_end(end)

    def on_schedule(self, schedule: Schedule) -> None:
        """Takes note of the schedule that the fit follows, before its first batch."""

    def on_cycle_end(self, end: CycleEnd) -> None:
        """Does what is to be done when a cycle that counts is over."""
        raise NotImplementedError


class StopAfter(keras.callbacks.Callback):
    """Ends a fit with an update, wherever in an epoch that is.

    Args:
        updates: How many updates there are.
    """

    def __init__(self, updates: int) -> None:
        super().__init__()
        self._left = updates

    def on_train_begin(self, logs: Any = None) -> None:
        # Held, since `self.model` brings all variables up to date on JAX.
        self._fitted = self.model
        self._updates = Updates(self._fitted, lambda: batches_counted(self._fitted))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._left -= self._updates.loss_after(0.0) is not None
        if self._left == 0:
            self._fitted.stop_training = True


def batches_counted(model: Any) -> int:
    """The count of the model's optimizer in the midst of an epoch."""
    up_to_date(model)
    return int(raw_iterations(innermost(model.optimizer)))
