"""A schedule of the same shape with other rates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast

from cyclerate._errors import bad_argument
from cyclerate.schedules import Schedule, Sequence

Scaling = Callable[[Any], Any]
"""Gives the new rate for an old one."""

_RATES = ("value", "start", "end", "base_lr", "max_lr", "min_lr", "low", "high")


def scaling(old: float, new: float) -> Scaling:
    """Returns what multiplies rates by `new / old`, and makes exactly `new` of `old`.

    Raises:
        ValueError: The old rate is not above 0: no factor makes another rate of it.
    """
    if not old > 0:
        raise bad_argument("the rate", "above 0 before it can be multiplied", old)
    return lambda value: new * (float(value) / old)


def with_rates(schedule: Schedule, scaled: Scaling) -> Schedule:
    """Returns the schedule with other rates.

    Raises:
        ValueError: It is of a type whose rates are not known.

    >>> import cyclerate as cr
    >>> with_rates(cr.Triangular(1.0, 4.0, step_size=5), scaling(4.0, 0.1)).bounds
    (0.025, 0.1)
    """
    if isinstance(schedule, Sequence):
        parts = tuple(with_rates(part, scaled) for part in schedule.schedules)
        return dataclasses.replace(schedule, schedules=parts)
    fields = dataclasses.fields(schedule) if dataclasses.is_dataclass(schedule) else ()
    names = [field.name for field in fields if field.name in _RATES]
    if not names or not type(schedule).__module__.startswith("cyclerate."):
        raise bad_argument("the schedule", "one of cyclerate's, to be given other rates", schedule)
    rates = {name: scaled(getattr(schedule, name)) for name in names}
    return dataclasses.replace(cast(Any, schedule), **rates)
