"""The tables of docs/reach.md, from what is stored; nothing is trained.

How many steps, tuning included, until a training ends as low as the best of 23 fixed rates? The
answer is the smallest budget whose training does, as a share of one run with a fixed rate. A policy
that lowers its rate is low only at its end, so trainings are judged at their ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._page import write_generated
from benchmarks.finders import cache, grid, policy_grids, reaching, scoring, small_probes
from benchmarks.finders.table import HALVES, HEADINGS, SHARES
from benchmarks.finders.tasks import TASKS, Task

PAGE = Path(__file__).parents[2] / "docs" / "reach.md"
NEAR = 0.01
"""Of the fall from the untrained loss: this near to the best fixed rate is nearly as good."""

LONG_STEPS = 800
"""From here on, `recommend` spends no more than 15 % of a whole run's steps on tuning."""

_QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Reached:
    """By which budget the trainings of a method were good enough: infinity where by none."""

    method: str
    budgets: tuple[float, ...]

    def share_by(self, budget: float) -> float:
        """Returns the share of tasks that need no more than a budget."""
        return float(np.mean([reached <= budget for reached in self.budgets]))

    def quartile(self, share: float) -> float:
        """Returns the budget that this share of the tasks needs no more than."""
        return float(np.quantile(self.budgets, share, method="inverted_cdf"))


def write() -> None:
    """Replaces what stands between the two marks of the page."""
    stored = cache.made("reach_*", "grid_constant", "grid_one_cycle", "small_probes")
    write_generated(PAGE, "\n\n".join([*_reached(), *_policies(), *_small_probes(), stored]))


def _reached() -> list[str]:
    parts: list[str] = []
    groups = {heading: scoring.half(name) for name, heading in HALVES.items()}
    groups[f"All tasks of {LONG_STEPS} steps or more"] = [
        task for task in TASKS if task.steps >= LONG_STEPS
    ]
    for heading, tasks in groups.items():
        tables = [_table(tasks, within) for within in (0.0, NEAR)]
        if all(tables):
            parts += [f"### {heading}", "As low as the best fixed rate:", tables[0]]
            parts += [f"Within {NEAR:.0%} of the fall of it:", tables[1]]
    return parts


def _policies() -> list[str]:
    found = policy_grids.beside()
    if not found:
        return []
    headings = ["policy", "tasks", "best on", "given up: mean", "worst", "rate beside 1cycle's"]
    rows = [
        [
            HEADINGS[policy],
            str(len(one.given_up)),
            str(one.best),
            f"{np.mean(one.given_up):.3f}",
            f"{max(one.given_up):.3f}",
            f"{10**one.decades:.2f}",
        ]
        for policy, one in found.items()
    ]
    return ["### The policies, each at its best rate", _lines(headings, rows)]


def _small_probes() -> list[str]:
    tasks = scoring.half("design")
    scores = [
        scoring.score(small_probes.rule(budget), "one_cycle", tasks)
        for budget in small_probes.BUDGETS
    ]
    found = [score.columns() for score in scores if score is not None and score.tasks == len(tasks)]
    if not found:
        return []
    names = ["median", "mean", "share above 0.1", "no answer", "mean, answered"]
    rows = [[f"{one['steps']:.0f}", *(_figure(name, one[name]) for name in names)] for one in found]
    return ["### The rates that few steps find", _lines(["tuning steps", *names], rows)]


def _figure(name: str, value: float) -> str:
    return f"{value:.0%}" if name in SHARES else f"{value:.3f}"


def reached(method: str, tasks: Iterable[Task], within: float = 0.0) -> Reached | None:
    """Returns by which budget each task was done, if all of them are stored.

    Args:
        method: A key of `reaching.METHODS`.
        tasks: The tasks.
        within: How much higher than the best fixed rate's the loss may be, as a share of the fall.
    """
    tasks = list(tasks)
    if not all(reaching.complete(task, method) for task in tasks):
        return None
    return Reached(method, tuple(by for task in tasks for by in _of(task, method, within)))


def _of(task: Task, method: str, within: float) -> list[float]:
    """Returns the smallest budget that is enough, for each seed."""
    stored, fixed = cache.read(reaching.kind_of(method), task), cache.read("grid_constant", task)
    if stored is None or fixed is None:
        raise ValueError(f"{task.name}: nothing is stored for {method}, or for a constant rate")
    best = float(np.nanmin(np.array(fixed["train_loss"], dtype=float)))
    enough = best + within * (float(np.mean(fixed["start_train_loss"])) - best)
    ends = zip(*(stored["ends"][str(budget)] for budget in reaching.BUDGETS), strict=True)
    return [_first_enough([end["train_loss"] for end in of_seed], enough) for of_seed in ends]


def _first_enough(losses: list[float | None], enough: float) -> float:
    found = zip(reaching.BUDGETS, losses, strict=True)
    return min((by for by, loss in found if loss is not None and loss <= enough), default=math.inf)


def _table(tasks: list[Task], within: float) -> str:
    found = [reached(method, tasks, within) for method in reaching.METHODS]
    rows = [_row(one) for one in found if one is not None]
    if not rows:
        return ""
    shares = [f"by {budget:.0%}" for budget in reaching.BUDGETS]
    headings = ["method", "tasks", *shares, "first quartile", "median", "third quartile"]
    searched = f"{len(grid.LRS)} runs"
    whole = ["grid search", str(len(tasks)), *["0%"] * len(shares), *[searched] * len(_QUARTILES)]
    return _lines(headings, [*rows, whole])


def _lines(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(found: Reached) -> list[str]:
    shares = [f"{found.share_by(budget):.0%}" for budget in reaching.BUDGETS]
    quartiles = [_budget(found.quartile(share)) for share in _QUARTILES]
    return [found.method, str(len(found.budgets)), *shares, *quartiles]


def _budget(value: float) -> str:
    return f"over {max(reaching.BUDGETS):.0%}" if math.isinf(value) else f"{value:.0%}"
