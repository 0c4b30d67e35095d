"""Line charts of an experiment: plain values first, drawn in the report's clothes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cyclerate.compare._theme import LIGHT, Theme, styles

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
    x: Points
    y: Points
    pale: tuple[tuple[Points, Points], ...] = ()


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


def draw(chart: Chart, theme: Theme = LIGHT) -> Figure:
    """Draws a chart."""
    from cyclerate.compare._drawing import Named, drawable, dress, name_lines, new_figure

    figure = new_figure(_INCHES, theme)
    ax = figure.add_subplot()
    look = styles([line.name for line in chart.lines], chart.reference, theme)
    ends: list[Named] = []
    for line in chart.drawn:
        style = look[line.name]
        for x, y in line.pale:
            ax.plot(*_points(x, y), color=style.color, alpha=0.3, linewidth=0.8)
        x, y = _points(line.x, line.y)
        ax.plot(x, y, color=style.color, linestyle=style.dashes, linewidth=1.8)
        ends.append(Named(drawable(line.name), y[-1], style))
    _axes(ax, chart)
    dress(ax, theme, chart.title)
    name_lines(ax, _inside(ends, ax), theme, _ABOUT_AXES_INCHES)
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


def _inside(ends: list[Any], ax: Axes) -> list[Any]:
    """A line that leaves the axes is named at their edge."""
    import dataclasses

    low, high = ax.get_ylim()
    return [dataclasses.replace(end, end=min(max(end.end, low), high)) for end in ends]


def _points(x: Points, y: Points) -> tuple[list[float], list[float]]:
    kept = [
        (a, b)
        for a, b in zip(x, y, strict=True)
        if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)
    ]
    return [a for a, _ in kept], [b for _, b in kept]
