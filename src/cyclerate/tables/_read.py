"""From a file to a table: any CSV, also gzipped, with every way to fail said in a sentence."""

from __future__ import annotations

import gzip
import os
import warnings
import zlib
from pathlib import Path

import pandas as pd

from cyclerate._errors import bad_argument
from cyclerate._text import count, listed, near_names
from cyclerate.tables._mistakes import DataMistake

_HEAD_BYTES = 65_536
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = {",": "','", ";": "';'", "\t": r"'\t'", "|": "'|'"}
_FOREIGN = {
    b"PK\x03\x04": "a zip or Excel file",
    b"PAR1": "a Parquet file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"%PDF": "a PDF",
}


def read_table(path: str | os.PathLike[str], sep: str = ",") -> tuple[pd.DataFrame, list[str]]:
    r"""Reads a CSV file, plain or gzipped.

    Only empty cells count as missing here: what "n/a" means is decided column by column, later.

    Args:
        path: The file.
        sep: The character between the columns; `\t`, also spelt out, is the tabulator.

    Returns:
        The table, and a sentence for each decision taken.

    Raises:
        DataMistake: The file is missing, a folder, empty, not text, has no rows, or `sep` is wrong.
        ValueError: `sep` is not one character.
    """
    separator = {"\\t": "\t"}.get(sep, sep)
    if len(separator) != 1:
        raise bad_argument("sep", "one character, such as ';'", sep)
    file = _existing_file(Path(path))
    with file.open("rb") as opened:
        compression = "gzip" if opened.read(2) == b"\x1f\x8b" else None
    head = _head(file, compression)
    encoding, notes = "utf-8-sig", list[str]()
    if head.startswith(_UTF16):
        encoding, notes = "utf-16", [f"{file.name} is written in UTF-16."]
    try:
        frame = _parse(file, separator, compression, encoding)
    except UnicodeDecodeError:
        # A file of an old spreadsheet: every byte is a character in Latin-1.
        encoding, notes = "latin-1", [f"{file.name} is not UTF-8: it was read as Latin-1."]
        frame = _parse(file, separator, compression, encoding)
    frame.columns = [str(name).strip() for name in frame.columns]
    if frame.shape[1] == 1:
        raise DataMistake(_one_column(file, separator, head.decode(encoding, "replace")))
    if frame.empty:
        raise DataMistake(f"{file} has a header ({listed(frame.columns, 8)}) but no rows.")
    return frame, notes


def check_columns(frame: pd.DataFrame, names: list[str], file: str) -> None:
    """Checks that the table has all these columns.

    Raises:
        DataMistake: It has not; the message names what it has, and what may have been meant.
    """
    columns = [str(name) for name in frame.columns]
    for name in names:
        if name in columns:
            continue
        near = near_names(name, columns)
        meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        if all(_is_number(column) for column in columns):
            meant = " The first line seems to hold data: put a line of column names above it."
        raise DataMistake(f"{file} has no column {name!r}.{meant}\nColumns: {listed(columns)}.")


def _existing_file(file: Path) -> Path:
    if file.is_dir():
        inside = sorted(p.name for p in file.iterdir() if ".csv" in p.name)
        hint = f" It holds {listed(inside, 5)}: name one of them." if inside else ""
        raise DataMistake(f"{file} is a folder, not a CSV file.{hint}")
    if not file.exists():
        beside = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        near = near_names(file.name, beside)
        hint = f" Did you mean {' or '.join(str(file.parent / name) for name in near)}?"
        raise DataMistake(f"There is no file {file}.{hint if near else ' Check the path.'}")
    if not os.access(file, os.R_OK):
        raise DataMistake(f"{file} may not be read: check its permissions.")
    if file.stat().st_size == 0:
        raise DataMistake(f"{file} is empty.")
    return file


def _head(file: Path, compression: str | None) -> bytes:
    """The first bytes of the text; refuses what is not text."""
    try:
        with gzip.open(file) if compression else file.open("rb") as opened:
            head = opened.read(_HEAD_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataMistake(f"{file} is a broken gzip file ({error}): copy it again.") from error
    for magic, kind in _FOREIGN.items():
        if head.startswith(magic):
            raise DataMistake(f"{file} is {kind}, not CSV text: save the table as CSV first.")
    if b"\x00" in head and not head.startswith(_UTF16):
        raise DataMistake(f"{file} is not text (it holds zero bytes), so it is not a CSV file.")
    if not head.strip():
        raise DataMistake(f"{file} is empty.")
    return head


def _parse(file: Path, sep: str, compression: str | None, encoding: str) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                file,
                sep=sep,
                compression=compression,  # type: ignore[arg-type]
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
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataMistake(f"{file} is a broken gzip file ({error}): copy it again.") from error


def _one_column(file: Path, sep: str, head: str) -> str:
    header = head.lstrip("\ufeff").splitlines()[0]
    best = max(_SEPARATORS, key=header.count)
    shown = header if len(header) <= 50 else header[:50] + "..."
    if best != sep and header.count(best):
        columns = count(header.count(best) + 1, "column")
        hint = f"With --sep {_SEPARATORS[best]} it has {columns}."
    else:
        hint = "Name the character between its columns with --sep, or add more columns."
    return f"{file} has only one column ({shown}) with the separator {sep!r}. {hint}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
