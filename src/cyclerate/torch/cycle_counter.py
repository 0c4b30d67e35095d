"""Counts the steps of a training loop, and says which of them ends a cycle."""

from __future__ import annotations

from typing import NamedTuple

from cyclerate._errors import check_count
from cyclerate.cycles import cycle_ends
from cyclerate.schedules import Schedule


class CycleEnd(NamedTuple):
    """The step that ended a cycle, the number of that cycle from 1, and the step's rate."""

    step: int
    cycle: int
    lr: float


class CycleCounter:
    """The place of a training in the cycles of its rate.

    Args:
        schedule: Of the rate.
        total_steps: Optimizer steps of the training.
        start_step: The step that comes next.
        start_cycle: Cycles before this one are passed over.

    Raises:
        ValueError: One of them is not what it must be.
    """

    def __init__(
        self, schedule: Schedule, total_steps: int, start_step: int, start_cycle: int
    ) -> None:
        self._schedule = schedule
        self._next = check_count("start_step", start_step, low=0)
        first = check_count("start_cycle", start_cycle)
        ends = enumerate(cycle_ends(schedule, total_steps), start=1)
        self._cycles = {step: cycle for cycle, step in ends if cycle >= first}

    def step(self) -> CycleEnd | None:
        """Goes on by the step just made; tells of the cycle that it ended, if any."""
        step = self._next
        self._next += 1
        cycle = self._cycles.get(step)
        return None if cycle is None else CycleEnd(step, cycle, self._schedule(step))
