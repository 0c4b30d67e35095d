"""What cells say: numbers with their commas and units, dates, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cyclerate._errors import count, listed

PLAIN, DECIMAL_COMMA, THOUSANDS_COMMA = "plain", "decimal comma", "thousands comma"
STYLES = (PLAIN, DECIMAL_COMMA, THOUSANDS_COMMA)
# Far beyond anything measured, and far below where squares overflow.
LARGEST = 1e100

ISO, DAY_FIRST, MONTH_FIRST = "year-month-day", "day-month-year", "month-day-year"
DATES = (ISO, DAY_FIRST, MONTH_FIRST)

_MISSING_WORDS = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-", "--"})
_NUMBER_SHARE = 0.9  # of the cells that are not missing
_DECIMAL = r"[+-]?(?:\d+|[1-9]\d{0,2}(?:\.\d{3})+),\d+"
_THOUSANDS_DOTS = r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+"
_DAY = np.timedelta64(1, "D")
_UNIT = r"(?:[$€£¥₹%]|USD|EUR|GBP|CHF|JPY)"
# A number with a unit before or after it, or with spaces or apostrophes between its thousands.
_WITH_UNIT = (
    rf"([+-]?)\s*{_UNIT}?\s*"
    r"([+-]?\d[\d.,]*(?:[ '\u2019\u00a0\u202f]\d{3}(?!\d)[\d.,]*)*)"
    rf"\s*{_UNIT}?"
)
_THOUSANDS = r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?"
_DATE = (
    r"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})"
    r"(?:[ T](\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)(?:Z|[+-]\d{2}:?\d{2})?)?"
)


@dataclass(frozen=True)
class Numbers:
    """A column read as numbers: NaN where there is none, and a sentence for each decision."""

    values: NDArray[np.float64]
    style: str
    notes: tuple[str, ...]


def texts(column: pd.Series) -> pd.Series:
    """Returns the cells as stripped text; missing cells, and words for missing, are empty."""
    stripped = column.astype("object").where(column.notna(), "").astype(str).str.strip()
    return stripped.where(~stripped.str.casefold().isin(_MISSING_WORDS), "")


def to_numbers(column: pd.Series, style: str = PLAIN) -> NDArray[np.float64]:
    """Returns the cells as floats, NaN for what is not a number in this style.

    A unit of money or "%" is left out, and so are spaces and apostrophes between thousands.

    >>> to_numbers(pd.Series(["12,5", "1.234,56", "7 %", "n/a"]), DECIMAL_COMMA)
    array([  12.5 , 1234.56,    7.  ,     nan])
    """
    if is_plain(column):
        return _within(column.to_numpy().astype(np.float64))
    if not (pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)):
        column = _bare(texts(column))
        if style == DECIMAL_COMMA:
            dotted = column.str.fullmatch(f"{_THOUSANDS_DOTS}(?:,\\d+)?")
            column = column.where(~dotted, column.str.replace(".", "", regex=False))
        replacement = {DECIMAL_COMMA: ".", THOUSANDS_COMMA: ""}.get(style, ",")
        column = column.str.replace(",", replacement, regex=False)
    return _within(
        pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    )


def is_plain(column: pd.Series) -> bool:
    """Whether the cells are numbers of NumPy already."""
    return isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf"


def _within(values: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) <= LARGEST, values, np.nan)


def matrix_of(frame: pd.DataFrame, styles: Mapping[str, str]) -> NDArray[np.float64]:
    """Returns columns as `to_numbers` reads them, side by side."""
    values, kinds = np.empty((len(frame), len(styles))), frame.dtypes.to_dict()
    plain = {
        name: i
        for i, name in enumerate(styles)
        if isinstance(kinds[name], np.dtype) and kinds[name].kind in "iuf"
    }
    if plain:  # all at once: a table may have thousands of columns
        values[:, [*plain.values()]] = _within(frame[[*plain]].to_numpy(dtype=np.float64))
    for i, (name, style) in enumerate(styles.items()):
        if name not in plain:
            values[:, i] = to_numbers(frame[name], style)
    return values


def _bare(cells: pd.Series) -> pd.Series:
    """The numbers without their units; other texts as they are."""
    if not cells.str.contains(r"[^\d.,eE+-]", regex=True).any():
        return cells
    parts = cells.str.extract(rf"^{_WITH_UNIT}$")
    bare = (parts[0].fillna("") + parts[1]).str.replace(r"[ '\u2019\u00a0\u202f]", "", regex=True)
    return bare.where(parts[1].notna(), cells)


def read_numbers(column: pd.Series, comma: str = THOUSANDS_COMMA) -> Numbers | None:
    """Reads a column as numbers if 90 % of its filled cells are numbers; None if it is text.

    `comma` is what commas mean where every one could be either, as in "1,200".
    """
    name, notes = str(column.name), list[str]()
    if is_plain(column):
        values = to_numbers(column)
        raw = column.to_numpy()
        infinite = int((~np.isnan(raw)).sum() - np.isfinite(values).sum())
        cells = count(infinite, "cell")
        notes = [f"{cells} of '{name}' not finite, or beyond 1e100: taken as missing."]
        return Numbers(values, PLAIN, tuple(notes) if infinite else ())
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return None
    if pd.api.types.is_numeric_dtype(column):
        values = to_numbers(column)
        if infinite := int(column.notna().sum() - np.isfinite(values).sum()):
            cells = count(infinite, "cell")
            notes = [f"{cells} of '{name}' not finite, or beyond 1e100: taken as missing."]
        return Numbers(values, PLAIN, tuple(notes))
    cells = texts(column)
    filled = cells != ""
    bare = _bare(cells)
    with_comma = bare[bare.str.contains(",", regex=False)]
    style = _comma_style(with_comma, comma)
    if style == PLAIN and comma == DECIMAL_COMMA:
        style = _dot_style(bare[bare.str.contains(".", regex=False)])
    values = to_numbers(column, style)
    odd = cells[filled & np.isnan(values)]
    if not filled.any() or len(odd) > (1 - _NUMBER_SHARE) * filled.sum():
        return None
    notes += _reading_notes(name, cells, bare, values, style)
    words = column[~filled & column.notna()].astype(str).str.strip().unique()
    if words := [repr(str(word)) for word in words if word]:
        notes.append(f"{listed(words, 4)} in '{name}' means missing.")
    if len(odd):
        shown = listed(map(repr, odd.unique()), 3)
        what = "is not a number" if len(odd) == 1 else "are not numbers"
        notes.append(f"{count(len(odd), 'cell')} of '{name}' {what} ({shown}): taken as missing.")
    return Numbers(values, style, tuple(notes))


def _reading_notes(
    name: str, cells: pd.Series, bare: pd.Series, values: NDArray[np.float64], style: str
) -> list[str]:
    """Says how a column was read, with a cell that shows it."""
    read, notes = np.isfinite(values), list[str]()
    sign = "." if style == DECIMAL_COMMA and not bare.str.contains(",", regex=False).any() else ","
    shows = np.flatnonzero(read & bare.str.contains(sign, regex=False).to_numpy())
    if style != PLAIN and len(shows):
        first = shows[0]
        how = "thousands dots" if sign == "." else f"a {style}"
        notes.append(f"'{name}' was read with {how}: '{bare.iloc[first]}' is {values[first]:.10g}.")
    changed = np.flatnonzero(read & (bare != cells).to_numpy())
    if len(changed):
        first = changed[0]
        notes.append(
            f"'{name}' was read without its units and spaces: '{cells.iloc[first]}' is "
            f"{values[first]:.10g}."
        )
    return notes


def _dot_style(with_dot: pd.Series) -> str:
    """Whether dots part thousands in a table whose other columns have decimal commas."""
    all_dots = len(with_dot) and with_dot.str.fullmatch(_THOUSANDS_DOTS).all()
    return DECIMAL_COMMA if all_dots else PLAIN


def _comma_style(with_comma: pd.Series, ambiguous: str) -> str:
    decimal, thousands = with_comma.str.fullmatch(_DECIMAL), with_comma.str.fullmatch(_THOUSANDS)
    if len(with_comma) and thousands.all():
        return ambiguous if decimal.all() else THOUSANDS_COMMA
    return DECIMAL_COMMA if decimal.any() else PLAIN


def read_dates(column: pd.Series) -> tuple[str, str] | None:
    """Reads a column as dates if 90 % of its filled cells are: their order, and a sentence.

    None if it is something else. Where no cell decides between day and month, the day is first.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        return ISO, f"'{column.name}' holds dates."
    if pd.api.types.is_numeric_dtype(column):
        return None
    cells = texts(column)
    filled = cells[cells != ""]
    if not len(filled) or not filled.head(20).str.fullmatch(_DATE).any():
        return None
    parts = filled.str.extract(f"^{_DATE}$")
    if parts[0].notna().mean() < _NUMBER_SHARE:
        return None
    first, second = (pd.to_numeric(parts[i], errors="coerce") for i in (0, 1))
    if (parts[0].str.len() == 4).mean() > 0.5:
        style = ISO
    else:
        style = MONTH_FIRST if (second > 12).any() and not (first > 12).any() else DAY_FIRST
    values = to_dates(column, style)
    read = np.flatnonzero(np.isfinite(values))
    if len(read) < _NUMBER_SHARE * len(filled):
        return None
    shown = np.datetime64(int(values[read[0]]), "D")
    example = f"'{cells.iloc[read[0]]}' is {shown}"
    odd = len(filled) - len(read)
    also = f"; {count(odd, 'cell')} that are none count as missing" if odd else ""
    return style, f"'{column.name}' was read as dates, {style}: {example}{also}."


def to_dates(column: pd.Series, style: str) -> NDArray[np.float64]:
    """Returns the cells as days since 1970-01-01, NaN for what is no date in this style.

    >>> to_dates(pd.Series(["2.1.1970", "31.12.1970 12:00", "?"]), DAY_FIRST)
    array([  1. , 364.5,   nan])
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        moments, hours = pd.to_datetime(column, utc=True), 0.0
    else:
        parts = texts(column).str.extract(f"^{_DATE}$")
        order = {ISO: (0, 1, 2), DAY_FIRST: (2, 1, 0), MONTH_FIRST: (2, 0, 1)}[style]
        year, month, day = (pd.to_numeric(parts[i], errors="coerce") for i in order)
        year = year.where(parts[order[0]].str.len() != 2, year + np.where(year < 70, 2000, 1900))
        known = pd.DataFrame({"year": year, "month": month, "day": day})
        moments = pd.to_datetime(known.where(year > 1000), errors="coerce", utc=True)
        clock = parts[3].where(parts[3].isna() | (parts[3].str.count(":") == 2), parts[3] + ":00")
        hours = pd.to_timedelta(clock.fillna("0:00:00"), errors="coerce").to_numpy() / _DAY
    # Nanoseconds end in 2262, and "until further notice" is the year 9999 in many tables.
    exact = moments.dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    return (exact - np.datetime64(0, "us")) / _DAY + hours
