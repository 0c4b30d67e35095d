"""Every refusal names the argument, what was allowed and what was received."""

from __future__ import annotations

import importlib
import math
import operator
from collections.abc import Collection, Hashable
from contextlib import suppress
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

_MOST_SHOWN = 120
_COUNT_LIMIT = 2**128  # a few of them multiplied still fit a float


class CyclerateError(Exception):
    """Base of the errors that are not about the value of an argument."""


class MissingExtra(CyclerateError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""


def bad_argument(name: str, allowed: str, received: object) -> ValueError:
    """Builds the error for a refused argument.

    >>> bad_argument("step_size", "a whole number >= 1", 0)
    ValueError('step_size must be a whole number >= 1. Received: 0')
    """
    shown = " ".join(repr(received).split())  # an array's text has many lines
    if len(shown) > _MOST_SHOWN:
        shown = f"{shown[:_MOST_SHOWN]}... ({len(shown)} characters)"
    return ValueError(f"{name} must be {allowed}. Received: {shown}")


def check_number(
    name: str,
    value: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """Returns `value` as a float if it is a finite real number within the bounds.

    Raises:
        ValueError: It is not a number, not finite, or outside the bounds.

    >>> check_number("gamma", 1, low=0, high=1, low_open=True)
    1.0
    """
    number = math.nan
    if not isinstance(value, (bool, str, bytes, complex)):
        with suppress(TypeError, ValueError, OverflowError):
            number = float(value)
    too_low = low is not None and (number <= low if low_open else number < low)
    too_high = high is not None and (number >= high if high_open else number > high)
    if not math.isfinite(number) or too_low or too_high:
        lower = "" if low is None else f" {'>' if low_open else '>='} {low:g}"
        upper = "" if high is None else f" {'<' if high_open else '<='} {high:g}"
        raise bad_argument(
            name, "a finite number" + " and".join(filter(None, (lower, upper))), value
        )
    return number


def check_count(name: str, value: Any, *, low: int = 1, below: int = _COUNT_LIMIT) -> int:
    """Returns `value` as an int if it is a whole number in [low, below); 2000.0 counts as whole.

    Raises:
        ValueError: It is not a whole number, or outside the bounds.

    >>> check_count("step_size", 2000.0)
    2000
    """
    allowed = f"a whole number >= {low}"
    if isinstance(value, (bool, str, bytes)):
        raise bad_argument(name, allowed, value)
    try:
        count = operator.index(value)
    except TypeError:
        number = check_number(name, value)
        if not number.is_integer():
            raise bad_argument(name, allowed, value) from None
        count = int(number)
    if count < low:
        raise bad_argument(name, allowed, value)
    if count >= below:
        exponent = below.bit_length() - 1
        limit = f"2**{exponent}" if below == 2**exponent else f"{below:,}"
        raise bad_argument(name, f"{allowed} and below {limit}", value)
    return count


def check_choice(name: str, value: T, choices: Collection[T]) -> T:
    """Returns `value` if it is one of `choices`.

    Raises:
        ValueError: It is not; the message lists the choices.
    """
    known = False
    with suppress(Exception):  # what cannot be looked up, or compares element by element
        known = isinstance(value, Hashable) and bool(value in choices)
    if not known:
        listed = ", ".join(repr(choice) for choice in choices)
        raise bad_argument(name, f"one of {listed}", value)
    return value


def require(module: str, extra: str) -> ModuleType:
    """Imports an optional dependency.

    Raises:
        MissingExtra: It is not installed; the message says which extra brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtra(
            f"this needs {package}, which is not installed. Run: pip install 'cyclerate[{extra}]'"
        ) from error
