"""Small models, optimizers and data for the tests of the PyTorch adapter."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import nn


def optimizer_of(kind: type[Any] = torch.optim.SGD, groups=1, **options):
    """An optimizer of `groups` parameters, one in each group, that has made no step."""
    weights = [nn.Parameter(torch.ones(2)) for _ in range(groups)]
    return kind([{"params": [weight]} for weight in weights], **{"lr": 0.1, **options})


def rates_of(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def momenta_of(optimizer):
    groups = optimizer.param_groups
    return [float(group["betas"][0] if "betas" in group else group["momentum"]) for group in groups]


def decays_of(optimizer):
    return [float(group["weight_decay"]) for group in optimizer.param_groups]


def run(scheduler, steps, read=rates_of):
    """What the optimizer holds at each of `steps` steps, while it is trained."""
    held = []
    for _ in range(steps):
        held.append(read(scheduler.optimizer))
        train_one_step(scheduler.optimizer)
        scheduler.step()
    return held


def train_one_step(optimizer):
    optimizer.zero_grad()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    torch.stack([(weight**2).sum() for weight in weights]).sum().backward()
    optimizer.step()


ROWS, FEATURES, BATCH = 48, 4, 16

_random = np.random.default_rng(7)
X = torch.tensor(_random.normal(size=(ROWS, FEATURES)), dtype=torch.float64)
Y = X @ torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64) + 0.5
BATCHES = [(X[i : i + BATCH], Y[i : i + BATCH]) for i in range(0, ROWS, BATCH)]


class Regression(nn.Module):
    """A linear regression that begins at zero, in float64: its training is known by value."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(FEATURES, dtype=torch.float64))
        self.b = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return x @ self.w + self.b


def squared_error(output, target):
    return ((output - target) ** 2).mean()


def sgd_losses(lrs, batches, momentum=0.0, *, accumulated=1, largest_norm=math.inf):
    """The loss before each step of gradient descent, computed by NumPy."""
    w, b = np.zeros(FEATURES), 0.0
    velocity = np.zeros(FEATURES + 1)
    stream = itertools.cycle([(np.asarray(x), np.asarray(y)) for x, y in batches])
    losses = []
    for lr in lrs:
        loss, gradient = 0.0, np.zeros(FEATURES + 1)
        for x, y in itertools.islice(stream, accumulated):
            error = x @ w + b - y
            loss += np.mean(error**2) / accumulated
            gradient += 2 * np.append(x.T @ error / len(y), error.mean()) / accumulated
        losses.append(loss)
        norm = np.linalg.norm(gradient)
        gradient *= min(1.0, largest_norm / (norm + 1e-6))
        velocity = momentum * velocity + gradient
        w, b = w - lr * velocity[:-1], b - lr * velocity[-1]
    return np.array(losses)
