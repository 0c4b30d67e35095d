"""What turns new rows into a network's inputs, and its outputs into answers; kept as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclerate._errors import bad_argument, check_choice
from cyclerate._files import write_json
from cyclerate.tables._columns import Column, NumberColumn, TextColumn
from cyclerate.tables._read import check_columns

SCHEMA = 1
_KINDS: dict[str, type[NumberColumn | TextColumn]] = {
    "number": NumberColumn,
    "text": TextColumn,
}


@dataclass(frozen=True)
class TargetCoding:
    """How the target is written for the network: class numbers, or (y - mean) / scale."""

    name: str
    task: str
    classes: tuple[str, ...] | None = None
    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_choice("task", self.task, ("classification", "regression"))


@dataclass(frozen=True)
class Preprocessing:
    """The columns in their order, and the target: all that a saved model needs for new rows.

    >>> coding = TargetCoding("grade", "classification", ("fail", "pass"))
    >>> prepare = Preprocessing((NumberColumn("hours", "plain", 3.0, 3.0, 2.0, False),), coding)
    >>> prepare.features(pd.DataFrame({"hours": [1.0, 7.0]}))
    array([[-1.],
           [ 2.]], dtype=float32)
    >>> prepare.answers(np.array([[0.2], [0.9]]))
    ['fail', 'pass']
    """

    columns: tuple[Column, ...]
    target: TargetCoding

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the network's inputs."""
        return tuple(name for column in self.columns for name in column.inputs)

    def features(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Returns the network's inputs for the rows of a table.

        Raises:
            DataMistake: The table lacks one of the columns.
        """
        check_columns(frame, [column.name for column in self.columns], "the table")
        parts = [column.transform(frame[column.name]) for column in self.columns]
        return np.concatenate(parts, axis=1)

    def answers(self, outputs: Any) -> list[str] | NDArray[np.float64]:
        """Returns what the network's outputs mean.

        Args:
            outputs: What `model.predict(inputs)` gave: probabilities, or the standardised number.

        Returns:
            The likeliest class of each row, or the number in the target's own unit.
        """
        values = np.asarray(outputs, dtype=np.float64)
        classes = self.target.classes
        if classes is None:
            return values[:, 0] * self.target.scale + self.target.mean
        # Two classes share one output: the probability of the second.
        binary = values.shape[1] == 1
        chosen: Iterable[Any] = values[:, 0] > 0.5 if binary else values.argmax(axis=1)
        return [classes[int(position)] for position in chosen]

    def to_dict(self) -> dict[str, Any]:
        """Returns the preprocessing as plain JSON values."""
        names = {kind: name for name, kind in _KINDS.items()}
        columns = [{"kind": names[type(c)], **dataclasses.asdict(c)} for c in self.columns]
        return {"schema": SCHEMA, "columns": columns, "target": dataclasses.asdict(self.target)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """Builds the preprocessing from what `to_dict` returned.

        Raises:
            ValueError: It is of another schema.
        """
        if values.get("schema") != SCHEMA:
            raise bad_argument("schema of the preprocessing", str(SCHEMA), values.get("schema"))
        columns: list[Column] = []
        for part in values["columns"]:
            kind = _KINDS[check_choice("kind", part["kind"], _KINDS)]
            columns.append(kind(**{k: _frozen(v) for k, v in part.items() if k != "kind"}))
        target = TargetCoding(**{k: _frozen(v) for k, v in values["target"].items()})
        return cls(tuple(columns), target)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the preprocessing to `path` as JSON."""
        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Preprocessing:
        """Reads what `save` wrote."""
        return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
