"""Every rule's suggestions on every task and seed, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.finders import cache, rate_free, regret, sweeps
from benchmarks.finders.regret import Landscape
from benchmarks.finders.tasks import EVERY, Task

GOOD_REGRET = 0.02

Suggestions = list[float | None]


@dataclass(frozen=True)
class Rule:
    """A way to get a rate for a task: one suggestion per seed, and the steps each cost."""

    name: str
    suggest: Callable[[Task, str], tuple[Suggestions, list[int]] | None]
    """Takes the task and the policy; None where nothing is stored."""


@dataclass(frozen=True)
class Score:
    """A rule's regrets over tasks and seeds."""

    rule: str
    tasks: int
    steps: float
    regrets: NDArray[np.float64]
    heldout: NDArray[np.float64]
    decades_off: NDArray[np.float64]
    answered: NDArray[np.bool_]

    def columns(self) -> dict[str, float]:
        """Returns the figures of the tables, by their headings."""
        return {
            "steps": self.steps,
            "mean": float(np.mean(self.regrets)),
            "median": float(np.median(self.regrets)),
            "p90": float(np.quantile(self.regrets, 0.9)),
            "worst": float(np.max(self.regrets)),
            "share above 0.1": float(np.mean(self.regrets > 0.1)),
            "no answer": float(np.mean(~self.answered)),
            "mean, answered": float(np.mean(self.regrets[self.answered])),
            "decades off": float(np.median(self.decades_off)),
            "mean, held out": float(np.mean(self.heldout)),
        }


def _fixed(lr: float) -> Rule:
    return Rule(f"always {lr:g}", lambda _task, _policy: ([lr], [0]))


def _range(task: Task, _policy: str) -> tuple[Suggestions, list[int]] | None:
    stored = cache.read("sweeps", task)
    if stored is None:
        return None
    found = [sweeps.replay(losses) for losses in stored["losses"]]
    return [result.max_lr for result in found], [result.steps for result in found]


def _probe(task: Task, policy: str) -> tuple[Suggestions, list[int]] | None:
    stored = cache.read(f"probes_{policy}", task)
    return (stored["max_lr"], stored["steps"]) if stored else None


def _peer(name: str) -> Rule:
    def suggest(task: Task, _policy: str) -> tuple[Suggestions, list[int]] | None:
        stored = cache.read("peers", task)
        if stored is None:
            return None
        found = stored["suggestions"][name]
        return found, [stored["steps"]] * len(found)

    return Rule(name, suggest)


RULES = (
    Rule("cyclerate probe", _probe),
    Rule("cyclerate range", _range),
    _peer("fastai valley"),
    _peer("fastai slide"),
    _peer("fastai minimum"),
    _peer("fastai steep"),
    _peer("lightning"),
    _peer("torch-lr-finder"),
    _peer("ignite"),
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
        tasks=sum(rule.suggest(task, policy) is not None for task in tasks),
        steps=float(column["steps"].mean()),
        regrets=column["regret"],
        heldout=column["heldout"],
        decades_off=column["decades_off"],
        answered=column["answered"],
    )


def _case(train: Landscape, heldout: Landscape, lr: float | None, steps: int) -> dict[str, Any]:
    return {
        "regret": train.at(lr),
        "heldout": heldout.at(lr),
        "decades_off": train.decades_off(lr),
        "steps": steps,
        "answered": lr is not None,
    }


def score_rate_free(name: str, tasks: Iterable[Task]) -> Score | None:
    """Returns the regrets of an optimizer without a rate, if it has trained every one of the tasks.

    It is judged by the 1cycle grid of the task's own optimizer.
    """
    cases: list[tuple[float, float]] = []
    tasks = list(tasks)
    if any(cache.read(rate_free.kind_of(name), task) is None for task in tasks):
        return None
    for task in tasks:
        stored, judged = (
            cache.read(rate_free.kind_of(name), task),
            cache.read("grid_one_cycle", task),
        )
        if stored and judged:
            for losses in stored["losses"]:
                train, heldout = (
                    regret.of_loss(judged, objective, loss)
                    for objective, loss in zip(regret.OBJECTIVES, losses, strict=True)
                )
                cases.append((train, heldout))
    if not cases:
        return None
    regrets, heldout_regrets = np.array(cases).T
    nothing = np.full(len(cases), np.nan)
    return Score(name, len(cases), 0.0, regrets, heldout_regrets, nothing, np.isnan(nothing))


@dataclass(frozen=True)
class Intervals:
    """How often the probe's interval holds a rate within 0.02 regret, and how wide it is."""

    share_good: float
    median_decades: float


def score_intervals(policy: str, tasks: Iterable[Task]) -> Intervals | None:
    good, decades = [], []
    for task in tasks:
        stored, judge = cache.read(f"probes_{policy}", task), regret.of(task, policy)
        if stored and judge:
            for interval in filter(None, stored["interval"]):
                good.append(judge.lowest_within(*interval) <= GOOD_REGRET)
                decades.append(np.log10(interval[1] / interval[0]))
    return Intervals(float(np.mean(good)), float(np.median(decades))) if good else None


def median_spread(policy: str, tasks: Iterable[Task]) -> float | None:
    """Returns by which factor the answers of four seeds lie apart; None where three were run."""
    factors = []
    for task in tasks:
        stored = cache.read(f"probes_{policy}", task)
        if stored is None or "more" not in stored:
            return None
        rates = [lr for lr in stored["max_lr"] + stored["more"]["max_lr"] if lr is not None]
        if len(rates) > 1:
            factors.append(max(rates) / min(rates))
    return float(np.median(factors))


def half(name: str) -> list[Task]:
    return [task for task in EVERY if task.half == name]
