"""The mean of the weights, and statistics of batch normalisation that belong to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cyclerate as cr
import cyclerate.torch as ct
from cyclerate._errors import CyclerateError

CYCLES = cr.WarmRestarts(max_lr=0.1, cycle_steps=3)


def averaged(model, weight, values, **options):
    mean = ct.WeightAveraging(model, CYCLES, total_steps=len(values), **options)
    for value in values:
        nn.init.constant_(weight, value)
        mean.step()
    return mean


def test_the_mean_is_that_of_the_ends_of_the_cycles():
    model = nn.Linear(1, 1)
    mean = averaged(model, model.weight, [1, 2, 3, 4, 5, 7, 8, 9, 20], start_cycle=2)
    assert mean.count == 2
    assert model.weight.item() == 20  # the training goes on with its own
    mean.assign_to(model)
    assert model.weight.item() == pytest.approx((7 + 20) / 2)


def test_statistics_are_those_of_the_mean_weights():
    model: Any = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1)).double()
    mean = averaged(model, model[0].weight, [0, 0, 1, 0, 0, 5])
    x = torch.tensor([[1.0], [2.0], [6.0], [4.0]], dtype=torch.float64)
    with pytest.raises(ValueError, match="batch_norm_data must be data, or False"):
        mean.assign_to(model)
    assert model[0].weight.item() == 5
    mean.assign_to(model, batch_norm_data=False)
    assert (model[0].weight.item(), model[1].running_mean.item()) == (3.0, 0.0)
    model.eval()
    mean.assign_to(model, batch_norm_data=[x[:2], x[2:]])
    batches = [3 * x[:2].numpy(), 3 * x[2:].numpy()]
    assert model[1].running_mean.item() == pytest.approx(np.mean([b.mean() for b in batches]))
    variances = [b.var(ddof=1) for b in batches]
    assert model[1].running_var.item() == pytest.approx(np.mean(variances))
    assert not model.training


def test_nothing_averaged_is_said():
    model = nn.Linear(1, 1)
    with pytest.raises(CyclerateError, match="no weights have been averaged"):
        averaged(model, model.weight, [1, 2, 3], start_cycle=2).assign_to(model)
