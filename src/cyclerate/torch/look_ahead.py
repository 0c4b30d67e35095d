"""Values of the steps to come, computed together and then only looked up.

A training step needs one value, and needs it fast. A schedule gives the same bits for an array of
steps as for each step alone, in a hundredth of the time per step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclerate.schedules import Schedule
from cyclerate.torch.uncompiled import left_out_with_all_it_calls

T = TypeVar("T")

_AHEAD_VALUES = 4096  # kept at a time; computing them takes a fraction of a millisecond
_OWN = Schedule.__module__.rpartition(".")[0] + "."


class LookAhead(ABC, Generic[T]):
    """A function of the step that is computed for many steps at once.

    The value at a step is `self.ahead[i]`, where `i = step - self.start` if that is in range, and
    what `self.look_ahead(step)` returns if not. To be read by subclasses without a call between.

    Args:
        schedules: What it is made of.
    """

    def __init__(self, schedules: Sequence[Schedule | None]) -> None:
        self.start = 0
        self.ahead: list[T] = []
        ahead = all(map(_knows_all_steps, schedules))
        self._ahead_steps = max(_AHEAD_VALUES // len(schedules), 1) if ahead else 1

    def look_ahead(self, step: int) -> int:
        """Computes the values from `step` on, and returns the index of the first of them."""
        values_at = left_out_with_all_it_calls(type(self).values_at)
        self.ahead = values_at(self, np.arange(step, step + self._ahead_steps))
        self.start = step
        return 0

    @abstractmethod
    def values_at(self, steps: NDArray[np.int64]) -> list[T]:
        """Returns the values at an array of steps."""


def values_of(schedule: Schedule, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values at an array of steps; a single one is asked for as such."""
    return schedule(steps) if len(steps) > 1 else np.array([schedule(int(steps[0]))])


def _knows_all_steps(schedule: Schedule | None) -> bool:
    """Whether it can be asked for steps that may never come.

    A user's `scale_fn`, or own kind of schedule, may know no step after the training's last, and no
    arrays of steps.
    """
    if schedule is None:
        return True
    if not type(schedule).__module__.startswith(_OWN):
        return False
    values: list[Any] = list(vars(schedule).values())
    inner = [part for value in values for part in (value if isinstance(value, tuple) else [value])]
    return getattr(schedule, "scale_fn", None) is None and all(
        _knows_all_steps(part) for part in inner if isinstance(part, Schedule)
    )
