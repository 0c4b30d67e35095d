"""Where a triangular cycle should begin: the sweep's reading of `base_lr` against fixed shares.

Every training has the same highest rate, the best of the grid for triangular cycles; only the
lowest differs.
"""

from __future__ import annotations

import time

import numpy as np

import cyclerate as cr
from benchmarks.finders import cache, regret, sweeps
from benchmarks.finders.stack import Stack
from benchmarks.finders.tasks import TASKS, Task
from benchmarks.finders.trainee import Trainee
from cyclerate.finder import RangeTestResult

SEEDS = (0, 1)
SHARES = {"max_lr / 4": 1 / 4, "max_lr / 10": 1 / 10, "max_lr / 100": 1 / 100}
READ_OFF = "read off the sweep"
_READ_RANGE = (1 / 100, 1 / 4)  # a reading outside is taken to be at its border
_BEGUN = 0.2
_LEAD_STEPS = 20
MOST_STEPS = 600


def record(task: Task) -> None:
    """Trains with every lowest rate and stores the losses at the end."""
    judge = regret.of(task, "triangular")
    if judge is None or task.steps > MOST_STEPS:
        return
    began = time.perf_counter()
    shares = {**SHARES, READ_OFF: read_off(task, judge.best_lr)}
    found = [_losses(task, seed, judge.best_lr, list(shares.values())) for seed in SEEDS]
    result = {
        "max_lr": judge.best_lr,
        "shares": shares,
        "seeds": SEEDS,
        "train_loss": [dict(zip(shares, losses, strict=True)) for losses in found],
        "seconds": time.perf_counter() - began,
    }
    cache.write("bases", task, result)


def read_off(task: Task, max_lr: float) -> float:
    """Returns the share of `max_lr` at which the sweeps see the fall begin; the middle of three."""
    stored = cache.read("sweeps", task)
    found = [_begin(sweeps.replay(losses)) for losses in stored["losses"]] if stored else []
    rates = [max_lr / 4 if begin is None else begin for begin in found]
    return float(np.clip(np.median(rates) / max_lr, *_READ_RANGE))


def _begin(result: RangeTestResult) -> float | None:
    """Returns the rate from which on more than a fifth of the fall is done, up to its lowest."""
    if result.max_lr is None:
        return None
    start, lowest = np.nanmedian(result.losses[:_LEAD_STEPS]), int(np.nanargmin(result.smoothed))
    done = (start - result.smoothed[: lowest + 1]) / (start - result.smoothed[lowest])
    before = np.flatnonzero(done < _BEGUN)
    return float(result.lrs[before[-1] if len(before) else 0])


def _losses(task: Task, seed: int, max_lr: float, shares: list[float]) -> list[float]:
    steps = np.arange(task.steps)
    stack = Stack(Trainee(task, seed), len(shares))
    stack.train(
        [
            cr.Triangular(max_lr * s, max_lr, step_size=max(1, task.steps // 4))(steps)
            for s in shares
        ]
    )
    return [train for train, _heldout in stack.losses()]


def regrets() -> dict[str, np.ndarray]:
    """Returns the regret of every choice, one value per stored task: over the best of them."""
    rows: dict[str, list[float]] = {}
    for task in TASKS:
        stored, grid = cache.read("bases", task), cache.read("grid_triangular", task)
        if stored and grid:
            names = list(stored["shares"])
            losses = np.array(
                [[seed[name] for name in names] for seed in stored["train_loss"]], dtype=float
            ).mean(axis=0)
            start, best = float(np.mean(grid["start_train_loss"])), float(np.nanmin(losses))
            for name, loss in zip(names, losses, strict=True):
                value = (
                    1.0 if np.isnan(loss) else float(np.clip((loss - best) / (start - best), 0, 1))
                )
                rows.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in rows.items()}
