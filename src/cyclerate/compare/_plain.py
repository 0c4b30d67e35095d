"""Frozen values to plain JSON values and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from cyclerate._errors import bad_argument

T = TypeVar("T")


def build(kind: type[T], values: Any, where: str) -> T:
    """Builds a frozen dataclass of JSON values; lists become tuples."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise bad_argument(where, "a JSON object", values)
    unknown = sorted(set(values) - set(fields))
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    missing = sorted(needed - set(values))
    if unknown or missing:
        raise bad_argument(where, f"made of {', '.join(fields)}", sorted(values))
    frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return kind(**frozen)


def plain(value: Any) -> Any:
    """JSON has no NaN and no tuples."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(part) for part in value]
    return finite_or_none(value) if isinstance(value, float) else value


def finite_or_none(value: float | None) -> float | None:
    """What JSON can hold of a number: NaN and infinity become None."""
    return None if value is None or not math.isfinite(value) else float(value)
