"""The columns of a table: numbers, dates or text, worth learning from or not, and the target.

Each decision is said in a sentence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclerate._errors import check_choice, count, listed
from cyclerate.tables._read import DataMistake
from cyclerate.tables._values import (
    DATES,
    THOUSANDS_COMMA,
    Numbers,
    is_plain,
    read_dates,
    read_numbers,
    texts,
    to_dates,
)

TASKS = ("classification", "regression")
MOST_CATEGORIES = 30
_ID_NAME = re.compile(
    r"(?:.*[_ .-])?(?:id|ids|uuid|guid|index|rowid|key|no|nr|number)|[a-z]+(?:Id|ID|No)|"
    r"[Uu]nnamed: 0|",
)
_ID_DIGITS = 5  # whole numbers of so many digits, all of one length and none twice, are names
_FEW_TEXTS = 20
_MOST_CLASSES = 100
_MOST_NUMBER_CLASSES = 20
_FEWEST_OF_A_CLASS = 5
_MOST_MISSING = 0.5
_FAR_OUT = 20.0  # of the middle half's width, from the median
_MOST_FAR_OUT = 0.05  # of the values; more of them are the shape of the target


@dataclass(frozen=True)
class Target:
    """A target column, read: `values` are class numbers, or floats, of the rows in `keep`."""

    name: str
    task: str
    values: NDArray[Any]
    keep: NDArray[np.bool_]
    classes: tuple[str, ...] | None
    notes: tuple[str, ...]


def choose_columns(
    frame: pd.DataFrame, target: str, drop: list[str], comma: str
) -> tuple[dict[str, str | None], list[str]]:
    """Returns the columns to learn from, each with its style, or None for text; and sentences.

    Left out are the columns in `drop`, empty and constant columns, columns that number or name the
    rows, text that differs from row to row, copies of another column or of the target.
    """
    styles, notes = dict[str, str | None](), list[str]()
    left_out: dict[str, list[str]] = {"as asked": drop} if drop else {}
    seen = {_fingerprint(frame[target]): target}
    left = {target, *drop}
    for name, column in frame.items():
        if name in left:
            continue
        style, cells, said = _read(column, comma)
        copy_of = seen.setdefault(_fingerprint(column), name)
        reason = _reason_against(column, cells, style)
        if not reason and copy_of != name:
            reason = f"equal to '{copy_of}' in every row"
        if reason:
            left_out.setdefault(reason, []).append(name)
            continue
        styles[name] = style
        notes += said
    said = [f"Left out, {reason}: {listed(names)}." for reason, names in left_out.items()]
    return styles, [*said, *notes]


def _read(column: pd.Series, comma: str) -> tuple[str | None, Any, Sequence[str]]:
    """The style of a column, None for text; its cells; and what is to be said of it."""
    if numbers := read_numbers(column, comma):
        return numbers.style, numbers.values, numbers.notes
    if dates := read_dates(column):
        return dates[0], to_dates(column, dates[0]), [dates[1]]
    cells = texts(column).replace("", None).dropna()
    notes = list[str]()
    if (distinct := cells.nunique()) > MOST_CATEGORIES:
        kept = f"the {MOST_CATEGORIES} most frequent are kept, the rest count as one"
        notes.append(f"'{column.name}' has {distinct:,} categories: {kept}.")
    return None, cells, notes


def _reason_against(column: pd.Series, cells: Any, style: str | None) -> str:
    """The reason to leave a column out, or nothing; `cells` are as `_read` gives them."""
    if style is None:
        distinct = cells.nunique()
        if not distinct:
            return "empty"
        if distinct == 1 and len(cells) == len(column):
            return f"'{cells.iloc[0]}' in every row"
        differs = distinct > _FEW_TEXTS and distinct > 0.5 * len(cells)
        said = f"text that differs from row to row ({count(distinct, 'value')})"
        return said if differs else ""
    filled = cells[np.isfinite(cells)]
    if not len(filled):
        return "empty"
    # A value present in some rows only says where it is missing, so it is not constant.
    if len(filled) < len(cells):
        return ""
    # Of whole numbers themselves: as floats, long ones are rounded to each other.
    distinct = len(np.unique(column.to_numpy() if is_plain(column) else filled))
    if distinct == 1:
        shown = f"'{column.iloc[0]}'" if style in DATES else f"{filled[0]:g}"
        return f"{shown} in every row"
    if style in DATES or distinct < len(cells) or bool((filled != np.round(filled)).any()):
        return ""
    return _numbering(str(column.name), filled)


def _numbering(name: str, values: NDArray[np.float64]) -> str:
    """Whether whole numbers, none of them there twice, number or name the rows."""
    low, high = float(np.abs(values).min()), float(np.abs(values).max())
    falls = bool((np.diff(values) < 0).all())
    if _ID_NAME.fullmatch(name) or bool((np.diff(values) >= 0).all()) or falls:
        return "numbering the rows (no value is there twice)"
    if high - low < 1.5 * len(values):
        return "numbering the rows (no value is there twice)"
    of_one_length = len(f"{low:.0f}") == len(f"{high:.0f}") >= _ID_DIGITS
    return "naming the rows (whole numbers of one length, none there twice)" * of_one_length


def _fingerprint(column: pd.Series) -> bytes:
    if pd.api.types.is_numeric_dtype(column) and isinstance(column.dtype, np.dtype):
        values = np.ascontiguousarray(column.to_numpy())
        kind = values.dtype.str.encode()
        return hashlib.blake2b(values.tobytes() + kind, digest_size=16).digest()
    return pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes()


def read_target(column: pd.Series, task: str | None = None, comma: str = THOUSANDS_COMMA) -> Target:
    """Reads the target; `task` overrides the decision between classes and numbers.

    Rows without a target, and classes of fewer than 5 rows, are left out, and said.
    """
    name, numbers = str(column.name), read_numbers(column, comma)
    filled = texts(column).to_numpy() != "" if numbers is None else np.isfinite(numbers.values)
    missing = int((~filled).sum())
    if missing > _MOST_MISSING * len(column):
        raise DataMistake(
            f"The target '{name}' is missing in {count(missing, 'row')} of "
            f"{len(column):,}: more than half. Choose another --target, or fill it in."
        )
    why = "as asked"
    if task is None:
        task, held = _decide(column, numbers)
        why = f"because '{name}' holds {held}"
    notes = [f"Task: {check_choice('task', task, TASKS)}, {why}."]
    notes += numbers.notes if numbers else ()
    if missing:
        notes.append(f"Left out {count(missing, 'row')} without a target '{name}'.")
    if task == "classification":
        return _classification(column, numbers, notes)
    if numbers is None:
        shown = listed(map(repr, texts(column[filled]).unique()), 3)
        raise DataMistake(f"The target '{name}' is text ({shown}), but regression needs numbers.")
    values = numbers.values[filled]
    if values.min() == values.max():
        raise DataMistake(f"The target '{name}' is {values[0]:g} in every row: nothing to learn.")
    return Target(name, task, values, filled, None, (*notes, *_far_out(name, values)))


def _far_out(name: str, values: NDArray[np.float64]) -> list[str]:
    """Names values of a target so far from the others that they alone decide a squared loss."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    far = np.abs(values - median) > _FAR_OUT * max(high - low, 1e-9 * abs(median))
    number = int(far.sum())
    if not number or number > _MOST_FAR_OUT * len(values):
        return []
    lowest = values.min()
    way = "log" if lowest > 0 else "log1p" if lowest > -1 else None
    ways = [f"--target-transform {way}"] * (way is not None) + ["--metric mae", "leave them out"]
    are, furthest = "is" if number == 1 else "are", values[np.abs(values - median).argmax()]
    said = (
        f"{count(number, 'value')} of '{name}' {are} far from the rest (up to {furthest:.4g}; half "
        f"lie between {low:.4g} and {high:.4g}), and would decide the loss alone."
    )
    return [f"{said} Try {', or '.join(ways)}."]


def _decide(column: pd.Series, numbers: Numbers | None) -> tuple[str, str]:
    """The task that fits the target, and what it holds."""
    if numbers is None:
        distinct = texts(column).replace("", None).nunique()
        return "classification", count(distinct, "different text")
    values = np.unique(numbers.values[np.isfinite(numbers.values)])
    whole = bool((values == np.round(values)).all())
    # A class needs rows to learn it from; whole numbers that rarely repeat are a quantity.
    repeated = len(values) * _FEWEST_OF_A_CLASS <= len(column)
    few = len(values) <= 2 or (whole and repeated and len(values) <= _MOST_NUMBER_CLASSES)
    held = count(len(values), "different whole number" if whole else "different number")
    return "classification" if few else "regression", held


def _classification(column: pd.Series, numbers: Numbers | None, notes: list[str]) -> Target:
    name, labels = str(column.name), texts(column)
    if numbers:
        # Whole numbers lose their ".0": 1.0 and 1 are the same class.
        labels = pd.Series([f"{x:.15g}" if np.isfinite(x) else "" for x in numbers.values])
    sizes = labels[labels != ""].value_counts()
    rare = sizes.index[sizes < _FEWEST_OF_A_CLASS]
    classes = sorted(sizes.index.difference(rare), key=float if numbers else str)
    _check_classes(name, sizes, len(classes))
    if len(rare):
        rows = count(int(sizes[rare].sum()), "row")
        notes.append(f"Left out {rows} of classes with under 5 rows each: {listed(rare, 5)}.")
    share = sizes.max() / sizes[classes].sum()
    notes.append(f"Always saying '{sizes.index[0]}' would be right in {share:.1%} of the rows.")
    keep = labels.isin(classes).to_numpy()
    positions = {label: position for position, label in enumerate(classes)}
    values = labels[keep].map(positions).to_numpy(dtype=np.int32)
    return Target(name, "classification", values, keep, tuple(classes), tuple(notes))


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
