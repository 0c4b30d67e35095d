"""Is the curve of `how_long` that of separate trainings, and does its forecast hold?

One run of cycles that double, on each task, beside a training by the cycle that finds its own top
for every length of the curve, and for twice and four times the whole. Rules were tuned on the
design tasks; what stands in docs/how-long.md is the new fresh ones.

    python -m benchmarks.how_long run --half "new fresh"      (resumable, by task)
    python -m benchmarks.how_long table                       (docs/how-long.md; nothing is trained)
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._page import write_generated
from benchmarks.budget.methods.warmup import drive, follow, prior_of
from benchmarks.finders import cache
from benchmarks.finders.task import Task
from benchmarks.finders.tasks import EVERY
from benchmarks.finders.trainee import Trainee
from cyclerate.cycles._how_long import HowLong, ends_of_doublings, in_doublings
from cyclerate.cycles._rules import CycleOptions
from cyclerate.finder._prior import Prior
from cyclerate.finder._warmup import FindingCycle

PAGE = Path(__file__).parents[1] / "docs" / "how-long.md"
KIND, POINTS, LENGTHS, FACTORS = "how_long", 5, 4, (2, 4)
"""The run has `LENGTHS` times the steps of a task."""


class Learner:
    """A task, as `in_doublings` trains it."""

    suffix = ".none"

    def __init__(self, task: Task, seed: int) -> None:
        self.trainee = Trainee(task, seed)
        self.trainee.restore()
        self.trainee.model.train()
        self._batches = self.trainee.batches()

    def train(self, steps: int, max_lr: float | None, seed: int) -> tuple[float, dict[str, float]]:
        cycle = FindingCycle(steps, self.prior(steps), top=max_lr)
        follow(self.trainee, cycle, self._batches)
        return cycle.top, measured(self.trainee)

    def prior(self, total_steps: int) -> Prior:
        return prior_of(self.trainee, total_steps)

    def provenance(self) -> dict[str, Any]:
        return {}

    def save_model(self, path: Path) -> None:
        raise NotImplementedError

    save = load = save_model


def measured(trainee: Trainee) -> dict[str, float]:
    return {"loss": trainee.train_loss(), "val_loss": trainee.heldout_loss()}


def record(task: Task, seed: int = 0) -> bool:
    """Trains a task in all lengths, unless that is stored."""
    if cache.read(KIND, task) is not None:
        return False
    total = LENGTHS * task.steps
    ends = ends_of_doublings(total, POINTS)
    learner = Learner(task, seed)
    start = measured(learner.trainee)
    told: dict[str, Any] = {"metric": "val_loss", "settings": {}, "folder": None}
    found = in_doublings(learner, total, POINTS, options=CycleOptions(), seed=seed, **told)
    alone: dict[str, list[float]] = {"loss": [], "val_loss": []}
    for steps in (*ends, *(factor * total for factor in FACTORS)):
        trainee = Trainee(task, seed)
        drive(trainee, FindingCycle(steps, prior_of(trainee, steps)))
        for name, value in measured(trainee).items():
            alone[name].append(value)
    curve = {"steps": found.steps, "values": found.values, "max_lrs": found.max_lrs}
    cache.write(KIND, task, {"seed": seed, "start": start, "curve": curve, "separate": alone})
    return True


def judged(stored: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns the errors of a curve as shares of the whole fall, and what came of its forecast."""
    values, alone = stored["curve"]["values"][name], stored["separate"][name]
    fall = stored["start"][name] - alone[POINTS - 1]
    errors = [(mine - theirs) / fall for mine, theirs in zip(values, alone, strict=False)]
    curve = HowLong(tuple(stored["curve"]["steps"]), {name: tuple(values)}, name)
    forecasts = [curve.forecast(factor * curve.steps[-1]) for factor in FACTORS]
    true = alone[POINTS:]
    pairs = list(zip(forecasts, true, strict=True))
    return {
        "errors": errors[1:],  # the first point is such a training itself
        "held": [f.low <= value <= f.high for f, value in pairs],
        "off": [(f.value - value) / fall for f, value in pairs],
        "width": [(f.high - f.low) / fall for f, _ in pairs],
    }


def page() -> str:
    """Returns the tables, by task and by group."""
    tasks = {task.name: task for task in EVERY}
    stored = {name: cache.read(KIND, task) for name, task in tasks.items()}
    known = {name: found for name, found in stored.items() if found is not None}
    columns = ("tasks", "curve: median error", "90 % below", "forecast: median error")
    columns += ("held by the 80 % interval", "its median width")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for half, title in (
        ("new fresh", "fresh"),
        ("validation", "validation, tuned on"),
        ("design", "design, tuned on"),
    ):
        group = [found for name, found in known.items() if tasks[name].half == half]
        for name, what in (("val_loss", "held-out loss"), ("loss", "training loss")):
            all_of = [judged(found, name) for found in group]
            if not all_of:
                continue
            column = {
                key: np.array(list(itertools.chain.from_iterable(one[key] for one in all_of)))
                for key in all_of[0]
            }
            errors, off = np.abs(column["errors"]), np.abs(column["off"])
            lines.append(
                f"| {len(group)} {title}, {what} | {np.median(errors):.3f} "
                f"| {np.quantile(errors, 0.9):.3f} | {np.median(off):.3f} "
                f"| {100 * column['held'].mean():.0f} % | {np.median(column['width']):.3f} |"
            )
    lines += ["", "| fresh task | steps | held-out loss of one run | of separate trainings |"]
    lines += ["|---|---|---|---|"]
    for name, found in known.items():
        if tasks[name].half == "new fresh":
            mine = " ".join(f"{value:.3g}" for value in found["curve"]["values"]["val_loss"])
            alone = " ".join(f"{v:.3g}" for v in found["separate"]["val_loss"][:POINTS])
            lines.append(f"| {name} | {found['curve']['steps'][-1]:,} | {mine} | {alone} |")
    versions = next(iter(known.values()))["versions"]
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    which = "Tasks of at most 1,000 steps, from new weights. `python -m benchmarks.how_long table`"
    return "\n".join([*lines, "", f"One seed; {told}. {which}"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.how_long", description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--half", nargs="+", default=["new fresh"])
    parser.add_argument("--most-steps", type=int, default=1000, help="of a task, to leave out more")
    arguments = parser.parse_args()
    if arguments.what == "table":
        write_generated(PAGE, page())
        return
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for task in sorted(EVERY, key=lambda task: task.steps):
        if (
            task.half in arguments.half
            and task.before is None
            and task.steps <= arguments.most_steps
        ):
            began = time.perf_counter()
            if record(task):
                seconds = time.perf_counter() - began
                print(f"{task.name}: {seconds:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
