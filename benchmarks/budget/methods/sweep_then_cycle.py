"""A sweep, then 1cycle at its answer; without one, at the prior."""

from __future__ import annotations

from typing import Any

from benchmarks.budget.methods.warmup import prior_of
from benchmarks.finders.policies import rates
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee
from cyclerate.finder import RangeTest, RangeTestResult, Sweep


def train(task: Task, seed: int, steps: int) -> tuple[Trainee, dict[str, Any]]:
    trainee = Trainee(task, seed)
    found = sweep(trainee, min(100, max(10, steps // 2)))
    max_lr = found.max_lr or prior_of(trainee, steps).lr
    trainee.train(rates("one_cycle", max_lr, max(1, steps - found.steps)))
    return trainee, {"max_lr": found.max_lr, "used": max_lr, "tuning_steps": found.steps}


def sweep(trainee: Trainee, steps: int) -> RangeTestResult:
    """Sweeps from 1e-7 to 10 and reads the curve."""
    trainee.restore()
    test = RangeTest(Sweep(steps=steps))
    for rows in trainee.batches():
        if not test.tell(trainee.step(test.lr, rows)):
            break
    return test.result()
