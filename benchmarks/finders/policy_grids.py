"""The policies beside each other, each at its best rate of the grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.finders import cache
from benchmarks.finders.policies import POLICIES
from benchmarks.finders.tasks import TASKS, Task


@dataclass(frozen=True)
class Beside:
    """What became of a policy on the tasks where every policy has a grid.

    Attributes:
        best: On how many of them it had the lowest loss.
        decades: Mean of its best rate beside that of 1cycle, in decades.
        given_up: What it gave up to the best policy of each task, as a share of the fall.
    """

    best: int
    decades: float
    given_up: tuple[float, ...]


def beside() -> dict[str, Beside]:
    """Returns the figures of every policy; all with the first seed of the grids."""
    bests = [found for task in TASKS if (found := _bests(task)) is not None]
    if not bests:
        return {}
    winners = [min(found, key=lambda policy: found[policy][0]) for found in bests]
    return {
        policy: Beside(
            best=winners.count(policy),
            decades=float(
                np.mean([np.log10(found[policy][1] / found["one_cycle"][1]) for found in bests])
            ),
            given_up=tuple(
                (found[policy][0] - found[winner][0]) / (found[winner][2] - found[winner][0])
                for found, winner in zip(bests, winners, strict=True)
            ),
        )
        for policy in POLICIES
    }


def _bests(task: Task) -> dict[str, tuple[float, float, float]] | None:
    """Returns the lowest loss of every policy, its rate and the untrained loss."""
    grids = {policy: cache.read(f"grid_{policy}", task) for policy in POLICIES}
    found: dict[str, tuple[float, float, float]] = {}
    for policy, stored in grids.items():
        if stored is None:
            return None
        losses = np.array(stored["train_loss"], dtype=float)[0]
        i = int(np.nanargmin(losses))
        found[policy] = (float(losses[i]), stored["lrs"][i], stored["start_train_loss"][0])
    return found
