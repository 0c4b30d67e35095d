"""Probes of few steps, as `recommend` has them for a small budget: what they suggest.

The lengths of a tuning were chosen on these, on the design half.
"""

from __future__ import annotations

from benchmarks.finders import cache
from benchmarks.finders.probes import drive_on
from benchmarks.finders.scoring import Rule, Suggestions
from benchmarks.finders.sweeps import SEEDS
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee
from cyclerate.finder import Probe, RecommendationSettings, Sweep
from cyclerate.finder._recommend import tuning_for

BUDGETS = (200, 400, 1200)  # of which 60, 120 and 180 steps go into tuning


def record(task: Task) -> None:
    """Probes with every budget and seed, for the rate of the task's whole length."""
    found = {
        str(budget): [_probed(Trainee(task, seed), budget).result() for seed in SEEDS]
        for budget in BUDGETS
    }
    result = {
        "seeds": SEEDS,
        "max_lr": {name: [one.max_lr for one in results] for name, results in found.items()},
        "steps": {name: [one.steps for one in results] for name, results in found.items()},
    }
    cache.write("small_probes", task, result)


def _probed(trainee: Trainee, budget: int) -> Probe:
    tuning, usual = tuning_for(budget, 1), RecommendationSettings(budget_steps=budget).sweep
    sweep = Sweep(usual.start_lr, usual.end_lr, tuning.sweep_steps)
    probe = Probe(sweep, horizon_steps=trainee.task.steps, max_steps=tuning.probe_steps)
    drive_on(trainee, probe)
    return probe


def rule(budget: int) -> Rule:
    """Returns what a probe for such a budget suggests, as a rule to be scored."""

    def suggest(task: Task, _policy: str) -> tuple[Suggestions, list[int]] | None:
        stored = cache.read("small_probes", task)
        return (stored["max_lr"][str(budget)], stored["steps"][str(budget)]) if stored else None

    return Rule(f"a budget of {budget} steps", suggest)
