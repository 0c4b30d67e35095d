"""What several commands share: options, how lists in one are read, the folder, the backend."""

from __future__ import annotations

import importlib.util
import os
import shlex
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cyclerate._errors import MissingExtra, bad_argument, check_count, require
from cyclerate.cli._console import Mistake

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")]
BACKENDS = ("jax", "tensorflow", "torch")


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


def check_folder(out: Path, option: str = "--out") -> Path:
    """Makes the folder if need be and checks that files can be written there.

    It is found unusable before an hour of work, not after.

    Raises:
        Mistake: It is a file, or cannot be written to.
    """
    if out.exists() and not out.is_dir():
        raise Mistake(f"{option}: {out} is a file: name a folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise Mistake(
            f"{option}: {out} cannot be written to ({error.strerror}): name another folder."
        ) from error
    return out


def prefer_backend(first: str = "jax") -> None:
    """Sets Keras's backend unless `KERAS_BACKEND` does: the first that is installed.

    Raises:
        MissingExtra: None is installed.
    """
    if not os.environ.get("KERAS_BACKEND"):
        order = sorted(BACKENDS, key=lambda name: name != first)
        installed = [name for name in order if importlib.util.find_spec(name)]
        if not installed:
            raise MissingExtra(
                "this needs Keras with a backend, and neither jax, tensorflow nor torch is "
                "installed. Run: pip install 'cyclerate[cli]'"
            )
        os.environ["KERAS_BACKEND"] = installed[0]
    if os.environ["KERAS_BACKEND"] != "tensorflow":
        # Keras imports TensorFlow, if it is there, to save a model; keep it from chatting.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def choose_backend(first: str = "jax") -> str:
    """Loads Keras with the preferred backend and returns the backend's name.

    Raises:
        MissingExtra: Keras or its backend is not installed.
    """
    prefer_backend(first)
    keras = require("keras", "cli")
    return str(keras.backend.backend())
