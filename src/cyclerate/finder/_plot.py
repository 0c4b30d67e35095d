"""The picture of a range test: by matplotlib, and as SVG for pages and notebooks."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from cyclerate._svg import Axis, Chart, around, number
from cyclerate._theme import CSS
from cyclerate.finder._curve import read_curve, to_minimise
from cyclerate.finder._suggest import MIN_POINTS
from cyclerate.schedules._base import axes_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = Any
"""A `RangeTestResult`, which draws itself by this module and so cannot be imported here."""

_POINTS = "#9aa5b1"
_LINE = "#1f4e79"
_MAX = "#c0392b"
_BASE = "#2e7d32"
_RACE = "#d98200"
_TITLE_WIDTH = 68


def plot_result(result: Result, ax: Axes | None = None) -> Axes:
    """Draws the losses, the smoothed curve, the races, and the rates that were read from them."""
    axes = axes_for(ax, figsize=(6.4, 4.2))
    for run in result.runs or (result,):
        axes.plot(run.lrs, run.losses, ".", color=_POINTS, alpha=0.7, markersize=4, zorder=1)
    axes.plot(result.lrs, result.smoothed, color=_LINE, linewidth=2, zorder=3)
    axes.set_xscale("log" if result.spacing == "exponential" else "linear")
    axes.set_xlabel("learning rate")
    axes.set_ylabel(result.metric)
    axes.set_title(_title(result), fontsize=10)
    _set_limits(result, axes)
    _fill_densities(result, axes)
    _mark_races(result, axes)
    _mark_rates(result, axes)
    return axes


def _title(result: Result) -> str:
    text = result.headline() if result.max_lr is not None else result.verdict
    return "\n".join(textwrap.wrap(text, _TITLE_WIDTH))


def limits(result: Result) -> tuple[float, float] | None:
    """Returns the values that show the descent in full height: the blow-up leaves the picture.

    None where nothing was read.
    """
    curves = [(run.lrs, to_minimise(run.losses, run.mode)) for run in result.runs or (result,)]
    curves = [curve for curve in curves if np.isfinite(curve[1]).sum() >= MIN_POINTS]
    scores = np.array([score for _, score in result.races if score is not None])
    values = np.concatenate([*(values for _, values in curves), to_minimise(scores, result.mode)])
    if not len(values):
        return None
    readings = [read_curve(*curve, result.planned_steps) for curve in curves]
    ceiling = max((reading.ceiling for reading in readings), default=np.nanmax(values))
    best = float(np.nanmin(values))
    worst = float(np.max(values[values <= ceiling], initial=best))
    margin = 0.08 * (worst - best) or 1.0
    low, high = sorted(to_minimise(np.array([best - margin, worst + margin]), result.mode))
    return float(low), float(high)


def band(result: Result) -> tuple[Any, Any] | None:
    """Returns the lowest and highest smoothed values of repeated sweeps at the result's rates."""
    if len(result.runs) < 2 or not len(result.lrs):
        return None
    at = [
        np.interp(result.lrs, run.lrs, run.smoothed, left=np.nan, right=np.nan)
        for run in result.runs
        if len(run.lrs)
    ]
    # A rate that no sweep reached has the result's own value.
    rows = np.array([*at, result.smoothed])
    return np.fmin.reduce(rows), np.fmax.reduce(rows)


def densities(result: Result) -> tuple[Any, Any | None, Any] | None:
    """Returns rates, and how probable each is, before the test and after it; 1 is the most.

    None without an answer; no density before the test where nothing was expected.
    """
    after, before = result.posterior, result.density("prior")
    if after is None or result.max_lr is None:
        return None
    top = max(float(one[1].max()) for one in (after, before) if one is not None)
    return after[0], None if before is None else before[1] / top, after[1] / top


DENSITY_FRAC = 0.22
"""How much of a chart's height the densities take, at its foot."""


def describe(result: Result) -> str:
    """Says what the chart of a range test shows."""
    if not len(result.lrs):
        return f"No rate was tried; {result.headline()}."
    tried = f"{number(float(result.lrs[0]))} to {number(float(result.lrs[-1]))}"
    return (
        f"Line chart of the {result.metric} over learning rates from {tried}: {result.headline()}."
    )


def draw_result(result: Result) -> str:
    """Returns the chart of a range test, as SVG."""
    log = result.spacing == "exponential"
    tried = [float(lr) for lr in result.lrs if lr > 0 or not log] or [1e-4, 1.0]
    low, high = limits(result) or around(result.smoothed)
    across = Axis(tried[0], max(tried[-1], tried[0] * 1.01), log, "learning rate")
    chart = Chart(across, Axis(low, high), f"Range test: {result.metric}", describe(result))
    if result.interval:
        inside = np.clip(result.interval, across.low, across.high)
        chart.band(inside, [low, low], [high, high], CSS.lines[1], 0.12)
    _draw_densities(result, chart, across, low, high)
    repeated = band(result)
    if repeated is not None:
        chart.band(result.lrs, *repeated, CSS.lines[0])
    for run in result.runs or (result,):
        chart.dots(run.lrs, run.losses, CSS.faint, radius=1.3, opacity=0.6)
    chart.line(result.lrs, result.smoothed, CSS.lines[0], width=2.2)
    for lr, score in result.races:
        if score is None or not low <= score <= high:
            chart.crosses([lr], [high if result.mode == "min" else low], CSS.lines[3])
        else:
            chart.dots([lr], [score], CSS.lines[3], radius=4)
    if result.max_lr is not None:
        chart.rule("x", result.base_lr, CSS.lines[2], f"base_lr {result.base_lr:.2g}", "start")
        chart.rule("x", result.max_lr, CSS.lines[1], f"max_lr {result.max_lr:.2g}")
    return chart.svg()


def _draw_densities(result: Result, chart: Chart, across: Axis, low: float, high: float) -> None:
    if (found := densities(result)) is None:
        return
    rates, before, after = found
    inside = (across.low <= rates) & (rates <= across.high)
    foot, height = np.full(int(inside.sum()), low), DENSITY_FRAC * (high - low)
    chart.band(rates[inside], foot, low + height * after[inside], CSS.lines[1], 0.35)
    if before is not None:
        chart.line(rates[inside], low + height * before[inside], CSS.faint, width=1.2, dashes="3 2")


def _set_limits(result: Result, ax: Axes) -> None:
    found = limits(result)
    if found is None:
        ax.set_yticks([])  # nothing was read, so nothing is known of a blow-up
    else:
        ax.set_ylim(*found)


def _fill_densities(result: Result, ax: Axes) -> None:
    """Draws what was expected beforehand and what is known now as hills at the foot of the axes."""
    if (found := densities(result)) is None:
        return
    rates, before, after = found
    ends = ax.get_xlim()
    look: dict[str, Any] = {"alpha": 0.3, "transform": ax.get_xaxis_transform()}
    if before is not None:
        ax.fill_between(rates, DENSITY_FRAC * before, color=_POINTS, zorder=0.4, **look)
    ax.fill_between(rates, DENSITY_FRAC * after, color=_MAX, zorder=0.5, **look)
    ax.set_xlim(*ends)


def _mark_races(result: Result, ax: Axes) -> None:
    """Draws what each race came to; at the worse edge where that is out of the picture."""
    if not result.races:
        return
    low, high = ax.get_ylim()
    inside = [(lr, y) for lr, y in result.races if y is not None and low <= y <= high]
    outside = [lr for lr, y in result.races if y is None or not low <= y <= high]
    edge = 0.97 if result.mode == "min" else 0.03
    style: dict[str, Any] = {"color": _RACE, "linestyle": "None", "zorder": 5, "clip_on": False}
    if inside:
        lrs, scores = zip(*inside, strict=True)
        ax.plot(lrs, scores, "D", markersize=6, label=f"{result.metric} after a race", **style)
    if outside:
        ends, heights = ax.get_xaxis_transform(), [edge] * len(outside)
        label = "race that diverged or ended far off"
        ax.plot(outside, heights, "x", transform=ends, label=label, markeredgewidth=2, **style)
    corner = "lower left" if result.mode == "min" else "upper left"
    ax.legend(loc=corner, fontsize=8, framealpha=0.75)


def _mark_rates(result: Result, ax: Axes) -> None:
    if result.max_lr is None or result.base_lr is None or result.interval is None:
        return
    ax.axvspan(*result.interval, color=_MAX, alpha=0.12, linewidth=0, zorder=0)
    # At base_lr the curve is near its start, at max_lr near its best: write on the other side.
    best_is_low = result.mode == "min"
    _mark(ax, "base_lr", result.base_lr, color=_BASE, side="left", at_top=not best_is_low)
    _mark(ax, "max_lr", result.max_lr, color=_MAX, side="right", at_top=best_is_low)


def _mark(ax: Axes, name: str, rate: float, *, color: str, side: str, at_top: bool) -> None:
    """Marks a rate by a line and its number."""
    ax.axvline(rate, color=color, linewidth=1.5, linestyle="--", zorder=2)
    ax.annotate(
        f"{name} {rate:.2g}",
        (rate, 0.97 if at_top else 0.03),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if side == "left" else 5, 0),
        textcoords="offset points",
        rotation=90,
        ha="right" if side == "left" else "left",
        va="top" if at_top else "bottom",
        color=color,
        fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
        zorder=4,
    )
