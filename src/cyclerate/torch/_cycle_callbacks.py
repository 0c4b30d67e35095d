"""Early stopping that is decided at the ends of cycles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cyclerate._errors import bad_argument, check_count
from cyclerate.cycles._ends import CycleJudge, ends_between
from cyclerate.schedules import Schedule


class CycleEarlyStopping:
    """Says when the last cycles brought nothing better, and gives the best cycle's weights back.

    It is asked after every optimizer step, and measures only where a cycle ends, at the lowest
    rate: within a cycle a high rate makes a model worse before it makes it better. NaN is never the
    best.

    Args:
        model: The model.
        schedule: Of the rate.
        total_steps: Optimizer steps of the whole training, counted from step 0 of the schedule.
        patience: How many cycles in a row may bring nothing better. Default 1.
        mode: "min" (default) or "max", whichever is better.
        min_delta: By how much better a value must be to count. Default 0.
        start_step: The step to begin with, to go on where an earlier training stopped. Default 0.

    Attributes:
        stopped_cycle: The cycle after which it said to stop; None if it did not.

    Raises:
        ValueError: A wrong argument, or no cycle that ends in this training.

    Source: that a training is at its best at a cycle's end, Smith 2017, arXiv 1506.01186, section
    3.2.

    >>> import torch
    >>> import cyclerate as cr
    >>> model = torch.nn.Linear(1, 1)
    >>> lr = cr.Triangular(0.1, 0.4, step_size=10)
    >>> stopping = CycleEarlyStopping(model, lr, total_steps=100)
    >>> losses = iter([0.5, 0.3, 0.4])  # what the validation at the ends of cycles would give
    >>> for step in range(100):  # optimizer.step() before it
    ...     if stopping.step(lambda: next(losses)):
    ...         break
    >>> stopping.restore()
    >>> step, stopping.best, stopping.best_cycle, stopping.stopped_cycle
    (60, 0.3, 2, 3)
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        total_steps: int,
        *,
        patience: int = 1,
        mode: str = "min",
        min_delta: float = 0.0,
        start_step: int = 0,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise bad_argument("model", "a torch.nn.Module", model)
        total_steps = check_count("total_steps", total_steps)
        start_step = check_count("start_step", start_step, low=0)
        self._model = model
        self._judge = CycleJudge(mode, patience, min_delta)
        self._next = start_step
        self._ends = frozenset(ends_between(schedule, start_step, total_steps))
        if not self._ends:
            allowed = "one with a cycle that ends in this training"
            raise bad_argument("schedule", allowed, schedule)
        self._best: dict[str, Tensor] | None = None
        self.stopped_cycle: int | None = None

    @property
    def best(self) -> float | None:
        """The best value; None before there is one."""
        return self._judge.best

    @property
    def best_cycle(self) -> int | None:
        """Its cycle, counted from 1 in this training."""
        return self._judge.best_cycle

    def step(self, measure: Callable[[], float]) -> bool:
        """Counts an optimizer step; returns whether to stop.

        Args:
            measure: Gives the value to judge, as the loss on validation data; called only if a
                cycle has ended with this step.
        """
        step, self._next = self._next, self._next + 1
        if step not in self._ends:
            return False
        if self._judge.is_best(float(measure())):
            state = self._model.state_dict()
            self._best = {n: v.detach().clone() for n, v in state.items() if _is_tensor(v)}
        if self._judge.done:
            self.stopped_cycle = self._judge.cycles
        return self._judge.done

    def restore(self) -> None:
        """Gives the model the weights and buffers of the best cycle's end, if there is one."""
        if self._best is None:
            return
        with torch.no_grad():
            for name, value in self._model.state_dict().items():
                if name in self._best:
                    value.copy_(self._best[name])


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)
