"""What each way of training comes to with a budget: tuning, if there is any, and training together.

A budget is a share of the steps of the task, which is the length of one run with a fixed rate. The
rate-free optimizers run in the environment of requirements/peers.txt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.finders import cache, rate_free
from benchmarks.finders.policies import rates
from benchmarks.finders.probes import drive_on
from benchmarks.finders.stack import Stack
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee
from cyclerate.finder import Recommendation, RecommendationSettings
from cyclerate.finder._recommend import LEAST_BUDGET_STEPS

SEEDS = (0,)  # that of the grids: the same weights, and batches in the same order
BUDGETS = (0.25, 0.5, 0.75, 1.0, 1.5)

DEFAULT_LRS = {"rmsprop": 1e-2, "adagrad": 1e-2, "lion": 1e-4}
"""Default rates of the optimizers: PyTorch's, and of Lion its authors'; the others have 1e-3."""

_AROUND_BEST = (-1, 0, 1, 2, 3)  # quarter decades: a short training may want more than a long one


def record(task: Task, method: str, *, again: bool = False) -> None:
    """Trains with every budget that is not stored yet."""
    kind = kind_of(method)
    make, packages = METHODS[method]
    ends = {} if again else (cache.read(kind, task) or {"ends": {}})["ends"]
    steps = {
        name: round(float(name) * task.steps) for name in map(str, BUDGETS) if name not in ends
    }
    for seed in SEEDS:
        for name, end in zip(steps, make(task, seed, list(steps.values())), strict=True):
            ends[name] = [*ends.get(name, []), end]
    cache.write(kind, task, {"seeds": SEEDS, "ends": ends}, packages)


def kind_of(method: str) -> str:
    """Returns the folder of a method's results."""
    return "reach_" + rate_free.plain(method)


def complete(task: Task, method: str) -> bool:
    """Whether every budget is stored."""
    stored = cache.read(kind_of(method), task)
    return stored is not None and all(str(budget) in stored["ends"] for budget in BUDGETS)


def recommend(trainee: Trainee, budget_steps: int) -> Recommendation:
    """Drives a recommendation; its batches are those that a training with this seed sees first."""
    recommender = RecommendationSettings(budget_steps=budget_steps).new()
    drive_on(trainee, recommender)
    return recommender.recommendation()


def _recommended(task: Task, seed: int, budgets: list[int]) -> Ends:
    return [_recommended_for(task, seed, steps) for steps in budgets]


def _recommended_for(task: Task, seed: int, steps: int) -> End:
    if steps < LEAST_BUDGET_STEPS:
        return {**_NOTHING, "why": "too few steps"}
    trainee = Trainee(task, seed)
    found = recommend(trainee, steps)
    told = {
        "policy": found.policy,
        "max_lr": found.max_lr,
        "tuning_steps": found.steps,
        "races": [[race.policy, race.max_lr, race.score] for race in found.evidence],
    }
    if found.schedule is None:
        return {**_NOTHING, "why": found.verdict, **told}
    trained = trainee.train(np.asarray(found.schedule(np.arange(found.training_steps))))
    return {**(_losses(trainee) if trained else _DIVERGED), **told}


def _rate_known(task: Task, seed: int, budgets: list[int]) -> Ends:
    """The best of five 1cycle trainings around the best rate of the grid: what tuning could reach.

    The search that it takes is not counted.
    """
    found = cache.read("grid_one_cycle", task)
    if found is None:
        raise ValueError(f"{task.name}: no grid of 1cycle is stored")
    best = found["lrs"][int(np.nanargmin(np.array(found["train_loss"], dtype=float)[0]))]
    lrs = [best * 10 ** (quarters / 4) for quarters in _AROUND_BEST]
    trainee = Trainee(task, seed)
    ends: Ends = []
    for steps in budgets:
        stack = Stack(trainee, len(lrs))
        stack.train([rates("one_cycle", lr, steps) for lr in lrs])
        finite = [pair for pair in stack.losses() if math.isfinite(pair[0])]
        ends.append(dict(zip(_NOTHING, min(finite), strict=True)) if finite else _DIVERGED)
    return ends


def _at_its_default(task: Task, seed: int, budgets: list[int]) -> Ends:
    """One training serves all budgets: its rate does not depend on its length."""
    trainee = Trainee(task, seed)
    lr = DEFAULT_LRS.get(task.optimizer, 1e-3)
    return _on_the_way(trainee, lambda rows: trainee.step(lr, rows), budgets, _losses)


def _on_the_way(
    trainee: Trainee,
    step: Callable[[Any], float],
    budgets: list[int],
    losses: Callable[[Trainee], End],
) -> Ends:
    """Trains to the largest budget, and looks at the losses at each, from the smallest on."""
    torch.manual_seed(trainee.seed)
    trainee.model.train()
    ends: Ends = []
    batches = trainee.batches()
    for number in range(1, max(budgets) + 1):
        if not math.isfinite(step(next(batches))):
            break
        if number in budgets:
            ends.append(losses(trainee))
    return ends + [_DIVERGED] * (len(budgets) - len(ends))


def _losses(trainee: Trainee) -> End:
    return {"train_loss": trainee.train_loss(), "heldout_loss": trainee.heldout_loss()}


def _prodigy(task: Task, seed: int, budgets: list[int]) -> Ends:
    return [
        dict(zip(_NOTHING, rate_free.whole(task, "prodigy", seed, steps), strict=True))
        for steps in budgets
    ]


def _schedule_free(task: Task, seed: int, budgets: list[int]) -> Ends:
    """One training serves all budgets: that is what the optimizer is for."""
    trainee = Trainee(task, seed)
    optimizer, _ = rate_free.MAKERS["schedule-free adamw"][0](trainee.model, max(budgets))
    optimizer.train()
    trainee.optimizer = optimizer

    def losses(trainee: Trainee) -> End:
        optimizer.eval()
        trainee.settle()
        found = _losses(trainee)
        optimizer.train()
        trainee.model.train()
        return found

    return _on_the_way(trainee, trainee.step_as_is, budgets, losses)


End = dict[str, Any]
Ends = list[End]
"""What the training with each budget came to."""

_NOTHING: End = {"train_loss": math.nan, "heldout_loss": math.nan}
_DIVERGED: End = {**_NOTHING, "why": "diverged"}

METHODS: dict[str, tuple[Callable[[Task, int, list[int]], Ends], tuple[str, ...]]] = {
    "recommend": (_recommended, ()),
    "1cycle, its best rate known": (_rate_known, ()),
    "default rate": (_at_its_default, ()),
    "prodigy": (_prodigy, ("prodigyopt",)),
    "schedule-free adamw": (_schedule_free, ("schedulefree",)),
}
"""What trains a task with a seed for so many steps in all, and the packages that it needs."""
