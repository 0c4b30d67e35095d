"""The policies whose best rate is looked for, each as a function of its highest rate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import cyclerate as cr
from cyclerate.schedules import Schedule


def _triangular(max_lr: float, steps: int) -> Schedule:
    """Two whole cycles between a quarter of the rate and the rate."""
    return cr.Triangular(base_lr=max_lr / 4, max_lr=max_lr, step_size=max(1, steps // 4))


def _constant(max_lr: float, _steps: int) -> Schedule:
    return cr.Constant(max_lr)


POLICIES: dict[str, Callable[[float, int], Schedule]] = {
    "one_cycle": cr.OneCycle,
    "constant": _constant,
    "triangular": _triangular,
}


def rates(policy: str, max_lr: float, steps: int) -> NDArray[np.float64]:
    """Returns the rate of every step of a training."""
    return np.asarray(POLICIES[policy](max_lr, steps)(np.arange(steps)))
