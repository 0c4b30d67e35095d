"""How every experiment asks for a rate, and what it makes of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cyclerate.compare._trainer import KerasTrainer
from cyclerate.finder import RangeTestResult
from reproductions._charts import Chart, Line
from reproductions._record import Cell, Outcome, Reproduction
from reproductions.saying import rates

METHOD = "probe"
_SETTINGS: dict[str, Any] = {
    "method": METHOD,
    "start_lr": 1e-6,
    "end_lr": 10.0,
    "steps": 100,
    "repeats": 1,
}


@dataclass(frozen=True)
class Found:
    """The rates that a range test found."""

    base_lr: float
    max_lr: float


def range_test_cell(
    name: str, label: str, epochs: int | None, common: dict[str, Any], **options: Any
) -> Cell:
    """Makes the cell of our range test for a training of so many epochs.

    None where the common settings say how long it is.
    """
    length = {} if epochs is None else {"epochs": epochs}
    return Cell(name, label, {**common, **length, "range_test": {**_SETTINGS, **options}})


def find_rate(trainer: KerasTrainer, seed: int, **options: Any) -> Outcome:
    """Runs our range test for a training as long as the trainer's.

    Args:
        trainer: The network and its data.
        seed: Of the weights and of the order of the data.
        **options: Of `cyclerate.keras.range_test`, in place of the usual ones.
    """
    return outcome_of(trainer.range_test(seed, **{**_SETTINGS, **options}))


def outcome_of(result: RangeTestResult) -> Outcome:
    """Returns a range test as the outcome of a cell, with "max_lr", "base_lr" and "steps"."""
    values = {"max_lr": result.max_lr, "base_lr": result.base_lr, "steps": float(result.steps)}
    return Outcome(values, found=result.to_dict(), seconds=result.seconds or 0.0)


def found_rates(done: Reproduction, cell: str, seed: int) -> Found | None:
    """The rates that a cell's range test found with a seed; None where it gave no clear answer."""
    result = done.found(cell, seed)
    if result.base_lr is None or result.max_lr is None:
        return None
    return Found(result.base_lr, result.max_lr)


def range_test_chart(record: Reproduction, cell: str, name: str, words: str) -> Chart:
    """Draws the range tests of a cell: the smoothed curve of each seed, the raw one paler."""
    runs = record.of(cell)
    results = record.results(cell)
    lines = tuple(
        Line(
            f"seed {run.seed}",
            result.lrs.tolist(),
            result.smoothed.tolist(),
            ((result.lrs.tolist(), result.losses.tolist()),),
        )
        for run, result in zip(runs, results, strict=True)
    )
    answer = f"max_lr: {rates([result.max_lr for result in results])}"
    return Chart(
        name=f"range_test_{name}",
        title=f"Range test, {words}",
        x_label="learning rate",
        y_label="loss of each batch",
        lines=lines,
        caption=f"Strong smoothed, pale as measured. {answer}.",
        alt=f"Line chart of the loss over rising learning rates. {answer}.",
        log_x=True,
        y_limits=_falling_part(results),
    )


def _falling_part(results: tuple[RangeTestResult, ...]) -> tuple[float, float] | None:
    """The losses worth showing: from the lowest to somewhat above the start."""
    curves = [curve for r in results if (curve := r.smoothed[np.isfinite(r.smoothed)]).size]
    if not curves:
        return None
    low, start = min(curve.min() for curve in curves), max(curve[0] for curve in curves)
    fall = float(start - low) or 1.0
    return float(low) - 0.15 * fall, float(start) + 0.5 * fall
