"""What a callback does that acts on the very batch that ends a cycle."""

from __future__ import annotations

from typing import Any

import keras

from cyclerate._errors import check_count
from cyclerate.keras.cycle_clock import CycleClock, CycleEnd, up_to_date
from cyclerate.keras.rate_in_use import rate_in_use
from cyclerate.schedules import Schedule
from cyclerate.schedules._base import check_schedule


class CycleCallback(keras.callbacks.Callback):
    """Calls `on_cycle_end` after the update that ends a cycle, with the model up to date.

    Args:
        schedule: The schedule of the rate; None for the one that the fit has.
        start_cycle: The first cycle that counts, from 1.
        total_steps: Optimizer steps of the training, from the schedule's step 0; None for what the
            fit reaches.

    Raises:
        ValueError: One of them is not what it must be. When the fit begins: its rate is not set by
            that schedule; its length is unknown; a cycle ends inside of several steps that
            `steps_per_execution` makes one.
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
