"""The grid search that suggestions are judged against."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.finders import cache
from benchmarks.finders.policies import rates
from benchmarks.finders.stack import Stack
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee

SEEDS = {"one_cycle": (0, 1), "constant": (0,), "triangular": (0,)}
LRS = tuple(float(lr) for lr in 10 ** np.linspace(-4.5, 1, 23))


def kind_of(policy: str, *, clip: bool = False) -> str:
    """Returns the folder of a policy's grids."""
    return f"grid_{policy}{'_clipped' * clip}"


def search(task: Task, policy: str, *, clip: bool = False) -> None:
    """Trains at every rate with every seed and stores the losses at the end."""
    began = time.perf_counter()
    start, train, heldout = [], [], []
    for seed in SEEDS[policy]:
        trainee = Trainee(task, seed)
        start.append(untrained(trainee))
        stack = Stack(trainee, len(LRS))
        stack.train([rates(policy, lr, task.steps) for lr in LRS], clip=clip)
        ends = stack.losses()
        train.append([end[0] for end in ends])
        heldout.append([end[1] for end in ends])
    result = {
        "policy": policy,
        "clip": clip,
        "seeds": SEEDS[policy],
        "lrs": LRS,
        "start_train_loss": [pair[0] for pair in start],
        "start_heldout_loss": [pair[1] for pair in start],
        "train_loss": train,
        "heldout_loss": heldout,
        "seconds": time.perf_counter() - began,
    }
    cache.write(kind_of(policy, clip=clip), task, result)


def measure_untrained(task: Task, policy: str) -> None:
    """Measures the losses before any step again, and puts them in the place of the stored ones."""
    pairs = [untrained(Trainee(task, seed)) for seed in SEEDS[policy]]
    changes = {
        "start_train_loss": [train for train, _heldout in pairs],
        "start_heldout_loss": [heldout for _train, heldout in pairs],
    }
    cache.amend(f"grid_{policy}", task, "untrained", changes)


def untrained(trainee: Trainee) -> list[float]:
    """Returns the training and held-out loss before any step."""
    trainee.settle()
    return [trainee.train_loss(), trainee.heldout_loss()]
