"""How long an optimizer step takes, measured on steps that change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclerate._errors import CyclerateError
from cyclerate.range_test.race import Race

TIMING_STEPS = 15
_SETTLING_STEPS = 5  # compiled, allocated and cached in: they say nothing of the others

Clock = Callable[[], float]


class TimedRace(Race):
    """A race at a rate that does nothing, to see how long a step takes."""

    def __init__(self, lr: float, clock: Clock) -> None:
        super().__init__([lr] * TIMING_STEPS, lr)
        self._clock = clock
        self._times: list[float] = []

    def tell(self, value: Any) -> bool:
        """Notes the time."""
        self._times.append(self._clock())
        return super().tell(value)

    @property
    def seconds_per_step(self) -> float:
        """The mean over all steps but the first ones.

        Raises:
            CyclerateError: The loss was not finite, so the race ended early.
        """
        if self.failed:
            raise CyclerateError("the loss is not finite, at a rate that changes nothing")
        since, until = self._times[_SETTLING_STEPS - 1], self._times[-1]
        return max((until - since) / (TIMING_STEPS - _SETTLING_STEPS), 1e-9)
