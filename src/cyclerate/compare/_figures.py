"""The figures of a comparison, each with its caption, its content as text, and a table.

They are SVG, as wide as a phone, so that their text is legible there without zooming.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyclerate._svg import Axis, Chart, around, number, steps_text
from cyclerate._theme import CSS, Style, styles
from cyclerate.compare._answer import Answer, rows
from cyclerate.compare._budgets import Budgets
from cyclerate.compare._curves import Curve, cycle_starts, draw_curves, is_wide
from cyclerate.compare._record import SummaryRow
from cyclerate.compare._wording import MISSING, Numbers, joined, rate, shortened, whole
from cyclerate.finder import RangeTestResult
from cyclerate.finder._plot import densities, draw_result
from cyclerate.schedules import Schedule
from cyclerate.schedules._drawing import draw_schedule, rate_envelope

MOST_ROWS = 13
_ROW = 26
_LABELLED = 96  # room at the left for the names of policies
_PANEL = 92


@dataclass(frozen=True)
class Figure:
    """A figure as a page has it: what to look at, and its numbers, a row of texts each."""

    svg: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def draw_all(answer: Answer) -> dict[str, Figure]:
    """Draws every figure that the comparison has something for, by its name."""
    made = answer.comparison
    figures: dict[str, Figure] = {}
    for quantity in ("loss", "metric"):
        if drawn := answer.curves(f"heldout_{quantity}"):
            figures[f"learning_curves_{quantity}"] = learning_curves(answer, quantity, drawn)
    if any(row.metric_mean is not None for row in answer.rows):
        figures["final"] = final(answer)
    if answer.reference is not None and len(answer.rows) > 1:
        figures["steps_to_reference"] = steps_to_reference(answer)
    if made.range_tests:
        figures["range_test"] = range_test(next(iter(made.range_tests.values())))
    if made.schedules:
        figures["schedules"] = schedules(answer)
    return figures


def told_line(line: Mapping[str, Any]) -> Figure:
    """Draws what a training told of its steps, as `line_numbers` has it."""
    across = Axis(0.0, max(line["x"], default=1) or 1, label="optimizer steps", write=steps_text)
    (low, high), title = line["limits"], line["title"]
    up, alt = Axis(low, high, line["log"]), f"Line chart of {title} over the steps."
    chart = Chart(across, up, title, alt)
    chart.line(line["x"], line["y"], CSS.lines[0], width=0.8 if len(line["x"]) > 500 else 1.8)
    return Figure(chart.svg(), "As the training told it.", ["Step", title], [])


def how_long(budgets: Budgets) -> Figure:
    """Draws what a training of each length came to, and what longer ones would."""
    caption = (
        f"Held-out {budgets.metric} at the end of each cycle of one training, as good as a "
        "training of that length. Dashed, with bars of 80 %: what twice and four times would bring."
    )
    return Figure(budgets.svg(), caption, budgets.heads, budgets.rows)


def learning_curves(answer: Answer, quantity: str, drawn: Sequence[Curve]) -> Figure:
    """Draws a held-out quantity over the steps: the mean of each policy, and each seed faint."""
    made, loss, total = answer.comparison, quantity == "loss", answer.comparison.about.total_steps
    numbers = answer.losses if loss else answer.scores
    title = f"Held-out {'loss' if loss else shortened(answer.metric, 30)}"
    ends = _each(answer, answer.loss if loss else answer.score)
    goal = answer.reference if loss and len(answer.rows) > 1 else None
    caption = curve_caption(answer, quantity)
    if answer.shaded is not None:
        caption += f" Shaded: every second cycle of {answer.label(answer.shaded)}."
    svg = draw_curves(
        drawn,
        title,
        f"Line chart of the {title.lower()} over the optimizer steps. At the end: {ends}.",
        _look(answer),
        {name: answer.label(name) for name in made.policies},
        write=_writer(numbers),
        log_values=not numbers.percent,
        goal=goal.loss_mean if goal else None,
        shaded=cycle_starts(made.schedules.get(answer.shaded or ""), total),
    )
    steps = np.unique(np.concatenate([curve.mean.steps for curve in drawn]))
    table = [
        [whole(step), *(_at(curve, step, numbers) for curve in drawn)] for step in _some(steps)
    ]
    return Figure(svg, caption, ["Steps", *(answer.label(one.policy) for one in drawn)], table)


def curve_caption(answer: Answer, quantity: str) -> str:
    """What stands under learning curves."""
    made, loss = answer.comparison, quantity == "loss"
    title = f"Held-out {'loss' if loss else shortened(answer.metric, 30)}"
    caption = f"{title} after each evaluation."
    if len(made.about.seeds) > 1:
        caption += " Strong lines are means, pale ones single seeds."
    if any(run.diverged for run in made.cells):
        caption += " A cross ends a run that diverged."
    if loss and answer.reference is not None and len(answer.rows) > 1:
        caption += f" Dashed: the final loss of {answer.rival}."
    return caption


def _at(curve: Curve, step: float, numbers: Numbers) -> str:
    """A mean at a step, where it has one."""
    found = np.flatnonzero(curve.mean.steps == step)
    return numbers.text(float(curve.mean.values[found[0]]) if len(found) else None)


def final(answer: Answer) -> Figure:
    """Draws the final held-out metric of each policy: its seeds, their mean and spread."""
    numbers, look = answer.scores, _look(answer)
    drawn = answer.curves("heldout_metric")
    values = {
        curve.policy: [float(line.values[-1]) for line in curve.seeds if len(line)]
        for curve in drawn
    }
    sides = [
        (row.metric_mean or 0) + sign * (row.metric_std or 0)
        for row in answer.rows
        for sign in (-1, 1)
        if row.metric_mean is not None
    ]
    low, high = around([*sides, *(value for ends in values.values() for value in ends)])
    mode = {"max": " (more is better)", "min": " (less is better)", None: ""}
    metric = shortened(answer.metric, 24)
    label = f"held-out {metric}{mode[answer.comparison.about.mode]}"
    across = Axis(low, high, label=label, write=_writer(numbers))
    ends = _each(answer, answer.score)
    chart = _rows(
        answer,
        across,
        f"Final {metric}",
        f"Dot chart of the final held-out {answer.metric}: {ends}.",
    )
    for y, row in enumerate(answer.rows):
        if row.metric_mean is None:
            chart.remark(y, "diverged" if row.diverged else "no value")
            continue
        color, spread = look[row.policy].color, row.metric_std or 0.0
        dots = values.get(row.policy, [])
        chart.dots(dots, [y] * len(dots), color, radius=2.5, opacity=0.5)
        chart.line([row.metric_mean - spread, row.metric_mean + spread], [y, y], color, width=1.5)
        chart.dots([row.metric_mean], [y], color, radius=4.5)
        chart.remark(y, numbers.text(row.metric_mean))
        if row.policy == answer.comparison.reference:
            chart.rule("x", row.metric_mean, CSS.ink)
    bars = " Pale dots are seeds, the strong one their mean, the bar their standard deviation."
    several = bars if len(answer.comparison.about.seeds) > 1 else ""
    caption = f"Final held-out {answer.metric}.{several} Dashed: that of {answer.rival}."
    table = [
        [answer.label(row.policy), answer.score(row), _list(values.get(row.policy, []), numbers)]
        for row in answer.rows
    ]
    return Figure(chart.svg(_names(answer)), caption, ["Policy", answer.metric, "Seeds"], table)


def steps_to_reference(answer: Answer) -> Figure:
    """Draws the steps after which each policy had the reference's final held-out loss."""
    look = _look(answer)
    reached = {row.policy: row.steps_to_reference for row in answer.rows}
    reached[answer.comparison.reference] = answer.reference_steps
    known = [steps for steps in reached.values() if steps] or [1.0]
    log = is_wide(min(known), max(known), 8.0)
    start = max(10.0 ** math.floor(math.log10(min(known) / 1.5)), 0.8) if log else 0.0
    label = "optimizer steps (log scale)" if log else "optimizer steps"
    across = Axis(start, max(known) * (1.3 if log else 1.06), log, label, steps_text)
    arrivals = "; ".join(f"{row.label} {_or_none(row.to_reference)}" for row in rows(answer))
    chart = _rows(
        answer,
        across,
        f"Steps to the final loss of {shortened(answer.rival, 14)}",
        f"Chart of the steps to the final loss of {answer.rival}: {arrivals}.",
    )
    for y, row in enumerate(answer.rows):
        style, steps = look[row.policy], reached[row.policy]
        if not steps or row.diverged:
            chart.remark(y, "diverged" if row.diverged else "not reached")
            continue
        chart.line([start, steps], [y, y], style.color, width=2, dashes=style.dash_array)
        chart.dots([steps], [y], style.color, radius=4.5)
        chart.remark(y, whole(steps))
    caption = (
        f"Optimizer steps until every run had the final held-out loss of {answer.rival}: less is "
        "better."
    )
    table = [[row.label, row.to_reference] for row in rows(answer)]
    return Figure(chart.svg(_names(answer)), caption, ["Policy", "Steps"], table)


def range_test(result: RangeTestResult) -> Figure:
    """Draws a range test: its sweep, and its races."""
    races = " Marks: short trainings, each at its highest rate." if result.races else ""
    repeats = " The band holds the repeated sweeps." if result.runs else ""
    found = densities(result)
    before = ", dashed before the test" if found and found[1] is not None else ""
    likely = f" At the foot: how probable each rate is as max_lr{before}." if found else ""
    caption = (
        f"The {result.metric} of each batch while the learning rate grows: pale as measured, "
        f"strong smoothed.{repeats}{races}{likely}"
    )
    swept = [
        (number(float(result.lrs[i])), "sweep", number(float(result.smoothed[i])))
        for i in _some(range(len(result.lrs)))
    ]
    raced = [
        (number(lr), "race", "diverged" if score is None else number(score))
        for lr, score in result.races
    ]
    return Figure(
        draw_result(result), caption, ["Learning rate", "of a", result.metric], [*swept, *raced]
    )


def schedules(answer: Answer) -> Figure:
    """Draws the rate of each policy over the steps, one small panel for each, on one scale."""
    about, made = answer.comparison.about, answer.comparison.schedules
    shown = [(policy, made[policy.name]) for policy in about.policies if policy.name in made]
    drawn = [rate_envelope(schedule, about.total_steps) for _, schedule in shown]
    top = max(float(high.max()) for _, _, high in drawn) * 1.08 or 1.0
    look, panels = _look(answer), list[str]()
    for (policy, schedule), (steps, low, high) in zip(shown, drawn, strict=True):
        color, last = look[policy.name].color, policy is shown[-1][0]
        label = shortened(answer.label(policy.name), 24)
        bounds = " to ".join(rate(bound) for bound in sorted(set(schedule.bounds)))
        foot = "optimizer steps" if last else ""
        chart = Chart(
            Axis(0.0, max(about.total_steps - 1.0, 1.0), label=foot, write=steps_text),
            Axis(0.0, top),
            f"{label}: {bounds}",
            f"Line chart of the learning rate of {answer.label(policy.name)}: {bounds}.",
            height=_PANEL + 34,
        )
        if len(steps) < about.total_steps:
            chart.band(steps, low, high, color, 0.6)
        chart.line(steps, high, color, width=1.4)
        panels.append(chart.svg())
    caption = (
        f"The learning rate over the {whole(about.total_steps)} steps of the training, on one "
        f"scale: {joined(answer.label(policy.name) for policy, _ in shown)}."
    )
    heads = ["Step", *(answer.label(policy.name) for policy, _ in shown)]
    table = [
        [whole(step), *(rate(schedule(int(step))) for _, schedule in shown)]
        for step in _some(range(about.total_steps))
    ]
    return Figure("".join(panels), caption, heads, table)


def schedule_figure(schedule: Schedule, steps: int) -> Figure:
    """Draws one schedule over a training."""
    table = [[whole(step), number(schedule(int(step)))] for step in _some(range(steps))]
    caption = "The learning rate at every step of the training, as chosen below."
    return Figure(draw_schedule(schedule, steps), caption, ["Step", "Learning rate"], table)


def _some(values: Sequence[Any] | np.ndarray) -> list[Any]:
    """At most 13 of the values, evenly spread, the first and the last among them."""
    if not len(values):
        return []
    places = np.unique(np.linspace(0, len(values) - 1, MOST_ROWS).round().astype(int))
    return [values[place] for place in places.tolist()]


def _writer(numbers: Numbers) -> Callable[[float], str]:
    return (lambda value: f"{100 * value:.4g} %") if numbers.percent else number


def _list(values: Sequence[float], numbers: Numbers) -> str:
    return ", ".join(numbers.text(value) for value in values) or MISSING


def _look(answer: Answer) -> dict[str, Style]:
    return styles(answer.comparison.policies, answer.comparison.reference, CSS)


def _each(answer: Answer, value: Callable[[SummaryRow], str]) -> str:
    return "; ".join(f"{answer.label(row.policy)} {_or_none(value(row))}" for row in answer.rows)


def _or_none(value: str) -> str:
    return "has none" if value == MISSING else value


def _rows(answer: Answer, across: Axis, title: str, alt: str) -> Chart:
    many = len(answer.rows)
    up = Axis(many - 0.4, -0.6)  # the first policy on top
    return Chart(across, up, title, alt, height=62 + _ROW * many, left=_LABELLED, right=62)


def _names(answer: Answer) -> list[str]:
    return [shortened(answer.label(row.policy), 14) for row in answer.rows]
