"""Finished work in a folder: every piece in its own file, with all that decided it.

A piece is taken for finished only where everything that decides it is the same. Files appear whole
or not at all, so that a call that was killed is continued by the same call.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import CyclerateError
from cyclerate._files import write_bytes, write_json
from cyclerate._text import listed
from cyclerate.compare._plain import digest, plain

SCHEMA = 1


class OtherSettings(CyclerateError, ValueError):
    """The folder holds work of other settings; the message names what differs."""


@dataclass(frozen=True)
class Cells:
    """A folder of finished pieces; with `folder=None` nothing is kept.

    >>> import tempfile
    >>> kept = Cells(Path(tempfile.mkdtemp()))
    >>> kept.save("fixed-0-0", {"batch_size": 32}, {"loss": 0.5})
    >>> kept.load("fixed-0-0", {"batch_size": 32})
    {'loss': 0.5}
    >>> kept.load("fixed-1-0", {"batch_size": 32}) is None
    True
    """

    folder: Path | None

    def load(self, name: str, decided_by: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a finished piece gave; None if it is not finished.

        Raises:
            OtherSettings: The file is of a piece that something else decided.
            CyclerateError: The file was damaged.
        """
        file = None if self.folder is None else self.folder / f"{name}.json"
        if file is None or not file.is_file():
            return None
        try:
            kept = json.loads(file.read_bytes())
            found, result = kept["decided_by"], kept["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise CyclerateError(
                f"{file} cannot be read: remove it to have it made anew."
            ) from error
        if differing := _differing(plain(decided_by), found):
            raise OtherSettings(
                f"{file} was made with other settings ({listed(differing)}): name another folder, "
                "or remove this one."
            )
        return result

    def save(self, name: str, decided_by: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Keeps what a piece gave, in one step."""
        if self.folder is not None:
            kept = {"schema": SCHEMA, "decided_by": plain(decided_by), "result": plain(result)}
            write_json(self.folder / f"{name}.json", kept)

    def load_array(self, name: str, wanted: str) -> NDArray[Any] | None:
        """An array kept beside a piece; None if it is not there, or not what was kept."""
        file = None if self.folder is None else self.folder / f"{name}.npy"
        if file is None or not file.is_file():
            return None
        try:
            array = np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)
        except ValueError:
            return None
        return array if digest([array]) == wanted else None

    def save_array(self, name: str, array: NDArray[Any]) -> None:
        """Keeps an array beside a piece, in one step."""
        if self.folder is not None:
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            write_bytes(self.folder / f"{name}.npy", buffer.getvalue())


def _differing(wanted: Any, found: Any, name: str = "") -> list[str]:
    """The names of what differs, and both values where they are short."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = sorted(set(wanted) | set(found))
        parts = [_differing(wanted.get(k), found.get(k), f"{name}.{k}".lstrip(".")) for k in keys]
        return [one for part in parts for one in part]
    if wanted == found:
        return []
    return [f"{name}: {_short(found)} there, {_short(wanted)} here"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
