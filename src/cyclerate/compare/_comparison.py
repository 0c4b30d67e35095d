"""The result of `compare`: all cells, the table, and the differences pair by pair."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cyclerate._errors import require
from cyclerate._text import count
from cyclerate.compare._paired import Difference, difference
from cyclerate.compare._record import Cell, SummaryRow
from cyclerate.compare._summary import final, steps_to_reference, summarise
from cyclerate.finder import RangeTestResult
from cyclerate.schedules import Schedule

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NONE = "-"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What policies gave on one model: `print` it for the table.

    Attributes:
        cells: Every run: policy, seed, fold, and its curves over the steps.
        policies: The names, in the order of the table.
        reference: The policy that the others are compared with.
        metric: The name of what is recorded beside the held-out loss; None if nothing is.
        schedules: The schedule of each policy: that of the first seed and fold.
        range_tests: What the range tests found, by (seed, fold); empty if `max_lr` was given.
    """

    cells: tuple[Cell, ...]
    policies: tuple[str, ...]
    reference: str
    metric: str | None
    schedules: dict[str, Schedule]
    range_tests: dict[tuple[int, int], RangeTestResult]

    @property
    def summary(self) -> tuple[SummaryRow, ...]:
        """A row for each policy: means, spreads, and the steps to the reference's final loss."""
        return summarise(self.cells, self.policies, self.reference)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Each other policy less the reference, pair by pair: the loss, and the metric."""
        others = [name for name in self.policies if name != self.reference]
        values = ["loss", *([self.metric] if self.metric else [])]
        return tuple(self.difference(name, value) for name in others for value in values)

    def difference(self, policy: str, value: str = "loss", than: str | None = None) -> Difference:
        """A policy less another one, pair by pair: the same seed and fold, both not diverged.

        Args:
            policy: The policy.
            value: "loss" (held out, at the end), or the metric.
            than: The other policy. Default: the reference.
        """
        than = than or self.reference
        ends = [{_place(c): _end(c, value) for c in self._sound(name)} for name in (policy, than)]
        common = [place for place in ends[0] if place in ends[1]]
        pairs = [(ends[0][place], ends[1][place]) for place in sorted(common)]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        return difference(policy, than, value, known)

    def to_frame(self) -> pd.DataFrame:
        """The cells as a pandas DataFrame: one row each, with the values at the end.

        Raises:
            MissingExtra: pandas is not installed.
        """
        pandas = require("pandas", "cli")
        lines = {
            _place(cell): loss
            for cell in self.cells
            if cell.policy == self.reference and (loss := final(cell.heldout_loss)) is not None
        }
        return pandas.DataFrame([_row(cell, self.metric, lines) for cell in self.cells])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the held-out loss over the steps: the mean of each policy, its runs paler.

        Args:
            ax: Matplotlib Axes to draw on; a new figure if None.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        axes: Any = ax or require("matplotlib.pyplot", "plot").subplots(layout="constrained")[1]
        for i, name in enumerate(self.policies):
            cells = self._sound(name)
            for cell in cells:
                axes.plot(cell.steps, cell.heldout_loss, color=f"C{i}", alpha=0.25, linewidth=0.8)
            if cells:
                shortest = min((cell.steps for cell in cells), key=len)
                ends = zip(*(c.heldout_loss[: len(shortest)] for c in cells), strict=True)
                mean = [statistics.fmean(v for v in values if v is not None) for values in ends]
                axes.plot(shortest, mean, color=f"C{i}", label=name)
        axes.set(xlabel="step", ylabel="held-out loss")
        axes.legend()
        return axes

    def __str__(self) -> str:
        seeds, folds = ({getattr(cell, of) for cell in self.cells} for of in ("seed", "fold"))
        many = f", {count(len(folds), 'fold')}" if len(folds) > 1 else ""
        steps = max(row.steps for row in self.summary)
        title = f"{count(len(seeds), 'seed')}{many}, {steps:,} steps a run. Held-out values."
        heads = ["policy", "top rate", "loss", *([self.metric] if self.metric else []), "reached"]
        rows = [self._line(row) for row in self.summary]
        table = aligned([heads, *rows])
        legend = f"reached: runs that reached the final loss of {self.reference}, and mean steps."
        parts = [title, "", table, "", legend]
        if said := [told(one) for one in self.differences]:
            parts += ["", f"Less {self.reference}, pair by pair, with a 95 % interval:", *said]
        return "\n".join(parts)

    def _line(self, row: SummaryRow) -> list[str]:
        own = self.schedules.get(row.policy)
        when = "" if row.steps_to_reference is None else f" in {row.steps_to_reference:,.0f}"
        diverged = f" ({row.diverged} diverged)" if row.diverged else ""
        return [
            row.policy[:20],
            NONE if own is None else f"{own.bounds[1]:.3g}",
            spread(row.loss_mean, row.loss_std) + diverged,
            *([spread(row.metric_mean, row.metric_std)] if self.metric else []),
            NONE if row.policy == self.reference else f"{row.reached}{when}",
        ]

    def _sound(self, policy: str) -> list[Cell]:
        return [cell for cell in self.cells if cell.policy == policy and not cell.diverged]


def _place(cell: Cell) -> tuple[int, int]:
    return cell.seed, cell.fold


def _end(cell: Cell, value: str) -> float | None:
    return final(cell.heldout_loss if value == "loss" else cell.heldout_metric)


def _row(cell: Cell, metric: str | None, lines: dict[tuple[int, int], float]) -> dict[str, Any]:
    finish = lines.get(_place(cell))
    return {
        "policy": cell.policy,
        "seed": cell.seed,
        "fold": cell.fold,
        "loss": final(cell.heldout_loss),
        **({metric: final(cell.heldout_metric)} if metric else {}),
        "train_loss": final(cell.train_loss),
        "steps": cell.steps[-1],
        "steps_to_reference": None if finish is None else steps_to_reference(cell, finish),
        "seconds": cell.seconds,
        "diverged": cell.diverged,
    }


def told(found: Difference) -> str:
    """A line for a difference, of less than 80 columns where the names are short."""
    name = f"  {found.policy[:20]}, {found.value[:20]}: "
    if found.mean is None:
        return name + found.verdict
    interval = "" if found.low is None else f" [{found.low:+.2g}, {found.high:+.2g}]"
    return f"{name}{found.mean:+.2g}{interval}: {found.verdict}"


def spread(mean: float | None, deviation: float | None) -> str:
    """A mean with its standard deviation, to the digits that say something.

    >>> spread(0.53456, 0.0123), spread(0.53456, None), spread(None, None)
    ('0.535 ± 0.012', '0.5346', '-')
    """
    if mean is None:
        return NONE
    if not deviation:
        return f"{mean:.4g}"
    return f"{mean:#.3g} ± {deviation:.2g}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts in columns: the first to the left, the others to the right.

    >>> print(aligned([["policy", "loss"], ["fixed", "0.5"]]))
    policy  loss
    fixed    0.5
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for first, *others in rows:
        cells = [text.rjust(size) for text, size in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)
