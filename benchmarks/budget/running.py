"""Runs a method on a task with a budget, and stores what it came to."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.budget.methods import METHODS
from benchmarks.finders import cache, rate_free
from benchmarks.finders.task import Task

BUDGETS = ("0.25", "0.5", "1", "2")
"""Shares of the steps of a task, as they are stored."""

_ELSEWHERE = {
    "recommend, by a probe": "reach_recommend",
    "default rate": "reach_default_rate",
    "prodigy": "reach_prodigy",
    "schedule-free adamw": "reach_schedule_free_adamw",
    "1cycle, its best rate known": "reach_1cycle_its_best_rate_known",
}
"""Results of benchmarks.finders with the same budgets and a seed of 0."""

Ends = dict[str, dict[str, Any]]
"""What became of the training, by seed."""


def kind_of(method: str) -> str:
    """Returns the folder of a method's results."""
    return "budget_" + rate_free.plain(method).replace("'", "")


def stored(method: str, task: Task, budget: str) -> Ends:
    """Returns what is stored of a method, by seed."""
    own = cache.read(kind_of(method), task)
    if own and budget in own["ends"]:
        return own["ends"][budget]
    other = cache.read(_ELSEWHERE[method], task) if method in _ELSEWHERE else None
    return (
        {"0": other["ends"][_name(budget)][0]} if other and _name(budget) in other["ends"] else {}
    )


def _name(budget: str) -> str:
    return str(float(budget))


def record(task: Task, method: str, budget: str, seeds: list[int], *, again: bool = False) -> bool:
    """Trains with every seed that is not stored yet; says whether there was any."""
    kept = cache.read(kind_of(method), task)
    ends: dict[str, Ends] = kept["ends"] if kept else {}
    done = {} if again else (ends.get(budget) or stored(method, task, budget))
    todo = [seed for seed in seeds if str(seed) not in done]
    for seed in todo:
        steps = max(1, round(float(budget) * task.steps))
        trainee, told = METHODS[method](task, seed, steps)
        losses = {"train_loss": trainee.train_loss(), "heldout_loss": trainee.heldout_loss()}
        done[str(seed)] = {**losses, **told}
    if todo:
        packages = (rate_free.MAKERS[method][1],) if method in rate_free.MAKERS else ()
        cache.write(kind_of(method), task, {"ends": {**ends, budget: done}}, packages)
    return bool(todo)


def loss_of(end: dict[str, Any], objective: str) -> float | None:
    """Returns the loss at the end, None where it is not finite."""
    loss = end[f"{objective}_loss"]
    return loss if loss is not None and math.isfinite(loss) else None
