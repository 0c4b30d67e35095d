"""The step of its schedule that a fit is at, batch by batch, and the cycles that end there."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

from cyclerate._errors import bad_argument
from cyclerate.cycles import cycle_ends
from cyclerate.keras._internals import raw_iterations
from cyclerate.keras.hyper import innermost
from cyclerate.keras.rate_in_use import RateInUse


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

    Raises:
        ValueError: `total_steps` is None and cannot be known.
    """

    def __init__(self, model: Any, rate: RateInUse, total_steps: int | None = None) -> None:
        self._model, self._rate = model, rate
        self._optimizer = innermost(model.optimizer)
        self._skips = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        ends = cycle_ends(rate.schedule, total_steps or rate.epoch_ends[-1])
        self._cycles = {step: cycle for cycle, step in enumerate(ends, start=1)}
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Reads the optimizer's count; its variables are up to date when an epoch begins."""
        self._counted = int(raw_iterations(self._optimizer))
        self.step = self._rate.step_at(self._counted)

    def batches_after(self, batch: int) -> int:
        """How many batches of the epoch are done, as Keras tells of this one.

        The last of several steps in one execution may lie beyond the end of the epoch.
        """
        return min(batch + 1, self._rate.batches_per_epoch or batch + 1)

    def ended(self, batch: int) -> CycleEnd | None:
        """Goes on to after this batch of the epoch; tells of the cycle that it ended, if any."""
        if self._skips:
            # A skipped batch makes no update, and only the optimizer knows.
            up_to_date(self._model)
            counted = int(raw_iterations(self._optimizer))
        else:
            counted = self._counted + self.batches_after(batch)
        made = range(self.step, self._rate.step_at(counted))
        self.step = made.stop
        ends = [CycleEnd(step, self._cycles[step]) for step in made if step in self._cycles]
        return ends[-1] if ends else None

    def check_executions(self) -> None:
        """Refuses an end that falls inside an execution of several steps: nobody could look.

        Raises:
            ValueError: There is one, or that cannot be known.
        """
        steps, batches = self._model.steps_per_execution, self._rate.batches_per_epoch
        if steps == 1:
            return
        if self._skips or batches is None:
            raise bad_argument(
                "steps_per_execution",
                "1 with a LossScaleOptimizer, or where an epoch's length is unknown",
                steps,
            )
        for step in self._cycles:
            until = self._rate.batches_until(step)
            place = (until - 1) % batches + 1
            if until > 0 and place % steps and place != batches:
                allowed = (
                    f"1, or such that an execution ends with batch {place} of an epoch, after "
                    f"which a cycle ends (step {step})"
                )
                raise bad_argument("steps_per_execution", allowed, steps)


def up_to_date(model: Any) -> None:
    """Brings the model's variables to the step just made: on JAX they lag behind in an epoch."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()
