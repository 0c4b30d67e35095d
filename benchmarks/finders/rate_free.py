"""Optimizers that need no rate, each training the whole task in the place of the task's own.

Runs in the environment of requirements/peers.txt.
"""

# The libraries compared with have an environment of their own (requirements/peers.txt).
# pyright: reportMissingImports=false

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn, optim

from benchmarks.finders import cache
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee

SEEDS = (0,)

Made = tuple[Any, Any]


def _prodigy(model: nn.Module, steps: int) -> Made:
    from prodigyopt import Prodigy

    optimizer = Prodigy(model.parameters())
    return optimizer, optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _d_adapt_adam(model: nn.Module, steps: int) -> Made:
    from dadaptation import DAdaptAdam

    optimizer = DAdaptAdam(model.parameters())
    return optimizer, optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _schedule_free_adamw(model: nn.Module, _steps: int) -> Made:
    from schedulefree import AdamWScheduleFree

    return AdamWScheduleFree(model.parameters()), None


def _schedule_free_sgd(model: nn.Module, _steps: int) -> Made:
    from schedulefree import SGDScheduleFree

    return SGDScheduleFree(model.parameters()), None


MAKERS: dict[str, tuple[Callable[[nn.Module, int], Made], str]] = {
    "prodigy": (_prodigy, "prodigyopt"),
    "d-adapt adam": (_d_adapt_adam, "dadaptation"),
    "schedule-free adamw": (_schedule_free_adamw, "schedulefree"),
    "schedule-free sgd": (_schedule_free_sgd, "schedulefree"),
}
"""What makes each optimizer and its schedule, and the package that it comes from."""


def kind_of(name: str) -> str:
    """Returns the folder of an optimizer's results."""
    return "rate_free_" + plain(name)


def plain(name: str) -> str:
    """Returns a name as a part of a folder's name."""
    return name.replace(",", "").replace(" ", "_").replace("-", "_")


def record(task: Task, name: str) -> None:
    """Trains with every seed; stores the training and held-out losses at the end."""
    losses = [whole(task, name, seed, task.steps) for seed in SEEDS]
    cache.write(kind_of(name), task, {"seeds": SEEDS, "losses": losses}, (MAKERS[name][1],))


def whole(task: Task, name: str, seed: int, steps: int) -> list[float]:
    """Trains a task without a rate; returns the training and held-out loss."""
    trainee = trained(task, name, seed, steps)
    return [trainee.train_loss(), trainee.heldout_loss()]


def trained(task: Task, name: str, seed: int, steps: int) -> Trainee:
    """Trains a task without a rate."""
    trainee = Trainee(task, seed)
    optimizer, scheduler = MAKERS[name][0](trainee.model, steps)
    averages = hasattr(optimizer, "eval")  # of its own: another point to judge than to train at
    if averages:
        optimizer.train()
    trainee.optimizer = optimizer
    torch.manual_seed(seed)
    for _, rows in zip(range(steps), trainee.batches(), strict=False):
        if not math.isfinite(trainee.step_as_is(rows)):
            return trainee
        if scheduler:
            scheduler.step()
    if averages:
        optimizer.eval()
        trainee.settle()  # as the authors ask for where there is batch norm
    return trainee
