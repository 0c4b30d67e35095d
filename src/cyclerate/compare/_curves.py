"""Learning curves as plain arrays, and their chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyclerate._svg import NAMED_RIGHT, Axis, Chart, around, number, steps_text
from cyclerate._theme import CSS, Style
from cyclerate.compare._record import Run
from cyclerate.compare._wording import shortened

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
    def lines(self) -> tuple[Line, ...]:
        """One line for each run."""
        return (*self.seeds, *self.diverged)

    @property
    def end(self) -> float | None:
        """The last value of the mean, or of a diverged run where there is no mean."""
        line = next((line for line in (self.mean, *self.diverged) if len(line)), None)
        return None if line is None else float(line.values[-1])


def curves(runs: Iterable[Run], policies: Iterable[str], quantity: str) -> tuple[Curve, ...]:
    """Returns the curves of every policy that has a point."""
    found, runs = [], tuple(runs)
    for policy in policies:
        cells = [run for run in runs if run.policy == policy]
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
    lines = [line for curve in drawn for line in curve.lines]
    steps = np.concatenate([line.steps[line.steps > 0] for line in lines])
    return steps.size > 0 and is_wide(float(steps.min()), float(steps.max()), LOG_SPAN)


def value_limits(drawn: Sequence[Curve], *, log_values: bool) -> tuple[float, float, bool]:
    """Returns the ends of the axis of the values, and whether it is logarithmic."""
    low, high = span(drawn)
    if log_values and is_wide(low, high, 20.0):
        return low / 1.2, high * 1.2, True
    return *around([low, high]), False


def draw_curves(
    drawn: Sequence[Curve],
    title: str,
    alt: str,
    look: Mapping[str, Style],
    labels: Mapping[str, str],
    *,
    write: Callable[[float], str] = number,
    log_values: bool = True,
    goal: float | None = None,
) -> str:
    """Returns the chart of learning curves, as SVG: means strong, runs pale.

    Args:
        drawn: The curves.
        title: What stands over it.
        alt: Its content as text.
        look: How each policy is drawn.
        labels: What each policy is called.
        write: Writes a value at the axis.
        log_values: Whether the axis may be logarithmic where the values span a large ratio.
        goal: A value that a dashed line marks.
    """
    low, high, log = value_limits(drawn, log_values=log_values)
    ends = np.concatenate([line.steps for one in drawn for line in one.lines if len(line)])
    wide = wide_steps(drawn)
    first = float(ends[ends > 0].min()) if wide else 0.0
    across = Axis(first, float(ends.max()) or 1.0, wide, "optimizer steps", steps_text)
    chart = Chart(across, Axis(low, high, log, write=write), title, alt, right=NAMED_RIGHT)
    for curve in drawn:
        color = look[curve.policy].color
        for line in (*curve.seeds, *curve.diverged) if len(curve.lines) > 1 else curve.diverged:
            chart.line(line.steps, line.values, color, width=0.8, opacity=0.45)
        for line in curve.diverged:
            if len(line):
                chart.crosses(line.steps[-1:], line.values[-1:], color)
    if goal is not None:
        chart.rule("y", goal, CSS.ink)
    for curve in drawn:
        style = look[curve.policy]
        chart.line(curve.mean.steps, curve.mean.values, style.color, dashes=style.dash_array)
        if len(curve.mean) == 1:
            chart.dots(curve.mean.steps, curve.mean.values, style.color, radius=3)
    named = [
        (shortened(labels.get(curve.policy) or curve.policy, 12), curve.end, look[curve.policy])
        for curve in drawn
        if curve.end is not None
    ]
    chart.names(named)
    return chart.svg()


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
