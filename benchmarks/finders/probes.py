"""The probe on the tasks: what it suggests, and what that took."""

from __future__ import annotations

import time

from benchmarks.finders import cache
from benchmarks.finders.sweeps import SEEDS, SWEEP
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee
from cyclerate import finder
from cyclerate.finder import Probe, conduct
from cyclerate.finder._range_test import Procedure


def record(task: Task, policy: str) -> None:
    began = time.perf_counter()
    probes = [probe(Trainee(task, seed), policy) for seed in SEEDS]
    results = [done.result() for done in probes]
    result = {
        "policy": policy,
        "seeds": SEEDS,
        "max_lr": [found.max_lr for found in results],
        "interval": [found.interval for found in results],
        "steps": [found.steps for found in results],
        "verdict": [found.verdict for found in results],
        "races": [list(map(list, done.scores.items())) for done in probes],
        "seconds": time.perf_counter() - began,
    }
    cache.write(f"probes_{policy}", task, result)


def probe(trainee: Trainee, policy: str) -> Probe:
    """Drives a probe; its batches are those that a training with this seed would see first."""
    asked = Probe(SWEEP, policy=policy, horizon_steps=trainee.task.steps)
    drive_on(trainee, asked)
    return asked


def drive_on(trainee: Trainee, procedure: Procedure) -> None:
    """Takes all runs of a procedure on a task."""
    conduct(procedure, Lent(trainee))


class Lent(finder.Trainee):
    """A task as the finder takes it; a run sees the batches that a training with the seed does."""

    def __init__(self, trainee: Trainee) -> None:
        self._trainee = trainee

    def restore(self, seed: int) -> None:
        self._trainee.restore()
        self._trainee.model.train()
        self._batches = self._trainee.batches()

    def step(self, lr: float) -> float:
        return self._trainee.step(lr, next(self._batches))

    def score(self, seed: int) -> float:
        return self._trainee.score()
