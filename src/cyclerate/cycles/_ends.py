"""The best cycle and when to stop, judged where the rate is lowest; when a training explodes."""

from __future__ import annotations

import itertools
import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cyclerate._errors import bad_argument, check_choice, check_count, check_number
from cyclerate.cycles._rules import scale_lr
from cyclerate.finder._curve import DivergenceMonitor
from cyclerate.schedules import Schedule
from cyclerate.schedules._base import check_schedule

_BLOCK_STEPS = 2**16
_FIRST_LOOK_STEPS = 2**18  # so far ahead a schedule is looked at before a training begins


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
        self._steps = array("q")

    def cycle_at(self, step: int) -> int | None:
        """Returns the number, from 1, of the cycle that ends with this step; None for no end."""
        while self._looked_at <= step and self._looked_at < self._total_steps:
            self._look_on()
        place = bisect_left(self._steps, step)
        known = place < len(self._steps) and self._steps[place] == step
        return place + 1 if known else None

    def __iter__(self) -> Iterator[int]:
        for cycle in itertools.count():
            while cycle == len(self._steps):
                if self._looked_at == self._total_steps:
                    return
                self._look_on()
            yield self._steps[cycle]

    def any_after(self, step: int) -> bool:
        """Whether a cycle ends after a step; the last step of all is looked at first."""
        low, high = self._schedule.bounds
        if low == high or step >= self._total_steps - 1:
            return False
        first = max(self._total_steps - _BLOCK_STEPS, 0)
        changes = np.diff(self._schedule(np.arange(first, self._total_steps)))
        latest = changes[np.flatnonzero(changes)][-1:]
        return bool((latest < 0).any()) or any(end > step for end in self)

    def _look_on(self) -> None:
        """Looks at one more block of steps, and at the one after it."""
        first = self._looked_at
        self._looked_at = min(first + _BLOCK_STEPS, self._total_steps)
        rates = self._schedule(np.arange(first, min(self._looked_at + 1, self._total_steps)))
        # A plateau counts as one point, that of its last step.
        changes = np.diff(rates)
        last_of_level = np.flatnonzero(changes)
        falls = np.append(self._falling, changes[last_of_level] < 0).astype(bool)
        self._steps.extend((first + last_of_level[falls[:-1] & ~falls[1:]]).tolist())
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


class EpochsThatEndCycles:
    """The epochs, counted from 0, with which a cycle ends; found as far as they are asked for.

    An epoch ends a cycle if its last step is the lowest one, or the one before it: a triangle
    shares its lowest step with the next cycle, and with it the next epoch. A training that begins
    at a lowest step ends no cycle there: that was an earlier one's.

    Args:
        schedule: Of the rate.
        epoch_ends: The steps that come after each epoch.
        start_step: The step that the training begins with.

    Raises:
        ValueError: No cycle ends in this training; or one ends inside of an epoch, as far as its
            first 262,144 steps tell.

    >>> import cyclerate as cr
    >>> ends = EpochsThatEndCycles(cr.Triangular(0.1, 1.0, step_size=10), range(10, 10**9, 10))
    >>> [epoch for epoch in range(8) if epoch in ends]
    [1, 3, 5, 7]
    """

    def __init__(self, schedule: Schedule, epoch_ends: Sequence[int], start_step: int = 0) -> None:
        self._epoch_ends, self._start = epoch_ends, start_step
        self._ends = CycleEnds(schedule, epoch_ends[-1])
        if not self._ends.any_after(start_step):
            raise bad_argument("schedule", "one with a cycle that ends in this training", schedule)
        for end in self._ends:
            if end > start_step + _FIRST_LOOK_STEPS:
                break
            after = epoch_ends[bisect_left(epoch_ends, end)]
            if end > start_step and after not in (end, end + 1):
                per_epoch = epoch_ends[0] - start_step
                raise bad_argument(
                    "schedule",
                    "one whose cycles end with an epoch, where there is something to judge: make a "
                    f"cycle whole epochs, a multiple of {per_epoch} steps",
                    f"a cycle that ends at step {end}",
                )

    def __contains__(self, epoch: object) -> bool:
        if not isinstance(epoch, int) or not 0 <= epoch < len(self._epoch_ends):
            return False
        after = self._epoch_ends[epoch]
        if self._ends_with(after - 1):
            return True
        next_one = self._epoch_ends[epoch + 1] if epoch + 1 < len(self._epoch_ends) else None
        return self._ends_with(after) and next_one != after + 1

    def _ends_with(self, step: int) -> bool:
        return step > self._start and self._ends.cycle_at(step) is not None


# A training comes back from more than a sweep does. Of 402 small trainings that went well, at rates
# up to the highest that any of them bore, 7 had an alarm; 15 at a factor of 1, which a sweep has.
_FACTOR = 2.0
# The first loss is that of the untrained model. The tenth may come after the explosion.
_START_STEPS = 1
_WINDOW = 1000
_BLAMED_STEPS = 5  # the monitor's median is behind by some steps
# Of 70 small trainings with an alarm, run again at this part of the rate where it came, 51 went
# well; 42 at a half, 65 at a tenth.
_SAFE_FRAC = 1 / 3
_FIRST_STEPS = 3


@dataclass(frozen=True)
class Explosion:
    """The step whose loss exploded, at `lr`, and the `max_lr` to try next: a third of it."""

    step: int
    loss: float
    lr: float
    max_lr: float
    old_max_lr: float
    batch_size: int | None = None

    @property
    def advice(self) -> str:
        """Says what happened, what to lower, and by how much."""
        finite = math.isfinite(self.loss)
        what = f"exploded to {self.loss:.3g}" if finite else f"became {self.loss}"
        told = [f"The loss {what} at step {self.step}, at a rate of {self.lr:.3g}."]
        if not finite and self.step < _FIRST_STEPS:
            told.append("In the first steps: look for NaN in the data first.")
        told.append(
            f"Lower max_lr from {self.old_max_lr:.3g} to {self.max_lr:.3g}, a third of the rate at "
            "which it happened, and base_lr with it; or clip the gradient's norm."
        )
        told.append(self._about_batches())
        return " ".join(told)

    def _about_batches(self) -> str:
        if self.batch_size is None or self.batch_size < 2:
            return "If the rate was scaled for a larger batch, scale it by the square root instead."
        half = self.batch_size // 2
        linear, root = (
            scale_lr(self.max_lr, self.batch_size, half, rule) for rule in ("linear", "sqrt")
        )
        return (
            f"A smaller batch does not help by itself: batches of {half} instead of "
            f"{self.batch_size} want {linear:.3g} (linear scaling) to {root:.3g} (square root)."
        )


class Guard:
    """Takes the loss of every step, and says when training has exploded.

    A loss that is not finite has exploded at once. A finite one has when the median of the last
    five lies above `start + max(start - best, 12 * noise)`: worse than at the start by as much as
    training had gained, and by far more than the noise. `start` is the first loss.

    >>> import cyclerate as cr
    >>> guard = Guard(cr.Triangular(0.1, 0.9, step_size=4))
    >>> guard.take(3, 1.0) is None, guard.take(4, float("nan")).advice[:44]
    (True, 'The loss became nan at step 4, at a rate of ')
    """

    def __init__(self, schedule: Schedule, batch_size: int | None = None) -> None:
        self._schedule = check_schedule("schedule", schedule)
        self._batch_size = None if batch_size is None else check_count("batch_size", batch_size)
        self._monitor = DivergenceMonitor(_FACTOR, _WINDOW, _START_STEPS)

    def take(self, step: int, loss: float) -> Explosion | None:
        """Takes the loss of a step; returns what happened if training has exploded."""
        if math.isfinite(loss) and not self._monitor.update(loss):
            return None
        # A loss is that of the updates before it.
        blamed = range(max(step - _BLAMED_STEPS, 0), max(step, 1))
        lr = max(self._schedule(blamed).tolist())
        old_max_lr = self._schedule.bounds[1]
        return Explosion(step, loss, lr, _SAFE_FRAC * lr, old_max_lr, self._batch_size)


class LastGood:
    """The state that training had at the end of its last good cycle, or at its start.

    The end of a cycle is good once some steps after it were: an explosion is seen a little late.
    `keep` copies the state of now, and returns the function that restores it.
    """

    def __init__(self, keep: Callable[[], Callable[[], object]]) -> None:
        self._keep = keep
        self.after: int | None = None  # the last step before the state; None for the start
        self._put_back = keep()
        self._waiting: list[tuple[int, Callable[[], object]]] = []

    def step_was_fine(self, step: int) -> None:
        """Takes note that the loss of a step was nothing to worry about."""
        while self._waiting and step >= self._waiting[0][0] + _BLAMED_STEPS:
            self.after, self._put_back = self._waiting.pop(0)

    def cycle_is_over(self, step: int) -> None:
        """Copies the state after a step that ended a cycle."""
        self._waiting.append((step, self._keep()))

    def put_back(self) -> None:
        """Restores it."""
        self._put_back()
