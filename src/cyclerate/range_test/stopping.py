"""When to stop a sweep, and what each way of ending says to the user."""

from __future__ import annotations

import enum
from bisect import insort
from collections import deque
from statistics import median

import numpy as np

_START_STEPS = 10  # values that give the starting level; no verdict before them
_MEDIAN_STEPS = 5  # a spike shorter than three of them goes unnoticed
_DESCENT_FACTOR = 0.5
_NOISE_SDS = 6.0
_MAD_TO_SD = 1.4826  # for a normal distribution
_RESOLUTION = float(np.finfo(np.float32).eps)  # losses are computed in float32


class StopReason(enum.Enum):
    """Why a sweep ended; the value is advice. Ordered from the mildest to the most severe.

    >>> StopReason.CUT_SHORT.value.partition(".")[0]
    'The sweep was ended from outside before its last rate'
    """

    END_OF_RANGE = (
        "The sweep reached its last rate without diverging. If it was still improving there, "
        "raise end_lr and run it again."
    )
    CUT_SHORT = (
        "The sweep was ended from outside before its last rate. Give it enough data for all of "
        "its steps, or ask for fewer steps."
    )
    DIVERGED = (
        "Training diverged: the curve left the range it had started in, so higher rates were not "
        "tried. Nothing to do: this is how a sweep should end."
    )
    NON_FINITE = (
        "A value was NaN or infinite; it and all higher rates were left out. If it happened in the "
        "first steps, lower start_lr and look for NaN in the data."
    )


class DivergenceMonitor:
    """Says when a loss to be minimised has left the range it started in for good.

    Diverged: the median of the last five values lies above

        start + max((start - best) / 2, 6 * noise * (1 + 10 / n))

    where `start` is the median of the first ten values, `best` the lowest running median so far
    and `noise` the standard deviation of the `n` differences between neighbours, from their
    median. Everything is a difference of losses, so neither the sign nor the scale of the loss
    matters (`loss > 4 * best` stops at once on negative losses and on losses near zero), and
    medians let spikes of one or two steps pass.
    """

    def __init__(self) -> None:
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=_MEDIAN_STEPS)
        self._jumps: list[float] = []  # sorted
        self._best = float("inf")

    def update(self, value: float) -> bool:
        """Takes the next finite value; returns True once the loss has diverged."""
        if self._last:
            insort(self._jumps, abs(value - self._last[-1]))
        self._last.append(value)
        if len(self._last) < _MEDIAN_STEPS:
            self._first.append(value)
            return False
        level = median(self._last)
        self._best = min(self._best, level)
        if len(self._first) < _START_STEPS:
            self._first.append(value)
            return False
        start = median(self._first)
        return level > start + max(
            _DESCENT_FACTOR * (start - self._best), _NOISE_SDS * self._noise(start)
        )

    def _noise(self, start: float) -> float:
        count = len(self._jumps)
        noise = _MAD_TO_SD * self._jumps[count // 2] / 2**0.5
        # A median of few differences may be far too low; with heavy tails that stopped one noisy
        # sweep in fifty before its tenth step.
        return max(noise * (1 + 10 / count), _RESOLUTION * abs(start))
