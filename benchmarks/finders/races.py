"""Short races at every rate of the grid: what a probe could learn, to design it on.

Made for the design and the validation half, on which it is fitted; no fresh task has any.
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
VALIDATION_LENGTHS = (100,)
"""About those of a whole probe."""


def record(task: Task, policy: str) -> None:
    lengths = VALIDATION_LENGTHS if task.half == "validation" else LENGTHS[policy]
    start, scores = [], []
    for seed in SEEDS:
        trainee = Trainee(task, seed)
        start.append(trainee.score())
        scores.append([_scores(trainee, policy, steps) for steps in lengths])
    result = {
        "seeds": SEEDS,
        "lrs": LRS,
        "lengths": lengths,
        "start": start,
        "scores": scores,
    }
    cache.write(f"races_{policy}", task, result)


def _scores(trainee: Trainee, policy: str, steps: int) -> list[float]:
    stack = Stack(trainee, len(LRS))
    stack.train([rates(policy, lr, steps) for lr in LRS])
    return stack.scores()
