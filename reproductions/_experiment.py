"""An experiment: cells to run, and functions from the record to all that the page shows."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclerate._errors import CyclerateError, bad_argument
from cyclerate._files import built
from cyclerate._plain import plain
from cyclerate.compare import _cells as engine
from cyclerate.compare._wording import aligned, printable
from reproductions._charts import Chart
from reproductions._record import FILE_NAME, Cell, Outcome, Reproduction, Run, Size

Results = Callable[[str, int], Outcome]
"""Gives what another cell of the experiment found with a seed, by its name."""

Progress = Callable[[int, int, str], None]
"""Called with the number of runs done, the number of all, and what is next."""


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
        lines = (self.heads, *self.rows)
        return "\n".join(aligned([[printable(cell) for cell in line] for line in lines]))

    def markdown(self) -> str:
        """Returns it in Markdown."""
        rule = ["---", *["---:"] * (len(self.heads) - 1)]
        lines = [[cell.replace("|", r"\|") for cell in line] for line in (self.heads, *self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


@dataclass(frozen=True)
class Stage:
    """The data of an experiment, loaded: sentences about them, and what runs a cell on them."""

    data: tuple[str, ...]
    run: Callable[[Cell, int, Results], Outcome]


@dataclass(frozen=True)
class Experiment:
    """A published experiment.

    Attributes:
        name: What `python -m reproductions` calls it.
        title: One line.
        source: Author, title, year.
        article: What was done and found there, in our own words; a point in each paragraph.
        differences: Where this differs from it, and why; a point in each paragraph.
        backend: The Keras backend that is fastest here, if it is installed.
        seeds: How many seeds it has by default.
        minutes: About how long the whole takes on one core.
        cells: What to run.
        open: Loads the data.
        charts: The figures.
        tables: The tables; the first sets what the article gives beside what was found here.
        lessons: What to take from it, said by the numbers of the record alone.
        target: The accuracy that is to be reached; None where nothing is to be.
    """

    name: str
    title: str
    source: str
    article: str
    differences: str
    backend: str
    seeds: int
    minutes: int
    cells: Callable[[Size], tuple[Cell, ...]]
    open: Callable[[Size], Stage]
    charts: Callable[[Reproduction], tuple[Chart, ...]]
    tables: Callable[[Reproduction], tuple[Table, ...]]
    lessons: Callable[[Reproduction], tuple[str, ...]]
    target: float | None = None


def run(
    experiment: Experiment,
    size: Size,
    out_dir: Path,
    command: str = "",
    progress: Progress = lambda _done, _all, _next: None,
    *,
    only: Sequence[str] = (),
) -> Reproduction:
    """Runs an experiment, or the rest of it; several processes may share the folder.

    Args:
        experiment: What to run.
        size: How much of it.
        out_dir: The folder of `record.json` and of `cells/`: what is finished there is not run
            again.
        command: The command that does this again.
        progress: Told before every run, and at the end.
        only: The names of the cells to run. Default: all.

    Returns:
        The record with all its runs.

    Raises:
        OtherSettings: The folder holds another experiment, or cells that other settings made.
    """
    file, made = out_dir / FILE_NAME, Reproduction(experiment.name, size, (), command=command)
    _before(file, made.settings)  # refuses that of another experiment, before anything is run
    cells = {cell.name: cell for cell in experiment.cells(size)}
    folder = engine.Folder(out_dir / "cells")
    stage = functools.cache(lambda: experiment.open(size))
    finished: list[Run] = []

    def piece(name: str, seed: int) -> engine.Cell:
        settings = {"cell": name, "seed": seed, **made.settings, **cells[name].settings}
        return engine.Cell(f"{re.sub(r'[^a-z0-9.]+', '-', name)}-{seed}", settings)

    def work(it: engine.Cell) -> dict[str, Any]:
        cell, seed = cells[it.settings["cell"]], it.settings["seed"]
        progress(len(finished), len(wanted), f"{cell.label}, seed {seed}")
        return dataclasses.asdict(stage().run(cell, seed, results))

    def results(name: str, seed: int) -> Outcome:
        [(_, done)] = engine.finish([piece(name, seed)], work, folder)
        return built(Outcome, done.result, name)

    chosen = [cells[name] for name in only or cells]
    wanted = [piece(cell.name, seed) for cell in chosen for seed in size.seeds[: cell.most_seeds]]
    try:
        for it, done in engine.finish(wanted, work, folder):
            cell, seed = cells[it.settings["cell"]], it.settings["seed"]
            outcome = built(Outcome, done.result, cell.name)
            finished.append(Run(cell.name, seed, plain(cell.settings), outcome, done.provenance))
    finally:  # also after an interrupt, so that a page can be made of what there is
        if finished:
            before = _before(file, made.settings)  # another process may have added to it since
            data = stage().data if before is None or stage.cache_info().currsize else before.data
            runs = _with_others(finished, before, cells)
            made = dataclasses.replace(made, data=data, runs=runs)
            made.save(file)
    progress(len(wanted), len(wanted), "")
    return made


def _before(file: Path, settings: dict[str, Any]) -> Reproduction | None:
    """The record of the runs before, if there is one."""
    if not file.exists():
        return None
    try:
        record = Reproduction.load(file)
    except ValueError as error:
        raise CyclerateError(f"{error}. Name another folder, or remove the file.") from error
    engine.refuse_others(file, record.settings, settings)
    return record


def _with_others(
    finished: list[Run], before: Reproduction | None, cells: dict[str, Cell]
) -> tuple[Run, ...]:
    """The runs in the order of the cells, with those of other seeds that were there before."""
    places, done = list(cells), {(run.cell, run.seed) for run in finished}
    others = [
        run
        for run in (() if before is None else before.runs)
        if (run.cell, run.seed) not in done
        and run.cell in cells
        and run.settings == plain(cells[run.cell].settings)
    ]
    return tuple(sorted((*finished, *others), key=lambda run: (places.index(run.cell), run.seed)))
