"""The comparison table: made once as text, shown in the page and in the terminal."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from cyclerate.compare._answer import Answer
from cyclerate.compare._record import SummaryRow
from cyclerate.compare._wording import (
    MISSING,
    aligned,
    fewer,
    printable,
    seconds,
    shortened,
    whole,
)

COLUMNS = 79
# Room for "48,213 ± 1,210", and for counts up to "12,345,678".
_VALUE_COLUMNS = (15, 10, 15, 10, 7)
_MARKS = {"best": "*", "level": "="}


@dataclass(frozen=True)
class Row:
    """One policy of the table, every value as it is shown.

    `to_reference` is after how many steps every run had the reference's final loss, `saving` how
    many times fewer these are than the reference needed, or "". `diverged` is as "2 of 3", or "".
    """

    policy: str
    label: str
    mark: str
    loss: str
    metric: str
    to_reference: str
    saving: str
    steps: str
    seconds: str
    diverged: str


def rows(answer: Answer) -> tuple[Row, ...]:
    """Returns the table, one row for each policy in the order of the comparison."""
    return tuple(_row(answer, row) for row in answer.rows)


def _row(answer: Answer, row: SummaryRow) -> Row:
    reached, saving = _race(answer, row)
    return Row(
        policy=row.policy,
        label=answer.label(row.policy),
        mark=answer.mark(row.policy),
        loss=answer.loss(row),
        metric=answer.score(row),
        to_reference=reached,
        saving=saving,
        steps=whole(row.steps),
        seconds=seconds(row.seconds_mean),
        diverged=f"{row.diverged} of {answer.runs(row)}" if row.diverged else "",
    )


def _race(answer: Answer, row: SummaryRow) -> tuple[str, str]:
    if answer.reference is None:
        return MISSING, ""
    if row is answer.reference:
        return whole(answer.reference_steps), ""
    if row.steps_to_reference is None:
        some = not row.reached.startswith("0/") and "/" in row.reached
        return (row.reached.replace("/", " of ") if some else "never"), ""
    if not answer.is_sooner(row):
        return whole(row.steps_to_reference), ""
    saving = fewer(row.steps_to_reference, answer.reference_steps, short=True)
    return whole(row.steps_to_reference), saving


def text_table(answer: Answer) -> str:
    """Returns the comparison table as plain text of at most 79 columns, ready to print.

    The best policy is marked `*`, those level with it `=`.
    """
    lines = [("  policy", answer.metric, "to reach", "loss", "steps", "seconds")]
    for row in rows(answer):
        name = f"{_MARKS.get(row.mark, ' ')} {printable(row.label)}"
        lines.append((name, row.metric, row.to_reference, row.loss, row.steps, row.seconds))
    shown = [(name, *map(shortened, map(printable, rest), _VALUE_COLUMNS)) for name, *rest in lines]
    return "\n".join([*aligned(shown, COLUMNS), "", *textwrap.wrap(legend(answer), COLUMNS)])


def legend(answer: Answer) -> str:
    """Says what the columns and marks of the text table mean, and which policies diverged."""
    parts = [f"Final held-out values, {_spread(answer)}"]
    table = rows(answer)
    if answer.reference is not None and len(table) > 1:
        parts.append(f"to reach: steps to the final loss of {printable(answer.rival)}")
    marks = {row.mark for row in table}
    if "best" in marks:
        parts.append("* best")
    if "level" in marks:
        parts.append("= level with it (the ranges mean ± spread meet)")
    if diverged := [f"{printable(row.label)} {row.diverged}" for row in table if row.diverged]:
        parts.append(f"diverged: {', '.join(diverged)}")
    if steps := _finding_steps(answer):
        parts.append(f"not counted: {whole(steps)} steps that found the rate, once for all")
    return "; ".join(parts) + "."


def page_legend(answer: Answer) -> str:
    """Says the same as `legend` in whole sentences, as far as a page does not show it."""
    parts = [f"Final held-out values, {_spread(answer)}."]
    if answer.reference is not None and len(answer.rows) > 1:
        parts.append(
            "Steps to reach: optimizer steps until every run had the final held-out loss of "
            f"{printable(answer.rival)}."
        )
    if len(answer.usable) > 1:
        parts.append(_best_means(answer))
    if len(answer.level) > 1:
        parts.append("Level: the ranges mean ± spread meet, so neither is called better.")
    if steps := _finding_steps(answer):
        parts.append(f"Not counted: the {whole(steps)} steps that found the rate, once for all.")
    return " ".join(parts)


def _best_means(answer: Answer) -> str:
    rival = printable(answer.rival)
    if answer.best is answer.usable[0]:
        return "Best: the lowest final loss."
    if answer.best is answer.reference:
        return f"Best: no policy was sooner or clearly lower than {rival}."
    if answer.reference is not None and answer.reference.policy in answer.level:
        return f"Best: sooner than {rival}, which ended level with it."
    return "Best: the first to reach, and equal to the lowest final loss within either spread."


def _spread(answer: Answer) -> str:
    seeds = len(answer.comparison.about.seeds)
    return f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"


def _finding_steps(answer: Answer) -> int:
    return sum(result.steps for result in answer.comparison.range_tests.values())
