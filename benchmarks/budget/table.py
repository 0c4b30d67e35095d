"""The tables of docs/budget.md, from what is stored; nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._page import write_generated
from benchmarks.budget.methods import METHODS
from benchmarks.budget.running import BUDGETS, loss_of, stored
from benchmarks.finders import cache
from benchmarks.finders.task import Task
from benchmarks.finders.tasks import EVERY

PAGE = Path(__file__).parents[2] / "docs" / "budget.md"

SHORT_STEPS, LONG_STEPS = 300, 1500
NEW = ("new fresh", "fine-tuning fresh")
GROUPS = {
    "New fresh tasks": "new fresh",
    "Fine-tuning, fresh": "fine-tuning fresh",
    "The first fresh tasks": "fresh",
    "Validation half": "validation",
    "Design half": "design",
    "Fine-tuning, tuned on": "fine-tuning",
}


def regret_of(judge: dict[str, Any], objective: str, loss: float | None) -> float:
    """Returns the regret against the best of a grid, between -1 and 1; 1 where it diverged."""
    if loss is None:
        return 1.0
    losses = np.array(judge[f"{objective}_loss"], dtype=float).mean(axis=0)
    best, start = float(np.nanmin(losses)), float(np.mean(judge[f"start_{objective}_loss"]))
    return float(np.clip((loss - best) / (start - best), -1, 1))


def regrets(
    method: str,
    tasks: Sequence[Task],
    budget: str,
    *,
    objective: str = "train",
    grid: str = "grid_one_cycle",
) -> list[float]:
    """Returns the regret of every stored training."""
    found = []
    for task in tasks:
        judge = cache.read(grid, task)
        if judge is not None:
            ends = stored(method, task, budget).values()
            found += [regret_of(judge, objective, loss_of(end, objective)) for end in ends]
    return found


def ends_above_start(method: str, tasks: Sequence[Task], budget: str) -> int:
    """Returns how many trainings ended above the loss that they began with."""
    count = 0
    for task in tasks:
        judge = cache.read("grid_one_cycle", task)
        for seed, end in stored(method, task, budget).items():
            loss = loss_of(end, "train")
            if judge is not None and int(seed) < len(judge["start_train_loss"]):
                start = judge["start_train_loss"][int(seed)]
                count += loss is None or loss > start
    return count


def of_group(name: str) -> list[Task]:
    """Returns the tasks of a group."""
    return [task for task in EVERY if task.half == name]


def write() -> None:
    """Replaces what stands between the two marks of the page."""
    parts = [_section(heading, of_group(group)) for heading, group in GROUPS.items()]
    fresh = [task for name in NEW for task in of_group(name)]
    parts += [
        _section(
            f"Short fresh tasks (at most {SHORT_STEPS} steps)",
            [task for task in fresh if task.steps <= SHORT_STEPS],
        ),
        _section(
            f"Long fresh tasks (at least {LONG_STEPS} steps)",
            [task for task in fresh if task.steps >= LONG_STEPS],
        ),
        _tasks(),
        cache.made("budget_*", "reach_*", "grid_constant", "grid_one_cycle*"),
    ]
    write_generated(PAGE, "\n\n".join(filter(None, parts)))


def _section(heading: str, tasks: Sequence[Task]) -> str:
    lines = [f"## {heading}"]
    for budget in BUDGETS:
        rows = [row for method in METHODS if (row := _row(method, tasks, budget))]
        if rows:
            headings = [
                "method",
                "tasks",
                "runs",
                "mean",
                "median",
                "p90",
                "worst",
                "above 0.1",
                "against constant",
                "against clipped",
                "held out: mean",
                "median",
                "worst",
                "above its start",
            ]
            rows.sort(key=lambda row: (-int(row[1]), float(row[3])))
            lines += ["", f"### {_runs(budget)}", "", *markdown([headings, *rows])]
    return "\n".join(lines) if len(lines) > 1 else ""


def _runs(budget: str) -> str:
    return f"{budget} runs" if budget != "1" else "1 run"


def _row(method: str, tasks: Sequence[Task], budget: str) -> list[str]:
    train = np.array(regrets(method, tasks, budget))
    if not len(train):
        return []
    heldout = np.array(regrets(method, tasks, budget, objective="heldout"))
    covered = sum(bool(stored(method, task, budget)) for task in tasks)
    figures = (train.mean(), np.median(train), np.quantile(train, 0.9), train.max())
    against = [
        regrets(method, tasks, budget, grid=grid)
        for grid in ("grid_constant", "grid_one_cycle_clipped")
    ]
    return [
        method,
        str(covered),
        str(len(train)),
        *map(_figure, figures),
        f"{np.mean(train > 0.1):.0%}",
        *(_figure(float(np.mean(found))) if found else "-" for found in against),
        *map(_figure, (heldout.mean(), np.median(heldout), heldout.max())),
        str(ends_above_start(method, tasks, budget)),
    ]


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table; its first row is the head."""
    ruler = ["---"] + ["---:"] * (len(rows[0]) - 1)
    return ["| " + " | ".join(row) + " |" for row in (rows[0], ruler, *rows[1:])]


def _tasks() -> str:
    rows = [["task", "group", "optimizer", "batch", "steps"]]
    listed = [task for task in EVERY if task.half in (*NEW, "fine-tuning")]
    rows += [
        [task.name, task.half, task.optimizer, str(task.batch_size), str(task.steps)]
        for task in sorted(listed, key=lambda task: (task.half, task.name))
    ]
    return "\n".join(["## The tasks", "", *markdown(rows)])
