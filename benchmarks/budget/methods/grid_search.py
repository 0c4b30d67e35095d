"""The 23 rates of the grid, a share of the budget each, with 1cycle; the best model is kept."""

from __future__ import annotations

from typing import Any

from benchmarks.finders.grid import LRS
from benchmarks.finders.policies import rates
from benchmarks.finders.stack import Stack
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee


def train(task: Task, seed: int, steps: int) -> tuple[Trainee, dict[str, Any]]:
    trainee = Trainee(task, seed)
    each = max(1, steps // len(LRS))
    stack = Stack(trainee, len(LRS))
    stack.train([rates("one_cycle", lr, each) for lr in LRS])
    scores = [score if score == score else float("inf") for score in stack.scores()]  # noqa: PLR0124
    best = LRS[scores.index(min(scores))]
    trainee.train(rates("one_cycle", best, each))
    return trainee, {"max_lr": best, "steps_of_each": each}
