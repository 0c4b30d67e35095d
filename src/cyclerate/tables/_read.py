"""Reads a table from a CSV file, plain or gzipped, or from Parquet or Feather.

Every way to fail is said in a sentence.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import os
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from cyclerate._errors import CyclerateError, bad_argument, count, listed, near_names
from cyclerate._files import check_path

_HEAD_BYTES = 65_536
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = (",", ";", "\t", "|")
_FOREIGN = {
    b"PK\x03\x04": "a zip or Excel file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"%PDF": "a PDF",
}


_BINARY = {b"PAR1": ("Parquet", "read_parquet"), b"ARROW1": ("Feather", "read_feather")}
_LOOKED_AT = 20  # lines, to find the separator
# Half of a column's filled cells, in the first rows, make it one of decimal commas.
_DECIMAL_COMMA = r"[+-]?\d+(?:\.\d{3})*,\d+"
_FIRST_ROWS = 200


class Read(NamedTuple):
    """A table, a sentence for each decision taken, and the character between its columns."""

    frame: pd.DataFrame
    notes: list[str]
    sep: str


class DataMistake(CyclerateError, ValueError):
    """The data cannot be used as asked; the message says why and what to do.

    >>> from cyclerate.tables import load_csv
    >>> load_csv("peple.csv", target="income")
    Traceback (most recent call last):
    cyclerate.tables._read.DataMistake: There is no file peple.csv. Check the path.
    """


def read_table(path: str | os.PathLike[str], sep: str | None = None) -> Read:
    r"""Returns a table, with what was decided; `\t` may be spelt out as `sep`.

    Without `sep` the separator is found in the first lines. Only empty cells count as missing here:
    what "n/a" means is decided column by column, later.
    """
    separator = "\t" if isinstance(sep, str) and sep == "\\t" else sep
    if separator is not None and (not isinstance(separator, str) or len(separator) != 1):
        raise bad_argument("sep", "one character, such as ';'", sep)
    file, notes = _existing_file(Path(check_path("path", path))), list[str]()
    if (binary := _binary(file)) is not None:
        return Read(_named(binary, file), notes, ",")
    try:
        head, encoding = _head(file), "utf-8-sig"
        if head.startswith(_UTF16):
            encoding, notes = "utf-16", [f"{file.name} is written in UTF-16."]
        separator = separator or _separator(head.decode(encoding, "replace"))
        try:
            frame = _parse(file, separator, encoding)
        except UnicodeDecodeError:
            # A file of an old spreadsheet: every byte is a character in Latin-1.
            encoding, notes = "latin-1", [f"{file.name} is not UTF-8: it was read as Latin-1."]
            frame = _parse(file, separator, encoding)
        if separator == ";" and _has_decimal_commas(frame):
            # There "1.250" is a thousand, so nothing is a number before its column is read.
            frame = _parse(file, separator, encoding, dtype=str)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataMistake(f"{file} is a broken gzip file ({error}): copy it again.") from error
    if frame.shape[1] == 1:
        raise DataMistake(_one_column(file, separator, head.decode(encoding, "replace")))
    if sep is None and separator != ",":
        notes.append(f"The columns of {file.name} are separated by {separator!r}.")
    return Read(_named(frame, file), notes, separator)


def _named(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    frame.columns = [str(name).strip() for name in frame.columns]
    if frame.empty:
        raise DataMistake(f"{file} has a header ({listed(frame.columns, 8)}) but no rows.")
    return frame


def _binary(file: Path) -> pd.DataFrame | None:
    """The table of a Parquet or Feather file; None for any other file."""
    with file.open("rb") as opened:
        start = opened.read(6)
    kinds = [kind for magic, kind in _BINARY.items() if start.startswith(magic)]
    if not kinds:
        return None
    ((name, reader),) = kinds
    if importlib.util.find_spec("pyarrow") is None:
        raise DataMistake(
            f"{file} is a {name} file, which pyarrow reads: pip install pyarrow, or save the table "
            "as CSV."
        )
    try:
        return getattr(pd, reader)(file)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataMistake(f"{file} is a broken {name} file ({reason}): copy it again.") from error


def _separator(head: str) -> str:
    """The character that parts the first lines into equally many columns, the most of them."""
    lines = [line for line in head.lstrip("\ufeff").splitlines() if line.strip()][:_LOOKED_AT]

    def columns(separator: str) -> int:
        widths = [len(row) for row in csv.reader(lines, delimiter=separator)]
        # The last line may be cut, and another one broken.
        alike = sum(width == widths[0] for width in widths)
        return widths[0] if alike >= min(len(widths) - 1, 0.8 * len(widths)) else 1

    return max(_SEPARATORS, key=columns)


def _has_decimal_commas(frame: pd.DataFrame) -> bool:
    texts = frame.head(_FIRST_ROWS).select_dtypes(exclude=["number", "bool"])
    for name in texts.columns.unique():
        column = texts[name]
        cells = column.stack() if isinstance(column, pd.DataFrame) else column
        filled = cells.dropna().astype(str).str.strip()
        if len(filled) and filled.str.contains(_DECIMAL_COMMA, regex=True).mean() > 0.5:
            return True
    return False


def check_columns(frame: pd.DataFrame, names: Iterable[str], file: str) -> pd.DataFrame:
    """Returns the table, with stripped texts for names, if it has each of these columns once."""
    columns = Counter(str(name).strip() for name in frame.columns)
    for name in names:
        if columns[name] > 1:
            raise DataMistake(f"{file} has {columns[name]} columns named {name!r}: rename them.")
        if name not in columns:
            near = near_names(name, columns)
            meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            if pd.to_numeric(pd.Series([*columns]), errors="coerce").notna().all():
                meant = " The first line seems to hold data: put a line of column names above it."
            raise DataMistake(f"{file} has no column {name!r}.{meant}\nColumns: {listed(columns)}.")
    return frame.set_axis([str(name).strip() for name in frame.columns], axis=1)


def _existing_file(file: Path) -> Path:
    if file.is_dir():
        inside = sorted(p.name for p in file.iterdir() if ".csv" in p.name)
        hint = f" It holds {listed(inside, 5)}: name one of them." if inside else ""
        raise DataMistake(f"{file} is a folder, not a CSV file.{hint}")
    if not file.exists():
        beside = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        near = " or ".join(str(file.parent / name) for name in near_names(file.name, beside))
        hint = f"Did you mean {near}?" if near else "Check the path."
        raise DataMistake(f"There is no file {file}. {hint}")
    if not os.access(file, os.R_OK):
        raise DataMistake(f"{file} may not be read: check its permissions.")
    return file


def _head(file: Path) -> bytes:
    """The first bytes of the text; refuses what is not text."""
    with _open(file) as opened:
        head = opened.read(_HEAD_BYTES)
    for magic, kind in _FOREIGN.items():
        if head.startswith(magic):
            raise DataMistake(f"{file} is {kind}, not CSV text: save the table as CSV first.")
    if b"\x00" in head and not head.startswith(_UTF16):
        raise DataMistake(f"{file} is not text (it holds zero bytes), so it is not a CSV file.")
    if not head.strip():
        raise DataMistake(f"{file} is empty.")
    return head


def _open(file: Path) -> gzip.GzipFile | BufferedReader:
    """Goes by the first bytes, not by the name."""
    with file.open("rb") as opened:
        zipped = opened.read(2) == b"\x1f\x8b"
    return gzip.open(file) if zipped else file.open("rb")


def _parse(file: Path, sep: str, encoding: str, dtype: Any = None) -> pd.DataFrame:
    try:
        with warnings.catch_warnings(), _open(file) as opened:
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                opened,
                sep=sep,
                encoding=encoding,
                dtype=dtype,
                keep_default_na=False,
                na_values=[""],
                skipinitialspace=True,
                low_memory=False,
                index_col=False,
            )
    except pd.errors.EmptyDataError as error:
        raise DataMistake(f"{file} has no columns: is it a CSV file?") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataMistake(
            f"{file} is not a regular table: {_irregular(str(error))}. "
            f"Check that place, or name the separator with --sep."
        ) from error


def _irregular(said: str) -> str:
    """What is wrong with the lines, in our words."""
    if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", said):
        return f"line {found[2]} has {found[3]} columns, those before it {found[1]}"
    if found := re.search(r"EOF inside string starting at row (\d+)", said):
        return f"a quote that opens in line {int(found[1]) + 1} is never closed"
    if "Length of header" in said or "index_col=False" in said:
        return "rows have more columns than the header names"
    return "its lines cannot be parted into columns"


def _one_column(file: Path, sep: str, head: str) -> str:
    header = head.lstrip("\ufeff").splitlines()[0]
    best = max(_SEPARATORS, key=header.count)
    shown = header if len(header) <= 50 else header[:50] + "..."
    hint = "Name the character between its columns with --sep, or add more columns."
    if best != sep and header.count(best):
        columns = count(header.count(best) + 1, "column")
        hint = f"With --sep {best!r} it has {columns}."
    return f"{file} has only one column ({shown}) with the separator {sep!r}. {hint}"
