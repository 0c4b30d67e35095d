"""Turns new rows into a network's inputs, and its outputs into answers.

scikit-learn's transformers learn the numbers from the training rows. The numbers alone are kept, as
JSON: readable, the same in every version, and nothing is run when they are loaded.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from cyclerate._errors import bad_argument, check_choice, check_number, listed
from cyclerate._files import read_json, write_json
from cyclerate.tables._columns import MOST_CATEGORIES, TASKS
from cyclerate.tables._read import check_columns
from cyclerate.tables._values import DATES, LARGEST, STYLES, matrix_of, texts, to_dates

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

    @staticmethod
    def fit_all(train: pd.DataFrame, styles: Mapping[str, str]) -> list[NumberColumn]:
        """Learns columns from their training rows, all at once."""
        if not styles:
            return []
        values = matrix_of(train, styles)
        imputer = SimpleImputer(strategy="median", keep_empty_features=True).fit(values)
        scaler = StandardScaler().fit(imputer.transform(values))
        learnt = [imputer.statistics_.tolist(), scaler.mean_.tolist(), scaler.scale_.tolist()]
        holes = np.isnan(values).sum(axis=0)
        return [
            NumberColumn(name, style, *(part[i] for part in learnt), indicator=bool(holes[i]))
            for i, (name, style) in enumerate(styles.items())
        ]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that this column becomes."""
        return (self.name, f"{self.name} {MISSING}") if self.indicator else (self.name,)

    @staticmethod
    def transform_all(
        columns: Sequence[NumberColumn], rows: pd.DataFrame
    ) -> dict[str, NDArray[np.float32]]:
        """Returns the inputs of each column by its name, a row for each of the table."""
        values = matrix_of(rows, {column.name: column.style for column in columns})
        missing = np.isnan(values)
        median, mean, scale = (
            np.array([getattr(column, part) for column in columns])
            for part in ("median", "mean", "scale")
        )
        standard = ((np.where(missing, median, values) - mean) / scale).astype(np.float32)
        return {
            column.name: np.stack([standard[:, i], missing[:, i]], axis=1).astype(np.float32)
            if column.indicator
            else standard[:, i : i + 1]
            for i, column in enumerate(columns)
        }


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
        cells = texts(train).replace("", MISSING)
        frequency = cells[~cells.isin([OTHER, MISSING])].value_counts()
        # Equal counts in alphabetical order: the same data give the same file.
        ordered = sorted(frequency.index, key=lambda text: (-int(frequency[text]), text))
        # A cell may say "(other)" or "(missing)" itself.
        extra = [OTHER] if len(ordered) > MOST_CATEGORIES or (cells == OTHER).any() else []
        extra += [MISSING] if (cells == MISSING).any() else []
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
class DateColumn:
    """A column of dates: year, month, weekday (Monday is 0), hour, days since the first.

    Those that differ in the training rows, each as (x - mean) / scale; the mean where no date is,
    and then an input that says so.
    """

    kind: str = field(default="date", init=False)
    name: str
    style: str
    first: float
    parts: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    indicator: bool

    def __post_init__(self) -> None:
        if not len(self.parts) == len(self.means) == len(self.scales):
            raise bad_argument("means and scales", "as many as parts", (self.means, self.scales))

    @classmethod
    def fit(cls, train: pd.Series, style: str) -> DateColumn:
        """Learns the column from its training rows."""
        days = to_dates(train, style)
        known = days[np.isfinite(days)]
        first = float(np.floor(known.min())) if len(known) else 0.0
        values = {name: part(known) for name, part in _DATE_PARTS.items()}
        values[_DAYS] = known - first
        differing = {name: part for name, part in values.items() if len(np.unique(part)) > 1}
        learnt = [mean_and_scale(part) for part in differing.values()]
        means, scales = zip(*learnt, strict=True) if learnt else ((), ())
        holes = bool(np.isnan(days).any())
        return cls(str(train.name), style, first, tuple(differing), means, scales, holes)

    @property
    def seen(self) -> tuple[str, ...]:
        """What the network sees of a date, without the name of the column."""
        since = f"days since {np.datetime64(int(self.first), 'D')}"
        return tuple(since if part == _DAYS else part for part in self.parts)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that this column becomes."""
        names = [f"{self.name}: {part}" for part in self.seen]
        return (*names, f"{self.name} {MISSING}") if self.indicator else tuple(names)

    def transform(self, column: pd.Series) -> NDArray[np.float32]:
        """Returns the inputs, one row for each cell."""
        days = to_dates(column, self.style)
        missing = np.isnan(days)
        known = np.where(missing, self.first, days)
        inputs: list[NDArray[Any]] = []
        for name, mean, scale in zip(self.parts, self.means, self.scales, strict=True):
            values = known - self.first if name == _DAYS else _DATE_PARTS[name](known)
            inputs.append(np.where(missing, 0.0, (values - mean) / scale))
        if self.indicator:
            inputs.append(missing)
        return np.array(inputs, dtype=np.float32).reshape(len(inputs), len(days)).T


def _calendar(unit: str) -> Callable[[NDArray[np.float64]], NDArray[Any]]:
    """Gives years or months since 1970 of days since then."""
    return lambda days: np.floor(days).astype("datetime64[D]").astype(f"datetime64[{unit}]")


_DAYS = "days"
_DATE_PARTS: dict[str, Callable[[NDArray[np.float64]], NDArray[Any]]] = {
    "year": lambda days: _calendar("Y")(days).astype(np.int64) + 1970.0,
    "month": lambda days: _calendar("M")(days).astype(np.int64) % 12 + 1.0,
    "weekday": lambda days: (np.floor(days) + 3.0) % 7.0,
    "hour": lambda days: np.floor(24.0 * (days % 1.0) + 1e-6),
}
TRANSFORMS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "none": (lambda y: y, lambda z: z),
    "log": (np.log, np.exp),
    "log1p": (np.log1p, np.expm1),
}
"""What the target may become before it is standardised, and the way back."""


@dataclass(frozen=True)
class TargetCoding:
    """The target as the network learns it: class numbers, or (f(y) - mean) / scale.

    `transform` names f: "none", "log" or "log1p".
    """

    name: str
    task: str
    classes: tuple[str, ...] | None = None
    mean: float = 0.0
    scale: float = 1.0
    transform: str = "none"

    def __post_init__(self) -> None:
        if (self.task == "classification") != (self.classes is not None):
            raise bad_argument("classes", "texts for classification, else null", self.classes)

    def undone(self, values: NDArray[Any]) -> NDArray[Any]:
        """Returns standardised numbers in the target's own unit."""
        with np.errstate(over="ignore"):
            return TRANSFORMS[self.transform][1](values * self.scale + self.mean)


def mean_and_scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the numbers that standardise the values: (x - mean) / scale."""
    scaler = StandardScaler().fit(values.reshape(-1, 1))
    return float(scaler.mean_[0]), float(scaler.scale_[0])


Column = NumberColumn | TextColumn | DateColumn


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

    columns: tuple[Column, ...]
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
        numbers = [column for column in self.columns if isinstance(column, NumberColumn)]
        inputs = NumberColumn.transform_all(numbers, rows)
        for column in self.columns:
            if not isinstance(column, NumberColumn):
                inputs[column.name] = column.transform(rows[column.name])
        return np.concatenate([inputs[column.name] for column in self.columns], axis=1)

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
            return self.target.undone(values[:, 0])
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


def _column(where: str, values: Any) -> Column:
    kinds = {"number": NumberColumn, "text": TextColumn, "date": DateColumn}
    kind: Any = values.get("kind") if isinstance(values, dict) else values
    return _build(kinds[check_choice(f"{where}.kind", kind, list(kinds))], where, values)


def _build(kind: Any, where: str, values: Any) -> Any:
    fields = dataclasses.fields(kind)
    if kind is TargetCoding and isinstance(values, dict):
        values = {"transform": "none"} | values  # which older files do not name
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


def _numbers(where: str, value: Any, check: Callable[[str, Any], Any]) -> tuple[float, ...]:
    return tuple(check(where, one) for one in _instance(where, value, (list, tuple), "a list"))


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "name": lambda where, value: _instance(where, value, str, "a text"),
    "style": lambda where, value: check_choice(where, value, STYLES + DATES),
    "transform": lambda where, value: check_choice(where, value, TRANSFORMS),
    "first": _number,
    "parts": lambda where, value: tuple(
        check_choice(where, one, [*_DATE_PARTS, _DAYS]) for one in _different_texts(where, value, 0)
    ),
    "means": lambda where, value: _numbers(where, value, _number),
    "scales": lambda where, value: _numbers(where, value, _CHECKS["scale"]),
    "median": _number,
    "mean": _number,
    "scale": lambda where, value: check_number(where, value, low=0, low_open=True, high=LARGEST),
    "indicator": lambda where, value: _instance(where, value, bool, "true or false"),
    "categories": _different_texts,
    "task": lambda where, value: check_choice(where, value, TASKS),
    "classes": lambda where, value: None if value is None else _different_texts(where, value, 2),
}
