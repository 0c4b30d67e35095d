"""A comparison: every policy with every seed, one cell after another, kept as it goes.

It knows no framework: whoever can train one cell can be compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from cyclerate.training.record import FILE_NAME, Best, Cell, PolicyInfo, Record
from cyclerate.training.summary import pick_best, summarise

Progress = Callable[[PolicyInfo, int, int], None]


class Trainer(Protocol):
    """Trains one cell at a time and can save the network of the last one."""

    def train(self, policy: PolicyInfo, seed: int, progress: Callable[[int], None]) -> Cell:
        """Trains from the seed's own initial weights; calls `progress` with the steps done."""
        ...

    def save(self, path: Path) -> None:
        """Saves the network of the cell trained last."""
        ...


def run_cells(
    record: Record,
    trainer: Trainer,
    out_dir: Path,
    model_file: str | None = "best.keras",
    progress: Progress = lambda _policy, _seed, _steps: None,
) -> Record:
    """Trains every cell of a comparison.

    After each cell the record is written, and the network too if it is the best so far: what is
    done stays done when a later cell fails or the run is interrupted.

    Args:
        record: The comparison to run, without cells.
        trainer: Trains one cell.
        out_dir: The folder of `record.json` and the best network.
        model_file: The best network's file name in it; None saves none.
        progress: Called with policy, seed and steps done.

    Returns:
        The record with all its cells.
    """
    for policy in record.policies:
        for seed in record.seeds:
            cell = trainer.train(
                policy, seed, lambda steps, p=policy, s=seed: progress(p, s, steps)
            )
            record = with_cell(record, cell, model_file)
            if model_file and pick_best(record.cells) is cell:
                trainer.save(out_dir / model_file)
            record.save(out_dir / FILE_NAME)
    return record


def with_cell(record: Record, cell: Cell, model_file: str | None) -> Record:
    """The record with one more cell, its table and its best cell made anew."""
    cells = (*record.cells, cell)
    best = pick_best(cells)
    return dataclasses.replace(
        record,
        cells=cells,
        summary=summarise(cells, [policy.name for policy in record.policies], record.reference),
        best=Best(best.policy, best.seed, model_file) if best else None,
    )
