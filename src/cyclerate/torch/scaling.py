"""From one rate to another by a factor, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclerate._errors import bad_argument

Scaling = Callable[[Any], Any]
"""Gives the new rate for an old one."""


def scaling(old: float, new: float) -> Scaling:
    """Returns what multiplies rates by `new / old`, and makes exactly `new` of `old`.

    Raises:
        ValueError: The old rate is not above 0: no factor makes another rate of it.
    """
    if not old > 0:
        raise bad_argument("the rate", "above 0 before it can be multiplied", old)
    return lambda value: new * (float(value) / old)
