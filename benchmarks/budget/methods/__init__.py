"""The methods, one file with one function each.

A method takes a task, a seed and all the steps that it may spend, finding the rate included; it
returns the trainee as the training left it, and what it has to tell, as plain JSON. A new method is
a new file and a line in METHODS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.budget.methods import (
    default_rate,
    grid_search,
    prior_alone,
    probe_then_cycle,
    prodigy,
    rate_known,
    recommend,
    schedule_free,
    sweep_then_cycle,
    three_rates,
    valley_then_cycle,
    warmup,
)
from benchmarks.finders.task import Task
from benchmarks.finders.trainee import Trainee

Method = Callable[[Task, int, int], tuple[Trainee, dict[str, Any]]]

METHODS: dict[str, Method] = {
    "warmup": warmup.train,
    "prior alone": prior_alone.train,
    "recommend, by a probe": recommend.train,
    "probe, then 1cycle": probe_then_cycle.train,
    "sweep, then 1cycle": sweep_then_cycle.train,
    "fastai's valley, then its 1cycle": valley_then_cycle.train,
    "default rate": default_rate.train,
    "three rates by hand": three_rates.train,
    "grid search": grid_search.train,
    "prodigy": prodigy.train,
    "schedule-free adamw": schedule_free.train,
    "1cycle, its best rate known": rate_known.train,
}
