"""What is scheduled in the parameter groups: the rate, the momentum, the weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cyclerate._errors import bad_argument
from cyclerate.schedules import Schedule
from cyclerate.torch.look_ahead import LookAhead, values_of
from cyclerate.torch.scaling import Scaling

Group = dict[str, Any]


class Setting(Protocol):
    """What the groups hold under one name, at every step."""

    key: str
    """The name: "lr", "momentum", "betas" (of which the first is set) or "weight_decay"."""

    def write(self, groups: Sequence[Group], step: int) -> list[Any]:
        """Writes the values of `step` into the groups, and returns what each holds then."""
        ...

    @property
    def highest(self) -> float | None:
        """The highest value of the schedules; None if there are none."""
        ...

    def with_rates(self, scaled: Scaling) -> Setting:
        """The same with other values: each bound of each schedule is changed by `scaled`."""
        ...

    def description(self) -> Any:
        """The schedules as JSON-safe values, to be compared with those of a saved state."""


class Unscheduled:
    """Nothing is written, whatever the groups hold and however many they are."""

    highest = None

    def __init__(self, key: str) -> None:
        self.key = key

    def write(self, groups: Sequence[Group], step: int) -> list[Any]:
        return [copied(group[self.key]) for group in groups]

    def with_rates(self, scaled: Scaling) -> Unscheduled:
        return self

    def description(self) -> None:
        return None


class Shared(LookAhead[float]):
    """One schedule for all groups, also for those that are added later."""

    def __init__(self, key: str, schedule: Schedule) -> None:
        super().__init__([schedule])
        self.key = key
        self._schedule = schedule

    def write(self, groups: Sequence[Group], step: int) -> list[Any]:
        i = step - self.start
        if not 0 <= i < len(self.ahead):
            i = self.look_ahead(step)
        value, key = self.ahead[i], self.key
        for group in groups:  # most of the time of a step goes by here
            group[key] = value if type(group[key]) is float else updated(group[key], value)
        return [value] * len(groups)

    @property
    def highest(self) -> float:
        return self._schedule.bounds[1]

    def with_rates(self, scaled: Scaling) -> Shared:
        return Shared(self.key, self._schedule.map_rates(scaled))

    def description(self) -> Any:
        return _described(self._schedule)

    def values_at(self, steps: NDArray[np.int64]) -> list[float]:
        return values_of(self._schedule, steps).tolist()


class Grouped(LookAhead[list[float]]):
    """For each group a schedule and its factor, or None: that group is left as it is.

    Args:
        key: The name in the groups.
        schedules: One, or None, for each group.
        scales: The factors; 1 each by default.
    """

    def __init__(
        self,
        key: str,
        schedules: Sequence[Schedule | None],
        scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__(schedules)
        self.key = key
        self._schedules = tuple(schedules)
        self._scales = tuple(scales or [1.0] * len(schedules))
        self._scheduled = [i for i, schedule in enumerate(schedules) if schedule is not None]

    def write(self, groups: Sequence[Group], step: int) -> list[Any]:
        if len(groups) != len(self._schedules):
            allowed = f"{len(self._schedules)}, as the scheduler was told about each of them"
            raise bad_argument("the number of parameter groups", allowed, len(groups))
        i = step - self.start
        if not 0 <= i < len(self.ahead):
            i = self.look_ahead(step)
        row, key = self.ahead[i], self.key
        for column, at in enumerate(self._scheduled):
            group, value = groups[at], row[column]
            group[key] = value if type(group[key]) is float else updated(group[key], value)
        return row if len(row) == len(groups) else [copied(group[key]) for group in groups]

    @property
    def highest(self) -> float:
        pairs = zip(self._schedules, self._scales, strict=True)
        return max(s.bounds[1] * scale for s, scale in pairs if s is not None)

    def with_rates(self, scaled: Scaling) -> Grouped:
        schedules = [None if s is None else s.map_rates(scaled) for s in self._schedules]
        return Grouped(self.key, schedules, self._scales)

    def description(self) -> Any:
        described = [None if s is None else _described(s) for s in self._schedules]
        return {"groups": described, "scales": list(self._scales)}

    def values_at(self, steps: NDArray[np.int64]) -> list[list[float]]:
        values = {s: values_of(s, steps) for s in set(self._schedules) if s is not None}
        pairs = zip(self._schedules, self._scales, strict=True)
        columns = [values[schedule] * scale for schedule, scale in pairs if schedule is not None]
        return np.stack(columns, axis=1).tolist()


def copied(value: Any) -> Any:
    """The value as it is now; a tensor may be filled with another one later."""
    return value.clone() if isinstance(value, Tensor) else value


def updated(old: Any, value: float) -> Any:
    """What takes the place of `old`. A tensor stays: a compiled optimizer holds on to it."""
    if isinstance(old, Tensor):
        return old.fill_(value)
    if isinstance(old, (tuple, list)):  # betas
        first, *others = old
        return (updated(first, value), *others)
    return value


def _described(schedule: Schedule) -> dict[str, Any]:
    try:
        return schedule.to_dict()
    except ValueError:  # a function without a name to find it by, as a lambda
        return {"type": type(schedule).__name__, "described": False}
