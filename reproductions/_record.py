"""The record of a reproduction: plain frozen values, kept as one JSON file.

It holds every number of the page, so that tables, figures and sentences are written again from it
without training. `records/` has that of each experiment, thinned.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cyclerate._errors import CyclerateError
from cyclerate._files import built, read_json, without_schema, write_json, write_text
from cyclerate._plain import finite_or_none, plain
from cyclerate.finder import RangeTestResult

SCHEMA = 2
FILE_NAME = "record.json"
STORED = Path(__file__).parent / "records"
MOST_POINTS = 100
_OUT = re.compile(r" --out ('[^']*'|\S+)")

Curve = tuple[float | None, ...]


@dataclass(frozen=True)
class Size:
    """How much of an experiment is run.

    Attributes:
        seeds: The seeds, at most; a long cell runs with fewer.
        scale: Factor on the epochs of every training.
        quick: Synthetic or small data and short runs, without a download: shows that it works,
            says nothing about the article.
        target: The accuracy to reach, in an experiment that has one; by default its own.
    """

    seeds: tuple[int, ...]
    scale: float = 1.0
    quick: bool = False
    target: float | None = None

    def epochs(self, full: int, quick: int = 2) -> int:
        """The epochs of a training that has `full` in the whole experiment."""
        return quick if self.quick else max(1, round(full * self.scale))


@dataclass(frozen=True)
class Cell:
    """One thing to run with every seed.

    Attributes:
        name: Its name in the record.
        label: What it is called on the page.
        settings: All that decides what is done, as JSON values.
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

    @property
    def top_rate(self) -> float | None:
        """The highest rate of its schedule; None if it did not train."""
        schedule = self.schedule or {}
        return schedule.get("max_lr", schedule.get("value"))


@dataclass(frozen=True)
class Run:
    """A finished cell with one seed; `provenance` says when, with what, and where."""

    cell: str
    seed: int
    settings: dict[str, Any]
    outcome: Outcome
    provenance: dict[str, Any]

    @property
    def result(self) -> RangeTestResult:
        """What its range test found.

        Raises:
            CyclerateError: It ran none.
        """
        if self.outcome.found is None:
            raise CyclerateError(f"{self.cell}, seed {self.seed}, is no range test.")
        return RangeTestResult.from_dict(self.outcome.found)


@dataclass(frozen=True)
class Reproduction:
    """A whole experiment: its size, what the data were, the last command, and the finished runs."""

    experiment: str
    size: Size
    data: tuple[str, ...]
    runs: tuple[Run, ...] = ()
    command: str = ""
    schema: int = SCHEMA

    @property
    def settings(self) -> dict[str, Any]:
        """What decides every cell of it, beside the cell's own settings."""
        return {
            "experiment": self.experiment,
            "scale": self.size.scale,
            "quick": self.size.quick,
        }

    def of(self, cell: str) -> tuple[Run, ...]:
        """The runs of a cell, by seed."""
        found = (run for run in self.runs if run.cell == cell)
        return tuple(sorted(found, key=lambda run: run.seed))

    def outcome(self, cell: str, seed: int) -> Outcome:
        """What a cell gave with a seed.

        Raises:
            CyclerateError: It has not been run.
        """
        for run in self.of(cell):
            if run.seed == seed:
                return run.outcome
        raise CyclerateError(f"{cell} has not been run with seed {seed}.")

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

    def to_dict(self) -> dict[str, Any]:
        """Returns the record as plain JSON values."""
        return plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reproduction:
        """Builds a record from what `to_dict` returned.

        Raises:
            ValueError: It is of another schema, or a part is missing or unknown.
        """
        return built(cls, {**without_schema(values, SCHEMA), "schema": SCHEMA}, "the record")

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
        return read_json(path, "record of an experiment", cls.from_dict)


def stored(name: str) -> tuple[Reproduction, ...]:
    """Returns the stored records of an experiment: that of its whole length first."""
    files = [STORED / f"{name}.json", *sorted(STORED.glob(f"{name}-scale-*.json"))]
    return tuple(Reproduction.load(file) for file in files if file.is_file())


def keep(folder: Path) -> Path:
    """Stores the record of a finished experiment, thinned; returns the file."""
    values = thinned(Reproduction.load(folder / FILE_NAME).to_dict())
    Reproduction.from_dict(values)
    scale = values["size"]["scale"]
    shorter = "" if scale == 1.0 else f"-scale-{scale:g}"
    return write_text(STORED / f"{values['experiment']}{shorter}.json", in_lines(values))


def thinned(values: dict[str, Any]) -> dict[str, Any]:
    """Returns a record's values with at most 100 points in a curve, six digits each, no paths."""
    runs = [{**run, "outcome": _thin_outcome(run["outcome"])} for run in values["runs"]]
    return {**values, "runs": runs, "command": _OUT.sub("", values["command"])}


def _thin_outcome(outcome: dict[str, Any]) -> dict[str, Any]:
    curves = {name: _thin(curve) for name, curve in outcome["curves"].items()}
    found = outcome["found"]
    if found is not None:
        series = {name: _thin(found[name]) for name in ("lrs", "losses", "smoothed")}
        found = {**found, **series, "runs": []}
    return {**outcome, "curves": curves, "found": found}


def _thin(series: list[float | None]) -> list[float | None]:
    every = -(-len(series) // MOST_POINTS) or 1
    # Counted from the end: the last point is what a curve came to.
    kept = series[::-1][::every][::-1]
    return [None if value is None else float(f"{value:.6g}") for value in kept]


def in_lines(values: dict[str, Any]) -> str:
    """Writes one line for each run: a change of one is a change of one line."""
    runs = ",\n".join(json.dumps(run, allow_nan=False) for run in values["runs"])
    head = json.dumps({**values, "runs": []}, indent=1, allow_nan=False, ensure_ascii=False)
    return head.replace('"runs": []', f'"runs": [\n{runs}\n]', 1) + "\n"
