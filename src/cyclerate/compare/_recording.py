"""The comparison of the command: every policy with every seed, kept as it goes.

It knows no framework: whoever can train one cell can be compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from cyclerate.compare._kept import Cells, OtherSettings
from cyclerate.compare._plain import build
from cyclerate.compare._record import FILE_NAME, Best, Cell, PolicyInfo, Record
from cyclerate.compare._summary import pick_best, summarise

Progress = Callable[[PolicyInfo, int, int], None]

_BEST = "cells/best"


class Trainer(Protocol):
    """Trains one cell at a time and can save the network of the last one."""

    def decided_by(self) -> dict[str, Any]:
        """All that decides a cell, but for its policy and its seed, as JSON values."""
        ...

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

    After each cell it is written, and before it the network, if it is the best so far: what is done
    stays done when a later cell fails or the run is killed, and the same call goes on from there.
    Cells of other settings in the folder are trained anew.

    Args:
        record: The comparison to run, without cells.
        trainer: Trains one cell.
        out_dir: The folder of `record.json` and the best network.
        model_file: The best network's file name in it; None saves none.
        progress: Called with policy, seed and steps done.

    Returns:
        The record with all its cells.
    """
    cells, shared = Cells(out_dir), trainer.decided_by()

    def decided_by(policy: PolicyInfo, seed: int) -> dict[str, Any]:
        return {**shared, "schedule": policy.schedule, "seed": seed}

    def trained(policy: PolicyInfo, seed: int) -> Cell:
        return trainer.train(policy, seed, lambda steps: progress(policy, seed, steps))

    def save_best(file: str, policy: PolicyInfo, seed: int) -> None:
        trainer.save(out_dir / file)
        cells.save(_BEST, {"cell": decided_by(policy, seed)}, {})

    for policy in record.policies:
        for seed in record.seeds:
            name, decided = f"cells/{policy.name}-{seed}-0", decided_by(policy, seed)
            kept = _kept(cells, name, decided)
            cell = trained(policy, seed) if kept is None else build(Cell, kept, name)
            progress(policy, seed, cell.steps[-1])
            record = with_cell(record, cell, model_file)
            if kept is None:
                if model_file and pick_best(record.cells) is cell:
                    save_best(model_file, policy, seed)
                cells.save(name, decided, vars(cell))
            record.save(out_dir / FILE_NAME)
    if model_file and record.best:
        policy, seed = record.policy(record.best.policy), record.best.seed
        lies_there = _kept(cells, _BEST, {"cell": decided_by(policy, seed)}) is not None
        if not lies_there or not (out_dir / model_file).is_file():
            # The network that lies there is another comparison's.
            trained(policy, seed)
            save_best(model_file, policy, seed)
    return record


def _kept(cells: Cells, name: str, decided_by: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return cells.load(name, decided_by)
    except OtherSettings:
        return None


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
