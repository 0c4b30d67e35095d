"""Schedules one after the other."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence as AbstractSequence
from dataclasses import dataclass
from typing import Any, Self

from cyclerate._errors import bad_argument, check_count
from cyclerate.schedules._base import Schedule, check_schedule
from cyclerate.schedules._namespaces import Namespace


class Pieces:
    """Schedules with the steps from which each is in force; each counts from its own start."""

    def __init__(
        self, starts: AbstractSequence[int], schedules: AbstractSequence[Schedule]
    ) -> None:
        self.starts = tuple(starts)
        self._formulas = tuple(schedule.value_at for schedule in schedules)

    def value(self, n: Any, xp: Namespace) -> Any:
        """The value at whole steps `n`."""
        return xp.join(self.starts, self._formulas, n)


class InPieces(Schedule):
    """A schedule that consists of others, each from its own start."""

    _pieces: Pieces

    def value_at(self, n: Any, xp: Namespace) -> Any:
        return self._pieces.value(n, xp)


@dataclass(frozen=True)
class Sequence(InPieces):
    """One schedule after the other, each counting from its own start.

    `schedules[i](step - boundaries[i - 1])` from `boundaries[i - 1]` to before `boundaries[i]`.

    Args:
        schedules: At least one schedule; each starts at its own step 0.
        boundaries: The step at which each schedule after the first begins: one fewer than
            schedules, increasing, from 1 on.

    Raises:
        ValueError: No schedules, something that is no schedule, a wrong number of boundaries,
            boundaries that are not whole, not positive or not increasing.

    >>> import cyclerate as cr
    >>> warm = cr.Sequence([cr.Linear(0.0, 1.0, steps=2), cr.Cosine(1.0, 0.0, steps=2)], [2])
    >>> warm(range(5)).round(6).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    schedules: AbstractSequence[Schedule]
    boundaries: AbstractSequence[int]

    def __post_init__(self) -> None:
        if not isinstance(self.schedules, Iterable) or not tuple(self.schedules):
            raise bad_argument("schedules", "a list of at least one schedule", self.schedules)
        schedules = tuple(check_schedule("schedules", schedule) for schedule in self.schedules)
        if not isinstance(self.boundaries, Iterable):
            raise bad_argument("boundaries", "a list of steps", self.boundaries)
        boundaries = tuple(check_count("boundaries", step) for step in self.boundaries)
        if len(boundaries) != len(schedules) - 1:
            allowed = f"{len(schedules) - 1} steps, one fewer than schedules"
            raise bad_argument("boundaries", allowed, self.boundaries)
        if any(b <= a for a, b in itertools.pairwise(boundaries)):
            raise bad_argument("boundaries", "increasing", self.boundaries)
        self._set(
            schedules=schedules, boundaries=boundaries, _pieces=Pieces((0, *boundaries), schedules)
        )

    @property
    def bounds(self) -> tuple[float, float]:
        lows, highs = zip(*(schedule.bounds for schedule in self.schedules), strict=True)
        return min(lows), max(highs)

    def map_rates(self, new: Callable[[float], float]) -> Self:
        parts = tuple(schedule.map_rates(new) for schedule in self.schedules)
        return dataclasses.replace(self, schedules=parts)
