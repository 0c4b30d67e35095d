"""Frozen values to plain JSON values and back, and a hash of arrays."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import bad_argument

T = TypeVar("T")
_DIGEST = 16


def build(kind: type[T], values: Any, where: str) -> T:
    """Builds a frozen dataclass of JSON values; lists become tuples.

    Raises:
        ValueError: A field is missing or unknown.
    """
    if not isinstance(values, Mapping):
        raise bad_argument(where, "a JSON object", values)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    names = [field.name for field in fields]
    missing = dataclasses.MISSING
    needed = [f.name for f in fields if f.default is missing and f.default_factory is missing]
    if not set(needed) <= set(values) <= set(names):
        raise bad_argument(where, f"made of {', '.join(names)}", sorted(values))
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def plain(value: Any) -> Any:
    """Turns a value into what JSON holds, which has no NaN and no tuples."""
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
