"""The range tests of the suggestions: raw losses of one common sweep, on seeds of their own."""

from __future__ import annotations

import numpy as np

from benchmarks.finders import cache
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee
from cyclerate.finder import RangeTest, RangeTestResult, Sweep

SEEDS = (100, 101, 102)
SWEEP = Sweep(1e-7, 10.0, steps=100)


def record(task: Task) -> None:
    """Sweeps to the end, diverging or not: every rule stops where its authors have it stop."""
    losses = [_sweep(Trainee(task, seed)) for seed in SEEDS]
    cache.write("sweeps", task, {"seeds": SEEDS, "lrs": SWEEP.lrs().tolist(), "losses": losses})


def _sweep(trainee: Trainee) -> list[float]:
    losses: list[float] = []
    for lr, rows in zip(SWEEP.lrs(), trainee.batches(), strict=False):
        losses.append(trainee.step(float(lr), rows))
        if not np.isfinite(losses[-1]):
            break
    return losses


def replay(losses: list[float | None], *, stop_early: bool = True) -> RangeTestResult:
    """Tells a stored sweep to a range test."""
    test = RangeTest(SWEEP, stop_early=stop_early)
    for loss in losses:
        if not test.tell(float("nan") if loss is None else loss):
            break
    return test.result()
