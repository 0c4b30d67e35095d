"""Comparisons made up for the tests: every number is chosen, nothing is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

import cyclerate as cr
from cyclerate.compare._answer import Answer
from cyclerate.compare._comparison import Comparison, revived
from cyclerate.compare._record import (
    About,
    DataInfo,
    ModelInfo,
    PolicyInfo,
    Run,
    SummaryRow,
    summarise,
)
from cyclerate.finder import RangeTest, RangeTestResult, Sweep

STEPS = 8000

SCHEDULES: dict[str, cr.Schedule] = {
    "fixed": cr.Constant(0.01),
    "triangular": cr.Triangular(base_lr=0.001, max_lr=0.08, step_size=400),
    "triangular2": cr.Triangular2(base_lr=0.001, max_lr=0.08, step_size=400),
    "exp_range": cr.ExpRange(base_lr=0.001, max_lr=0.08, step_size=400, gamma=0.9997),
    "one_cycle": cr.OneCycle(max_lr=0.08, total_steps=STEPS),
    "restarts": cr.WarmRestarts(max_lr=0.08, cycle_steps=1000, cycle_mult=2),
    "wsd": cr.WarmupStableDecay(max_lr=0.08, total_steps=STEPS),
}


def range_result(*, flat: bool = False) -> RangeTestResult:
    """A range test whose loss falls from 0.001 on and blows up near 0.5, or says nothing at all."""
    random = np.random.default_rng(3)
    test = RangeTest(Sweep(1e-5, 10.0, steps=100))
    going = True
    loss = 0.7
    while going:
        loss += 0.0 if flat else (0.2 * test.lr**2 - 0.01 * min(1.0, test.lr / 0.02))
        going = test.tell(loss + (0.2 if flat else 0.012) * random.standard_normal())
    return test.result(seconds=2.5)


def row(
    policy: str, loss: float | None = 0.5, spread: float | None = 0.001, **values: Any
) -> SummaryRow:
    """One line of the table; by default a policy that finished and never reached the reference."""
    defaults: dict[str, Any] = {
        "metric_mean": 0.7,
        "metric_std": 0.002,
        "seconds_mean": 12.0,
        "steps": STEPS,
        "steps_to_reference": None,
        "reached": "0/3",
        "diverged": 0,
    }
    return SummaryRow(policy=policy, loss_mean=loss, loss_std=spread, **defaults | values)


@dataclasses.dataclass(frozen=True)
class Made(Comparison):
    """A comparison whose table is given, not made of its runs."""

    table: tuple[SummaryRow, ...] = ()

    @cached_property
    def summary(self) -> tuple[SummaryRow, ...]:
        """The table that was given."""
        return self.table


ABOUT = About(
    title="cardio_train.csv.gz: cardio",
    created="2025-11-21T22:17:05+00:00",
    command="cyclerate compare cardio_train.csv.gz --target cardio --epochs 20 --seeds 3",
    versions={"cyclerate": "0.1.0", "python": "3.11.2", "keras": "3.15.0", "jax": "0.10.0"},
    machine={"processor": "some processor", "cores": "2", "memory": "8 GiB"},
    data=DataInfo(
        name="cardio_train.csv.gz",
        rows=70000,
        train_rows=51200,
        heldout_rows=18800,
        features=11,
        target="cardio",
        task="classification",
        classes=("0", "1"),
        notes=("Column id left out: every row has its own value.",),
    ),
    model=ModelInfo(
        "dense 64, 64 (ReLU)",
        4993,
        "SGD (momentum 0.9)",
        "binary_crossentropy",
        128,
        {"framework": "keras", "class": "SGD", "settings": {"momentum": 0.9}},
    ),
    mode="max",
    epochs=20,
    steps_per_epoch=400,
    total_steps=STEPS,
    seeds=(0, 1, 2),
    policies=(),
)


def record(
    summary: Sequence[SummaryRow],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    cells: Sequence[Run] = (),
    range_test: RangeTestResult | None = None,
    metric: str | None = "accuracy",
    reference: str = "fixed",
    policies: Sequence[PolicyInfo] | None = None,
    **about: Any,
) -> Made:
    """A comparison with this table; the rest is filled in."""
    known = {r.policy: SCHEDULES.get(r.policy, cr.Constant(0.01)) for r in summary}
    if policies is None:
        policies = [
            PolicyInfo(name, name.replace("_", " "), schedule.to_dict(), f"Why {name}.")
            for name, schedule in known.items()
        ]
    made = {policy.name: revived(policy.schedule) for policy in policies}
    about = {"seeds": tuple(seeds), "policies": tuple(policies), **about}
    return Made(
        cells=tuple(cells),
        policies=tuple(made),
        reference=reference,
        metric=metric,
        schedules={name: schedule for name, schedule in made.items() if schedule is not None},
        range_tests={} if range_test is None else {(seeds[0], 0): range_test},
        about=dataclasses.replace(ABOUT, **about),
        table=tuple(summary),
    )


def answer(*arguments: Any, **more: Any) -> Answer:
    """The answer of such a comparison."""
    return Answer(record(*arguments, **more))


def cell(
    policy: str,
    seed: int,
    losses: Sequence[float | None],
    *,
    steps: Sequence[int] | None = None,
    metrics: Sequence[float | None] | None = None,
    diverged: bool = False,
) -> Run:
    """One run; steps are 100, 200, ... and the metric is 1 - loss unless they are given."""
    steps = steps or [100 * (i + 1) for i in range(len(losses))]
    metrics = metrics or [None if loss is None else 1.0 - loss for loss in losses]
    return Run(
        policy, seed, tuple(steps), tuple(losses), tuple(losses), tuple(metrics), 12.0, diverged
    )


def raced(
    speeds: Mapping[str, float],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    points: int = 80,
    diverging: Sequence[tuple[str, int]] = (),
    **changes: Any,
) -> Made:
    """A whole comparison whose losses decay, each policy at its own speed, with a little noise."""
    cells = [
        _run(policy, seed, speed, points, diverges=(policy, seed) in diverging)
        for policy, speed in speeds.items()
        for seed in seeds
    ]
    table = summarise(cells, speeds, "fixed")
    return record(table, seeds=seeds, cells=cells, **changes)


def _run(policy: str, seed: int, speed: float, points: int, *, diverges: bool) -> Run:
    random = np.random.default_rng([seed, len(policy)])
    steps = np.unique(np.linspace(STEPS / points, STEPS, points).astype(int))
    rates = SCHEDULES[policy](steps - 1)
    noise = 0.002 * random.standard_normal(len(steps)) * (0.2 + rates / 0.08)
    losses = 0.54 + 0.15 * np.exp(-steps * speed / 1000) + 0.01 * rates / 0.08 + noise
    metrics = 0.734 - 0.9 * (losses - 0.54) + 0.002 * random.standard_normal(len(steps))
    if diverges:
        cut = len(steps) // 3
        steps = steps[: cut + 2]
        losses = np.append(losses[:cut], [40.0, np.nan])
        metrics = np.append(metrics[:cut], [0.5, np.nan])
    at, loss, metric = (tuple(values.tolist()) for values in (steps, losses, metrics))
    return Run(policy, seed, at, loss, loss, metric, 11.8 + 0.4 * seed, diverges)
