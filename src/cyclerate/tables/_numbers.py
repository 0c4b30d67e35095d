"""When a column of text is a column of numbers, and what was made of the cells that are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclerate._text import count, listed

PLAIN, DECIMAL_COMMA, THOUSANDS_COMMA = "plain", "decimal comma", "thousands comma"
MISSING_WORDS = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-", "--"})

_NUMBER_SHARE = 0.9  # of the cells that are not missing
_DECIMAL = r"[+-]?\d+,\d+"
_THOUSANDS = r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?"
# Far beyond anything measured, and far below where squares overflow.
_LARGEST = 1e100


@dataclass(frozen=True)
class Numbers:
    """A column read as numbers: NaN where there is none, and a sentence for each decision."""

    values: NDArray[np.float64]
    style: str
    notes: tuple[str, ...]


def texts(column: pd.Series) -> pd.Series:
    """Returns the cells as stripped text; missing cells, and words for missing, are empty."""
    stripped = column.astype("object").where(column.notna(), "").astype(str).str.strip()
    return stripped.where(~stripped.str.casefold().isin(MISSING_WORDS), "")


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
        return np.where(np.abs(values) <= _LARGEST, values, np.nan)


def read_numbers(column: pd.Series, comma: str = THOUSANDS_COMMA) -> Numbers | None:
    """Reads a column as numbers if at least 90 % of its filled cells are numbers.

    Args:
        column: The cells.
        comma: What a comma means where every one could be either, as in "1,200".

    Returns:
        The numbers, or None if it is a column of text.
    """
    name = str(column.name)
    if pd.api.types.is_bool_dtype(column):
        return None
    if pd.api.types.is_numeric_dtype(column):
        return _of_numbers(column, name)
    cells = texts(column)
    filled = cells != ""
    style = _comma_style(cells[filled], comma)
    values = to_numbers(column, style)
    odd = cells[filled & np.isnan(values)]
    if not filled.any() or len(odd) > (1 - _NUMBER_SHARE) * filled.sum():
        return None
    notes = [*_style_notes(name, style, cells), *_missing_notes(name, column, ~filled)]
    if len(odd):
        shown = listed((repr(text) for text in odd.unique()), 3)
        what = "is not a number" if len(odd) == 1 else "are not numbers"
        notes.append(f"{count(len(odd), 'cell')} of '{name}' {what} ({shown}): taken as missing.")
    return Numbers(values, style, tuple(notes))


def _of_numbers(column: pd.Series, name: str) -> Numbers:
    values = to_numbers(column)
    infinite = int(column.notna().sum() - np.isfinite(values).sum())
    note = f"{count(infinite, 'cell')} of '{name}' not finite, or beyond 1e100: taken as missing."
    return Numbers(values, PLAIN, (note,) if infinite else ())


def _comma_style(cells: pd.Series, ambiguous: str) -> str:
    with_comma = cells[cells.str.contains(",", regex=False)]
    if not len(with_comma):
        return PLAIN
    decimal, thousands = with_comma.str.fullmatch(_DECIMAL), with_comma.str.fullmatch(_THOUSANDS)
    if thousands.all():
        return ambiguous if decimal.all() else THOUSANDS_COMMA
    return DECIMAL_COMMA if decimal.any() else PLAIN


def _style_notes(name: str, style: str, cells: pd.Series) -> list[str]:
    if style == PLAIN:
        return []
    example = cells[cells.str.contains(",", regex=False)].iloc[0]
    meaning = to_numbers(pd.Series([example]), style)[0]
    return [f"'{name}' was read with a {style}: '{example}' is {meaning:.10g}."]


def _missing_notes(name: str, column: pd.Series, empty: pd.Series) -> list[str]:
    words = column[empty & column.notna()].astype(str).str.strip().unique()
    words = [repr(str(word)) for word in words if word]
    return [f"{listed(words, 4)} in '{name}' means missing."] if words else []
