"""Curves as sweeps of real networks give them, and the driving of a range test along them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate.finder import RangeTest, RangeTestResult, Sweep

Curve = NDArray[np.float64]

SWEEP = Sweep()
LOG_LRS = np.log10(SWEEP.lrs())


def fall_and_blow_up(
    *, centre: float = -2.5, edge: float = -0.5, drop: float = 2.0, start: float = 2.3
) -> Curve:
    """A loss that falls around 10**centre and explodes beyond 10**edge, on the default sweep."""
    fall = drop / (1 + np.exp(-4.0 * (LOG_LRS - centre)))
    explosion = np.expm1(np.maximum(0.0, 6.0 * (LOG_LRS - edge)))
    return start - fall + explosion


def noise(seed: int, sd: float, steps: int = SWEEP.steps) -> Curve:
    return np.random.default_rng(seed).normal(scale=sd, size=steps)


def sweep_over(values: Iterable[float], sweep: Sweep = SWEEP, **options: Any) -> RangeTestResult:
    """The result of a sweep that meets these values, until it stops or they end."""
    return drive(values, sweep, **options).result()


def drive(values: Iterable[float], sweep: Sweep = SWEEP, **options: Any) -> RangeTest:
    test = RangeTest(sweep, **options)
    for value in values:
        if not test.tell(value):
            break
    return test
