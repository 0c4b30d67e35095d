"""Tables of an experiment: made once as text, shown in the page, the terminal and the docs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cyclerate._errors import bad_argument
from cyclerate.compare._wording import MISSING, Numbers, printable, width
from reproductions._record import Reproduction


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column names the row.

    >>> print(Table("t", ("rate", "loss"), (("0.1", "0.52"), ("1", "diverged"))).text())
    rate      loss
    0.1       0.52
    1     diverged
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    legend: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.heads):
                raise bad_argument("rows", f"as wide as the heads {self.heads}", row)

    def text(self) -> str:
        """Returns it in aligned columns, as a terminal shows it."""
        lines = [[printable(cell) for cell in line] for line in (self.heads, *self.rows)]
        widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
        return "\n".join(_aligned(line, widths).rstrip() for line in lines)

    def markdown(self) -> str:
        """Returns it in Markdown."""
        rule = ["---", *["---:"] * (len(self.heads) - 1)]
        lines = [self.heads, rule, *self.rows]
        return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def measured(
    record: Reproduction, cell: str, value: str, *, share: bool = False, decimals: int | None = None
) -> str:
    """Writes a value of a cell: mean and spread over its seeds, and how many seeds had none."""
    runs, values = record.of(cell), record.values(cell, value)
    if not runs:
        return MISSING
    if not values:
        return "diverged" if any(run.outcome.values for run in runs) else "no rate"
    mean, spread = record.mean(cell, value), record.spread(cell, value)
    numbers = Numbers.fitting([mean], share=share, spreads=[spread])
    if decimals is not None:
        numbers = Numbers(decimals, percent=share)
    lost = len(runs) - len(values)
    return numbers.text(mean, spread) + (f" ({lost} of {len(runs)} diverged)" if lost else "")


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    gaps = [" " * (size - width(cell)) for cell, size in zip(line, widths, strict=True)]
    cells = [gap + cell for gap, cell in zip(gaps[1:], line[1:], strict=True)]
    return "  ".join([line[0] + gaps[0], *cells])


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|")
