"""Does the guard see explosions, does it leave good trainings alone, is its advice safe?

Small networks on two small tables, each trained by triangular cycles at rising rates until one of
its trainings has an alarm; that one is made again at parts of the rate at which the alarm came.

    .venv/bin/python -m benchmarks.explosions
"""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import nn

import cyclerate as cr
from cyclerate.finder._curve import DivergenceMonitor

STEPS, BLAMED_STEPS, WINDOW = 240, 5, 1000
# Of the monitor: the factor, and how many losses give the starting level.
RULES = ((1.0, 1), (2.0, 1), (4.0, 1), (2.0, 3), (2.0, 10))
GUARDS = (2.0, 1)
PARTS = {"all of it": 1.0, "a half": 1 / 2, "a third": 1 / 3, "a fifth": 1 / 5, "a tenth": 1 / 10}
RISING = 4.0 ** np.arange(-1, 6)
NETWORKS = ((1, nn.ReLU, False), (4, nn.ReLU, False), (3, nn.Tanh, False), (3, nn.ReLU, True))
OPTIMIZERS: dict[str, tuple[float, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": (0.05, lambda p: torch.optim.SGD(p, 1.0)),
    "momentum": (0.05, lambda p: torch.optim.SGD(p, 1.0, momentum=0.9)),
    "adam": (0.003, torch.optim.Adam),
}


class Task(NamedTuple):
    """What is trained."""

    table: str
    depth: int
    activation: type[nn.Module]
    batch_norm: bool
    optimizer: str
    batch_size: int


class Outcome(NamedTuple):
    """How it went."""

    alarms: dict[tuple[float, int], int | None]  # by rule, the step
    good: bool  # all steps were made, and the loss ended below that of the first batch
    schedule: cr.Schedule


def tables() -> dict[str, tuple[torch.Tensor, torch.Tensor, int, Callable[..., torch.Tensor]]]:
    x, y = load_digits(return_X_y=True)
    digits = torch.tensor(x / 16.0, dtype=torch.float32), torch.tensor(y)
    x, y = load_diabetes(return_X_y=True)
    progress = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)[:, None]
    diabetes = torch.tensor(20 * x, dtype=torch.float32), progress
    return {
        "digits": (*digits, 10, nn.functional.cross_entropy),
        "diabetes": (*diabetes, 1, nn.functional.mse_loss),
    }


TABLES = tables()


def network(inputs: int, outputs: int, task: Task, width: int = 64) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(task.depth):
        layers.append(nn.Linear(inputs, width))
        layers += [nn.BatchNorm1d(width)] if task.batch_norm else []
        layers.append(task.activation())
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def train(task: Task, max_lr: float, seed: int) -> Outcome:
    torch.manual_seed(seed)
    x, y, outputs, loss_fn = TABLES[task.table]
    model = network(x.shape[1], outputs, task)
    optimizer = OPTIMIZERS[task.optimizer][1](model.parameters())
    schedule = cr.Triangular(max_lr / 4, max_lr, STEPS // 6)
    monitors = {rule: DivergenceMonitor(rule[0], WINDOW, rule[1]) for rule in RULES}
    alarms: dict[tuple[float, int], int | None] = dict.fromkeys(RULES)
    losses: list[float] = []
    for step in range(STEPS):
        rows = torch.randint(len(x), (task.batch_size,))
        for group in optimizer.param_groups:
            group["lr"] = schedule(step)
        loss = loss_fn(model(x[rows]), y[rows])
        losses.append(loss.item())
        finite = math.isfinite(losses[-1])
        for rule, monitor in monitors.items():
            if alarms[rule] is None and (not finite or monitor.update(losses[-1])):
                alarms[rule] = step
        if not finite:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    good = len(losses) == STEPS and np.median(losses[-20:]) < losses[0]
    return Outcome(alarms, bool(good), schedule)


def main() -> None:
    torch.set_num_threads(1)
    counts: collections.Counter[tuple[tuple[float, int], bool, bool]] = collections.Counter()
    well = dict.fromkeys(PARTS, 0)
    repeated = 0
    for table, (depth, activation, norm), optimizer, size, seed in itertools.product(
        TABLES, NETWORKS, OPTIMIZERS, (16, 64), range(2)
    ):
        task = Task(table, depth, activation, norm, optimizer, size)
        for rate in OPTIMIZERS[optimizer][0] * RISING:
            outcome = train(task, rate, seed)
            for rule, step in outcome.alarms.items():
                counts[rule, outcome.good, step is not None] += 1
            if (step := outcome.alarms[GUARDS]) is not None:
                blamed = range(max(step - BLAMED_STEPS, 0), max(step, 1))
                highest = max(outcome.schedule(blamed).tolist())
                repeated += 1
                for name, part in PARTS.items():
                    well[name] += train(task, part * highest, seed + 10).good
                break
    for rule in RULES:
        false, quiet = counts[rule, True, True], counts[rule, True, False]
        seen, missed = counts[rule, False, True], counts[rule, False, False]
        print(f"factor {rule[0]:g}, first {rule[1]} losses:")
        print(f"  an alarm in {false} of {false + quiet} trainings that went well,")
        print(f"  and in {seen} of {seen + missed} that did not")
    for name, good in well.items():
        print(f"at {name} of the rate: {good} of {repeated} went well")


if __name__ == "__main__":
    main()
