"""The target of a table: classes or numbers, decided by looking at it, and said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclerate._errors import check_choice
from cyclerate._text import count, listed
from cyclerate.tables._mistakes import DataMistake
from cyclerate.tables._numbers import THOUSANDS_COMMA, Numbers, read_numbers, texts

TASKS = ("classification", "regression")
_MOST_CLASSES = 100
_MOST_NUMBER_CLASSES = 20
_FEWEST_OF_A_CLASS = 5
_MOST_MISSING = 0.5


@dataclass(frozen=True)
class Target:
    """A target column, read: `values` are class numbers, or floats, of the rows in `keep`."""

    name: str
    task: str
    values: NDArray[Any]
    keep: NDArray[np.bool_]
    classes: tuple[str, ...] | None
    notes: tuple[str, ...]


def read_target(column: pd.Series, task: str | None = None, comma: str = THOUSANDS_COMMA) -> Target:
    """Reads the target; `task` overrides the decision between classes and numbers.

    Rows without a target, and classes of fewer than 5 rows, are left out, and said.

    Raises:
        DataMistake: More than half is missing, it is constant, or it does not fit the task.
        ValueError: `task` is unknown.
    """
    numbers = read_numbers(column, comma)
    filled = texts(column).to_numpy() != "" if numbers is None else np.isfinite(numbers.values)
    missing = int((~filled).sum())
    if missing > _MOST_MISSING * len(column):
        raise DataMistake(
            f"The target '{column.name}' is missing in {count(missing, 'row')} of "
            f"{len(column):,}: more than half. Choose another --target, or fill it in."
        )
    if task is None:
        task, why = _decide(column, numbers)
    else:
        task, why = check_choice("task", task, TASKS), "as asked"
    notes = (f"Task: {task}, {why}.", *(numbers.notes if numbers else ()))
    if task == "regression":
        return _regression(column, numbers, notes)
    return _classification(column, numbers, notes)


def _decide(column: pd.Series, numbers: Numbers | None) -> tuple[str, str]:
    if numbers is None:
        texts_held = count(texts(column).replace("", np.nan).nunique(), "different text")
        return "classification", f"because '{column.name}' holds {texts_held}"
    values = np.unique(numbers.values[np.isfinite(numbers.values)])
    whole = bool((values == np.round(values)).all())
    held = count(len(values), "different whole number" if whole else "different number")
    # A class needs rows to learn it from; whole numbers that rarely repeat are a quantity.
    repeated = len(values) * _FEWEST_OF_A_CLASS <= len(column)
    few = len(values) <= 2 or (whole and repeated and len(values) <= _MOST_NUMBER_CLASSES)
    return "classification" if few else "regression", f"because '{column.name}' holds {held}"


def _regression(column: pd.Series, numbers: Numbers | None, notes: tuple[str, ...]) -> Target:
    name = str(column.name)
    if numbers is None:
        cells = texts(column)
        shown = listed((repr(text) for text in cells[cells != ""].unique()), 3)
        raise DataMistake(f"The target '{name}' is text ({shown}), but regression needs numbers.")
    keep = np.isfinite(numbers.values)
    values = numbers.values[keep]
    if values.min() == values.max():
        raise DataMistake(f"The target '{name}' is {values[0]:g} in every row: nothing to learn.")
    return Target(name, "regression", values, keep, None, (*notes, *_left_out(name, keep)))


def _classification(column: pd.Series, numbers: Numbers | None, notes: tuple[str, ...]) -> Target:
    name = str(column.name)
    labels = texts(column) if numbers is None else _number_labels(numbers)
    filled = labels != ""
    sizes = labels[filled].value_counts()
    rare = sizes.index[sizes < _FEWEST_OF_A_CLASS]
    classes = sizes.index.difference(rare).tolist()
    classes.sort(key=str if numbers is None else float)
    _check_classes(name, sizes, len(classes))
    notes = (*notes, *_left_out(name, filled.to_numpy()))
    if len(rare):
        rows = count(int(sizes[rare].sum()), "row")
        notes += (f"Left out {rows} of classes with under 5 rows each: {listed(rare, 5)}.",)
    share = sizes.max() / sizes[classes].sum()
    notes += (f"Always saying '{sizes.index[0]}' would be right in {share:.1%} of the rows.",)
    keep = labels.isin(classes).to_numpy()
    positions = {label: position for position, label in enumerate(classes)}
    values = labels[keep].map(positions).to_numpy(dtype=np.int32)
    return Target(name, "classification", values, keep, tuple(classes), notes)


def _number_labels(numbers: Numbers) -> pd.Series:
    """Whole numbers lose their ".0": 1.0 and 1 are the same class."""
    values = numbers.values
    return pd.Series([f"{value:.10g}" if np.isfinite(value) else "" for value in values])


def _check_classes(name: str, sizes: pd.Series, usable: int) -> None:
    if len(sizes) > _MOST_CLASSES:
        raise DataMistake(
            f"The target '{name}' has {len(sizes):,} different values, too many for classes "
            f"(at most {_MOST_CLASSES}). Is it the right column? If it holds numbers to "
            "predict: --task regression."
        )
    if len(sizes) < 2:
        raise DataMistake(
            f"The target '{name}' is {listed(sizes.index)} in every row: nothing to learn. "
            "Choose another --target."
        )
    if usable < 2:
        held = listed((f"{label}: {size}" for label, size in sizes.items()), 5)
        raise DataMistake(
            f"The target '{name}' needs 2 classes of at least {_FEWEST_OF_A_CLASS} rows; "
            f"it has {held}."
        )


def _left_out(name: str, keep: Any) -> tuple[str, ...]:
    dropped = int((~keep).sum())
    return (f"Left out {count(dropped, 'row')} without a target '{name}'.",) if dropped else ()
