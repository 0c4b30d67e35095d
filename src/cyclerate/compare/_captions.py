"""What stands under each figure, and what it says to those who cannot see it."""

from __future__ import annotations

from dataclasses import dataclass

from cyclerate.compare._headline import policy_name
from cyclerate.compare._ranking import is_sooner, rank
from cyclerate.compare._record import Record
from cyclerate.compare._table import Row, rows
from cyclerate.compare._wording import MISSING, count, listed, rate
from cyclerate.finder import RangeTestResult


@dataclass(frozen=True)
class Caption:
    """The words of a figure: what to look at, and its content as text."""

    text: str
    alt: str


def caption(record: Record, figure: str) -> Caption:
    """Returns the words of a figure of `figures.draw_all`, by its name there."""
    return {
        "learning_curves_loss": _loss_curves,
        "learning_curves_metric": _metric_curves,
        "final": _final,
        "steps_to_reference": _steps,
        "range_test": _range_test,
        "schedules": _schedules,
    }[figure](record)


def _loss_curves(record: Record) -> Caption:
    rival = policy_name(record, record.reference)
    text = f"Held-out loss after each evaluation. {_lines(record)}"
    reference = rank(record).reference
    if reference is not None and len(record.summary) > 1:
        text += f" Dashed: the final loss of {rival}."
    if any(is_sooner(row, reference) for row in record.summary):
        text += " A dot shows where a policy reached it sooner."
    return Caption(text, f"Line chart of the held-out loss. At the end: {_each(record, 'loss')}.")


def _metric_curves(record: Record) -> Caption:
    name = record.metric.name
    return Caption(
        f"Held-out {name} after each evaluation. {_lines(record)}",
        f"Line chart of the held-out {name}. At the end: {_each(record, 'metric')}.",
    )


def _final(record: Record) -> Caption:
    name, rival = record.metric.name, policy_name(record, record.reference)
    text = f"Final held-out {name}."
    if len(record.seeds) > 1:
        text += " Pale dots are seeds, the diamond is their mean, the bar their standard deviation."
    return Caption(
        f"{text} Dashed: that of {rival}.",
        f"Dot chart of the final held-out {name}: {_each(record, 'metric')}.",
    )


def _steps(record: Record) -> Caption:
    rival = policy_name(record, record.reference)
    return Caption(
        f"Optimizer steps until every run had the final held-out loss of {rival}: less is better.",
        f"Chart of the steps to the final loss of {rival}: {_each(record, 'to_reference')}.",
    )


def _range_test(record: Record) -> Caption:
    result = RangeTestResult.from_dict(record.range_test or {})
    found = "no clear answer"
    if result.max_lr is not None:
        found = f"max_lr is {rate(result.max_lr)}"
        if result.base_lr is not None:
            found += f", base_lr is {rate(result.base_lr)}"
        if result.interval is not None:
            found += f", max_lr lies between {' and '.join(map(rate, result.interval))}"
    tried = f"from {rate(float(result.lrs[0]))} to {rate(float(result.lrs[-1]))}"
    races = " Marks: short trainings, each at its highest rate." if result.races else ""
    return Caption(
        "The loss of each batch while the learning rate grows: pale as measured, strong smoothed."
        f"{races}",
        f"Line chart of the {result.metric} over learning rates {tried}; {found}.",
    )


def _schedules(record: Record) -> Caption:
    labels = [policy.label for policy in record.policies]
    return Caption(
        f"The learning rate over the {count(record.total_steps)} steps of the training, "
        "on one scale; at the right the lowest and highest rate.",
        f"Small line charts of the learning rates over the steps: {listed(labels)}.",
    )


def _lines(record: Record) -> str:
    several = "Strong lines are means, pale ones single seeds."
    text = several if len(record.seeds) > 1 else ""
    if any(cell.diverged for cell in record.cells):
        text += " A cross ends a run that diverged."
    return text.strip()


def _each(record: Record, field: str) -> str:
    return "; ".join(f"{row.label} {_value(row, field)}" for row in rows(record))


def _value(row: Row, field: str) -> str:
    value = getattr(row, field)
    return "has none" if value == MISSING else value
