"""Three rates by hand, a third of the budget each, with 1cycle; the best model is kept."""

from __future__ import annotations

from typing import Any

from benchmarks.finders.policies import rates
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee

_OF_SGD, _ADAPTIVE = (0.1, 0.01, 0.001), (1e-2, 1e-3, 1e-4)


def train(task: Task, seed: int, steps: int) -> tuple[Trainee, dict[str, Any]]:
    trainee = Trainee(task, seed)
    tried = _OF_SGD if task.optimizer in ("sgd", "momentum", "nesterov") else _ADAPTIVE
    scores = []
    best = trainee.snapshot()
    for max_lr in tried:
        fine = trainee.train(rates("one_cycle", max_lr, max(1, steps // 3)))
        scores.append(trainee.score() if fine else float("inf"))
        if scores[-1] == min(scores):
            best = trainee.snapshot()
    trainee.put_back(best)
    return trainee, {"max_lr": tried[scores.index(min(scores))]}
