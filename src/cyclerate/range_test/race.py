"""A short training at given rates, to be driven step by step like a sweep."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Any

from cyclerate._errors import CyclerateError
from cyclerate.finder._sweep import one_number

_MEDIAN_STEPS = 5


class Race:
    """A run of few steps; it ends early where the loss stays too high or is not finite.

    Its first half may shake: there the rate still rises, or the first steps at it are rough.

    Args:
        lrs: The rate of each step; none at all for a look at the untouched model.
        max_lr: The highest rate of the policy that the race is a small copy of.
        ceiling: In the second half, the median of five losses to be minimised must not exceed it.
        summit: After the first quarter, no single one must exceed it.
        mode: "min" if lower values are better (a loss), "max" if higher ones are.

    >>> race = Race([0.1, 0.2])
    >>> race.lr, race.tell(1.5), race.lr, race.tell(1.2), race.done
    (0.1, True, 0.2, False, True)
    """

    def __init__(
        self,
        lrs: Sequence[float],
        max_lr: float | None = None,
        *,
        ceiling: float = math.inf,
        summit: float = math.inf,
        mode: str = "min",
    ) -> None:
        self.lrs = tuple(float(lr) for lr in lrs)
        self.max_lr = max_lr
        self.ceiling = ceiling
        self.summit = summit
        self.mode = mode
        self._last: deque[float] = deque(maxlen=_MEDIAN_STEPS)
        self._index = 0
        self._total = 0.0
        self._failed = False

    @property
    def index(self) -> int:
        """How many losses have been told: the number of the step to come, counted from 0."""
        return self._index

    @property
    def total(self) -> float:
        """The sum of all losses told: two races with the same took the same course."""
        return self._total

    @property
    def failed(self) -> bool:
        """Whether the loss stayed too high or was not finite."""
        return self._failed

    @property
    def done(self) -> bool:
        """Whether the race is over."""
        return self._failed or self._index == len(self.lrs)

    @property
    def lr(self) -> float:
        """The rate to use for the next optimizer step.

        Raises:
            CyclerateError: The race is over.
        """
        if self.done:
            raise CyclerateError("this race is over; there is no next rate")
        return self.lrs[self._index]

    def tell(self, value: Any) -> bool:
        """Takes the loss that a step at `lr` caused; returns whether to go on.

        Raises:
            ValueError: `value` is not a single number.
            CyclerateError: The race is over.
        """
        if self.done:
            raise CyclerateError("this race is over")
        number = one_number(value)
        loss = number if self.mode == "min" else -number
        self._index += 1
        self._total += number
        self._last.append(loss)
        too_high = median(self._last) > self.ceiling and 2 * self._index > len(self.lrs)
        shot_up = loss > self.summit and 4 * self._index > len(self.lrs)
        self._failed = too_high or shot_up or not math.isfinite(loss)
        return not self.done
