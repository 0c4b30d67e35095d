"""A table made ready for a network: split, imputed, encoded, standardised; decisions are said.

The split comes first: medians, means, scales and categories are learnt from the training part
alone. The kind of a column (number, text, one that numbers the rows) is decided from all rows.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_object_dtype
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from cyclerate._errors import bad_argument, check_choice, count, listed
from cyclerate.tables._columns import Target, choose_columns, read_target
from cyclerate.tables._preprocessing import (
    TRANSFORMS,
    Column,
    DateColumn,
    NumberColumn,
    Preprocessing,
    TargetCoding,
    TextColumn,
    mean_and_scale,
)
from cyclerate.tables._read import DataMistake, check_columns, read_table
from cyclerate.tables._values import DECIMAL_COMMA, STYLES, THOUSANDS_COMMA

HELDOUT_FRAC = 0.2
FEWEST_ROWS = 20
_SPLIT_SEED = 0
_FIRST_COLUMNS = 20
_FAR_OUT = 20.0  # scales from the mean
_MANY_REPEATED = 0.05  # of the rows


@dataclass(frozen=True)
class Tabular:
    """A table, split and ready for a network.

    `y_*` are class numbers (int32), or the standardised target (float32); `notes` says what was
    decided.

    >>> data = digits()
    >>> data.rows, data.x_train.shape, data.target.task
    (1797, (1438, 61), 'classification')
    """

    name: str
    x_train: NDArray[np.float32]
    y_train: NDArray[Any]
    x_heldout: NDArray[np.float32]
    y_heldout: NDArray[Any]
    preprocessing: Preprocessing
    notes: tuple[str, ...]

    @property
    def target(self) -> TargetCoding:
        """The target and how it is coded."""
        return self.preprocessing.target

    @property
    def rows(self) -> int:
        """All rows used, in both parts."""
        return len(self.x_train) + len(self.x_heldout)


def digits() -> Tabular:
    """Returns 1,797 handwritten digits of 8x8 pixels, made ready for a network.

    They come with scikit-learn: nothing is downloaded.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.

    >>> digits().target.classes
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    return prepare(load_digits(as_frame=True).frame, "target", name="digits")


def load_csv(
    path: str | os.PathLike[str],
    target: str,
    *,
    sep: str | None = None,
    drop: list[str] | None = None,
    task: str | None = None,
    target_transform: str = "none",
) -> Tabular:
    """Reads a CSV file and makes it ready for a network.

    Args:
        path: The file: CSV, plain or gzipped; Parquet or Feather where pyarrow is installed.
        target: The column to learn.
        sep: The character between the columns; found by looking at the first lines if None.
        drop: Columns to leave out.
        task: "classification" or "regression"; decided by looking at the target if None.
        target_transform: What a number becomes before it is standardised: "none" (default), "log",
            or "log1p", log(1 + y). Predictions are turned back.

    Raises:
        DataMistake: The file or a column cannot be used; the message says what to do.

    >>> people = pd.DataFrame({"age": [31, 42] * 20, "income": ["1,5", "2,5"] * 20})
    >>> people.to_csv("people.csv", sep=";", index=False)
    >>> for note in load_csv("people.csv", "income").notes[:3]:
    ...     print(note)
    The columns of people.csv are separated by ';'.
    Task: classification, because 'income' holds 2 different numbers.
    'income' was read with a decimal comma: '1,5' is 1.5.
    """
    table = read_table(path, sep)
    data = prepare(
        table.frame,
        target,
        name=Path(path).name,
        drop=drop,
        task=task,
        # Semicolons separate where commas are decimal.
        comma=DECIMAL_COMMA if table.sep == ";" else THOUSANDS_COMMA,
        target_transform=target_transform,
    )
    return replace(data, notes=(*table.notes, *data.notes))


def prepare(
    frame: pd.DataFrame,
    target: str,
    *,
    name: str,
    drop: list[str] | None = None,
    task: str | None = None,
    comma: str = THOUSANDS_COMMA,
    target_transform: str = "none",
) -> Tabular:
    """Makes a table ready for a network, as `load_csv` does.

    Args:
        frame: The table.
        target: The column to learn.
        name: The name of the table in messages.
        drop: Columns to leave out.
        task: "classification" or "regression"; decided by looking at the target if None.
        comma: The meaning of a comma where every one could be either, as in "1,200": "decimal
            comma" or "thousands comma" (default).
        target_transform: "none" (default), "log" or "log1p".

    Raises:
        DataMistake: A column cannot be used; the message says what to do.

    >>> frame = pd.DataFrame({"hours": [1.0, 7.0, None, 3.0] * 8, "passed": ["no", "yes"] * 16})
    >>> prepare(frame, "passed", name="exams").notes[-1]
    'Held out 6 of 32 rows, at random, each class in proportion.'
    """
    check_choice("target_transform", target_transform, TRANSFORMS)
    check_choice("comma", comma, (DECIMAL_COMMA, THOUSANDS_COMMA))
    frame, drop = _checked(frame, target, name, drop)
    goal = read_target(frame[target], task, comma)
    frame = frame.loc[goal.keep].reset_index(drop=True)
    if len(frame) < FEWEST_ROWS:
        raise DataMistake(
            f"{name} has {count(len(frame), 'usable row')}: too few to train on and to hold some "
            f"out. At least {FEWEST_ROWS} are needed."
        )
    styles, said = choose_columns(frame, target, drop, comma)
    if not styles:
        reasons = "\n".join(said)
        raise DataMistake(f"{name} has no column left to learn '{target}' from.\n{reasons}")
    train, heldout = train_test_split(
        np.arange(len(frame)),
        test_size=max(round(HELDOUT_FRAC * len(frame)), len(goal.classes or "1")),
        random_state=_SPLIT_SEED,
        stratify=goal.values if goal.classes else None,
    )
    columns = _fitted(frame.iloc[train], styles)
    y, coding = _coded(goal, train, target_transform)
    preprocessing = Preprocessing(columns, coding)
    x = preprocessing.features(frame)
    if repeated := _repeated(frame):
        said.append(f"{count(repeated, 'row')} repeat an earlier row exactly; they were kept.")
        if repeated > _MANY_REPEATED * len(frame):
            said.append("So rows held out are also among those trained on: new rows will do worse.")
    how = "at random, each class in proportion" if goal.classes else "at random"
    said += [*_notes(preprocessing, x), f"Held out {len(heldout):,} of {len(x):,} rows, {how}."]
    if any(isinstance(column, DateColumn) for column in columns):
        said.append(
            "They lie among the others in time: how well later rows are foretold, is not measured."
        )
    notes = (*goal.notes, *said)
    return Tabular(name, x[train], y[train], x[heldout], y[heldout], preprocessing, notes)


def _repeated(frame: pd.DataFrame) -> int:
    """How many rows of the whole table are equal to one before them."""
    # Rows that are equal are so in their first columns, too, which of thousands are soon compared.
    alike = frame.loc[frame.iloc[:, :_FIRST_COLUMNS].duplicated(keep=False)]
    return int(alike.duplicated().sum()) if len(alike) else 0


def _checked(frame: Any, target: Any, name: Any, drop: Any) -> tuple[pd.DataFrame, list[str]]:
    """The table, if it has all that is named, and the columns to leave out."""
    if not isinstance(frame, pd.DataFrame):
        raise bad_argument("frame", "a pandas DataFrame", frame)
    for argument, text in (("target", target), ("name", name)):
        if not isinstance(text, str):
            raise bad_argument(argument, "text", text)
    drop = [] if drop is None else drop
    if not isinstance(drop, (list, tuple)) or not all(isinstance(one, str) for one in drop):
        raise bad_argument("drop", "a list of columns", drop)
    frame = check_columns(frame, [target, *drop, *map(str, frame.columns)], name)
    if target in drop:
        raise DataMistake(f"The target '{target}' is also in --drop: keep it.")
    objects = [name for name, kind in frame.dtypes.items() if is_object_dtype(kind)]
    nested = [name for name in objects if not frame[name].map(_is_hashable).all()]
    # Lists, which Parquet knows, cannot be compared; their texts can.
    return frame.astype(dict.fromkeys(nested, str)), list(drop)


def _is_hashable(cell: Any) -> bool:
    return isinstance(cell, Hashable)


def _fitted(train: pd.DataFrame, styles: dict[str, str | None]) -> tuple[Column, ...]:
    """The columns as the training rows say, in their order."""
    numbers = {name: style for name, style in styles.items() if style in STYLES}
    fitted: dict[str, Column] = {one.name: one for one in NumberColumn.fit_all(train, numbers)}
    for name, style in styles.items():
        if style is None:
            fitted[name] = TextColumn.fit(train[name])
        elif style not in STYLES:
            fitted[name] = DateColumn.fit(train[name], style)
    return tuple(fitted[name] for name in styles)


def _coded(goal: Target, train: NDArray[Any], transform: str) -> tuple[NDArray[Any], TargetCoding]:
    """The target as the network learns it."""
    coding = TargetCoding(goal.name, goal.task, goal.classes)
    if goal.classes:
        if transform != "none":
            raise DataMistake(f"--target-transform {transform} is for numbers, not for classes.")
        return goal.values, coding
    low = {"log": 0.0, "log1p": -1.0}.get(transform, -np.inf)
    if goal.values.min() <= low:
        raise DataMistake(
            f"--target-transform {transform} needs '{goal.name}' above {low:g} in every row; its "
            f"lowest value is {goal.values.min():g}."
        )
    values = TRANSFORMS[transform][0](goal.values)
    mean, scale = mean_and_scale(values[train])
    coding = replace(coding, mean=mean, scale=scale, transform=transform)
    return ((values - mean) / scale).astype(np.float32), coding


def _notes(preprocessing: Preprocessing, x: NDArray[np.float32]) -> list[str]:
    numbers = [column for column in preprocessing.columns if isinstance(column, NumberColumn)]
    encoded = [column for column in preprocessing.columns if isinstance(column, TextColumn)]
    furthest = dict(zip(preprocessing.inputs, np.abs(x).max(axis=0), strict=True))
    dates = [
        ", ".join([*column.seen, *["whether there is one"] * column.indicator])
        for column in preprocessing.columns
        if isinstance(column, DateColumn)
    ]
    holes = [f"{column.name} ({column.median:.4g})" for column in numbers if column.indicator]
    categories = [f"{column.name} ({len(column.categories)})" for column in encoded]
    far = [column.name for column in numbers if furthest[column.name] > _FAR_OUT]
    said = {
        "Missing numbers became the median, and an input says where: {}.": listed(holes, 8),
        "One input for each category of: {}.": listed(categories, 10),
        "Of dates the network sees: {}.": "; ".join(dict.fromkeys(dates)),
        "Numbers were standardised with the mean and scale of the training part.": numbers,
        "Kept as they are, some values over 20 scales away: {}.": listed(far, 8),
    }
    return [sentence.format(columns) for sentence, columns in said.items() if columns]
