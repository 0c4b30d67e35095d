"""What the figures draw, as plain arrays: learning curves and rates, without matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyclerate.compare._comparison import Comparison
from cyclerate.compare._record import Run
from cyclerate.schedules import Schedule

Array = NDArray[np.float64]
LOG_SPAN = 100.0


@dataclass(frozen=True)
class Line:
    """Points of one curve; values that were not finite are left out."""

    steps: Array
    values: Array

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Curve:
    """One policy's curves: one line for each seed, and their mean."""

    policy: str
    seeds: tuple[Line, ...]
    diverged: tuple[Line, ...]
    mean: Line

    @property
    def end(self) -> float | None:
        """The last value of the mean, or of a diverged run where there is no mean."""
        line = next((line for line in (self.mean, *self.diverged) if len(line)), None)
        return None if line is None else float(line.values[-1])


def curves(comparison: Comparison, quantity: str) -> tuple[Curve, ...]:
    """Returns the curves of every policy that has a point."""
    found = []
    for policy in comparison.policies:
        cells = comparison.runs_of(policy)
        seeds = tuple(_line(cell, quantity) for cell in cells if not cell.diverged)
        diverged = tuple(_line(cell, quantity) for cell in cells if cell.diverged)
        found.append(Curve(policy, seeds, diverged, _mean(seeds)))
    return tuple(curve for curve in found if curve.end is not None)


def span(drawn: Sequence[Curve]) -> tuple[float, float]:
    """Returns the lowest and highest value worth showing.

    Runs that diverged do not stretch the axis unless there is nothing else.
    """
    finished = [line.values for curve in drawn for line in curve.seeds if len(line)]
    lines = finished or [line.values for curve in drawn for line in curve.diverged if len(line)]
    values = np.concatenate(lines)
    return float(values.min()), float(values.max())


def is_wide(low: float, high: float, at_least: float) -> bool:
    """True if positive values span so large a ratio that a logarithmic axis shows them better."""
    return 0.0 < low < high and math.isfinite(high) and high / low >= at_least


def wide_steps(drawn: Iterable[Curve]) -> bool:
    """True if the evaluations lie so far apart that the steps need a logarithmic axis."""
    lines = [line for curve in drawn for line in (*curve.seeds, *curve.diverged)]
    steps = np.concatenate([line.steps[line.steps > 0] for line in lines])
    return steps.size > 0 and is_wide(float(steps.min()), float(steps.max()), LOG_SPAN)


def rate_envelope(schedule: Schedule, steps: int, bins: int = 600) -> tuple[Array, Array, Array]:
    """Returns a schedule's rates so that long ones keep their peaks when they are drawn small.

    They are steps, lowest and highest rates: over the steps of each bin where there are more.
    """
    if steps <= bins:
        n = np.arange(steps)
        values = np.asarray(schedule(n), dtype=np.float64)
        return n.astype(np.float64), values, values
    edges = np.linspace(0, steps, bins + 1).astype(np.int64)
    points = min(1000, math.ceil(steps / bins))
    inside = np.linspace(0.0, 1.0, points)
    n = (edges[:-1, None] + inside * (edges[1:] - 1 - edges[:-1])[:, None]).astype(np.int64)
    values = np.asarray(schedule(n.ravel()), dtype=np.float64).reshape(n.shape)
    return n.mean(axis=1), values.min(axis=1), values.max(axis=1)


def _line(cell: Run, quantity: str) -> Line:
    values = np.array(getattr(cell, quantity), dtype=np.float64)  # None becomes NaN
    kept = np.isfinite(values)
    return Line(np.asarray(cell.steps, dtype=np.float64)[kept], values[kept])


def _mean(lines: Sequence[Line]) -> Line:
    full = [line for line in lines if len(line)]
    if not full:
        return Line(np.empty(0), np.empty(0))
    common = full[0].steps
    for line in full[1:]:
        common = np.intersect1d(common, line.steps)
    values = [line.values[np.isin(line.steps, common)] for line in full]
    return Line(common, np.mean(values, axis=0))
