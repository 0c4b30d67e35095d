"""A range test result as JSON: every key and type is checked on the way back, nothing is run."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclerate._errors import bad_argument, check_choice, check_number
from cyclerate.finder._curve import Curve
from cyclerate.range_test.stopping import StopReason

if TYPE_CHECKING:
    from cyclerate.finder._result import RangeTestResult

SCHEMA = 1

CURVES = ("lrs", "losses", "smoothed")

_ADDED: dict[str, Any] = {"races": []}
"""Keys that older files do not have, with what they mean there."""


def to_values(result: RangeTestResult) -> dict[str, Any]:
    """Returns the fields as JSON-safe values, with the number of the schema."""
    values: dict[str, Any] = {name: getattr(result, name) for name in _names(type(result))}
    for name in CURVES:
        values[name] = _numbers_or_null(values[name])
    values["interval"] = None if result.interval is None else list(result.interval)
    values["stop_reason"] = result.stop_reason.name
    values["runs"] = [to_values(run) for run in result.runs]
    values["races"] = [list(race) for race in result.races]
    return {"schema": SCHEMA, **values}


def from_values(cls: type[RangeTestResult], values: Any) -> dict[str, Any]:
    """Returns the arguments for `cls` that `to_values` was given.

    Raises:
        ValueError: A key is missing or unknown, or a value is of the wrong type.
    """
    if not isinstance(values, dict):
        raise bad_argument("a range test result", "an object with keys and values", values)
    if values.get("schema") != SCHEMA:
        raise bad_argument("schema", str(SCHEMA), values.get("schema"))
    values = {**_ADDED, **values}
    missing = [name for name in _names(cls) if name not in values]
    unknown = [name for name in values if name not in {"schema", *_names(cls)}]
    if missing or unknown:
        raise ValueError(f"keys of a range test result: missing {missing}, unknown {unknown}")
    readers: dict[str, Callable[[str, Any], Any]] = {
        **dict.fromkeys(CURVES, _numbers),
        "stop_reason": lambda name, value: StopReason[check_choice(name, value, _REASONS)],
        "runs": lambda name, value: tuple(cls.from_dict(run) for run in _list(name, value)),
        "races": lambda name, value: tuple(_list(name, value)),
    }
    return {
        name: readers[name](name, values[name]) if name in readers else values[name]
        for name in _names(cls)
    }


def read_json(path: str | os.PathLike[str]) -> Any:
    """Returns the content of a strict JSON file (no NaN, no Infinity).

    Raises:
        ValueError: It is not UTF-8 or not JSON.
        RecursionError: It is nested too deeply to be anything of ours.
    """
    return json.loads(Path(path).read_bytes().decode("utf-8"), parse_constant=_refuse)


_REASONS = list(StopReason.__members__)


def _names(cls: type[RangeTestResult]) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _numbers_or_null(curve: Curve) -> list[float | None]:
    return [None if math.isnan(number) else number for number in curve.tolist()]


def _numbers(name: str, value: Any) -> list[float]:
    return [
        math.nan if number is None else check_number(f"{name}[{i}]", number)
        for i, number in enumerate(_list(name, value))
    ]


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise bad_argument(name, "a list", value)
    return value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
