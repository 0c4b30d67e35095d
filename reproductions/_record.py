"""What a reproduction did and found: plain frozen values, kept as one JSON file.

The record holds every number of the page, so that tables, figures and texts are made anew from it
without training.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cyclerate._errors import CyclerateError, bad_argument
from cyclerate._files import write_json
from cyclerate.compare._plain import build, finite_or_none, plain
from cyclerate.finder import RangeTestResult

SCHEMA = 1
FILE_NAME = "record.json"

Curve = tuple[float | None, ...]


@dataclass(frozen=True)
class Size:
    """How much of an experiment is run.

    Attributes:
        seeds: The seeds, at most; a long cell runs with fewer.
        scale: Factor on the epochs of every training.
        quick: Synthetic or small data and short runs, without a download: shows that it works,
            says nothing about the article.
    """

    seeds: tuple[int, ...]
    scale: float = 1.0
    quick: bool = False

    def epochs(self, full: int, quick: int = 2) -> int:
        """The epochs of a training that has `full` in the whole experiment."""
        return quick if self.quick else max(1, round(full * self.scale))


@dataclass(frozen=True)
class Cell:
    """One thing to run with every seed.

    Attributes:
        name: Its name in the record.
        label: What it is called on the page.
        settings: All that decides what is done, as JSON values. A finished run with other settings
            is not taken for this cell.
        most_seeds: Runs with no more seeds than this.
    """

    name: str
    label: str
    settings: dict[str, Any]
    most_seeds: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Attributes:
        values: Single numbers by name; None where there is none, or it was not finite.
        curves: Series of numbers by name.
        found: The dict of a `RangeTestResult`, if the cell ran a range test.
        schedule: The dict of the schedule it trained with, if it trained.
        seconds: What the training itself took.
    """

    values: dict[str, float | None]
    curves: dict[str, Curve] = field(default_factory=dict)
    found: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        values = {name: finite_or_none(value) for name, value in self.values.items()}
        curves = {name: tuple(map(finite_or_none, c)) for name, c in self.curves.items()}
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "curves", curves)


@dataclass(frozen=True)
class Run:
    """A finished cell with one seed; `sitting` is the number of the sitting that ran it."""

    cell: str
    seed: int
    settings: dict[str, Any]
    outcome: Outcome
    sitting: int


@dataclass(frozen=True)
class Sitting:
    """One call of the command: what was on, where and when. Several may share a record."""

    created: str
    command: str
    versions: dict[str, str]
    machine: dict[str, str]


@dataclass(frozen=True)
class Reproduction:
    """A whole experiment: its size, what the data were, the sittings, and the finished runs."""

    experiment: str
    size: Size
    data: tuple[str, ...]
    sittings: tuple[Sitting, ...] = ()
    runs: tuple[Run, ...] = ()
    schema: int = SCHEMA

    def of(self, cell: str) -> tuple[Run, ...]:
        """The runs of a cell, by seed."""
        found = (run for run in self.runs if run.cell == cell)
        return tuple(sorted(found, key=lambda run: run.seed))

    def values(self, cell: str, name: str) -> tuple[float, ...]:
        """A value of a cell with every seed that has it."""
        values = (run.outcome.values.get(name) for run in self.of(cell))
        return tuple(value for value in values if value is not None)

    def mean(self, cell: str, name: str) -> float | None:
        """The mean of a value over the seeds; None if no seed has it."""
        values = self.values(cell, name)
        return statistics.fmean(values) if values else None

    def spread(self, cell: str, name: str) -> float | None:
        """The standard deviation of a value over the seeds; None for less than two."""
        values = self.values(cell, name)
        return statistics.stdev(values) if len(values) > 1 else None

    def found(self, cell: str, seed: int) -> RangeTestResult:
        """The range test that a cell ran with a seed.

        Raises:
            CyclerateError: It has not been run.
        """
        for run in self.of(cell):
            if run.seed == seed and run.outcome.found is not None:
                return RangeTestResult.from_dict(run.outcome.found)
        raise CyclerateError(f"the range test {cell} has not been run with seed {seed}.")

    def results(self, cell: str) -> tuple[RangeTestResult, ...]:
        """The range tests of a cell, by seed."""
        return tuple(self.found(cell, run.seed) for run in self.of(cell))

    def to_dict(self) -> dict[str, Any]:
        """Returns the record as plain JSON values."""
        return plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reproduction:
        """Builds a record from what `to_dict` returned.

        Raises:
            ValueError: It is of another schema, or a part is missing or unknown.
        """
        schema = values.get("schema") if isinstance(values, Mapping) else type(values).__name__
        if schema != SCHEMA:
            raise bad_argument("schema of the record", str(SCHEMA), schema)
        parts: dict[str, Any] = {**values, "size": build(Size, values.get("size"), "size")}
        sittings = parts.get("sittings") or ()
        parts["sittings"] = tuple(build(Sitting, part, "sittings") for part in sittings)
        parts["runs"] = tuple(_run(part) for part in parts.get("runs") or ())
        return build(cls, parts, "the record")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the record to `path` as strict JSON, replacing it in one step."""
        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Reproduction:
        """Reads a record that `save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not such a record.
        """
        text = Path(path).read_bytes()
        try:
            return cls.from_dict(json.loads(text))
        except ValueError as error:
            raise ValueError(f"{path} is not the record of an experiment: {error}") from error


def _run(values: Any) -> Run:
    outcome = values.get("outcome") if isinstance(values, Mapping) else None
    return build(Run, {**values, "outcome": build(Outcome, outcome, "outcome")}, "runs")
