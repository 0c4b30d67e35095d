"""A probe of a linear regression, trained in NumPy: what an adapter must come to as well."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from cyclerate.finder import Probe, RangeTestResult, Sweep, drive
from cyclerate.finder._prior import prior_lr
from cyclerate.finder._probe import DECADES

SHORT: dict[str, Any] = {
    "start_lr": 1e-4,
    "end_lr": 10.0,
    "steps": 40,
    "max_steps": 130,
    "horizon_steps": 200,
}


class Descent:
    """Gradient descent of the mean squared error on the batches of a list, from weights of 0."""

    def __init__(self, batches, first: int = 0) -> None:
        self.batches = [(np.asarray(x, float), np.asarray(y, float)) for x, y in batches]
        self.first = first

    def restore(self) -> None:
        self.w, self.b = np.zeros(self.batches[0][0].shape[1]), 0.0
        self.stream = itertools.islice(itertools.cycle(self.batches), self.first, None)

    def step(self, lr: float) -> float:
        x, y = next(self.stream)
        error = x @ self.w + self.b - y
        self.w = self.w - lr * 2 * x.T @ error / len(y)
        self.b -= lr * 2 * error.mean()
        return float(np.mean(error**2))

    def score(self) -> float:
        x, y = (np.concatenate(parts) for parts in zip(*self.batches, strict=True))
        return float(np.mean((x @ self.w + self.b - y) ** 2))


def probe_by_hand(
    batches, first: int = 0, *, policy: str = "one_cycle", **options
) -> RangeTestResult:
    """The probe that `SHORT` asks for, its runs beginning at the batch `first`.

    Batches of a list say nothing of their rows beforehand.
    """
    sweep = Sweep(SHORT["start_lr"], SHORT["end_lr"], SHORT["steps"])
    lengths = {name: SHORT[name] for name in ("horizon_steps", "max_steps")}
    descent = Descent(batches, first)
    size = descent.batches[0][0].shape[1] + 1
    prior = prior_lr("sgd", total_steps=SHORT["horizon_steps"], parameters=size)
    prior = prior.times(10 ** DECADES[policy])
    asked = Probe(sweep, policy=policy, prior=prior, **lengths, **options)
    drive(asked, restore=descent.restore, step=descent.step, score=descent.score)
    return asked.result()
