"""Short races at every rate of the grid: what a probe could learn, to design it on.

Made for the design half alone; no published figure is read from it.
"""

from __future__ import annotations

from benchmarks.finders import cache
from benchmarks.finders.grid import LRS
from benchmarks.finders.policies import rates
from benchmarks.finders.stack import Stack
from benchmarks.finders.sweeps import SEEDS
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee

LENGTHS = {"one_cycle": (25, 50, 100), "constant": (50,), "triangular": (50,)}


def record(task: Task, policy: str) -> None:
    start, scores = [], []
    for seed in SEEDS:
        trainee = Trainee(task, seed)
        start.append(trainee.score())
        scores.append([_scores(trainee, policy, steps) for steps in LENGTHS[policy]])
    result = {
        "seeds": SEEDS,
        "lrs": LRS,
        "lengths": LENGTHS[policy],
        "start": start,
        "scores": scores,
    }
    cache.write(f"races_{policy}", task, result)


def _scores(trainee: Trainee, policy: str, steps: int) -> list[float]:
    stack = Stack(trainee, len(LRS))
    stack.train([rates(policy, lr, steps) for lr in LRS])
    return stack.scores()
