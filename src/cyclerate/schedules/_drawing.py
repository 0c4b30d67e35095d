"""What a schedule looks like: how many steps show it, its rates at them, and their chart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate._svg import Axis, Chart, number, steps_text
from cyclerate._theme import CSS

Array = NDArray[np.float64]
Rates = Callable[[Any], Any]
"""A schedule, which draws itself by this module and so cannot be imported here."""

_BINS = 340  # as many as a chart has pixels
_MOST_IN_BIN = 1000


def shown_steps(schedule: Any) -> int:
    """Steps that show what a schedule does: its own length, four cycles, or a ramp and a little."""
    for name, times in (("total_steps", 1.0), ("step_size", 8), ("cycle_steps", 7), ("steps", 1.2)):
        if length := getattr(schedule, name, None):
            return int(times * length) + (name == "steps")
    if boundaries := getattr(schedule, "boundaries", None):
        return boundaries[-1] + shown_steps(schedule.schedules[-1])
    inner = getattr(schedule, "schedule", None)
    return 100 if inner is None else shown_steps(inner)


def rate_envelope(schedule: Rates, steps: int, bins: int = _BINS) -> tuple[Array, Array, Array]:
    """Returns a schedule's rates so that long ones keep their peaks when they are drawn small.

    They are steps, lowest and highest rates: over the steps of each bin where there are more.
    """
    if steps <= bins:
        n = np.arange(steps)
        values = np.asarray(schedule(n), dtype=np.float64)
        return n.astype(np.float64), values, values
    edges = np.linspace(0, steps, bins + 1).astype(np.int64)
    points = min(_MOST_IN_BIN, math.ceil(steps / bins))
    inside = np.linspace(0.0, 1.0, points)
    n = (edges[:-1, None] + inside * (edges[1:] - 1 - edges[:-1])[:, None]).astype(np.int64)
    values = np.asarray(schedule(n.ravel()), dtype=np.float64).reshape(n.shape)
    return n.mean(axis=1), values.min(axis=1), values.max(axis=1)


def draw_schedule(schedule: Rates, steps: int, title: str = "Learning rate") -> str:
    """Returns the chart of a schedule over its first steps, as SVG."""
    at, low, high = rate_envelope(schedule, steps)
    top = float(high.max())
    ends = [number(float(rates)) for rates in (low.min(), high.max())]
    alt = f"Line chart of the {title.lower()} over {steps:,} steps, from {ends[0]} to {ends[1]}."
    chart = Chart(
        Axis(0.0, float(max(steps - 1, 1)), label="step", write=steps_text),
        Axis(0.0, 1.06 * top or 1.0),
        title,
        alt,
    )
    if steps > _BINS:
        chart.band(at, low, high, CSS.lines[0], 0.5)
    chart.line(at, high, CSS.lines[0])
    return chart.svg()
