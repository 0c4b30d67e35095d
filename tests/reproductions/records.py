"""Outcomes of range tests, as an experiment keeps them, without a network."""

from __future__ import annotations

import numpy as np

from cyclerate.finder import RangeTestResult, StopReason
from reproductions._record import Outcome
from reproductions._training import tested


def found(base_lr: float | None, max_lr: float | None) -> Outcome:
    """The outcome of a range test with these bounds."""
    return tested(range_result(base_lr, max_lr))


def range_result(base_lr: float | None, max_lr: float | None) -> RangeTestResult:
    """A range test with these bounds."""
    lrs = np.geomspace(1e-5, 1.0, 60)
    losses = 2.3 - 2.0 / (1.0 + (1e-3 / lrs) ** 2) + 9.0 * lrs**2
    return RangeTestResult(
        lrs=lrs,
        losses=losses,
        smoothed=losses,
        base_lr=base_lr,
        max_lr=max_lr,
        interval=None if max_lr is None else (max_lr / 2, max_lr * 2),
        verdict="made up",
        stop_reason=StopReason.DIVERGED,
        method="range",
        steps=60,
        planned_steps=60,
    )
