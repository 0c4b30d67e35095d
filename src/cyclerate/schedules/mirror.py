"""The inverse of a cycle, for momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cyclerate._errors import bad_argument, check_number
from cyclerate.schedules._base import Schedule, check_schedule
from cyclerate.schedules._shapes import blend
from cyclerate.schedules.namespaces import Namespace


@dataclass(frozen=True)
class Mirrored(Schedule):
    """`high - (high - low) * height`, the inverse cycle of a schedule.

    Made by `Schedule.mirrored`. `height` in [0, 1] is how high `schedule` stands in its cycle.
    It includes a decaying amplitude: where triangular2 halves the rate's cycle, it halves the
    momentum's too.

    Args:
        schedule: The schedule to mirror; not a constant one.
        low: The value where `schedule` is highest.
        high: The value where `schedule` is lowest.

    Raises:
        ValueError: `low` is above `high`, or `schedule` is constant.

    Source: Smith 2018, arXiv 1803.09820, section 4.2.

    >>> import cyclerate as cr
    >>> cr.OneCycle(max_lr=1.0, total_steps=10).mirrored(0.85, 0.95)(2)
    0.85
    """

    rate_fields: ClassVar = ("low", "high")

    schedule: Schedule
    low: float
    high: float

    def __post_init__(self) -> None:
        lowest, highest = check_schedule("schedule", self.schedule).bounds
        if lowest == highest:
            raise bad_argument("schedule", "one whose value changes, to be mirrored", self.schedule)
        high = check_number("high", self.high, low=0)
        self._set(high=high, low=check_number("low", self.low, low=0, high=high))

    @property
    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def value_at(self, n: Any, xp: Namespace) -> Any:
        return blend(self.high, self.low, self.schedule.height_at(n, xp), xp)
