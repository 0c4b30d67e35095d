"""1cycle at the best of the grid's rates; the search that it takes is not counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.finders import cache
from benchmarks.finders.policies import rates
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee


def train(task: Task, seed: int, steps: int) -> tuple[Trainee, dict[str, Any]]:
    stored = cache.read("grid_one_cycle", task)
    if stored is None:
        raise ValueError(f"{task.name}: no grid of 1cycle is stored")
    losses = np.array(stored["train_loss"], dtype=float).mean(axis=0)
    max_lr = stored["lrs"][int(np.nanargmin(losses))]
    trainee = Trainee(task, seed)
    trainee.train(rates("one_cycle", max_lr, steps))
    return trainee, {"max_lr": max_lr}
