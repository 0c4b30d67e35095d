"""The table of a comparison, made of its cells: means, spreads, and steps to the reference."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from cyclerate.compare._record import Cell, SummaryRow


def final(curve: Sequence[float | None]) -> float | None:
    """The last value of a curve; None if it has none, or if it was not finite."""
    return curve[-1] if curve else None


def steps_to_reference(cell: Cell, loss: float) -> int | None:
    """The steps after which a cell's held-out loss was first at or below `loss`.

    Nothing is interpolated: the answer is one of the steps at which the loss was measured.

    >>> cell = Cell("one_cycle", 0, (10, 20, 30), (1, 1, 1), (0.9, 0.5, 0.4), (0, 0, 0), 1.0, False)
    >>> steps_to_reference(cell, 0.5)
    20
    """
    measured = zip(cell.steps, cell.heldout_loss, strict=True)
    return next((step for step, value in measured if value is not None and value <= loss), None)


def summarise(
    cells: Iterable[Cell], policies: Iterable[str], reference: str
) -> tuple[SummaryRow, ...]:
    """Makes the table: one row for each policy that has cells, in the order of `policies`.

    Each seed races to the final held-out loss that the reference had *with that seed* (on the same
    fold). Seeds with which the reference diverged race to nothing and are not counted. The means of
    loss and metric leave diverged cells out; their number is in the row.

    Args:
        cells: The runs.
        policies: Names, in the order of the rows.
        reference: The policy to race against.

    Returns:
        The rows.
    """
    cells = tuple(cells)
    finish_lines = {
        (cell.seed, cell.fold): loss
        for cell in cells
        if cell.policy == reference
        and not cell.diverged
        and (loss := final(cell.heldout_loss)) is not None
    }
    grouped = [(name, [cell for cell in cells if cell.policy == name]) for name in policies]
    return tuple(_row(name, group, finish_lines) for name, group in grouped if group)


def pick_best(cells: Iterable[Cell]) -> Cell | None:
    """The cell with the lowest final held-out loss; None if every one diverged."""
    finished = [
        (loss, cell)
        for cell in cells
        if not cell.diverged and (loss := final(cell.heldout_loss)) is not None
    ]
    return min(finished, key=lambda pair: pair[0])[1] if finished else None


def _row(policy: str, cells: list[Cell], finish_lines: dict[tuple[int, int], float]) -> SummaryRow:
    sound = [cell for cell in cells if not cell.diverged]
    losses = [loss for cell in sound if (loss := final(cell.heldout_loss)) is not None]
    scores = [score for cell in sound if (score := final(cell.heldout_metric)) is not None]
    racing = [cell for cell in cells if (cell.seed, cell.fold) in finish_lines]
    arrivals = [steps_to_reference(cell, finish_lines[cell.seed, cell.fold]) for cell in racing]
    reached = [steps for steps in arrivals if steps is not None]
    all_reached = bool(reached) and len(reached) == len(racing)
    return SummaryRow(
        policy=policy,
        loss_mean=_mean(losses),
        loss_std=_spread(losses),
        metric_mean=_mean(scores),
        metric_std=_spread(scores),
        seconds_mean=statistics.fmean(cell.seconds for cell in cells),
        steps=max(cell.steps[-1] if cell.steps else 0 for cell in cells),
        steps_to_reference=statistics.fmean(reached) if all_reached else None,
        reached=f"{len(reached)}/{len(racing)}",
        diverged=len(cells) - len(sound),
    )


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _spread(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None
