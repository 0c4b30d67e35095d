"""Reads a table from a CSV file, plain or gzipped; every way to fail is said in a sentence."""

from __future__ import annotations

import gzip
import os
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path

import pandas as pd

from cyclerate._errors import CyclerateError, bad_argument
from cyclerate._text import count, listed, near_names

_HEAD_BYTES = 65_536
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = (",", ";", "\t", "|")
_FOREIGN = {
    b"PK\x03\x04": "a zip or Excel file",
    b"PAR1": "a Parquet file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"%PDF": "a PDF",
}


class DataMistake(CyclerateError, ValueError):
    """The data cannot be used as asked; the message says why and what to do.

    >>> from cyclerate.tables import load_csv
    >>> load_csv("peple.csv", target="income")
    Traceback (most recent call last):
    cyclerate.tables._read.DataMistake: There is no file peple.csv. Check the path.
    """


def read_table(path: str | os.PathLike[str], sep: str = ",") -> tuple[pd.DataFrame, list[str]]:
    r"""Returns a table, and a sentence for each decision taken; `\t` may be spelt out as `sep`.

    Only empty cells count as missing here: what "n/a" means is decided column by column, later.
    """
    separator = {"\\t": "\t"}.get(sep, sep)
    if len(separator) != 1:
        raise bad_argument("sep", "one character, such as ';'", sep)
    file, notes = _existing_file(Path(path)), list[str]()
    try:
        head, encoding = _head(file), "utf-8-sig"
        if head.startswith(_UTF16):
            encoding, notes = "utf-16", [f"{file.name} is written in UTF-16."]
        try:
            frame = _parse(file, separator, encoding)
        except UnicodeDecodeError:
            # A file of an old spreadsheet: every byte is a character in Latin-1.
            encoding, notes = "latin-1", [f"{file.name} is not UTF-8: it was read as Latin-1."]
            frame = _parse(file, separator, encoding)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataMistake(f"{file} is a broken gzip file ({error}): copy it again.") from error
    if frame.shape[1] == 1:
        raise DataMistake(_one_column(file, separator, head.decode(encoding, "replace")))
    frame.columns = [str(name).strip() for name in frame.columns]
    if frame.empty:
        raise DataMistake(f"{file} has a header ({listed(frame.columns, 8)}) but no rows.")
    return frame, notes


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


def _parse(file: Path, sep: str, encoding: str) -> pd.DataFrame:
    try:
        with warnings.catch_warnings(), _open(file) as opened:
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                opened,
                sep=sep,
                encoding=encoding,
                keep_default_na=False,
                na_values=[""],
                skipinitialspace=True,
                low_memory=False,
                index_col=False,
            )
    except pd.errors.EmptyDataError as error:
        raise DataMistake(f"{file} has no columns: is it a CSV file?") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise DataMistake(
            f"{file} is not a regular table: {reason}. "
            f"Check that line, or name the separator with --sep."
        ) from error


def _one_column(file: Path, sep: str, head: str) -> str:
    header = head.lstrip("\ufeff").splitlines()[0]
    best = max(_SEPARATORS, key=header.count)
    shown = header if len(header) <= 50 else header[:50] + "..."
    hint = "Name the character between its columns with --sep, or add more columns."
    if best != sep and header.count(best):
        columns = count(header.count(best) + 1, "column")
        hint = f"With --sep {best!r} it has {columns}."
    return f"{file} has only one column ({shown}) with the separator {sep!r}. {hint}"
