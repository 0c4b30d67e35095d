"""The probe, then 1cycle at its answer; without one, at the prior."""

from __future__ import annotations

from typing import Any

from benchmarks.budget.methods.warmup import prior_of
from benchmarks.finders.policies import rates
from benchmarks.finders.probes import drive_on
from benchmarks.finders.sweeps import SWEEP
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee
from cyclerate.finder import Probe, Sweep


def train(task: Task, seed: int, steps: int) -> tuple[Trainee, dict[str, Any]]:
    trainee = Trainee(task, seed)
    most = min(400, max(40, 2 * steps // 5))
    sweep = Sweep(SWEEP.start_lr, SWEEP.end_lr, steps=max(10, most // 4))
    asked = Probe(sweep, policy="one_cycle", horizon_steps=steps, max_steps=most)
    drive_on(trainee, asked)
    found = asked.result()
    max_lr = found.max_lr or prior_of(trainee, steps).lr
    left = max(1, steps - found.steps)
    trainee.train(rates("one_cycle", max_lr, left))
    return trainee, {"max_lr": found.max_lr, "used": max_lr, "tuning_steps": found.steps}
