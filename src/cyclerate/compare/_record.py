"""What a comparison did and found: plain frozen values, kept as one JSON file.

The record holds everything that the report draws, so that a report can be redrawn without
training again and two records can be compared years apart. It knows no framework.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclerate._errors import bad_argument, check_choice
from cyclerate._files import write_json
from cyclerate.compare._plain import build, finite_or_none, plain

SCHEMA = 1
FILE_NAME = "record.json"

Losses = tuple[float | None, ...]


@dataclass(frozen=True)
class DataInfo:
    """The data of a comparison; `notes` holds one sentence for every decision taken about it."""

    name: str
    rows: int
    train_rows: int
    heldout_rows: int
    features: int
    target: str
    task: str
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("task", self.task, ("classification", "regression"))


@dataclass(frozen=True)
class ModelInfo:
    """The network that every cell trains, and how."""

    description: str
    parameters: int
    optimizer: str
    loss: str
    batch_size: int


@dataclass(frozen=True)
class Metric:
    """The held-out metric; `mode` says whether more ("max") or less ("min") is better."""

    name: str
    mode: str

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, ("max", "min"))


@dataclass(frozen=True)
class PolicyInfo:
    """One policy of the comparison: its schedule as a dict, and why it has these numbers."""

    name: str
    label: str
    schedule: dict[str, Any]
    why: str


@dataclass(frozen=True)
class Cell:
    """One training run: one policy with one seed, on one fold of the data.

    Each evaluation adds one point to every curve; `steps` counts the optimizer steps done by then.
    A value that was not finite is None.
    """

    policy: str
    seed: int
    steps: tuple[int, ...]
    train_loss: Losses
    heldout_loss: Losses
    heldout_metric: Losses
    seconds: float
    diverged: bool
    fold: int = 0

    def __post_init__(self) -> None:
        for name in ("train_loss", "heldout_loss", "heldout_metric"):
            curve = tuple(finite_or_none(value) for value in getattr(self, name))
            if len(curve) != len(self.steps):
                raise bad_argument(name, f"as long as steps ({len(self.steps)})", len(curve))
            object.__setattr__(self, name, curve)


@dataclass(frozen=True)
class SummaryRow:
    """One line of the table: one policy over all its seeds.

    `steps_to_reference` is the mean number of steps after which its runs reached the reference's
    final held-out loss (None if one did not); `reached` counts them, as in "3/3".
    """

    policy: str
    loss_mean: float | None
    loss_std: float | None
    metric_mean: float | None
    metric_std: float | None
    seconds_mean: float
    steps: int
    steps_to_reference: float | None
    reached: str
    diverged: int


@dataclass(frozen=True)
class Best:
    """The cell with the lowest final held-out loss, and the file that holds its model."""

    policy: str
    seed: int
    file: str | None


@dataclass(frozen=True)
class Record:
    """A whole comparison: data, model, range test, policies, cells, and the table made of them.

    `range_test` is the dict of a `RangeTestResult`. `summary` is derived from `cells`
    (`summarise`) and kept so that other programs need not derive it again.
    """

    title: str
    created: str
    command: str
    versions: dict[str, str]
    machine: dict[str, str]
    data: DataInfo
    model: ModelInfo
    metric: Metric
    epochs: int
    steps_per_epoch: int
    total_steps: int
    seeds: tuple[int, ...]
    range_test: dict[str, Any] | None
    policies: tuple[PolicyInfo, ...]
    cells: tuple[Cell, ...]
    reference: str
    summary: tuple[SummaryRow, ...]
    best: Best | None
    schema: int = SCHEMA

    def policy(self, name: str) -> PolicyInfo:
        """Returns the policy called `name`.

        Raises:
            ValueError: The record has no such policy; the message lists them.
        """
        check_choice("policy", name, [policy.name for policy in self.policies])
        return next(policy for policy in self.policies if policy.name == name)

    def cells_of(self, policy: str) -> tuple[Cell, ...]:
        """Returns the cells of one policy, in the order they were trained."""
        return tuple(cell for cell in self.cells if cell.policy == policy)

    def to_dict(self) -> dict[str, Any]:
        """Returns the record as plain JSON values: dicts, lists, text, finite numbers, None."""
        return plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Record:
        """Builds a record from what `to_dict` returned.

        Raises:
            ValueError: It is of another schema, or a part is missing or unknown.
        """
        if not isinstance(values, Mapping) or values.get("schema") != SCHEMA:
            found = values.get("schema") if isinstance(values, Mapping) else type(values).__name__
            raise bad_argument("schema of the record", str(SCHEMA), found)
        parts = dict(values)
        singles = {"data": DataInfo, "model": ModelInfo, "metric": Metric, "best": Best}
        lists = {"policies": PolicyInfo, "cells": Cell, "summary": SummaryRow}
        for name, kind in singles.items():
            if parts.get(name) is not None:
                parts[name] = build(kind, parts[name], name)
        for name, kind in lists.items():
            parts[name] = tuple(build(kind, part, name) for part in parts.get(name) or ())
        return build(cls, parts, "the record")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the record to `path` as strict JSON, replacing it in one step."""
        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Record:
        """Reads a record that `save` wrote; a folder stands for the `record.json` in it.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not a record.
        """
        file = Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)
        text = file.read_bytes()
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{file} is not a record: it is not JSON ({error}).") from error
        return cls.from_dict(values)
