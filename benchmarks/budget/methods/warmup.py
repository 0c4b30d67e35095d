"""The cycle that finds its own top."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee
from cyclerate.finder._prior import Prior, prior_lr
from cyclerate.finder._warmup import FindingCycle, Rules


def train(task: Task, seed: int, steps: int) -> tuple[Trainee, dict[str, Any]]:
    trainee = Trainee(task, seed)
    return trainee, drive(trainee, FindingCycle(steps, prior_of(trainee, steps)))


def prior_of(trainee: Trainee, steps: int) -> Prior:
    """Returns what is expected of a task before any step."""
    task = trainee.task
    return prior_lr(
        task.optimizer,
        batch_size=task.batch_size,
        total_steps=steps,
        fine_tuned=task.before is not None,
        parameters=sum(p.numel() for params, _share in trainee.groups for p in params),
    )


def without_way_up(trainee: Trainee, steps: int) -> FindingCycle:
    """Returns a cycle that goes by the prior alone."""
    return FindingCycle(steps, prior_of(trainee, steps), Rules(sweep_most_frac=0.0))


def drive(trainee: Trainee, cycle: FindingCycle) -> dict[str, Any]:
    """Does what a cycle asks for, from the start of the task to its end; returns its history."""
    trainee.restore()
    trainee.model.train()
    follow(trainee, cycle, trainee.batches())
    history = cycle.history()
    sweep = history.pop("sweep")
    return {**history, "sweep_steps": len(sweep["lrs"]) if sweep else 0}


def follow(trainee: Trainee, cycle: FindingCycle, batches: Iterator[Tensor]) -> None:
    """Does what a cycle asks for, from where the training stands."""
    mark = trainee.snapshot()
    while True:
        if cycle.go_back:
            trainee.put_back(mark)
        if cycle.keep:
            mark = trainee.snapshot()
        if cycle.done:
            break
        cycle.tell(*trainee.clipped_step(cycle.lr, next(batches), cycle.clip_norm))
