"""The figures of a comparison, each with its caption and its content as text.

Every figure is as wide as a phone, so that its text is legible there without zooming. No pyplot:
nothing global is opened, changed or left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cyclerate._errors import bad_argument, check_choice
from cyclerate.compare._answer import Answer, rows
from cyclerate.compare._curves import Curve, curves, is_wide, rate_envelope, span, wide_steps
from cyclerate.compare._drawing import (
    POINTS,
    Named,
    brighten,
    drawable,
    dress,
    name_lines,
    new_figure,
    step_axis,
    words,
)
from cyclerate.compare._record import SummaryRow
from cyclerate.compare._theme import LIGHT, Style, Theme, styles
from cyclerate.compare._wording import MISSING, Numbers, joined, rate, whole
from cyclerate.finder import RangeTestResult

CURVE_INCHES = 3.1
ROW_INCHES = 0.34
MARGIN_INCHES = 0.8


def draw_all(answer: Answer, theme: Theme = LIGHT) -> dict[str, Figure]:
    """Draws every figure that the comparison has something for, by file name without ending."""
    made = answer.comparison
    figures: dict[str, Figure] = {}
    for name in ("loss", "metric"):
        if curves(made, f"heldout_{name}"):
            figures[f"learning_curves_{name}"] = learning_curves(answer, name, theme)
    if any(row.metric_mean is not None for row in answer.rows):
        figures["final"] = final(answer, theme)
    if answer.reference is not None and len(answer.rows) > 1:
        figures["steps_to_reference"] = steps_to_reference(answer, theme)
    if made.range_tests:
        figures["range_test"] = range_test(answer, theme)
    if made.schedules:
        figures["schedules"] = schedules(answer, theme)
    return figures


@dataclass(frozen=True)
class Caption:
    """The words of a figure: what to look at, and its content as text."""

    text: str
    alt: str


def describe_all(answer: Answer) -> dict[str, Caption]:
    """Returns the words of every figure, by its name in `draw_all`."""
    made, rival, metric = answer.comparison, answer.rival, answer.metric
    several = len(made.about.seeds) > 1
    lines = " Strong lines are means, pale ones single seeds." if several else ""
    if any(run.diverged for run in made.cells):
        lines += " A cross ends a run that diverged."
    goal = f" Dashed: the final loss of {rival}." if answer.reference and answer.rows[1:] else ""
    if any(map(answer.is_sooner, answer.rows)):
        goal += " A dot shows where a policy reached it sooner."
    bars = " Pale dots are seeds, the diamond is their mean, the bar their standard deviation."
    losses = _each(answer, answer.loss)
    scores = _each(answer, answer.score)
    arrivals = "; ".join(f"{row.label} {_or_none(row.to_reference)}" for row in rows(answer))
    labels = joined(policy.label for policy in made.about.policies) if made.policies else "none"
    captions = {
        "learning_curves_loss": Caption(
            f"Held-out loss after each evaluation.{lines}{goal}",
            f"Line chart of the held-out loss. At the end: {losses}.",
        ),
        "learning_curves_metric": Caption(
            f"Held-out {metric} after each evaluation.{lines}",
            f"Line chart of the held-out {metric}. At the end: {scores}.",
        ),
        "final": Caption(
            f"Final held-out {metric}.{bars if several else ''} Dashed: that of {rival}.",
            f"Dot chart of the final held-out {metric}: {scores}.",
        ),
        "steps_to_reference": Caption(
            f"Optimizer steps until every run had the final held-out loss of {rival}: less is "
            "better.",
            f"Chart of the steps to the final loss of {rival}: {arrivals}.",
        ),
        "schedules": Caption(
            f"The learning rate over the {whole(made.about.total_steps)} steps of the training, on "
            "one scale; at the right the lowest and highest rate.",
            f"Small line charts of the learning rates over the steps: {labels}.",
        ),
    }
    for result in made.range_tests.values():
        captions["range_test"] = _of_range_test(result)
    return captions


def _each(answer: Answer, value: Callable[[SummaryRow], str]) -> str:
    return "; ".join(f"{answer.label(row.policy)} {_or_none(value(row))}" for row in answer.rows)


def _or_none(value: str) -> str:
    return "has none" if value == MISSING else value


def _of_range_test(result: RangeTestResult) -> Caption:
    found = "no clear answer"
    if result.max_lr and result.base_lr and result.interval:
        found = f"max_lr is {rate(result.max_lr)}, base_lr is {rate(result.base_lr)}, max_lr lies "
        found += f"between {' and '.join(map(rate, result.interval))}"
    tried = f"from {rate(float(result.lrs[0]))} to {rate(float(result.lrs[-1]))}"
    races = " Marks: short trainings, each at its highest rate." if result.races else ""
    return Caption(
        "The loss of each batch while the learning rate grows: pale as measured, strong smoothed."
        f"{races}",
        f"Line chart of the {result.metric} over learning rates {tried}; {found}.",
    )


def learning_curves(answer: Answer, quantity: str = "loss", theme: Theme = LIGHT) -> Figure:
    """Draws a held-out quantity over the steps: the mean of each policy, and each seed faint."""
    check_choice("quantity", quantity, ("loss", "metric"))
    drawn = curves(answer.comparison, f"heldout_{quantity}")
    lines = _styles(answer, theme)
    figure = new_figure(CURVE_INCHES, theme)
    ax = figure.add_subplot()
    for curve in drawn:
        _draw_curve(ax, curve, lines[curve.policy])
    wide = wide_steps(drawn)
    step_axis(ax, log=wide)
    if not wide:
        ax.set_xlim(left=0.0)
    if quantity == "loss":
        _value_axis(ax, drawn, answer.losses)
        _reference_line(ax, answer, lines, theme)
        dress(ax, theme, "Held-out loss")
    else:
        _value_axis(ax, drawn, answer.scores)
        dress(ax, theme, f"Held-out {drawable(answer.metric, 30)}")
    _crosses(ax, drawn, lines)
    ends = [
        Named(drawable(answer.label(curve.policy)), curve.end, lines[curve.policy])
        for curve in drawn
        if curve.end is not None
    ]
    name_lines(ax, ends, theme, CURVE_INCHES - MARGIN_INCHES)
    return figure


def final(answer: Answer, theme: Theme = LIGHT) -> Figure:
    """Draws the final held-out metric of each policy: its seeds, their mean and spread."""
    numbers = answer.scores
    figure, ax = _rows_of_policies(answer, theme)
    lines = _styles(answer, theme)
    drawn = curves(answer.comparison, "heldout_metric")
    for y, row in enumerate(answer.rows):
        color = lines[row.policy].color
        if row.metric_mean is None:
            _remark(ax, y, "diverged" if row.diverged else "no value", theme)
            continue
        ends = [curve for curve in drawn if curve.policy == row.policy]
        values = [line.values[-1] for curve in ends for line in curve.seeds if len(line)]
        ax.plot(values, [y] * len(values), "o", color=color, alpha=0.45, markersize=4)
        spread = row.metric_std or 0.0
        ax.errorbar(
            row.metric_mean, y, xerr=spread or None, fmt="D", color=color, markersize=6, capsize=4
        )
        _remark(ax, y, numbers.text(row.metric_mean), theme)
    _reference_mean(ax, answer, theme)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(nbins=4))
    ax.xaxis.set_major_formatter(_formatter(numbers))
    better = {"max": " (more is better)", "min": " (less is better)", None: ""}
    mode = better[answer.comparison.about.mode]
    ax.set_xlabel(f"held-out {drawable(answer.metric, 24)}{mode}", parse_math=False)
    dress(ax, theme, f"Final {drawable(answer.metric, 30)}")
    ax.grid(False, axis="y")
    return figure


def steps_to_reference(answer: Answer, theme: Theme = LIGHT) -> Figure:
    """Draws the steps after which each policy had the reference's final held-out loss.

    Raises:
        ValueError: The reference has no final loss.
    """
    reference = answer.reference
    if reference is None:
        raise bad_argument("reference", "a policy with a final loss", answer.comparison.reference)
    figure, ax = _rows_of_policies(answer, theme)
    lines = _styles(answer, theme)
    reached = {row.policy: row.steps_to_reference for row in answer.rows}
    reached[reference.policy] = answer.reference_steps
    known = [steps for steps in reached.values() if steps]
    log = is_wide(min(known), max(known), 8.0)
    start = 10.0 ** np.floor(np.log10(min(known) / 1.5)) if log else 0.0
    for y, row in enumerate(answer.rows):
        style, steps = lines[row.policy], reached[row.policy]
        if not steps or row.diverged:
            _remark(ax, y, "diverged" if row.diverged else "not reached", theme)
            continue
        ax.plot([start, steps], [y, y], color=style.color, linestyle=style.dashes, linewidth=2)
        ax.plot([steps], [y], "o", color=style.color, markersize=7)
        _remark(ax, y, whole(steps), theme)
    step_axis(ax, "optimizer steps (log scale)" if log else "optimizer steps", log=log)
    ax.set_xlim(left=start)
    dress(ax, theme, f"Steps to the final loss of {drawable(answer.rival)}")
    ax.grid(False, axis="y")
    return figure


def range_test(answer: Answer, theme: Theme = LIGHT) -> Figure:
    """Draws the range test that chose the rates."""
    result = next(iter(answer.comparison.range_tests.values()))
    figure = new_figure(CURVE_INCHES, theme)
    ax = figure.add_subplot()
    result.plot(ax=ax)
    ax.set_title("")
    ax.set_ylabel(drawable(f"{result.metric} of each batch", 30))
    for text in ax.texts:
        text.set_bbox({"facecolor": theme.paper, "alpha": 0.8, "linewidth": 0, "pad": 1.0})
    if theme.name == "dark":
        brighten([*ax.lines, *ax.texts, *ax.patches])
    dress(ax, theme, "Range test")
    return figure


def schedules(answer: Answer, theme: Theme = LIGHT) -> Figure:
    """Draws the rate of each policy over the steps, one small panel for each, on one scale."""
    about, made = answer.comparison.about, answer.comparison.schedules
    shown = [(policy, made[policy.name]) for policy in about.policies if policy.name in made]
    drawn = [rate_envelope(schedule, about.total_steps) for _, schedule in shown]
    tops = [float(high.max()) for _, _, high in drawn]
    lines = _styles(answer, theme)
    figure = new_figure(0.5 + 0.78 * len(shown), theme)
    panels = figure.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for ax, (policy, schedule), (steps, low, high) in zip(panels, shown, drawn, strict=True):
        color = lines[policy.name].color
        ax.fill_between(steps, low, high, color=color, alpha=0.8, linewidth=0)
        ax.plot(steps, high, color=color, linewidth=1.4)
        dress(ax, theme)
        bounds = " to ".join(rate(bound) for bound in sorted(set(schedule.bounds)))
        title: dict[str, Any] = {"parse_math": False, "fontsize": POINTS - 1, "color": theme.ink}
        ax.set_title(
            drawable(policy.label or policy.name, 24), loc="left", fontweight="bold", **title
        )
        ax.set_title(bounds, loc="right", **title)
    panels[0].set_ylim(0.0, max(tops) * 1.08 or 1.0)
    panels[0].yaxis.set_major_locator(ticker.MaxNLocator(2, steps=[1, 2, 5, 10]))
    step_axis(panels[-1])
    return figure


def _styles(answer: Answer, theme: Theme) -> dict[str, Style]:
    return styles(answer.comparison.policies, answer.comparison.reference, theme)


def _draw_curve(ax: Axes, curve: Curve, style: Style) -> None:
    faint: dict[str, Any] = {"color": style.color, "alpha": 0.3, "linewidth": 0.8}
    if len(curve.seeds) > 1:
        for line in curve.seeds:
            ax.plot(line.steps, line.values, **faint)
    for line in curve.diverged:
        ax.plot(line.steps, line.values, color=style.color, alpha=0.6, linewidth=0.8)
    ax.plot(
        curve.mean.steps,
        curve.mean.values,
        color=style.color,
        linestyle=style.dashes,
        linewidth=1.8,
        marker="o" if len(curve.mean) == 1 else None,
    )


def _crosses(ax: Axes, drawn: tuple[Curve, ...], lines: dict[str, Style]) -> None:
    """Marks where runs diverged, at the edge of the axes where that is beyond them."""
    low, high = ax.get_ylim()
    for curve in drawn:
        for line in curve.diverged:
            if len(line):
                y = min(max(line.values[-1], low), high)
                color = lines[curve.policy].color
                ax.plot([line.steps[-1]], [y], "x", color=color, markersize=7, clip_on=False)


def _value_axis(ax: Axes, drawn: tuple[Curve, ...], numbers: Numbers) -> None:
    low, high = span(drawn)
    if not numbers.percent and is_wide(low, high, 20.0):
        ax.set_yscale("log")
        ax.set_ylim(low / 1.2, high * 1.2)
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_minor_formatter(ticker.NullFormatter())
        ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:.4g}"))
    else:
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        ax.set_ylim(low - margin, high + margin)
        ax.yaxis.set_major_formatter(_formatter(numbers))


def _formatter(numbers: Numbers) -> ticker.Formatter:
    if numbers.percent:
        return ticker.FuncFormatter(lambda value, _: f"{100 * value:.4g} %")
    if numbers.decimals == 0:
        return ticker.StrMethodFormatter("{x:,.0f}")
    return ticker.ScalarFormatter(useOffset=False)


def _reference_line(ax: Axes, answer: Answer, lines: dict[str, Style], theme: Theme) -> None:
    reference = answer.reference
    if reference is None or reference.loss_mean is None or len(answer.rows) == 1:
        return
    ax.axhline(reference.loss_mean, color=theme.ink, linestyle=(0, (4, 3)), linewidth=0.9)
    for row in answer.rows:
        if row.steps_to_reference and answer.is_sooner(row):
            ax.plot(
                [row.steps_to_reference],
                [reference.loss_mean],
                "o",
                color=lines[row.policy].color,
                markeredgecolor=theme.paper,
                markersize=6,
                zorder=5,
            )


def _rows_of_policies(answer: Answer, theme: Theme) -> tuple[Figure, Axes]:
    names = [drawable(answer.label(row.policy)) for row in answer.rows]
    figure = new_figure(MARGIN_INCHES + 0.2 + ROW_INCHES * len(names), theme)
    ax = figure.add_subplot()
    ax.set_yticks(range(len(names)), labels=names, parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    return figure, ax


def _remark(ax: Axes, y: float, text: str, theme: Theme) -> None:
    words(ax, 1.02, y, text, theme, va="center", transform=ax.get_yaxis_transform())


def _reference_mean(ax: Axes, answer: Answer, theme: Theme) -> None:
    for row in answer.rows:
        if row.policy == answer.comparison.reference and row.metric_mean is not None:
            ax.axvline(row.metric_mean, color=theme.ink, linestyle=(0, (4, 3)), linewidth=0.9)
