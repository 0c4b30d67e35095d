"""Where the loss stands: its level, its noise, and what the level was at the start and at its best.

Differences alone, so that a constant added to the loss changes nothing; medians, so that a single
wild batch does not, either.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

_LEVEL_STEPS = 5
_BEGINNING_STEPS = 25
_ENDING_STEPS = 50
_LEAST_APART = 10
_NOISE_STEPS = 200
_LEAST_JUMPS = 5
_SPREAD_QUANTILE = 0.9
# From a quantile of the distances between neighbours to a standard deviation, if it were normal.
_MEDIAN_TO_SD, _SPREAD_TO_SD = 1.4826 / 2**0.5, 1 / 1.6449 / 2**0.5
_RESOLUTION = float(np.finfo(np.float32).eps)  # losses are computed in float32


class Latest:
    """The last `most` numbers, and any of their quantiles at little cost.

    >>> latest = Latest(3, [5.0, 1.0, 2.0, 4.0])
    >>> list(latest), latest.quantile(0.5), latest.quantile(1.0)
    ([1.0, 2.0, 4.0], 2.0, 4.0)
    """

    def __init__(self, most: int, numbers: Iterable[float] = ()) -> None:
        self._most = most
        self._queue: deque[float] = deque()
        self._sorted: list[float] = []
        for number in numbers:
            self.append(number)

    def append(self, number: float) -> None:
        """Takes the next number; the oldest goes if there are too many."""
        if len(self._queue) == self._most:
            del self._sorted[bisect_left(self._sorted, self._queue.popleft())]
        self._queue.append(number)
        insort(self._sorted, number)

    def quantile(self, share: float) -> float:
        """Returns the number that this share of the others is at most as high as."""
        return self._sorted[round(share * (len(self._sorted) - 1))]

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[float]:
        return iter(self._queue)


class LossLevel:
    """The level of a loss that is told step by step.

    Args:
        start_steps: How many of the first losses give the level at the start. One, where the second
            may come after an explosion already.

    >>> level = LossLevel()
    >>> for loss in [3.0, 2.9, 3.1, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 1.0, 1.1, 0.9, 1.0, 9.0]:
    ...     level.take(loss)
    >>> level.start, level.now, level.best
    (3.0, 1.0, 1.0)
    """

    def __init__(self, start_steps: int = 10) -> None:
        self._start_steps = start_steps
        self._first: list[float] = []
        self._start: float | None = None  # once it stays
        self._lowest_mean = float("inf")
        self.forget(None)

    def take(self, loss: float) -> None:
        """Takes the next finite loss."""
        if self._last:
            if len(self._newest) == _LEVEL_STEPS:
                self._jumps.append(self._newest[0])
            self._newest.append(abs(loss - self._last[-1]))
        self._last.append(loss)
        self._ending.append(loss)
        if len(self._first) < _BEGINNING_STEPS:
            self._first.append(loss)
        elif len(self._ending) >= _BEGINNING_STEPS:
            self._lowest_mean = min(self._lowest_mean, fmean(self._ending))
        if len(self._last) == _LEVEL_STEPS:
            self._lowest = min(self._lowest, self.now)

    def forget(self, level: float | None) -> None:
        """Begins again from a state of this level; None for the start, as far as it is known."""
        self._last: deque[float] = deque(maxlen=_LEVEL_STEPS)
        # What is to be judged by the noise takes no part in it yet: the latest wait.
        self._newest: deque[float] = deque(maxlen=_LEVEL_STEPS)
        self._jumps = Latest(_NOISE_STEPS)
        self._ending: deque[float] = deque(maxlen=_ENDING_STEPS)
        self._lowest = float("inf") if level is None else level

    @property
    def known(self) -> bool:
        """Whether there are losses enough for a level and its noise."""
        return len(self._last) == _LEVEL_STEPS and len(self._jumps) >= _LEAST_JUMPS

    @property
    def now(self) -> float:
        """The median of the last five losses."""
        last = self._last
        return sorted(last)[2] if len(last) == _LEVEL_STEPS else median(last)

    @property
    def highest(self) -> float:
        """The highest of them."""
        return max(self._last)

    @property
    def start(self) -> float:
        """The median of the first losses of the training."""
        if self._start is not None:
            return self._start
        level = median(self._first[: self._start_steps])
        if len(self._first) >= self._start_steps:
            self._start = level
        return level

    @property
    def best(self) -> float:
        """The lowest level so far, and no higher than the start."""
        return min(self._lowest, self.start)

    @property
    def fall(self) -> float:
        """How far the best level lies below the start."""
        return self.start - self.best

    @property
    def ends_above_start(self) -> bool:
        """Whether the last losses lie above the first ones; more of both than `now` has.

        By their medians, or by their means: a few rows that explode are seen in these alone.
        """
        return _lie_above(self._ending, self._first)

    def ends_above_start_after(self, steps: int) -> bool:
        """Returns the same of a training of so many steps: of a short one, no loss is of both."""
        apart = steps // 2
        if apart < _LEAST_APART:
            return self.ends_above_start
        return _lie_above(list(self._ending)[-apart:], self._first[:apart])

    @property
    def keeps_its_fall(self) -> bool:
        """Whether the mean of the last losses has kept half of its fall: that of outliers, too."""
        if self.ends_above_start:
            return False
        return fmean(self._ending) <= (self._lowest_mean + fmean(self._first)) / 2

    @property
    def noise(self) -> float:
        """The standard deviation of a loss, from the differences between neighbours."""
        return max(_MEDIAN_TO_SD * self._jumps.quantile(0.5), self._resolution)

    @property
    def spread(self) -> float:
        """The same from the larger differences: more, where some batches are much worse."""
        far = _SPREAD_TO_SD * self._jumps.quantile(_SPREAD_QUANTILE)
        return max(far, self.noise)

    @property
    def _resolution(self) -> float:
        return _RESOLUTION * abs(self.start)

    def state(self) -> dict[str, Any]:
        """Returns what it knows as plain JSON."""
        return {
            "first": list(self._first),
            "last": list(self._last),
            "newest": list(self._newest),
            "jumps": list(self._jumps),
            "ending": list(self._ending),
            "lowest": self._lowest if self._lowest < float("inf") else None,
            "lowest_mean": self._lowest_mean if self._lowest_mean < float("inf") else None,
            "start_steps": self._start_steps,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> LossLevel:
        """Returns a level that goes on where the state was taken."""
        level = cls(state["start_steps"])
        level._first = list(state["first"])
        level._last.extend(state["last"])
        level._newest.extend(state["newest"])
        level._jumps = Latest(_NOISE_STEPS, state["jumps"])
        level._ending.extend(state["ending"])
        level._lowest = float("inf") if state["lowest"] is None else state["lowest"]
        mean = state["lowest_mean"]
        level._lowest_mean = float("inf") if mean is None else mean
        return level


def _lie_above(last: Sequence[float], first: Sequence[float]) -> bool:
    return bool(last) and (median(last) > median(first) or fmean(last) > fmean(first))
