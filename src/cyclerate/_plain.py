"""Plain JSON values, columns of numbers, hashes of arrays, and where results come from."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import platform
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIGEST = 16


def plain(value: Any) -> Any:
    """Turns a value into what JSON holds, which has no NaN, no tuples and no numbers of NumPy."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(part) for part in value]
    return finite_or_none(value) if isinstance(value, float) else value


def finite_or_none(value: float | None) -> float | None:
    """Gives a number as JSON holds it: NaN and infinity become None."""
    return None if value is None or not math.isfinite(value) else float(value)


def digest(parts: Iterable[bytes | NDArray[Any]]) -> str:
    """Hashes bytes and arrays, shapes and dtypes included.

    >>> digest([np.zeros(2)]) == digest([np.zeros((1, 2))])
    False
    """
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            sha.update(f"{part.dtype.str}{part.shape}".encode())
            sha.update(np.ascontiguousarray(part).tobytes())
        else:
            sha.update(part)
    return sha.hexdigest()[:_DIGEST]


class Columns:
    """Numbers of every step, by name: eight bytes each while they grow, lists for whoever asks.

    A list of floats would take 32. What is no number, as a metric may be, is kept as it is.

    Args:
        *names: Columns that are there from the beginning.

    >>> columns = Columns("loss")
    >>> columns.add(loss=0.5, step=1)
    >>> columns.add(loss=0.25, step=2)
    >>> columns.lists(), columns.last("loss"), len(columns)
    ({'loss': [0.5, 0.25], 'step': [1, 2]}, 0.25, 2)
    """

    def __init__(self, *names: str) -> None:
        self._columns: dict[str, Any] = {name: array("d") for name in names}

    @classmethod
    def of(cls, lists: Mapping[str, Iterable[Any]]) -> Columns:
        """Returns the columns that `lists` gave."""
        columns = cls()
        for name, values in lists.items():
            columns.extend(name, values)
        return columns

    def add(self, **values: Any) -> None:
        """Adds a value to each of some columns."""
        for name, value in values.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = array("q" if type(value) is int else "d")
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number and isinstance(column, array):
                column = self._columns[name] = [*column]
            try:
                column.append(value)
            except (TypeError, OverflowError):
                self._columns[name] = [*column, value]

    def extend(self, name: str, values: Iterable[Any]) -> None:
        """Adds values to a column; those of an array of floats at once."""
        if isinstance(values, np.ndarray) and values.dtype == np.float64:
            column = self._columns.setdefault(name, array("d"))
            if isinstance(column, array) and column.typecode == "d":
                column.frombytes(values.tobytes())
                return
            values = values.tolist()
        for value in values:
            self.add(**{name: value})
        self._columns.setdefault(name, array("d"))

    def since(self, first: int) -> dict[str, Sequence[Any]]:
        """Returns what came to each column after so many values, as compactly."""
        return {name: column[first:] for name, column in self._columns.items()}

    def lists(self, first: int = 0) -> dict[str, list[Any]]:
        """Returns the same as new lists."""
        return {name: list(column) for name, column in self.since(first).items()}

    def last(self, name: str) -> Any:
        """Returns the latest value of a column."""
        return self._columns[name][-1]

    def __len__(self) -> int:
        return max(map(len, self._columns.values()), default=0)


_COMPUTE = ("keras", "jax", "tensorflow", "torch")


def provenance() -> dict[str, Any]:
    """Time, versions and machine of a result that is computed now."""
    loaded = [name for name in _COMPUTE if name in sys.modules]
    backend: dict[str, str] = {}
    if (keras := sys.modules.get("keras")) is not None:
        backend["backend"] = keras.backend.backend()
        loaded = ["keras", backend["backend"]]
    made = {**versions(*loaded), **backend}
    return {"created": now(), "versions": made, "machine": machine()}


def versions(*modules: str) -> dict[str, str]:
    """Versions of cyclerate, Python and NumPy, and of other modules that are loaded, by name.

    >>> list(versions())
    ['cyclerate', 'python', 'numpy']
    """
    python = {"python": platform.python_version()}
    return {**versions_of("cyclerate"), **python, **versions_of(*modules, "numpy")}


def versions_of(*modules: str) -> dict[str, str]:
    """Versions of modules that are loaded."""
    # Asked of the modules: the same module comes in packages of several names.
    return {name: str(sys.modules[name].__version__) for name in modules}


@functools.cache
def _machine() -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _processor(), "cores": str(cores or 1), "memory": _memory()}


def machine() -> dict[str, str]:
    """The processor, the cores this process may use, and the memory."""
    return dict(_machine())


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{size / 2**30:.0f} GiB"
