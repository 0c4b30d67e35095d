"""Learning curves as plain arrays, and their chart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate._svg import (
    MOST_POINTS,
    NAMED_RIGHT,
    Axis,
    Chart,
    around,
    extremes,
    number,
    steps_text,
)
from cyclerate._theme import CSS, Style
from cyclerate.compare._record import Run
from cyclerate.compare._wording import shortened
from cyclerate.schedules import (
    CosLog,
    Cyclic,
    ExpRange,
    Schedule,
    Triangular,
    Triangular2,
    WarmRestarts,
)

Array = NDArray[np.float64]
LOG_SPAN = 100.0
BINS = 400
"""Parts of the axis, one for each pixel, of which a run of very many points keeps its extremes."""


@dataclass(frozen=True)
class Line:
    """Points of one curve; values that were not finite are left out.

    Where there are very many, they are the lowest and highest of each part of the axis, and
    `middle` has the mean of each part, NaN where it has no point.
    """

    steps: Array
    values: Array
    middle: Array | None = None

    def __len__(self) -> int:
        return len(self.steps)


NO_POINTS = Line(np.empty(0), np.empty(0))


@dataclass(frozen=True)
class Curve:
    """One policy's curves: one line for each seed, and their mean.

    `parts` are the steps that the lines' middles stand for.
    """

    policy: str
    seeds: tuple[Line, ...]
    diverged: tuple[Line, ...]
    mean: Line
    parts: Array | None = None

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
    """Returns the curves of every policy that has a point; of very many points the extremes."""
    found, runs = [], tuple(runs)
    steps: dict[int, Array] = {}  # runs share the steps of their evaluations: they are read once
    for policy in policies:
        cells = [run for run in runs if run.policy == policy]
        seeds = tuple(_line(cell, quantity, steps) for cell in cells if not cell.diverged)
        diverged = tuple(_line(cell, quantity, steps) for cell in cells if cell.diverged)
        found.append(Curve(policy, seeds, diverged, _mean(seeds)))
    drawn = tuple(curve for curve in found if curve.end is not None)
    pixels = _Pixels(axis_of(drawn))
    return tuple(
        pixels.thin(curve) if any(len(line) > MOST_POINTS for line in curve.lines) else curve
        for curve in drawn
    )


class _Pixels:
    """The parts of an axis, one for each pixel; its first and its last step are alone."""

    def __init__(self, axis: Axis) -> None:
        self._axis, self._known = axis, dict[int, tuple[Any, ...]]()

    def _parts(self, steps: Array) -> tuple[Any, Any, Array]:
        """In which part each step lies, where the parts begin, and how many steps each has."""
        if id(steps) not in self._known:
            axis = self._axis
            ends = [steps <= axis.low, steps >= axis.high]
            where = np.select(ends, [0, BINS + 1], 1 + axis.parts(steps, BINS))
            starts = np.flatnonzero(np.diff(where, prepend=-1))
            counts = np.bincount(where, minlength=BINS + 2)
            # The steps are kept with it: another array might have their id.
            self._known[id(steps)] = (where, starts, counts, steps)
        return self._known[id(steps)][:3]

    def _middle(self, steps: Array, values: Array) -> Array:
        """The mean of each part, NaN where it has no step."""
        where, _, counts = self._parts(steps)
        with np.errstate(invalid="ignore"):
            return np.bincount(where, values, BINS + 2) / counts

    def thin(self, curve: Curve) -> Curve:
        """A curve of which no line has more points than can be seen."""
        longest = max(curve.lines, key=len).steps
        parts = self._middle(longest, longest)
        filled = np.isfinite(parts)

        def line(one: Line) -> Line:
            if not len(one):
                return replace(one, middle=np.full(int(filled.sum()), np.nan))
            places = extremes(one.values, self._parts(one.steps)[1])
            middle = self._middle(one.steps, one.values)[filled]
            return Line(one.steps[places], one.values[places], middle)

        seeds, diverged = (tuple(map(line, lines)) for lines in (curve.seeds, curve.diverged))
        mean = NO_POINTS
        if middles := [one.middle for one in seeds if len(one)]:
            values = np.mean(np.array(middles, dtype=np.float64), axis=0)
            known = np.isfinite(values)
            mean = Line(parts[filled][known], values[known])
        return Curve(curve.policy, seeds, diverged, mean, parts[filled])


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


def axis_of(drawn: Iterable[Curve]) -> Axis:
    """The axis of the steps; logarithmic if the evaluations lie so far apart that it must be."""
    reach = [_reach(line.steps) for curve in drawn for line in curve.lines if len(line)]
    first = min((low for low, _ in reach if low), default=0.0)
    last = max((high for _, high in reach), default=0.0)
    wide = is_wide(first, last, LOG_SPAN)
    return Axis(first if wide else 0.0, last or 1.0, wide, "optimizer steps", steps_text)


def _reach(steps: Array) -> tuple[float, float]:
    """The first step above 0, or 0 if there is none, and the last one."""
    first = int(np.searchsorted(steps, 0, side="right"))
    return float(steps[first]) if first < len(steps) else 0.0, float(steps[-1])


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
    shaded: Sequence[float] = (),
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
        shaded: Where cycles begin, and the last one ends: every second one is shaded.
    """
    low, high, log = value_limits(drawn, log_values=log_values)
    across = axis_of(drawn)
    chart = Chart(across, Axis(low, high, log, write=write), title, alt, right=NAMED_RIGHT)
    for start, stop in zip(shaded[1::2], shaded[2::2], strict=False):
        ends = np.clip([start, stop], across.low, across.high)
        chart.band(ends, [low, low], [high, high], CSS.grid, 0.6)
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


def _line(cell: Run, quantity: str, known: dict[int, Array]) -> Line:
    values = _array(getattr(cell, quantity))
    if id(cell.steps) not in known:
        known[id(cell.steps)] = _array(cell.steps)
    steps, kept = known[id(cell.steps)], np.isfinite(values)
    return Line(steps, values) if kept.all() else Line(steps[kept], values[kept])


def _array(values: Sequence[float | None]) -> Array:
    try:
        return np.fromiter(values, np.float64, len(values))  # pyright: ignore[reportArgumentType]
    except TypeError:
        return np.array(values, dtype=np.float64)  # None becomes NaN


def _mean(lines: Sequence[Line]) -> Line:
    full = [line for line in lines if len(line)]
    if not full:
        return NO_POINTS
    common = full[0].steps
    for line in full[1:]:
        if line.steps is not common and not np.array_equal(line.steps, common):
            common = np.intersect1d(common, line.steps)
    values = [
        line.values if len(line) == len(common) else line.values[np.isin(line.steps, common)]
        for line in full
    ]
    return Line(common, np.mean(values, axis=0))


MOST_CYCLES = 60
"""Cycles that are shaded: more of them cannot be told apart."""


def cycle_starts(schedule: Schedule | None, total_steps: int) -> list[float]:
    """Returns where the cycles of a training begin, and where the last one ends; [] without cycles.

    >>> import cyclerate as cr
    >>> cycle_starts(cr.Triangular(0.1, 1.0, step_size=5), 25)
    [0, 10, 20, 25]
    """
    match schedule:
        case Triangular() | Triangular2() | ExpRange() | Cyclic():
            starts = [*range(0, total_steps, schedule.cycle_steps)[: MOST_CYCLES + 1]]
        case WarmRestarts():
            starts, mult, i = [0], schedule.cycle_mult, 0
            while starts[-1] < total_steps and len(starts) <= MOST_CYCLES + 1:
                starts.append(starts[-1] + round(schedule.cycle_steps * mult**i))
                i += 1
            starts.pop()
        case CosLog():
            shares = 2**schedule.cycles - 1
            starts = [total_steps * (2**i - 1) / shares for i in range(schedule.cycles)]
        case _:
            return []
    return [*starts, total_steps] if 1 < len(starts) <= MOST_CYCLES else []
