"""What a suggestion costs: regret against the best rate of the grid.

    regret = (loss(suggested) - loss(best)) / (loss(untrained) - loss(best))

clipped to [0, 1], interpolated in log rate between the points of the grid, and 1 where training
diverged, outside the grid, or without a suggestion. 0 is as good as the grid search, 0.1 already
spoils a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.finders import cache
from benchmarks.finders.task import Task

OBJECTIVES = ("train", "heldout")


@dataclass(frozen=True)
class Landscape:
    """The regret at every rate of the grid."""

    lrs: NDArray[np.float64]
    regrets: NDArray[np.float64]

    @property
    def best_lr(self) -> float:
        """The rate with the lowest loss."""
        return float(self.lrs[np.argmin(self.regrets)])

    def at(self, lr: float | None) -> float:
        """Returns the regret of a suggestion."""
        if lr is None or not lr > 0:
            return 1.0
        log_lrs = np.log(self.lrs)
        return float(np.interp(np.log(lr), log_lrs, self.regrets, left=1.0, right=1.0))

    def lowest_within(self, low: float, high: float) -> float:
        """Returns the lowest regret between two rates."""
        tried = np.geomspace(low, high, 200)
        return min(self.at(float(lr)) for lr in tried)

    def decades_off(self, lr: float | None) -> float:
        """Returns how far, in decades, a suggestion is from the best rate."""
        return np.inf if lr is None or not lr > 0 else abs(float(np.log10(lr / self.best_lr)))


def landscape(stored: dict[str, Any], objective: str = "train") -> Landscape:
    """Averages the seeds of a grid search; a rate that diverged with one of them has diverged."""
    losses = np.array(stored[f"{objective}_loss"], dtype=float).mean(axis=0)
    start = float(np.mean(stored[f"start_{objective}_loss"]))
    best = float(np.nanmin(losses))
    regrets = np.clip((losses - best) / (start - best), 0, 1)
    return Landscape(np.array(stored["lrs"]), np.where(np.isnan(regrets), 1.0, regrets))


def of(task: Task, policy: str, objective: str = "train") -> Landscape | None:
    """Returns the landscape of a task, if its grid search is stored."""
    stored = cache.read(f"grid_{policy}", task)
    return landscape(stored, objective) if stored else None


def of_loss(stored: dict[str, Any], objective: str, loss: float | None) -> float:
    """Returns the regret of a training that ended at `loss`; None is a training that diverged."""
    if loss is None:
        return 1.0
    best = float(np.nanmin(np.array(stored[f"{objective}_loss"], dtype=float).mean(axis=0)))
    start = float(np.mean(stored[f"start_{objective}_loss"]))
    return float(np.clip((loss - best) / (start - best), 0, 1))
