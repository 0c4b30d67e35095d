"""fastai's way: a sweep of 100 steps, its valley, and 1cycle with its defaults.

Both are ours (`result.suggest("valley")`, and `OneCycle` with fastai's numbers), without its cycle
of the momentum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import cyclerate as cr
from benchmarks.budget.methods.sweep_then_cycle import sweep
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee

_UP_FRAC, _START_DIV, _END_DIV = 0.25, 25.0, 1e5


def train(task: Task, seed: int, steps: int) -> tuple[Trainee, dict[str, Any]]:
    trainee = Trainee(task, seed)
    found = sweep(trainee, min(100, max(10, steps // 2)))
    max_lr = found.suggest("valley")
    left = max(1, steps - found.steps)
    told = {"max_lr": max_lr, "tuning_steps": found.steps}
    trainee.restore()
    if max_lr is None:
        return trainee, {**told, "why": "no answer"}
    cycle = cr.OneCycle(max_lr, left, up_frac=_UP_FRAC, start_div=_START_DIV, end_div=_END_DIV)
    trainee.train(np.asarray(cycle(np.arange(left))))
    return trainee, told
