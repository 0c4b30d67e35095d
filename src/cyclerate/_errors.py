"""Every refusal names the argument, what was allowed and what was received; the words for it."""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import operator
from collections.abc import Collection, Hashable, Iterable
from contextlib import suppress
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

_MOST_SHOWN = 120
_HIGHEST_RATE = 3.4e38
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
    if not (isinstance(value, (bool, str, bytes, complex)) or _is_bool_of_numpy(value)):
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


def check_rate(name: str, value: Any, *, low: float = 0.0, low_open: bool = True) -> float:
    """Returns `value` as a float if it is a learning rate: above 0, and a number in float32, too.

    Raises:
        ValueError: It is not.

    >>> check_rate("max_lr", 1)
    1.0
    """
    rate = check_number(name, value, low=low, low_open=low_open)
    if rate > _HIGHEST_RATE:
        raise bad_argument(name, f"at most {_HIGHEST_RATE}, where float32 ends", value)
    return rate


def check_count(name: str, value: Any, *, low: int = 1, below: int = _COUNT_LIMIT) -> int:
    """Returns `value` as an int if it is a whole number in [low, below); 2000.0 counts as whole.

    Raises:
        ValueError: It is not a whole number, or outside the bounds.

    >>> check_count("step_size", 2000.0)
    2000
    """
    allowed = f"a whole number >= {low}"
    if isinstance(value, (bool, str, bytes)) or _is_bool_of_numpy(value):
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


def _is_bool_of_numpy(value: Any) -> bool:
    return type(value).__module__ == "numpy" and type(value).__name__ in {"bool", "bool_"}


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


def check_flag(name: str, value: Any) -> bool:
    """Returns `value` as a bool if it is True or False.

    Raises:
        ValueError: It is neither.
    """
    return bool(check_choice(name, value, (True, False)))


def check_items(name: str, value: Any, allowed: str) -> list[Any]:
    """Returns what is in `value` if it is a collection of things, and no text.

    Raises:
        ValueError: It is not.

    >>> check_items("seeds", 1.5, "whole numbers")
    Traceback (most recent call last):
        ...
    ValueError: seeds must be whole numbers. Received: 1.5
    """
    with suppress(TypeError):  # an array of no dimensions says so only when it is asked
        if not isinstance(value, (str, bytes)):
            return list(value)
    raise bad_argument(name, allowed, value)


def check_function(name: str, value: Any, of: str, *, instead: str = "") -> Any:
    """Returns `value` if it can be called with so many values.

    Args:
        name: The argument's.
        value: What was given. Whatever does not say what it takes passes.
        of: What it is called with, as "(model, batch)".
        instead: What else is allowed, for the message.

    Raises:
        ValueError: It cannot; the message says what it is called with.

    >>> check_function("score_fn", len, "(model, batch)")
    Traceback (most recent call last):
        ...
    ValueError: score_fn must be a function of (model, batch). Received: <built-in function len>
    """
    # What makes a value of numbers or texts, as `int`, takes anything and understands nothing.
    fits = callable(value) and not (isinstance(value, type) and value.__module__ == "builtins")
    if fits:
        with suppress(ValueError, TypeError):  # it does not say
            signature = inspect.signature(value)
            try:
                signature.bind(*[part for part in of.strip("()").split(",") if part])
            except TypeError:
                fits = False
    if not fits:
        raise bad_argument(name, f"a function of {of}{instead}", value)
    return value


def require(module: str, extra: str) -> ModuleType:
    """Imports an optional dependency.

    Raises:
        MissingExtra: It is not installed; the message says which extra brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package, missing = module.partition(".")[0], (error.name or "").partition(".")[0]
        if package == "keras" and missing in ("tensorflow", "jax", "torch"):
            raise MissingExtra(
                f"Keras is set to its backend {missing}, which is not installed. Set the one you "
                'have before Keras is imported, as os.environ["KERAS_BACKEND"] = "jax", or install '
                f"{missing}."
            ) from error
        if missing != package:
            raise
        raise MissingExtra(
            f"this needs {package}, which is not installed. Run: pip install 'cyclerate[{extra}]'"
        ) from error


def near_names(wanted: str, names: Iterable[str]) -> list[str]:
    """Returns the names that `wanted` may have meant, the nearest first, capitals ignored.

    >>> near_names("Cardo", ["age", "cardio"])
    ['cardio']
    """
    by_folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(wanted.casefold(), by_folded, n=3, cutoff=0.6)
    return [by_folded[name] for name in close]


def listed(names: Iterable[object], most: int = 20) -> str:
    """Joins names with commas; past `most` it says how many more there are.

    >>> listed("abc", most=2)
    'a, b and 1 more'
    """
    texts = [str(name) for name in names]
    if len(texts) <= most:
        return ", ".join(texts)
    return f"{', '.join(texts[:most])} and {len(texts) - most:,} more"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Writes a number with its noun.

    >>> count(1, "row"), count(1200, "class", "classes")
    ('1 row', '1,200 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
