"""Time to a target: docs/time-to-target.md, from what `run` has stored; nothing is trained.

A task's target is a loss: that of the best of 23 whole trainings, and a twentieth of the way back
to the start. A method's time is the least of the budgets whose training ended there, as a share of
the task's steps; its score is the area under its performance profile, as in AlgoPerf.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks._page import write_generated
from benchmarks.budget.methods import METHODS
from benchmarks.budget.running import loss_of, stored
from benchmarks.budget.table import NEW, markdown, of_group, regret_of
from benchmarks.finders import cache
from benchmarks.finders.task import Task

PAGE = Path(__file__).parents[2] / "docs" / "time-to-target.md"
LADDER = ("0.5", "1", "2")
MARGIN = 0.05
SLOWEST = 4.0
"""The profile is taken up to this many times the time of the fastest method."""

OBJECTIVES = {"train": "training loss", "heldout": "held-out loss"}
Times = dict[str, float]
"""By task; infinite where no budget was enough."""


def reached(method: str, task: Task, budget: str, objective: str) -> bool | None:
    """Says whether at least half of the seeds ended at the target; None where none was run."""
    judge, ends = cache.read("grid_one_cycle", task), stored(method, task, budget).values()
    if judge is None or not ends:
        return None
    regrets = [regret_of(judge, objective, loss_of(end, objective)) for end in ends]
    return float(np.mean([regret <= MARGIN for regret in regrets])) >= 0.5


def times(method: str, tasks: Sequence[Task], objective: str) -> Times | None:
    """Returns how long a method takes for each task; None unless all budgets were run on all."""
    found: Times = {}
    for task in tasks:
        came = [reached(method, task, budget, objective) for budget in LADDER]
        if None in came:
            return None
        fit = [float(budget) for budget, there in zip(LADDER, came, strict=True) if there]
        found[task.name] = min(fit, default=math.inf)
    return found


def profile(each: Mapping[str, Times], factor: float) -> dict[str, float]:
    """Returns on which share of the tasks each method is within a factor of the fastest.

    >>> profile({"a": {"t": 1.0, "u": 2.0}, "b": {"t": 2.0, "u": math.inf}}, 1.0)
    {'a': 1.0, 'b': 0.0}
    """
    names = list(next(iter(each.values()), {}))
    fastest = {name: min(found[name] for found in each.values()) for name in names}
    return {
        method: float(np.mean([found[n] <= factor * fastest[n] < math.inf for n in names]))
        for method, found in each.items()
    }


def scores(each: Mapping[str, Times]) -> dict[str, float]:
    """Returns the area under each profile from 1 to 4 times the fastest, as a share of the whole.

    >>> scores({"a": {"t": 1.0}, "b": {"t": 2.0}})
    {'a': 1.0, 'b': 0.6666666666666666}
    """
    ratios = {
        f / g for f in map(float, LADDER) for g in map(float, LADDER) if g <= f <= SLOWEST * g
    }
    ends = [*sorted(ratios | {1.0}), SLOWEST]
    area = dict.fromkeys(each, 0.0)
    for low, high in itertools.pairwise(ends):
        for method, share in profile(each, low).items():
            area[method] += share * (high - low) / (SLOWEST - 1)
    return area


def section(objective: str, tasks: Sequence[Task]) -> str:
    """Returns the tables of one kind of loss."""
    timed = {method: times(method, tasks, objective) for method in METHODS}
    whole = {method: found for method, found in timed.items() if found is not None}
    area, shares = scores(whole), {f: profile(whole, f) for f in (1.0, 2.0, SLOWEST)}
    heads = ["method", *(f"within {budget} runs" for budget in LADDER), "never"]
    heads += ["fastest", "within 2 times", "within 4 times", "score"]
    rows = [
        [
            method,
            *(str(sum(time <= float(b) for time in whole[method].values())) for b in LADDER),
            str(sum(math.isinf(time) for time in whole[method].values())),
            *(f"{share[method]:.0%}" for share in shares.values()),
            f"{area[method]:.2f}",
        ]
        for method in sorted(whole, key=lambda name: -area[name])
    ]
    once = [
        [method, str(sum(came)), str(len(came))]
        for method in METHODS
        if method not in whole
        and (came := [c for t in tasks if (c := reached(method, t, "1", objective)) is not None])
    ]
    once.sort(key=lambda row: -int(row[1]) / int(row[2]))
    told = [f"## {OBJECTIVES[objective].capitalize()}, {len(tasks)} tasks", ""]
    told += markdown([heads, *rows])
    if once:
        told += ["", "Run with the budget of one run alone, so without a time:", ""]
        told += markdown([["method", "reached within 1 run", "of tasks"], *once])
    return "\n".join(told)


def by_task(tasks: Sequence[Task]) -> str:
    """Returns the time of each method on each task, by training and by held-out loss."""
    kept: dict[str, list[str]] = {task.name: [task.name, str(task.steps)] for task in tasks}
    heads = ["task", "steps of a run"]
    for method in METHODS:
        found = [times(method, tasks, objective) for objective in OBJECTIVES]
        if None in found:
            continue
        heads.append(method)
        for name, row in kept.items():
            both = [one[name] for one in found if one is not None]
            row.append(" / ".join("never" if math.isinf(time) else f"{time:g}" for time in both))
    told = "Runs to the target, by training loss / by held-out loss; never: two were not enough."
    return "\n".join(["## Task by task", "", told, "", *markdown([heads, *kept.values()])])


def seeds(tasks: Sequence[Task]) -> str:
    """Says which methods have more than one seed, and with which budget."""
    more = [
        f"`{method}` {number} with the budget of {budget} run{'s' * (budget != '1')}"
        for method in METHODS
        for budget in LADDER
        if (number := min(len(stored(method, task, budget)) for task in tasks)) > 1
    ]
    told = f"; {', '.join(more)}, of which half must arrive" if more else ""
    return f"One seed (0){told}. `python -m benchmarks.budget targets`"


def write() -> None:
    """Replaces what stands between the two marks of the page."""
    tasks = sorted((task for name in NEW for task in of_group(name)), key=lambda task: task.name)
    parts = [*(section(objective, tasks) for objective in OBJECTIVES), by_task(tasks)]
    parts += [seeds(tasks), cache.made("budget_*", "grid_one_cycle")]
    write_generated(PAGE, "\n\n".join(parts))
