"""Line charts of an experiment: plain values made of the record, drawn in the report's clothes."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cyclerate._theme import LIGHT, Theme, styles
from cyclerate.schedules import from_dict
from reproductions._phrases import measured, rates
from reproductions._record import Reproduction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[float | None]
_INCHES = 3.1
_ABOUT_AXES_INCHES = 2.3


@dataclass(frozen=True)
class Line:
    """One line with its name: the mean, and what it is the mean of, paler; None leaves a gap."""

    name: str
    x: Points = ()
    y: Points = ()
    pale: tuple[tuple[Points, Points], ...] = ()

    @property
    def last(self) -> float | None:
        """Where it ends."""
        return self.y[-1] if self.y else None


@dataclass(frozen=True)
class Chart:
    """A line chart.

    Attributes:
        name: Its file name, without the ending.
        title: What it shows.
        x_label: With the unit.
        y_label: With the unit.
        lines: Named beside their ends.
        caption: What to look at.
        alt: Its content, for those who cannot see it.
        log_x: A logarithmic axis; so `log_y`.
        log_y: See `log_x`.
        y_limits: The part of the axis that is shown; what is outside is cut.
        percent: The values are shares, to be written in percent.
        reference: The line that the others are measured against; it is grey.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    caption: str
    alt: str
    log_x: bool = False
    log_y: bool = False
    y_limits: tuple[float, float] | None = None
    percent: bool = False
    reference: str = ""

    @property
    def drawn(self) -> tuple[Line, ...]:
        """The lines that have a point."""
        return tuple(line for line in self.lines if _points(line.x, line.y)[1])


def line(
    record: Reproduction, cell: str, name: str, curve: str, steps_per_epoch: int | None = None
) -> Line:
    """A curve of a cell over its steps, or epochs: the mean of its seeds, and each of them paler.

    The mean ends where the first of them ends.
    """
    runs = [run.outcome.curves for run in record.of(cell) if run.outcome.curves]
    if not runs:
        return Line(name)
    unit = steps_per_epoch or 1
    axes = [[step / unit for step in curves["steps"] if step is not None] for curves in runs]
    values = [curves[curve] for curves in runs]
    shortest = min(axes, key=len)
    mean = [whole_mean([series[i] for series in values]) for i in range(len(shortest))]
    pale = tuple(zip(axes, values, strict=True)) if len(runs) > 1 else ()
    return Line(name, shortest, mean, pale)


def whole_mean(values: Points) -> float | None:
    """The mean of numbers; None if one of them is missing."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def trainings_chart(
    record: Reproduction,
    name: str,
    title: str,
    cells: Mapping[str, str],
    *,
    curve: str,
    value: str,
    steps_per_epoch: int | None = None,
    x_label: str = "",
    percent: bool = True,
    decimals: int | None = None,
    note: str = "",
    **options: Any,
) -> Chart:
    """Draws one curve of several trainings; the caption says where they end.

    Args:
        record: The experiment.
        name: The chart's file name, without the ending.
        title: What it shows.
        cells: The names of the lines, by cell.
        curve: Which curve; its last point is the value of this name, too.
        value: What the curve is, in words.
        steps_per_epoch: Set for an axis in epochs.
        x_label: Of the axis, if its steps are not optimizer steps.
        percent: The values are shares.
        decimals: Of the last values, if not by their size.
        note: What else to look at; the first sentence of the caption.
        **options: Of the chart.
    """
    unit = steps_per_epoch
    lines = tuple(line(record, cell, label, curve, unit) for cell, label in cells.items())
    ends = "; ".join(
        f"{label}: {measured(record, cell, curve, share=percent, decimals=decimals)}"
        for cell, label in cells.items()
        if record.of(cell)
    )
    axis = x_label or ("epochs" if unit else "optimizer steps")
    return Chart(
        name=name,
        title=title,
        x_label=axis,
        y_label=value,
        lines=lines,
        caption=f"{note or 'Means and seeds.'} At the end: {ends}.",
        alt=f"Line chart of the {value} over the {axis}. At the end: {ends}.",
        percent=percent,
        **options,
    )


def later_part(chart: Chart, after: float = 0.5) -> Chart:
    """The chart with its axis fitted to what comes after this share of every line."""
    later = [y for a in chart.lines for y in a.y[int(after * len(a.y)) :] if y is not None]
    if not later:
        return chart
    margin = 0.1 * (max(later) - min(later)) or 0.01
    return dataclasses.replace(chart, y_limits=(min(later) - margin, max(later) + margin))


def rate_line(record: Reproduction, cell: str, name: str, steps: int, unit: int = 1) -> Line:
    """The rate in the first training of a cell over its steps, or over units of so many."""
    for run in record.of(cell):
        if run.outcome.schedule is not None:
            x = np.linspace(0, steps - 1, 401).round().astype(int)
            y = np.asarray(from_dict(run.outcome.schedule)(x))
            return Line(name, (x / unit).tolist(), y.tolist())
    return Line(name)


def range_test_chart(record: Reproduction, cell: str, name: str, words: str) -> Chart:
    """Draws the range tests of a cell: the smoothed curve of each seed, the raw one paler."""
    runs = record.of(cell)
    lines: list[Line] = []
    smoothed = [run.result.smoothed for run in runs]
    for run in runs:
        lrs = run.result.lrs.tolist()
        pale = ((lrs, run.result.losses.tolist()),)
        lines.append(Line(f"seed {run.seed}", lrs, run.result.smoothed.tolist(), pale))
    answer = f"max_lr: {rates([run.result.max_lr for run in runs])}"
    return Chart(
        name=f"range_test_{name}",
        title=f"Range test, {words}",
        x_label="learning rate",
        y_label="loss of each batch",
        lines=tuple(lines),
        caption=f"Strong smoothed, pale as measured. {answer}.",
        alt=f"Line chart of the loss over rising learning rates. {answer}.",
        log_x=True,
        y_limits=_falling_part([curve[np.isfinite(curve)] for curve in smoothed]),
    )


def _falling_part(curves: Sequence[Any]) -> tuple[float, float] | None:
    """The losses worth showing: from the lowest to somewhat above the start."""
    known = [curve for curve in curves if curve.size]
    if not known:
        return None
    low, start = min(curve.min() for curve in known), max(curve[0] for curve in known)
    fall = float(start - low) or 1.0
    return float(low) - 0.15 * fall, float(start) + 0.5 * fall


def draw(chart: Chart, theme: Theme = LIGHT) -> Figure:
    """Draws a chart."""
    from reproductions._drawing import Named, drawable, dress, name_lines, new_figure

    figure = new_figure(_INCHES, theme)
    ax = figure.add_subplot()
    look = styles([line.name for line in chart.lines], chart.reference, theme)
    for one in chart.drawn:
        style = look[one.name]
        for x, y in one.pale:
            ax.plot(*_points(x, y), color=style.color, alpha=0.3, linewidth=0.8)
        ax.plot(*_points(one.x, one.y), color=style.color, linestyle=style.dashes, linewidth=1.8)
    _axes(ax, chart)
    dress(ax, theme, chart.title)
    low, high = ax.get_ylim()
    ends = [
        # A line that leaves the axes is named at their edge.
        Named(drawable(a.name), min(max(_points(a.x, a.y)[1][-1], low), high), look[a.name])
        for a in chart.drawn
    ]
    name_lines(ax, ends, theme, _ABOUT_AXES_INCHES)
    return figure


def _axes(ax: Axes, chart: Chart) -> None:
    from matplotlib import ticker

    if chart.log_x:
        ax.set_xscale("log")
    if chart.log_y:
        ax.set_yscale("log")
    if chart.y_limits is not None:
        ax.set_ylim(*chart.y_limits)
    if chart.percent:
        ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{100 * y:.4g} %"))
    words: dict[str, Any] = {"parse_math": False}
    ax.set_xlabel(chart.x_label, **words)
    ax.set_ylabel(chart.y_label, **words)


def _points(x: Points, y: Points) -> tuple[list[float], list[float]]:
    kept = [
        (a, b)
        for a, b in zip(x, y, strict=True)
        if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)
    ]
    return [a for a, _ in kept], [b for _, b in kept]
