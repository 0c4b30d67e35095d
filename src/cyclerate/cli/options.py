"""Options that several commands share, and how lists in one option are read."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cyclerate._errors import bad_argument, check_count

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")]


def parts(text: str) -> list[str]:
    """Splits a comma-separated list.

    >>> parts("fixed, one_cycle")
    ['fixed', 'one_cycle']
    """
    return [part.strip() for part in text.split(",") if part.strip()]


def widths(text: str) -> tuple[int, ...]:
    """Reads the widths of hidden layers.

    >>> widths("64,32")
    (64, 32)
    """
    read = parts(text)
    if not read or not all(part.isdigit() for part in read):
        raise bad_argument("--hidden", "whole numbers with commas, as 64,32", text)
    return tuple(check_count("--hidden", int(part)) for part in read)


def seed_range(first: int, number: int) -> tuple[int, ...]:
    """The seeds of a comparison: `number` of them from `first` on.

    >>> seed_range(5, 3)
    (5, 6, 7)
    """
    first = check_count("--seed", first, low=0)
    return tuple(range(first, first + check_count("--seeds", number)))


def command_line(context: typer.Context) -> str:
    """The command that does this again: what was given and is not the default, in one order."""
    words = ["cyclerate", str(context.info_name)]
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if parameter.name in {"as_json", "quiet"} or value in (None, (), parameter.default):
            continue
        if parameter.param_type_name == "argument":
            words.append(str(value))
            continue
        if value is True:
            words.append(parameter.opts[0])
            continue
        for part in value if isinstance(value, (list, tuple)) else [value]:
            words += [parameter.opts[0], str(part)]
    return shlex.join(words)


def folder_name(data: Path, target: str) -> str:
    """A folder name for a comparison, of the file's name and the target's.

    >>> folder_name(Path("data/cardio_train.csv.gz"), "cardio")
    'cardio_train-cardio'
    """
    stem = data.name.removesuffix(".gz").removesuffix(".csv")
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{stem}-{target}")
    return safe.lstrip(".")
