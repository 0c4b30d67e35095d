"""Which batch of a fit makes the update that ends a cycle of the rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras

from cyclerate._errors import bad_argument
from cyclerate.cycles import cycle_ends
from cyclerate.keras.hyper import innermost
from cyclerate.keras.internals import RATE, rate_of, raw_iterations
from cyclerate.keras.schedule import KerasSchedule
from cyclerate.keras.scheduled_function import ScheduledFunction
from cyclerate.schedules import Schedule

_SCHEDULED_BY = "that of the fit: ck.ScheduleCallback(lr=schedule), or ck.as_schedule(schedule)"


class CycleEnd(NamedTuple):
    """The step whose update ends a cycle, and the number of that cycle, from 1."""

    step: int
    cycle: int


class CycleClock:
    """Follows a fit, batch by batch, and says when a cycle of its rate has ended.

    Made when the first epoch begins: by then every callback has begun its training.

    Args:
        model: The model in its fit.
        schedule: The schedule that sets the rate in this fit.
        params: What Keras tells a callback about the fit: "epochs" and "steps".
        first_epoch: The number of the epoch that begins.
        total_steps: The length of the training, counted from the schedule's step 0; None for what
            this fit reaches.

    Raises:
        ValueError: The rate is not set by that schedule; `total_steps` is None and cannot be known;
            or a cycle ends inside several steps that are executed as one.
    """

    def __init__(
        self,
        model: Any,
        schedule: Schedule,
        *,
        params: Mapping[str, Any],
        first_epoch: int,
        total_steps: int | None,
    ) -> None:
        self._model, self._optimizer = model, innermost(model.optimizer)
        self._per_update: int = self._optimizer.gradient_accumulation_steps or 1
        self._skips = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        self._batches: int | None = params.get("steps")
        self._offset = self._offset_of(schedule)
        self.begin_epoch()
        length = total_steps or self._steps_after(params["epochs"] - first_epoch)
        ends = cycle_ends(schedule, length)
        self._cycles = {step: cycle for cycle, step in enumerate(ends, start=1)}
        self._check_executions(model.steps_per_execution)

    def begin_epoch(self) -> None:
        """Reads the optimizer's count; its variables are up to date when an epoch begins."""
        self._raw = int(raw_iterations(self._optimizer))

    def ended(self, batch: int) -> CycleEnd | None:
        """The cycle that was ended by the update of this batch of the epoch, if any."""
        updates, waiting = divmod(self._counted_after(batch), self._per_update)
        step = updates - 1 - self._offset
        cycle = None if waiting else self._cycles.get(step)
        return None if cycle is None else CycleEnd(step, cycle)

    def _counted_after(self, batch: int) -> int:
        if self._skips:
            # A skipped batch makes no update, and only the optimizer knows.
            up_to_date(self._model)
            return int(raw_iterations(self._optimizer))
        # The last of several steps in one execution may lie beyond the end of the epoch.
        return self._raw + min(batch + 1, self._batches or batch + 1)

    def _steps_after(self, epochs: int) -> int:
        """The schedule's step that so many epochs from here lead up to."""
        if self._batches is None:
            raise bad_argument("total_steps", "given where an epoch's length is unknown", None)
        return (self._raw + epochs * self._batches) // self._per_update - self._offset

    def _offset_of(self, schedule: Schedule) -> int:
        """The optimizer's count of updates at the schedule's step 0."""
        function, rate = self._model.train_function, rate_of(self._optimizer)
        plans = function.plans if isinstance(function, ScheduledFunction) else ()
        for plan in plans:
            if plan.attribute == RATE:
                return self._same(schedule, plan.schedule, plan.offset)
        if not isinstance(rate, KerasSchedule):
            raise bad_argument("schedule", _SCHEDULED_BY, "a fit whose rate is not scheduled")
        if self._per_update > 1:
            allowed = (
                "set by ck.ScheduleCallback where gradients accumulate: as_schedule counts batches"
            )
            raise bad_argument("schedule", allowed, rate)
        return self._same(schedule, rate.schedule, 0)

    @staticmethod
    def _same(schedule: Schedule, used: Schedule, offset: int) -> int:
        if used != schedule:
            raise bad_argument("schedule", f"{_SCHEDULED_BY}; it uses {used}", schedule)
        return offset

    def _check_executions(self, steps: int) -> None:
        """Refuses an end that falls inside an execution of several steps: nobody could look."""
        if steps == 1:
            return
        if self._skips or self._batches is None:
            raise bad_argument(
                "steps_per_execution",
                "1 with a LossScaleOptimizer, or where an epoch's length is unknown",
                steps,
            )
        for step in self._cycles:
            batches = (step + 1 + self._offset) * self._per_update - self._raw
            place = (batches - 1) % self._batches + 1
            if batches > 0 and place % steps and place != self._batches:
                allowed = (
                    f"1, or such that an execution ends with batch {place} of an epoch, after "
                    f"which a cycle ends (step {step})"
                )
                raise bad_argument("steps_per_execution", allowed, steps)


def up_to_date(model: Any) -> None:
    """Brings the model's variables to the step just made: on JAX they lag behind in an epoch."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()
