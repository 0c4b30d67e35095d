"""The probe on the tasks: what it suggests, and what that took."""

from __future__ import annotations

import time

from benchmarks.finders import cache
from benchmarks.finders.sweeps import SEEDS, SWEEP
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee
from cyclerate import finder
from cyclerate.finder import Probe, conduct
from cyclerate.finder._prior import Prior, prior_lr
from cyclerate.finder._probe import DECADES
from cyclerate.finder._range_test import Procedure

MORE_SEEDS = (103,)
"""With these, four seeds tell how far the answers for one network lie apart."""


def record(task: Task, policy: str) -> None:
    began = time.perf_counter()
    probes = [probe(Trainee(task, seed), policy) for seed in SEEDS]
    results = [done.result() for done in probes]
    more = [probe(Trainee(task, seed), policy).result() for seed in MORE_SEEDS]
    result = {
        "policy": policy,
        "seeds": SEEDS,
        "max_lr": [found.max_lr for found in results],
        "interval": [found.interval for found in results],
        "steps": [found.steps for found in results],
        "verdict": [found.verdict for found in results],
        "readings": [found.to_dict()["readings"] for found in results],
        "races": [list(map(list, done.scores.items())) for done in probes],
        "more": {"seeds": MORE_SEEDS, "max_lr": [found.max_lr for found in more]},
        "seconds": time.perf_counter() - began,
    }
    cache.write(f"probes_{policy}", task, result)


def probe(trainee: Trainee, policy: str) -> Probe:
    """Drives a probe; its batches are those that a training with this seed would see first."""
    steps = trainee.task.steps
    prior = Lent(trainee).prior(steps).times(10 ** DECADES[policy])
    asked = Probe(SWEEP, policy=policy, horizon_steps=steps, prior=prior)
    drive_on(trainee, asked)
    return asked


def drive_on(trainee: Trainee, procedure: Procedure) -> None:
    """Takes all runs of a procedure on a task."""
    conduct(procedure, Lent(trainee))


class Lent(finder.Trainee):
    """A task as the finder takes it; a run sees the batches that a training with the seed does."""

    def __init__(self, trainee: Trainee) -> None:
        self._trainee = trainee

    def prior(self, total_steps: int, *, fine_tuned: bool = False) -> Prior:
        trainee = self._trainee
        return prior_lr(
            trainee.task.optimizer,
            batch_size=trainee.task.batch_size,
            total_steps=total_steps,
            fine_tuned=fine_tuned,
            parameters=sum(p.numel() for params, _share in trainee.groups for p in params),
        )

    def restore(self, seed: int) -> None:
        self._trainee.restore()
        self._trainee.model.train()
        self._batches = self._trainee.batches()

    def step(self, lr: float) -> float:
        return self._trainee.step(lr, next(self._batches))

    def score(self, seed: int) -> float:
        return self._trainee.score()
