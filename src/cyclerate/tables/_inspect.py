"""Which columns of a table are worth learning from, and why the others are left out."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclerate._text import count, listed
from cyclerate.tables._columns import MOST_CATEGORIES
from cyclerate.tables._numbers import read_numbers, texts

_ID_NAME = re.compile(r"(?:.*[_ ])?(?:id|ids|uuid|guid|index|rowid)|unnamed: 0|", re.IGNORECASE)
_FEW_TEXTS = 20


@dataclass(frozen=True)
class Look:
    """What a column is: numbers in a style, or text (`style` is None)."""

    name: str
    style: str | None


def choose_columns(
    frame: pd.DataFrame, target: str, drop: list[str], comma: str
) -> tuple[list[Look], list[str]]:
    """Looks at every column but the target.

    Left out, each with a sentence: the columns in `drop`, empty and constant columns, columns
    that number the rows, text that differs from row to row, copies of another column or of the
    target.

    Returns:
        The columns to learn from, and the sentences.
    """
    notes: list[str] = []
    looks: list[Look] = []
    left_out: dict[str, list[str]] = {"as asked": drop} if drop else {}
    seen = {_fingerprint(frame[target]): target}
    for name in frame.columns:
        if name == target or name in drop:
            continue
        look, reason, more = _look(frame[name], comma)
        copy_of = seen.setdefault(_fingerprint(frame[name]), name)
        if not reason and copy_of != name:
            reason = f"equal to '{copy_of}' in every row"
        if reason:
            left_out.setdefault(reason, []).append(name)
        else:
            looks.append(look)
            notes += more
    said = [f"Left out, {reason}: {listed(names)}." for reason, names in left_out.items()]
    return looks, [*said, *notes]


def _look(column: pd.Series, comma: str) -> tuple[Look, str, list[str]]:
    """A column's look, the reason to leave it out (or nothing), and what was decided."""
    name = str(column.name)
    numbers = read_numbers(column, comma)
    if numbers is not None:
        reason = _number_reason(name, numbers.values)
        return Look(name, numbers.style), reason, list(numbers.notes)
    cells = texts(column)
    filled = cells[cells != ""]
    distinct = filled.nunique()
    notes = []
    if distinct > MOST_CATEGORIES:
        kept = f"the {MOST_CATEGORIES} most frequent are kept, the rest count as one"
        notes = [f"'{name}' has {distinct:,} categories: {kept}."]
    return Look(name, None), _text_reason(cells, filled, distinct), notes


def _number_reason(name: str, values: NDArray[np.float64]) -> str:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "empty"
    # A number present in some rows only says where it is missing, so it is not constant.
    if finite.min() == finite.max() and len(finite) == len(values):
        return f"{finite[0]:g} in every row"
    whole = len(finite) == len(values) and bool((finite == np.round(finite)).all())
    if not whole or len(np.unique(finite)) < len(finite):
        return ""
    if _ID_NAME.fullmatch(name) or bool((np.diff(finite) > 0).all()):
        return "numbering the rows (no value is there twice)"
    return ""


def _text_reason(cells: pd.Series, filled: pd.Series, distinct: int) -> str:
    if not len(filled):
        return "empty"
    if distinct == 1 and len(filled) == len(cells):
        return f"'{filled.iloc[0]}' in every row"
    if distinct > _FEW_TEXTS and distinct > 0.5 * len(filled):
        return f"text that differs from row to row ({count(distinct, 'value')})"
    return ""


def _fingerprint(column: pd.Series) -> bytes:
    hashes = pd.util.hash_pandas_object(column, index=False).to_numpy()
    return hashes.tobytes()
