"""The columns of a table: numbers or text, worth learning from or not, and the target.

Each decision is said in a sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclerate._errors import check_choice
from cyclerate._text import count, listed
from cyclerate.tables._read import DataMistake

PLAIN, DECIMAL_COMMA, THOUSANDS_COMMA = "plain", "decimal comma", "thousands comma"
STYLES = (PLAIN, DECIMAL_COMMA, THOUSANDS_COMMA)
TASKS = ("classification", "regression")
MOST_CATEGORIES = 30
# Far beyond anything measured, and far below where squares overflow.
LARGEST = 1e100

_MISSING_WORDS = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-", "--"})
_NUMBER_SHARE = 0.9  # of the cells that are not missing
_DECIMAL = r"[+-]?\d+,\d+"
_THOUSANDS = r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?"
_ID_NAME = re.compile(r"(?:.*[_ ])?(?:id|ids|uuid|guid|index|rowid)|unnamed: 0|", re.IGNORECASE)
_FEW_TEXTS = 20
_MOST_CLASSES = 100
_MOST_NUMBER_CLASSES = 20
_FEWEST_OF_A_CLASS = 5
_MOST_MISSING = 0.5


@dataclass(frozen=True)
class Numbers:
    """A column read as numbers: NaN where there is none, and a sentence for each decision."""

    values: NDArray[np.float64]
    style: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """A target column, read: `values` are class numbers, or floats, of the rows in `keep`."""

    name: str
    task: str
    values: NDArray[Any]
    keep: NDArray[np.bool_]
    classes: tuple[str, ...] | None
    notes: tuple[str, ...]


def texts(column: pd.Series) -> pd.Series:
    """Returns the cells as stripped text; missing cells, and words for missing, are empty."""
    stripped = column.astype("object").where(column.notna(), "").astype(str).str.strip()
    return stripped.where(~stripped.str.casefold().isin(_MISSING_WORDS), "")


def to_numbers(column: pd.Series, style: str = PLAIN) -> NDArray[np.float64]:
    """Returns the cells as floats, NaN for what is not a number in this style.

    >>> to_numbers(pd.Series(["12,5", "7", "n/a"]), DECIMAL_COMMA)
    array([12.5,  7. ,  nan])
    """
    if not (pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)):
        replacement = {DECIMAL_COMMA: ".", THOUSANDS_COMMA: ""}.get(style, ",")
        column = texts(column).str.replace(",", replacement, regex=False)
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) <= LARGEST, values, np.nan)


def read_numbers(column: pd.Series, comma: str = THOUSANDS_COMMA) -> Numbers | None:
    """Reads a column as numbers if 90 % of its filled cells are numbers; None if it is text.

    `comma` is what commas mean where every one could be either, as in "1,200".
    """
    name, notes = str(column.name), list[str]()
    if pd.api.types.is_bool_dtype(column):
        return None
    if pd.api.types.is_numeric_dtype(column):
        values = to_numbers(column)
        if infinite := int(column.notna().sum() - np.isfinite(values).sum()):
            cells = count(infinite, "cell")
            notes = [f"{cells} of '{name}' not finite, or beyond 1e100: taken as missing."]
        return Numbers(values, PLAIN, tuple(notes))
    cells = texts(column)
    filled = cells != ""
    with_comma = cells[cells.str.contains(",", regex=False)]
    style = _comma_style(with_comma, comma)
    values = to_numbers(column, style)
    odd = cells[filled & np.isnan(values)]
    if not filled.any() or len(odd) > (1 - _NUMBER_SHARE) * filled.sum():
        return None
    if style != PLAIN:
        meaning = to_numbers(with_comma.iloc[:1], style)[0]
        notes = [f"'{name}' was read with a {style}: '{with_comma.iloc[0]}' is {meaning:.10g}."]
    words = column[~filled & column.notna()].astype(str).str.strip().unique()
    if words := [repr(str(word)) for word in words if word]:
        notes.append(f"{listed(words, 4)} in '{name}' means missing.")
    if len(odd):
        shown = listed(map(repr, odd.unique()), 3)
        what = "is not a number" if len(odd) == 1 else "are not numbers"
        notes.append(f"{count(len(odd), 'cell')} of '{name}' {what} ({shown}): taken as missing.")
    return Numbers(values, style, tuple(notes))


def _comma_style(with_comma: pd.Series, ambiguous: str) -> str:
    decimal, thousands = with_comma.str.fullmatch(_DECIMAL), with_comma.str.fullmatch(_THOUSANDS)
    if len(with_comma) and thousands.all():
        return ambiguous if decimal.all() else THOUSANDS_COMMA
    return DECIMAL_COMMA if decimal.any() else PLAIN


def choose_columns(
    frame: pd.DataFrame, target: str, drop: list[str], comma: str
) -> tuple[dict[str, str | None], list[str]]:
    """Returns the columns to learn from, each with its style, or None for text; and sentences.

    Left out are the columns in `drop`, empty and constant columns, columns that number the rows,
    text that differs from row to row, copies of another column or of the target.
    """
    styles, notes = dict[str, str | None](), list[str]()
    left_out: dict[str, list[str]] = {"as asked": drop} if drop else {}
    seen = {_fingerprint(frame[target]): target}
    for name in frame.columns.difference([target, *drop], sort=False):
        numbers = read_numbers(frame[name], comma)
        cells = pd.Series(numbers.values) if numbers else texts(frame[name]).replace("", None)
        copy_of = seen.setdefault(_fingerprint(frame[name]), name)
        reason = _reason_against(name, cells, is_text=numbers is None)
        if not reason and copy_of != name:
            reason = f"equal to '{copy_of}' in every row"
        if reason:
            left_out.setdefault(reason, []).append(name)
            continue
        styles[name] = numbers.style if numbers else None
        notes += numbers.notes if numbers else ()
        if not numbers and cells.nunique() > MOST_CATEGORIES:
            kept = f"the {MOST_CATEGORIES} most frequent are kept, the rest count as one"
            notes.append(f"'{name}' has {cells.nunique():,} categories: {kept}.")
    said = [f"Left out, {reason}: {listed(names)}." for reason, names in left_out.items()]
    return styles, [*said, *notes]


def _reason_against(name: str, cells: pd.Series, is_text: bool) -> str:
    """The reason to leave a column out, or nothing."""
    filled = cells.dropna()
    distinct, full = filled.nunique(), len(filled) == len(cells)
    if not distinct:
        return "empty"
    # A value present in some rows only says where it is missing, so it is not constant.
    if full and distinct == 1:
        shown = f"'{filled.iloc[0]}'" if is_text else f"{filled.iloc[0]:g}"
        return f"{shown} in every row"
    if is_text:
        differs = distinct > _FEW_TEXTS and distinct > 0.5 * len(filled)
        said = f"text that differs from row to row ({count(distinct, 'value')})"
        return said if differs else ""
    whole = full and distinct == len(cells) and bool((cells == cells.round()).all())
    if whole and (_ID_NAME.fullmatch(name) or cells.is_monotonic_increasing):
        return "numbering the rows (no value is there twice)"
    return ""


def _fingerprint(column: pd.Series) -> bytes:
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
    return Target(name, task, values, filled, None, tuple(notes))


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
        labels = pd.Series([f"{x:.10g}" if np.isfinite(x) else "" for x in numbers.values])
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
