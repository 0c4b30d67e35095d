"""One training run, whoever trains: the order of the data, when it is judged, when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cyclerate.compare._learner import Learner
from cyclerate.compare._record import Cell
from cyclerate.schedules import Schedule

_FINE_EPOCHS = 4

Rows = Callable[[NDArray[np.int_]], tuple[NDArray[Any], NDArray[Any]]]
"""Gives inputs and targets of training rows, by their places."""

Judge = Callable[[], tuple[float, float]]
"""Gives the held-out loss and the held-out metric of the network as it is now."""


class Length(Protocol):
    """How long every run is."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training rows."""
        ...

    @property
    def total_steps(self) -> int:
        """Optimizer steps of a run."""
        ...


@dataclass(frozen=True)
class DataOrder:
    """The order of the training rows of a seed: a new permutation every epoch.

    An epoch leaves out the few rows that fill no whole batch, each time others: a batch of another
    size would be compiled anew.
    """

    rows_in_all: int
    seed: int
    batch_size: int
    steps_per_epoch: int

    def rows(self, start: int, stop: int) -> NDArray[np.int_]:
        """The rows of steps `start` to `stop` - 1, one batch after another."""
        parts: list[NDArray[np.int_]] = []
        for epoch in range(start // self.steps_per_epoch, -(-stop // self.steps_per_epoch)):
            first = max(start - epoch * self.steps_per_epoch, 0)
            last = min(stop - epoch * self.steps_per_epoch, self.steps_per_epoch)
            order = np.random.default_rng([self.seed, epoch]).permutation(self.rows_in_all)
            parts.append(order[first * self.batch_size : last * self.batch_size])
        return np.concatenate(parts)


def evaluation_steps(total_steps: int, steps_per_epoch: int) -> list[int]:
    """The steps after which a run is judged: every epoch, and four times in each of the first 4.

    A good policy does in its first epochs what the reference does in all of them, so that is where
    "steps to reach" needs a finer measure.

    >>> evaluation_steps(total_steps=20, steps_per_epoch=4)
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20]
    """
    quarters = (steps_per_epoch * part // 4 for part in range(1, 4 * _FINE_EPOCHS))
    whole = range(steps_per_epoch, total_steps, steps_per_epoch)
    return sorted({step for step in quarters if 0 < step < total_steps} | {*whole, total_steps})


def train_cell(
    learner: Learner,
    rows: Rows,
    order: DataOrder,
    judge: Judge,
    *,
    policy: str,
    schedule: Schedule,
    total_steps: int,
    fold: int = 0,
    progress: Callable[[int], None] = lambda _steps: None,
) -> Cell:
    """Trains one cell; a loss that is not finite ends it early, as diverged.

    Args:
        learner: Trains the network; afterwards it holds the trained one.
        rows: Gives the training rows.
        order: Their order, and the seed.
        judge: Measures the network on the held-out rows.
        policy: The policy's name.
        schedule: The rate of every step.
        total_steps: Optimizer steps.
        fold: The number of the fold.
        progress: Called with the steps done.

    Returns:
        The curves, and the seconds that the training itself took.
    """
    curves: list[tuple[int, float, float, float]] = []
    seconds = 0.0
    points = [0, *evaluation_steps(total_steps, order.steps_per_epoch)]
    with learner.seeded(order.seed):
        learner.begin(order.seed, schedule, *rows(order.rows(0, 1)))
        for start, stop in pairwise(points):
            x, y = rows(order.rows(start, stop))
            began = time.perf_counter()
            train_loss = learner.fit(x, y)
            seconds += time.perf_counter() - began
            loss, score = judge()
            curves.append((stop, train_loss, loss, score))
            progress(stop)
            if not np.isfinite([train_loss, loss]).all():
                break
    steps, train_losses, losses, scores = zip(*curves, strict=True)
    diverged = not np.isfinite([train_losses[-1], losses[-1]]).all()
    return Cell(
        policy, order.seed, steps, train_losses, losses, scores, seconds, bool(diverged), fold
    )
