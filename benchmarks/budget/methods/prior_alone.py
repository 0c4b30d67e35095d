"""The prior's rate, and no step to find another: linear to zero, clipped and repaired."""

from __future__ import annotations

from typing import Any

from benchmarks.budget.methods.warmup import drive, without_way_up
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee


def train(task: Task, seed: int, steps: int) -> tuple[Trainee, dict[str, Any]]:
    trainee = Trainee(task, seed)
    return trainee, drive(trainee, without_way_up(trainee, steps))
