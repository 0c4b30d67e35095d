"""Sees from the losses, step by step, that training has exploded; with advice in numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cyclerate._errors import check_count
from cyclerate.cycles._rules import scale_lr
from cyclerate.finder._curve import DivergenceMonitor
from cyclerate.schedules import Schedule
from cyclerate.schedules._base import check_schedule

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
