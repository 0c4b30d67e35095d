"""From JSON-safe values back to schedules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from cyclerate._errors import bad_argument, check_choice
from cyclerate.schedules._base import Schedule, find_function
from cyclerate.schedules._cyclic import ScaleFunction

_OWN = __name__.rpartition(".")[0] + "."


def from_dict(values: Mapping[str, Any]) -> Schedule:
    """The schedule that `Schedule.to_dict` described; equal to the one it came from.

    A custom `scale_fn` is found by its import path "module:function", in modules that your program
    has imported already: a file cannot make this library import or run anything.

    Args:
        values: A mapping with "type" and that schedule's arguments.

    Returns:
        The schedule.

    Raises:
        ValueError: An unknown type, an argument that is missing, unknown or impossible, or a
            `scale_fn` that names no function at the top level of an imported module.

    >>> import cyclerate as cr
    >>> cr.from_dict({"type": "Linear", "start": 0.0, "end": 1.0, "steps": 10})
    Linear(start=0.0, end=1.0, steps=10)
    """
    if not isinstance(values, Mapping):
        raise bad_argument("values", "a mapping with 'type' and arguments", values)
    known_types = kinds()
    kind = known_types[check_choice("type", values.get("type"), known_types)]  # type: ignore[index]
    arguments = {name: _revived(value) for name, value in values.items() if name != "type"}
    known = {f.name: f.default for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    required = {name for name, default in known.items() if default is dataclasses.MISSING}
    if not required <= arguments.keys() <= known.keys():
        raise bad_argument(kind.__name__, f"described by {', '.join(known)}", sorted(arguments))
    if isinstance(arguments.get("scale_fn"), str):
        arguments["scale_fn"] = _named_function(arguments["scale_fn"])
    return kind(**arguments)


def _revived(value: Any) -> Any:
    if isinstance(value, Mapping):
        return from_dict(value)
    if isinstance(value, list):
        return tuple(_revived(item) for item in value)
    return value


def _named_function(path: str) -> ScaleFunction:
    function = find_function(path)
    if function is None:
        raise bad_argument(
            "scale_fn",
            "'module:function', at the top level of a module that your program has imported",
            path,
        )
    return function


def kinds() -> dict[str, type[Schedule]]:
    """The schedules of this package by name. Not a user's own: a file may not choose its code."""
    found: dict[str, type[Schedule]] = {}
    waiting: list[type[Schedule]] = [Schedule]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith(_OWN) and dataclasses.is_dataclass(kind):
            found[kind.__name__] = kind
    return {name: found[name] for name in sorted(found) if not name.startswith("_")}
