"""What an experiment is: cells to run, and functions from the record to all that the page shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from reproductions._charts import Chart
from reproductions._record import Cell, Outcome, Reproduction, Size
from reproductions._tables import Table


class Stage(Protocol):
    """The data of an experiment, loaded, and the networks on it."""

    @property
    def data(self) -> tuple[str, ...]:
        """Sentences about the data and every decision taken about them."""
        ...

    def run(self, cell: Cell, seed: int, done: Reproduction) -> Outcome:
        """Runs a cell with a seed; the cells before it in the list are done with that seed."""
        ...


@dataclass(frozen=True)
class Experiment:
    """A published experiment.

    Attributes:
        name: What `python -m reproductions` calls it.
        title: One line.
        source: Author, title, year.
        article: What was done and found there, in our own words.
        differences: Where this differs from it, and why.
        backend: The Keras backend that is fastest here, if it is installed.
        seeds: How many seeds it has by default.
        minutes: About how long the whole takes on one core.
        cells: What to run, in this order.
        open: Loads the data.
        charts: The figures.
        tables: The tables; the first sets what the article gives beside what was found here.
        lessons: What to take from it, said by the numbers of the record alone.
    """

    name: str
    title: str
    source: str
    article: tuple[str, ...]
    differences: tuple[str, ...]
    backend: str
    seeds: int
    minutes: int
    cells: Callable[[Size], tuple[Cell, ...]]
    open: Callable[[Size], Stage]
    charts: Callable[[Reproduction], tuple[Chart, ...]]
    tables: Callable[[Reproduction], tuple[Table, ...]]
    lessons: Callable[[Reproduction], tuple[str, ...]]
