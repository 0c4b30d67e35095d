"""Every rule's suggestions on every task and seed, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.finders import cache, regret, sweeps
from benchmarks.finders.regret import Landscape
from benchmarks.finders.tasks import TASKS, Task

Suggestions = list[float | None]


@dataclass(frozen=True)
class Rule:
    """A way to get a rate for a task: one suggestion per seed, and the steps each cost."""

    name: str
    group: str
    suggest: Callable[[Task, str], tuple[Suggestions, list[int]] | None]
    """Takes the task and the policy; None where nothing is stored."""


@dataclass(frozen=True)
class Score:
    """A rule's regrets over tasks and seeds."""

    rule: str
    group: str
    tasks: int
    steps: float
    regrets: np.ndarray
    heldout: np.ndarray
    decades_off: np.ndarray
    unanswered: int

    def columns(self) -> dict[str, float]:
        return {
            "steps": self.steps,
            "mean": float(np.mean(self.regrets)),
            "median": float(np.median(self.regrets)),
            "p90": float(np.quantile(self.regrets, 0.9)),
            "worst": float(np.max(self.regrets)),
            "share above 0.1": float(np.mean(self.regrets > 0.1)),
            "decades off": float(np.median(self.decades_off)),
            "mean held out": float(np.mean(self.heldout)),
        }


def _fixed(lr: float) -> Rule:
    return Rule(f"always {lr:g}", "no search", lambda _task, _policy: ([lr], [0]))


def _range(task: Task, _policy: str) -> tuple[Suggestions, list[int]] | None:
    stored = cache.read("sweeps", task)
    if stored is None:
        return None
    found = [sweeps.replay(losses) for losses in stored["losses"]]
    return [result.max_lr for result in found], [result.steps for result in found]


def _probe(task: Task, policy: str) -> tuple[Suggestions, list[int]] | None:
    stored = cache.read(f"probes_{policy}", task)
    return (stored["max_lr"], stored["steps"]) if stored else None


def _peer(name: str, group: str) -> Rule:
    def suggest(task: Task, _policy: str) -> tuple[Suggestions, list[int]] | None:
        stored = cache.read("peers", task)
        if stored is None:
            return None
        found = stored["suggestions"][name]
        return found, [stored["steps"]] * len(found)

    return Rule(name, group, suggest)


RULES = (
    Rule("cyclerate probe", "ours", _probe),
    Rule("cyclerate range", "ours", _range),
    _peer("fastai valley", "peer"),
    _peer("fastai slide", "peer"),
    _peer("fastai minimum", "peer"),
    _peer("fastai steep", "peer"),
    _peer("lightning", "peer"),
    _peer("torch-lr-finder", "peer"),
    _peer("ignite", "peer"),
    _fixed(1e-3),
    _fixed(1e-2),
)


def score(rule: Rule, policy: str, tasks: Iterable[Task]) -> Score | None:
    """Returns a rule's regrets, every task and seed counting as one case."""
    cases: list[dict[str, Any]] = []
    for task in tasks:
        train, heldout = (regret.of(task, policy, name) for name in regret.OBJECTIVES)
        found = rule.suggest(task, policy)
        if train and heldout and found:
            cases += [_case(train, heldout, lr, steps) for lr, steps in zip(*found, strict=True)]
    if not cases:
        return None
    column = {key: np.array([case[key] for case in cases]) for key in cases[0]}
    return Score(
        rule=rule.name,
        group=rule.group,
        tasks=sum(rule.suggest(task, policy) is not None for task in tasks),
        steps=float(column["steps"].mean()),
        regrets=column["regret"],
        heldout=column["heldout"],
        decades_off=column["decades_off"],
        unanswered=int(column["unanswered"].sum()),
    )


def _case(train: Landscape, heldout: Landscape, lr: float | None, steps: int) -> dict[str, Any]:
    return {
        "regret": train.at(lr),
        "heldout": heldout.at(lr),
        "decades_off": train.decades_off(lr),
        "steps": steps,
        "unanswered": lr is None,
    }


def half(name: str) -> list[Task]:
    return [task for task in TASKS if task.half == name]
