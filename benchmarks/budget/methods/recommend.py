"""`recommend`, told the budget; without an answer the model stays untrained."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.finders import reaching
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee
from cyclerate.finder._recommend import LEAST_BUDGET_STEPS


def train(task: Task, seed: int, steps: int) -> tuple[Trainee, dict[str, Any]]:
    trainee = Trainee(task, seed)
    if steps < LEAST_BUDGET_STEPS:
        return trainee, {"why": "too few steps"}
    found = reaching.recommend(trainee, steps)
    told = {"policy": found.policy, "max_lr": found.max_lr, "tuning_steps": found.steps}
    trainee.restore()
    if found.schedule is None:
        return trainee, {**told, "why": "no answer"}
    trainee.train(np.asarray(found.schedule(np.arange(found.training_steps))))
    return trainee, told
