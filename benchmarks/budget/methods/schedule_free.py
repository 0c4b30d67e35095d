"""Schedule-Free AdamW with its default rate, in the place of the optimizer."""

from __future__ import annotations

from typing import Any

from benchmarks.finders import rate_free
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee


def train(task: Task, seed: int, steps: int) -> tuple[Trainee, dict[str, Any]]:
    return rate_free.trained(task, "schedule-free adamw", seed, steps), {}
