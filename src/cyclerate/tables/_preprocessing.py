"""Turns new rows into a network's inputs, and its outputs into answers.

scikit-learn's transformers learn the numbers from the training rows. The numbers alone are kept, as
JSON: readable, the same in every version, and nothing is run when they are loaded.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from cyclerate._errors import bad_argument, check_choice, check_number
from cyclerate._files import read_json, write_json
from cyclerate._text import listed
from cyclerate.tables._columns import LARGEST, MOST_CATEGORIES, STYLES, TASKS, texts, to_numbers
from cyclerate.tables._read import check_columns

SCHEMA = 1
OTHER, MISSING = "(other)", "(missing)"


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers: (x - mean) / scale, the median for what is missing.

    `indicator` adds an input that is 1 where the number was missing.
    """

    kind: str = field(default="number", init=False)
    name: str
    style: str
    median: float
    mean: float
    scale: float
    indicator: bool

    @classmethod
    def fit(cls, train: pd.Series, style: str) -> NumberColumn:
        """Learns the column from its training rows."""
        values = to_numbers(train, style).reshape(-1, 1)
        imputer = SimpleImputer(strategy="median", keep_empty_features=True).fit(values)
        mean, scale = mean_and_scale(imputer.transform(values))
        holes = bool(np.isnan(values).any())
        return cls(str(train.name), style, float(imputer.statistics_[0]), mean, scale, holes)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that this column becomes."""
        return (self.name, f"{self.name} {MISSING}") if self.indicator else (self.name,)

    def transform(self, column: pd.Series) -> NDArray[np.float32]:
        """Returns the inputs, one row for each cell."""
        values = to_numbers(column, self.style)
        missing = np.isnan(values)
        standard = (np.where(missing, self.median, values) - self.mean) / self.scale
        parts = [standard, missing] if self.indicator else [standard]
        return np.stack(parts, axis=1).astype(np.float32)


@dataclass(frozen=True)
class TextColumn:
    """A column of text: one input, 0 or 1, for each category.

    A category that was not seen in training is `(other)` if that is a category, else all zeros;
    `(missing)` likewise.
    """

    kind: str = field(default="text", init=False)
    name: str
    categories: tuple[str, ...]

    @classmethod
    def fit(cls, train: pd.Series) -> TextColumn:
        """Learns the categories from the training rows, the most frequent first."""
        cells = texts(train)
        frequency = cells[cells != ""].value_counts()
        # Equal counts in alphabetical order: the same data give the same file.
        ordered = sorted(frequency.index, key=lambda text: (-int(frequency[text]), text))
        extra = [OTHER] if len(ordered) > MOST_CATEGORIES else []
        extra += [MISSING] if (cells == "").any() else []
        return cls(str(train.name), (*ordered[:MOST_CATEGORIES], *extra))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that this column becomes."""
        return tuple(f"{self.name} = {category}" for category in self.categories)

    def transform(self, column: pd.Series) -> NDArray[np.float32]:
        """Returns the inputs, one row for each cell."""
        cells = texts(column).replace("", MISSING)
        cells = cells.where(cells.isin([*self.categories, MISSING]), OTHER)
        encoder = OneHotEncoder(
            categories=[list(self.categories)],
            handle_unknown="ignore",
            sparse_output=False,
            dtype=np.float32,
        )
        return encoder.fit_transform(cells.to_numpy(dtype=object).reshape(-1, 1))


@dataclass(frozen=True)
class TargetCoding:
    """The target as the network learns it: class numbers, or (y - mean) / scale."""

    name: str
    task: str
    classes: tuple[str, ...] | None = None
    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if (self.task == "classification") != (self.classes is not None):
            raise bad_argument("classes", "texts for classification, else null", self.classes)


def mean_and_scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the numbers that standardise the values: (x - mean) / scale."""
    scaler = StandardScaler().fit(values.reshape(-1, 1))
    return float(scaler.mean_[0]), float(scaler.scale_[0])


@dataclass(frozen=True)
class Preprocessing:
    """Everything that a saved network needs for new rows: the columns in their order, the target.

    `load_csv` and `prepare` learn it from the training part of a table; `cyclerate compare` writes
    it as `preprocessing.json` beside the best network.

    >>> from cyclerate.tables import prepare
    >>> rows = pd.DataFrame({"hours": [1.0, 7.0, None, 3.0] * 8, "passed": ["no", "yes"] * 16})
    >>> path = prepare(rows, "passed", name="exams").preprocessing.save("preprocessing.json")
    >>> preprocessing = Preprocessing.load(path)
    >>> preprocessing.inputs
    ('hours', 'hours (missing)')
    >>> preprocessing.features(pd.DataFrame({"hours": [4.0, None]})).shape
    (2, 2)
    >>> preprocessing.answers([[0.2], [0.9]])  # what `model.predict(features)` gave
    ['no', 'yes']
    """

    columns: tuple[NumberColumn | TextColumn, ...]
    target: TargetCoding

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the network's inputs."""
        return tuple(name for column in self.columns for name in column.inputs)

    def features(self, rows: pd.DataFrame) -> NDArray[np.float32]:
        """Returns the network's inputs for the rows of a table; more columns do no harm.

        Raises:
            DataMistake: The table lacks one of the columns.
            ValueError: It is no DataFrame.
        """
        if not isinstance(rows, pd.DataFrame):
            raise bad_argument("rows", "a pandas DataFrame", type(rows))
        rows = check_columns(rows, [column.name for column in self.columns], "the table")
        return np.concatenate([column.transform(rows[column.name]) for column in self.columns], 1)

    def answers(self, predictions: ArrayLike) -> list[str] | NDArray[np.float64]:
        """Returns the likeliest class of each row, or the number in the target's own unit.

        Args:
            predictions: The network's outputs: probabilities, or the standardised number.

        Raises:
            ValueError: They are not of the shape that belongs to the target.
        """
        values = np.asarray(predictions, dtype=np.float64)
        classes = self.target.classes
        width = len(classes) if classes else 1
        # Two classes may share one output: the probability of the second.
        if values.ndim != 2 or (values.shape[1] != width and (values.shape[1], width) != (1, 2)):
            raise bad_argument("shape of the predictions", f"(rows, {width})", values.shape)
        if classes is None:
            return values[:, 0] * self.target.scale + self.target.mean
        binary = values.shape[1] == 1
        chosen = (values[:, 0] > 0.5).astype(int) if binary else values.argmax(axis=1)
        return [classes[position] for position in chosen]

    def to_dict(self) -> dict[str, Any]:
        """Returns the preprocessing as values that JSON can hold."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: Any) -> Preprocessing:
        """Returns the preprocessing that gave `values` by `to_dict`.

        Raises:
            ValueError: A value is missing, unknown, or not what it must be.
        """
        schema = values.get("schema") if isinstance(values, dict) else None
        if type(schema) is not int or schema != SCHEMA:
            raise bad_argument("schema of the preprocessing", str(SCHEMA), schema)
        _check_keys("the preprocessing", values, ["schema", "columns", "target"])
        parts = _instance("columns", values["columns"], (list, tuple), "a list")
        columns = tuple(_column(f"columns[{i}]", part) for i, part in enumerate(parts))
        _different_texts("names of the columns", [column.name for column in columns])
        return cls(columns, _build(TargetCoding, "target", values["target"]))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the preprocessing to `path` as JSON."""
        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Preprocessing:
        """Returns the preprocessing that `save` wrote to `path`.

        Raises:
            ValueError: The file does not hold a preprocessing; the message says what is wrong.
            OSError: The file cannot be read.
        """
        return read_json(path, "preprocessing", cls.from_dict)


def _column(where: str, values: Any) -> NumberColumn | TextColumn:
    kinds = {"number": NumberColumn, "text": TextColumn}
    kind: Any = values.get("kind") if isinstance(values, dict) else values
    return _build(kinds[check_choice(f"{where}.kind", kind, list(kinds))], where, values)


def _build(kind: Any, where: str, values: Any) -> Any:
    fields = dataclasses.fields(kind)
    _check_keys(where, values, [field.name for field in fields])
    names = [field.name for field in fields if field.init]
    return kind(**{name: _CHECKS[name](f"{where}.{name}", values[name]) for name in names})


def _check_keys(where: str, values: Any, names: list[str]) -> None:
    received = list(values) if isinstance(values, dict) else values
    if not isinstance(values, dict) or set(values) != set(names):
        raise bad_argument(where, f"an object with the keys {listed(names)}", received)


def _instance(where: str, value: Any, kind: Any, allowed: str) -> Any:
    if not isinstance(value, kind):
        raise bad_argument(where, allowed, value)
    return value


def _different_texts(where: str, value: Any, low: int = 1) -> tuple[str, ...]:
    texts = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    if not texts or len(set(value)) < max(len(value), low):
        raise bad_argument(where, f"a list of at least {low} different texts", value)
    return tuple(value)


def _number(where: str, value: Any) -> float:
    return check_number(where, value, low=-LARGEST, high=LARGEST)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "name": lambda where, value: _instance(where, value, str, "a text"),
    "style": lambda where, value: check_choice(where, value, STYLES),
    "median": _number,
    "mean": _number,
    "scale": lambda where, value: check_number(where, value, low=0, low_open=True, high=LARGEST),
    "indicator": lambda where, value: _instance(where, value, bool, "true or false"),
    "categories": _different_texts,
    "task": lambda where, value: check_choice(where, value, TASKS),
    "classes": lambda where, value: None if value is None else _different_texts(where, value, 2),
}
