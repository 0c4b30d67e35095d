"""Comparisons made up for the tests: every number is chosen, nothing is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import cyclerate as cr
from cyclerate.compare._record import (
    Cell,
    DataInfo,
    Metric,
    ModelInfo,
    PolicyInfo,
    Record,
    SummaryRow,
)
from cyclerate.compare._summary import summarise
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


def record(
    summary: Sequence[SummaryRow],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    cells: Sequence[Cell] = (),
    range_test: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Record:
    """A comparison with this table; the rest is filled in."""
    schedules = {r.policy: SCHEDULES.get(r.policy, cr.Constant(0.01)) for r in summary}
    made = Record(
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
            "dense 64, 64 (ReLU)", 4993, "SGD (momentum 0.9)", "binary_crossentropy", 128
        ),
        metric=Metric("accuracy", "max"),
        epochs=20,
        steps_per_epoch=400,
        total_steps=STEPS,
        seeds=tuple(seeds),
        range_test=None if range_test is None else dict(range_test),
        policies=tuple(
            PolicyInfo(name, name.replace("_", " "), schedule.to_dict(), f"Why {name}.")
            for name, schedule in schedules.items()
        ),
        cells=tuple(cells),
        reference="fixed",
        summary=tuple(summary),
        best=None,
    )
    return dataclasses.replace(made, **changes)


def cell(
    policy: str,
    seed: int,
    losses: Sequence[float | None],
    *,
    steps: Sequence[int] | None = None,
    metrics: Sequence[float | None] | None = None,
    diverged: bool = False,
) -> Cell:
    """One run; steps are 100, 200, ... and the metric is 1 - loss unless they are given."""
    steps = steps or [100 * (i + 1) for i in range(len(losses))]
    metrics = metrics or [None if loss is None else 1.0 - loss for loss in losses]
    return Cell(
        policy, seed, tuple(steps), tuple(losses), tuple(losses), tuple(metrics), 12.0, diverged
    )


def raced(
    speeds: Mapping[str, float],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    points: int = 80,
    diverging: Sequence[tuple[str, int]] = (),
    **changes: Any,
) -> Record:
    """A whole comparison whose losses decay, each policy at its own speed, with a little noise."""
    cells = [
        _run(policy, seed, speed, points, diverges=(policy, seed) in diverging)
        for policy, speed in speeds.items()
        for seed in seeds
    ]
    table = summarise(cells, speeds, "fixed")
    return record(table, seeds=seeds, cells=cells, **changes)


def _run(policy: str, seed: int, speed: float, points: int, *, diverges: bool) -> Cell:
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
    return Cell(policy, seed, at, loss, loss, metric, 11.8 + 0.4 * seed, diverges)
