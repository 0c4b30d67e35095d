"""The probe on the tasks: what it suggests, and what that took."""

from __future__ import annotations

import time

from benchmarks.finders import cache
from benchmarks.finders.sweeps import SEEDS, SWEEP
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee
from cyclerate.finder import Probe, drive
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
    """Drives a procedure to its end; a run sees the batches that a training with the seed does."""
    batches = trainee.batches()

    def restore() -> None:
        nonlocal batches
        trainee.restore()
        trainee.model.train()
        batches = trainee.batches()

    drive(
        procedure,
        restore=restore,
        step=lambda lr: trainee.step(lr, next(batches)),
        score=trainee.score,
    )
