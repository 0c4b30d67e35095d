"""Small models, optimizers and data for the tests of the PyTorch adapter."""

from __future__ import annotations

import torch
from torch import nn


def optimizer_of(kind=torch.optim.SGD, groups=1, **options):
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
    sum((weight**2).sum() for weight in weights).backward()
    optimizer.step()
