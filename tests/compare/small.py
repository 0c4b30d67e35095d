"""A problem that trains in no time, in PyTorch; run as a script it compares until it is killed.

python small.py FOLDER
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import nn

import cyclerate as cr
from cyclerate.compare import Comparison, compare

ROWS = 96


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 3)).astype(np.float32)
    y = (x @ np.array([1.0, -2.0, 0.5]) + 0.3 * rng.normal(size=ROWS) > 0).astype(np.int64)
    return x, y


def make_model() -> Any:
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Dropout(0.2), nn.Linear(6, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return model, optimizer, nn.CrossEntropyLoss()


def compared(**changes: Any) -> Comparison:
    """Three policies, one of them a schedule and one a function, with two seeds."""
    policies = {
        "fixed": "fixed",
        "ramp": cr.Linear(0.1, 0.001, 40),
        "cycle": lambda rates, budget: cr.Triangular(rates.lowest, rates.highest, budget.step_size),
    }
    settings = {"epochs": 4, "batch_size": 16, "seeds": 2, "max_lr": 0.3, "policies": policies}
    make = changes.pop("make_model", make_model)
    return compare(make, *data(), **{**settings, **changes})


if __name__ == "__main__":
    compared(out=sys.argv[1], seeds=4, epochs=20)
