"""The optimizer's default rate, constant."""

from __future__ import annotations

from typing import Any

from benchmarks.finders.reaching import DEFAULT_LRS
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee


def train(task: Task, seed: int, steps: int) -> tuple[Trainee, dict[str, Any]]:
    trainee = Trainee(task, seed)
    lr = DEFAULT_LRS.get(task.optimizer, 1e-3)
    trainee.train([lr] * steps)
    return trainee, {"lr": lr}
