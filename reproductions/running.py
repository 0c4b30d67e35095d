"""Runs the cells of an experiment that are not finished yet; each is kept as soon as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from cyclerate.compare._plain import plain
from reproductions._experiment import Experiment
from reproductions._record import FILE_NAME, Cell, Reproduction, Run, Sitting, Size

Progress = Callable[[int, int, str], None]
"""Called with the number of runs done, the number of all, and what is next."""


class OtherSize(ValueError):
    """The folder holds an experiment of another kind or size; the message says which."""


def run(
    experiment: Experiment,
    size: Size,
    out_dir: Path,
    sitting: Sitting,
    progress: Progress = lambda _done, _all, _next: None,
) -> Reproduction:
    """Runs an experiment, or the rest of it.

    Args:
        experiment: What to run.
        size: How much of it.
        out_dir: The folder of `record.json`. Runs that are finished there are not run again.
        sitting: What is on, where and when.
        progress: Told before every run, and at the end.

    Returns:
        The record with all its runs.

    Raises:
        OtherSize: The folder holds another experiment, or this one of another size.
    """
    cells = experiment.cells(size)
    wanted = [(cell, seed) for cell in cells for seed in size.seeds[: cell.most_seeds]]
    record = _finished(experiment, size, out_dir)
    runs = [run for run in record.runs if any(_is(run, cell, run.seed) for cell in cells)]
    missing = [(c, s) for c, s in wanted if not any(_is(run, c, s) for run in runs)]
    record = dataclasses.replace(record, size=size, runs=tuple(runs))
    if not missing:
        return record
    stage = experiment.open(size)
    record = dataclasses.replace(record, data=stage.data, sittings=(*record.sittings, sitting))
    before = len(wanted) - len(missing)
    for number, (cell, seed) in enumerate(missing):
        progress(before + number, len(wanted), f"{cell.label}, seed {seed}")
        outcome = stage.run(cell, seed, record)
        finished = Run(cell.name, seed, plain(cell.settings), outcome, len(record.sittings) - 1)
        record = dataclasses.replace(record, runs=_sorted((*record.runs, finished), cells))
        record.save(out_dir / FILE_NAME)
    progress(len(wanted), len(wanted), "")
    return record


def _finished(experiment: Experiment, size: Size, out_dir: Path) -> Reproduction:
    file = out_dir / FILE_NAME
    if not file.exists():
        return Reproduction(experiment.name, size, data=())
    record = Reproduction.load(file)
    found = (record.experiment, record.size.quick, record.size.scale)
    if found != (experiment.name, size.quick, size.scale):
        kind = "quick " if record.size.quick else ""
        raise OtherSize(
            f"{file} is of the {kind}experiment {record.experiment} with the scale "
            f"{record.size.scale:g}: name another folder, or remove it."
        )
    return record


def _is(run: Run, cell: Cell, seed: int) -> bool:
    return (run.cell, run.seed, run.settings) == (cell.name, seed, plain(cell.settings))


def _sorted(runs: Sequence[Run], cells: Sequence[Cell]) -> tuple[Run, ...]:
    places = {cell.name: place for place, cell in enumerate(cells)}
    return tuple(sorted(runs, key=lambda run: (places[run.cell], run.seed)))
