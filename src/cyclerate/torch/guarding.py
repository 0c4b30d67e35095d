"""Ends a training that explodes, and gives everything back as it was after a good cycle."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from cyclerate._errors import check_count
from cyclerate.cycles._ends import ends_between
from cyclerate.cycles._guard import Explosion, Guard, LastGood
from cyclerate.schedules import Schedule
from cyclerate.torch._state import Snapshot


class DivergenceGuard:
    """Says on which step training has exploded, and goes back to the last good end of a cycle.

    It is told the loss after every optimizer step. NaN and infinity count at once; a finite loss
    has exploded when the median of the last five is worse than the start by as much as training had
    gained, and by far more than the noise: a loss may have any sign. The model, the optimizer and
    whatever else it was given are then as they were at the end of the last good cycle, or at the
    start, and a warning says what to lower and by how much.

    It costs one copy of weights and optimizer state (two for five steps), and on an accelerator the
    host waits for each loss.

    Args:
        states: What to give back: the model, the optimizer, and a gradient scaler if there is one.
        schedule: Of the rate.
        total_steps: Optimizer steps of the whole training, counted from step 0 of the schedule.
        batch_size: Rows of a batch, for the advice. Default: not known.
        start_step: The step to begin with, to go on where an earlier training stopped. Default 0.

    Attributes:
        explosion: What happened: `step`, `loss`, `lr`, the `max_lr` to try, `advice`; None while
            nothing did.
        restored_step: The step after which everything was as it is now; None for the start.

    Raises:
        ValueError: A wrong argument.

    >>> import torch, warnings
    >>> import cyclerate as cr
    >>> model = torch.nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> lr = cr.Triangular(0.1, 0.9, step_size=10)
    >>> guard = DivergenceGuard([model, optimizer], lr, total_steps=100)
    >>> with warnings.catch_warnings(action="ignore"):
    ...     for step, loss in enumerate([1.0, 0.9, float("nan"), 0.8]):  # after optimizer.step()
    ...         if guard.step(loss):
    ...             break
    >>> step, round(guard.explosion.lr, 9), round(guard.explosion.max_lr, 9)
    (2, 0.18, 0.06)
    """

    def __init__(
        self,
        states: Iterable[Any],
        schedule: Schedule,
        total_steps: int,
        *,
        batch_size: int | None = None,
        start_step: int = 0,
    ) -> None:
        self._guard = Guard(schedule, batch_size)
        total_steps = check_count("total_steps", total_steps)
        self._next = check_count("start_step", start_step, low=0)
        self._ends = frozenset(ends_between(schedule, self._next, total_steps))
        self._states = list(states)
        self._last_good = LastGood(self._keep)
        self.explosion: Explosion | None = None
        self.restored_step: int | None = None

    def step(self, loss: float | Tensor) -> bool:
        """Takes the loss of the step that was just made; returns whether training has exploded."""
        step, self._next = self._next, self._next + 1
        value = float(loss.detach() if isinstance(loss, Tensor) else loss)
        self.explosion = self._guard.take(step, value)
        if self.explosion is None:
            self._last_good.step_was_fine(step)
            if step in self._ends:
                self._last_good.cycle_is_over(step)
            return False
        self._last_good.put_back()
        self.restored_step = self._last_good.after
        kept = "training began with"
        if self.restored_step is not None:
            kept = f"there were after step {self.restored_step}, the end of a cycle"
        advice = self.explosion.advice
        warnings.warn(f"{advice} Back are the weights that {kept}.", stacklevel=2)
        return True

    def _keep(self) -> Callable[[], None]:
        return Snapshot(self._states, "memory", ExitStack()).put_back
