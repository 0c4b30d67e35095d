"""A table made ready for a network: split, imputed, encoded, standardised; decisions are said.

The split comes first: medians, means, scales and categories are learnt from the training part
alone. Which kind a column is (number, text, one that numbers the rows) is decided from all rows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from cyclerate._text import count, listed
from cyclerate.tables._columns import Column, NumberColumn, TextColumn
from cyclerate.tables._inspect import Look, choose_columns
from cyclerate.tables._mistakes import DataMistake
from cyclerate.tables._numbers import DECIMAL_COMMA, THOUSANDS_COMMA, to_numbers
from cyclerate.tables._preprocessing import Preprocessing, TargetCoding
from cyclerate.tables._read import check_columns, read_table
from cyclerate.tables._target import Target, read_target

HELDOUT_FRAC = 0.2
FEWEST_ROWS = 20
_SPLIT_SEED = 0
_FAR_OUT = 20.0  # scales from the mean


@dataclass(frozen=True)
class Tabular:
    """A table, split and ready for a network.

    `y_*` are class numbers (int32), or the standardised target (float32).
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


def load_csv(
    path: str | os.PathLike[str],
    target: str,
    *,
    sep: str = ",",
    drop: list[str] | None = None,
    task: str | None = None,
) -> Tabular:
    """Reads a CSV file and makes it ready for a network.

    Args:
        path: The file, plain or gzipped.
        target: The column to learn.
        sep: The character between the columns.
        drop: Columns to leave out.
        task: "classification" or "regression"; decided by looking at the target if None.

    Raises:
        DataMistake: The file or a column cannot be used; the message says what to do.
    """
    frame, notes = read_table(path, sep)
    # Semicolons separate where commas are decimal.
    comma = DECIMAL_COMMA if sep == ";" else THOUSANDS_COMMA
    return prepare(
        frame, target, name=Path(path).name, drop=drop, task=task, comma=comma, notes=notes
    )


def prepare(
    frame: pd.DataFrame,
    target: str,
    *,
    name: str,
    drop: list[str] | None = None,
    task: str | None = None,
    comma: str = THOUSANDS_COMMA,
    notes: list[str] | None = None,
) -> Tabular:
    """Makes a table ready for a network; see `load_csv`."""
    drop = drop or []
    check_columns(frame, [target, *drop], name)
    if target in drop:
        raise DataMistake(f"The target '{target}' is also in --drop: keep it.")
    goal = read_target(frame[target], task, comma)
    frame = frame.loc[goal.keep].reset_index(drop=True)
    if len(frame) < FEWEST_ROWS:
        raise DataMistake(
            f"{name} has {count(len(frame), 'usable row')}: too few to train on and to hold some "
            f"out. At least {FEWEST_ROWS} are needed."
        )
    looks, said = choose_columns(frame, target, drop, comma)
    if not looks:
        reasons = "\n".join(said)
        raise DataMistake(f"{name} has no column left to learn '{target}' from.\n{reasons}")
    train, heldout = _split(goal)
    columns = tuple(_fit(look, frame[look.name].iloc[train]) for look in looks)
    coding = _code_target(goal, train)
    preprocessing = Preprocessing(columns, coding)
    x = preprocessing.features(frame)
    y = goal.values if goal.classes else _standardise(goal.values, coding)
    said = [*(notes or []), *goal.notes, *said, *_repeated_rows(frame, looks, target)]
    said += [*_notes(columns, x), _split_note(goal, len(train), len(heldout))]
    return Tabular(name, x[train], y[train], x[heldout], y[heldout], preprocessing, tuple(said))


def _split(goal: Target) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    classes = len(goal.classes) if goal.classes else 1
    heldout = max(round(HELDOUT_FRAC * len(goal.values)), classes)
    train, test = train_test_split(
        np.arange(len(goal.values)),
        test_size=heldout,
        random_state=_SPLIT_SEED,
        stratify=goal.values if goal.classes else None,
    )
    return train, test


def _fit(look: Look, train: pd.Series) -> Column:
    if look.style is None:
        return TextColumn.fit(look.name, train)
    return NumberColumn.fit(look.name, look.style, to_numbers(train, look.style))


def _code_target(goal: Target, train: NDArray[np.int_]) -> TargetCoding:
    if goal.classes:
        return TargetCoding(goal.name, goal.task, goal.classes)
    values = goal.values[train]
    return TargetCoding(
        goal.name, goal.task, None, float(values.mean()), float(values.std()) or 1.0
    )


def _standardise(values: NDArray[np.float64], coding: TargetCoding) -> NDArray[np.float32]:
    return ((values - coding.mean) / coding.scale).astype(np.float32)


def _notes(columns: tuple[Column, ...], x: NDArray[np.float32]) -> list[str]:
    numbers = [column for column in columns if isinstance(column, NumberColumn)]
    encoded = [column for column in columns if isinstance(column, TextColumn)]
    holes = [f"{column.name} ({column.median:.4g})" for column in numbers if column.indicator]
    notes: list[str] = []
    if holes:
        notes.append(
            f"Missing numbers became the median, and an input says where: {listed(holes, 8)}."
        )
    if encoded:
        shown = listed((f"{column.name} ({len(column.categories)})" for column in encoded), 10)
        notes.append(f"One input for each category of: {shown}.")
    if numbers:
        notes.append("Numbers were standardised with the mean and scale of the training part.")
    position = 0
    far = []
    for column in columns:
        if isinstance(column, NumberColumn) and np.abs(x[:, position]).max() > _FAR_OUT:
            far.append(column.name)
        position += len(column.inputs)
    if far:
        notes.append(f"Kept as they are, some values over 20 scales away: {listed(far, 8)}.")
    return notes


def _repeated_rows(frame: pd.DataFrame, looks: list[Look], target: str) -> list[str]:
    repeated = int(frame.duplicated([*(look.name for look in looks), target]).sum())
    if not repeated:
        return []
    return [f"{count(repeated, 'row')} repeat an earlier row exactly; they were kept."]


def _split_note(goal: Target, train: int, heldout: int) -> str:
    how = "at random, each class in proportion" if goal.classes else "at random"
    return f"Held out {heldout:,} of {train + heldout:,} rows, {how}."
