"""Tells from the losses alone when a training has left the range it started in for good."""

from __future__ import annotations

from collections import deque
from statistics import median

import numpy as np

_START_STEPS = 10
_MEDIAN_STEPS = 5  # a spike shorter than three of them goes unnoticed; no verdict before them
_NOISE_SDS = 6.0
_MAD_TO_SD = 1.4826  # for a normal distribution
_RESOLUTION = float(np.finfo(np.float32).eps)  # losses are computed in float32


class DivergenceMonitor:
    """Says when a loss to be minimised has left the range it started in for good.

    Diverged: the median of the last five values lies above

        start + factor * max((start - best) / 2, 6 * noise * (1 + 10 / n))

    where `start` is the median of the first values, `best` the lowest running median so far
    and `noise` the standard deviation of the `n` differences between neighbours, from their
    median. Everything is a difference of losses, so neither the sign nor the scale of the loss
    matters (`loss > 4 * best` stops at once on negative losses and on losses near zero), and
    medians let spikes of one or two steps pass.

    Args:
        factor: How far above the start is too far. Default 1.
        window: How many of the latest differences tell the noise. Default: all.
        start_steps: How many values give the starting level; no verdict before them. Default 10.
    """

    def __init__(
        self,
        factor: float = 1.0,
        window: int | None = None,
        start_steps: int = _START_STEPS,
    ) -> None:
        self._factor, self._start_steps = factor, start_steps
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=_MEDIAN_STEPS)
        self._jumps: deque[float] = deque(maxlen=window)
        self._best = float("inf")

    def update(self, value: float) -> bool:
        """Takes the next finite value; returns True once the loss has diverged."""
        if self._last:
            self._jumps.append(abs(value - self._last[-1]))
        self._last.append(value)
        starting = len(self._first) < self._start_steps
        if starting:
            self._first.append(value)
        if len(self._last) < _MEDIAN_STEPS:
            return False
        level = median(self._last)
        self._best = min(self._best, level)
        if starting:
            return False
        start = median(self._first)
        if level <= start:  # the noise, which takes longer, is not asked for
            return False
        return level > start + self._factor * max(
            (start - self._best) / 2, _NOISE_SDS * self._noise(start)
        )

    def _noise(self, start: float) -> float:
        count = len(self._jumps)
        noise = _MAD_TO_SD * sorted(self._jumps)[count // 2] / 2**0.5
        # A median of few differences may be far too low; with heavy tails that stopped one noisy
        # sweep in fifty before its tenth step.
        return max(noise * (1 + 10 / count), _RESOLUTION * abs(start))
