"""The best cycle, and when to stop: judged at the ends of cycles, where the rate is lowest."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np

from cyclerate._errors import bad_argument, check_choice, check_count, check_number
from cyclerate.schedules import Schedule
from cyclerate.schedules._base import check_schedule

_BLOCK_STEPS = 2**16


def cycle_ends(schedule: Schedule, total_steps: int) -> tuple[int, ...]:
    """Returns the steps after whose update a cycle is over.

    A cycle ends at the last step of a lowest point: the rate has fallen to it, and the step after
    it has a higher one. Triangular cycles share their lowest step with the cycle that follows, so
    theirs end at 2 * step_size, 4 * step_size and so on; warm restarts end at the step before the
    restart. The training's last step ends a cycle too, where the rate is falling, or has stayed
    where it fell to. A rate that is still rising there, or never changed, ends none.

    It is read from the values of the schedule alone, so any schedule has its answer.

    Args:
        schedule: Of the rate.
        total_steps: Optimizer steps of the training; steps 0 to `total_steps` - 1 are looked at.

    Returns:
        The steps, rising.

    Raises:
        ValueError: `schedule` is no schedule, or `total_steps` is below 1.

    >>> import cyclerate as cr
    >>> cycle_ends(cr.Triangular(0.1, 1.0, step_size=50), total_steps=250)
    (100, 200)
    >>> cycle_ends(cr.WarmRestarts(1.0, cycle_steps=50), total_steps=100)
    (49, 99)
    >>> cycle_ends(cr.OneCycle(1.0, total_steps=30), total_steps=30)
    (29,)
    """
    return tuple(CycleEnds(schedule, total_steps))


class CycleEnds:
    """The steps of `cycle_ends`, found as far as they are asked for.

    So a long training that is planned costs nothing before it is done.

    >>> import cyclerate as cr
    >>> ends = CycleEnds(cr.Triangular(0.1, 1.0, step_size=50), total_steps=10**12)
    >>> ends.cycle_at(100), ends.cycle_at(150), next(iter(ends))
    (1, None, 100)
    """

    def __init__(self, schedule: Schedule, total_steps: int) -> None:
        self._schedule = check_schedule("schedule", schedule)
        self._total_steps = check_count("total_steps", total_steps)
        self._looked_at = 0
        self._falling = False
        self._steps: list[int] = []

    def cycle_at(self, step: int) -> int | None:
        """Returns the number, from 1, of the cycle that ends with this step; None for no end."""
        while self._looked_at <= step and self._looked_at < self._total_steps:
            self._look_on()
        place = bisect_left(self._steps, step)
        return place + 1 if self._steps[place : place + 1] == [step] else None

    def __iter__(self) -> Iterator[int]:
        for cycle in itertools.count():
            while cycle == len(self._steps):
                if self._looked_at == self._total_steps:
                    return
                self._look_on()
            yield self._steps[cycle]

    def _look_on(self) -> None:
        """Looks at one more block of steps, and at the one after it."""
        first = self._looked_at
        self._looked_at = min(first + _BLOCK_STEPS, self._total_steps)
        rates = self._schedule(np.arange(first, min(self._looked_at + 1, self._total_steps)))
        # A plateau counts as one point, that of its last step.
        changes = np.diff(rates)
        last_of_level = np.flatnonzero(changes)
        falls = np.append(self._falling, changes[last_of_level] < 0).astype(bool)
        self._steps += (first + last_of_level[falls[:-1] & ~falls[1:]]).tolist()
        self._falling = bool(falls[-1])
        if self._falling and self._looked_at == self._total_steps:
            self._steps.append(self._total_steps - 1)


class CycleJudge:
    """Takes one value for each cycle, and says whether it is the best and when to stop.

    A high rate makes a value worse for a while: that is no reason to stop, so nothing is judged
    there. NaN is never the best.

    >>> judge = CycleJudge()
    >>> [judge.is_best(value) for value in (0.5, 0.3, 0.4)], judge.best_cycle, judge.done
    ([True, True, False], 2, True)
    """

    def __init__(self, mode: str = "min", patience: int = 1, min_delta: float = 0.0) -> None:
        self._sign = 1.0 if check_choice("mode", mode, ("min", "max")) == "max" else -1.0
        self._patience = check_count("patience", patience)
        self._min_delta = check_number("min_delta", min_delta, low=0)
        self.cycles = 0
        self.best: float | None = None
        self.best_cycle: int | None = None

    @property
    def done(self) -> bool:
        """True once `patience` cycles in a row have brought nothing better."""
        return self.cycles - (self.best_cycle or 0) >= self._patience

    def is_best(self, value: float) -> bool:
        """Takes the value of the cycle that is just over; returns whether it is the best."""
        self.cycles += 1
        if math.isnan(value):
            return False
        if self.best is not None and self._sign * (value - self.best) <= self._min_delta:
            return False
        self.best, self.best_cycle = value, self.cycles
        return True


def ends_between(schedule: Schedule, start_step: int, stop_step: int) -> tuple[int, ...]:
    """Returns the cycle ends of a training that takes the steps `start_step` to `stop_step` - 1.

    A training that begins at a lowest step ends no cycle there: that was an earlier one's.

    >>> import cyclerate as cr
    >>> ends_between(cr.Triangular(0.1, 1.0, step_size=5), 10, 40)
    (20, 30, 39)
    """
    return tuple(end for end in CycleEnds(schedule, stop_step) if end > start_step)


def epochs_that_end_cycles(
    schedule: Schedule, epoch_ends: Sequence[int], start_step: int = 0
) -> tuple[int, ...]:
    """Returns the epochs, counted from 0, with which a cycle ends.

    An epoch ends a cycle if its last step is the lowest one, or the one before it: a triangle
    shares its lowest step with the next cycle, and with it the next epoch. `epoch_ends` are the
    steps that come after each epoch; a cycle must not end inside of one.

    >>> import cyclerate as cr
    >>> epochs_that_end_cycles(cr.Triangular(0.1, 1.0, step_size=10), [10, 20, 30, 40])
    (1, 3)
    """
    ends = ends_between(schedule, start_step, epoch_ends[-1])
    if not ends:
        raise bad_argument("schedule", "one with a cycle that ends in this training", schedule)
    after = {steps: epoch for epoch, steps in enumerate(epoch_ends)}
    found = [after.get(end + 1, after.get(end)) for end in ends]
    if None in found:
        inside = ends[found.index(None)]
        per_epoch = epoch_ends[0] - start_step
        raise bad_argument(
            "schedule",
            "one whose cycles end with an epoch, where there is something to judge: make a cycle "
            f"whole epochs, a multiple of {per_epoch} steps",
            f"a cycle that ends at step {inside}",
        )
    return tuple(epoch for epoch in found if epoch is not None)
