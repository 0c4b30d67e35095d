"""The comparison table: made once as text, shown in the page and in the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from cyclerate.compare._headline import loss_numbers, metric_numbers, policy_label, policy_name
from cyclerate.compare._ranking import Ranking, is_sooner, rank, reference_steps
from cyclerate.compare._record import Record, SummaryRow
from cyclerate.compare._wording import MISSING, count, fewer, printable, seconds, shortened, width

COLUMNS = 79
# Room for "48,213 ± 1,210", and for counts up to "12,345,678".
VALUE_COLUMNS = (15, 10, 15, 10, 7)
MARKS = {"best": "*", "level": "="}


@dataclass(frozen=True)
class Row:
    """One policy of the table, every value as it is shown.

    Attributes:
        policy: Its name.
        label: What it is called.
        mark: "best", "level" (no worse than the best within the spread) or "".
        loss: Final held-out loss, mean ± spread over the seeds.
        metric: The final held-out metric likewise.
        to_reference: Steps after which every run had the reference's final loss.
        saving: How many times fewer these are than the reference needed, or "".
        steps: Steps of the whole training.
        seconds: Seconds of the whole training.
        diverged: "2 of 3" if runs diverged, else "".
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


def rows(record: Record) -> tuple[Row, ...]:
    """Returns the table, one row for each policy in the order of the record."""
    ranking = rank(record)
    return tuple(_row(record, ranking, row) for row in record.summary)


def text_table(record: Record) -> str:
    """Returns the comparison table as plain text of at most 79 columns, ready to print.

    The best policy is marked `*`, those level with it `=`.
    """
    heads = ("  policy", printable(record.metric.name), "to reach", "loss", "steps", "seconds")
    lines = [heads, *(_cells(row) for row in rows(record))]
    return "\n".join([*_aligned(lines), "", *textwrap.wrap(legend(record), COLUMNS)])


def legend(record: Record) -> str:
    """Says what the columns and marks of the text table mean, and which policies diverged."""
    parts = [f"Final held-out values, {_spread(record)}"]
    table = rows(record)
    if rank(record).reference is not None and len(table) > 1:
        parts.append(f"to reach: steps to the final loss of {_rival(record)}")
    marks = {row.mark for row in table}
    if "best" in marks:
        parts.append("* best")
    if "level" in marks:
        parts.append("= level with it (the ranges mean ± spread meet)")
    diverged = [f"{printable(row.label)} {row.diverged}" for row in table if row.diverged]
    if diverged:
        parts.append(f"diverged: {', '.join(diverged)}")
    if steps := _finding_steps(record):
        parts.append(f"not counted: {count(steps)} steps that found the rate, once for all")
    return "; ".join(parts) + "."


def page_legend(record: Record) -> str:
    """Says the same as `legend` in whole sentences, as far as a page does not show it."""
    parts = [f"Final held-out values, {_spread(record)}."]
    ranking = rank(record)
    if ranking.reference is not None and len(record.summary) > 1:
        parts.append(
            "Steps to reach: optimizer steps until every run had the final held-out loss of "
            f"{_rival(record)}."
        )
    if len(ranking.usable) > 1:
        parts.append(_best_means(record, ranking))
    if len(ranking.level) > 1:
        parts.append("Level: the ranges mean ± spread meet, so neither is called better.")
    if steps := _finding_steps(record):
        parts.append(f"Not counted: the {count(steps)} steps that found the rate, once for all.")
    return " ".join(parts)


def _best_means(record: Record, ranking: Ranking) -> str:
    if ranking.best is ranking.usable[0]:
        return "Best: the lowest final loss."
    if ranking.best is ranking.reference:
        return f"Best: no policy was sooner or clearly lower than {_rival(record)}."
    if ranking.reference is not None and ranking.reference.policy in ranking.level:
        return f"Best: sooner than {_rival(record)}, which ended level with it."
    return "Best: the first to reach, and equal to the lowest final loss within either spread."


def _spread(record: Record) -> str:
    many = len(record.seeds) > 1
    return f"mean ± standard deviation over {len(record.seeds)} seeds" if many else "one seed"


def _finding_steps(record: Record) -> int:
    return int((record.range_test or {}).get("steps", 0))


def _rival(record: Record) -> str:
    return printable(policy_name(record, record.reference))


def _row(record: Record, ranking: Ranking, row: SummaryRow) -> Row:
    runs = len(record.cells_of(row.policy)) or len(record.seeds)
    reached, saving = _race(record, ranking, row)
    return Row(
        policy=row.policy,
        label=policy_label(record, row.policy),
        mark=ranking.mark(row.policy),
        loss=loss_numbers(record).text(row.loss_mean, row.loss_std),
        metric=metric_numbers(record).text(row.metric_mean, row.metric_std),
        to_reference=reached,
        saving=saving,
        steps=count(row.steps),
        seconds=seconds(row.seconds_mean),
        diverged=f"{row.diverged} of {runs}" if row.diverged else "",
    )


def _race(record: Record, ranking: Ranking, row: SummaryRow) -> tuple[str, str]:
    reference = ranking.reference
    if reference is None:
        return MISSING, ""
    if row.policy == record.reference:
        return count(reference_steps(reference)), ""
    if row.steps_to_reference is None:
        some = not row.reached.startswith("0/") and "/" in row.reached
        return (row.reached.replace("/", " of ") if some else "never"), ""
    if not is_sooner(row, reference):
        return count(row.steps_to_reference), ""
    saving = fewer(row.steps_to_reference, reference_steps(reference), short=True)
    return count(row.steps_to_reference), saving


def _cells(row: Row) -> tuple[str, ...]:
    values = (row.metric, row.to_reference, row.loss, row.steps, row.seconds)
    name = f"{MARKS.get(row.mark, ' ')} {printable(row.label)}"
    return (name, *(printable(value) for value in values))


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    """Pads the cells into columns, numbers to the right; the names give way if it gets too wide."""
    values = [_shortened(line[1:], VALUE_COLUMNS) for line in lines]
    widths = [max(width(cell) for cell in column) for column in zip(*values, strict=True)]
    room = COLUMNS - sum(widths) - 2 * len(widths)
    names = [shortened(line[0], room) for line in lines]
    name_width = max(width(name) for name in names)
    return [
        "  ".join([_left(name, name_width), *map(_right, line, widths)])
        for name, line in zip(names, values, strict=True)
    ]


def _shortened(cells: Sequence[str], sizes: Sequence[int]) -> list[str]:
    return [shortened(cell, size) for cell, size in zip(cells, sizes, strict=True)]


def _left(text: str, size: int) -> str:
    return text + " " * (size - width(text))


def _right(text: str, size: int) -> str:
    return " " * (size - width(text)) + text
