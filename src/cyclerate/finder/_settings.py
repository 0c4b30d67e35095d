"""The settings of a range test that are values, and the checks that they share."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from cyclerate._errors import bad_argument, check_choice, check_count, check_number
from cyclerate.finder._curve import Curve
from cyclerate.schedules import Exponential, Linear, Schedule

SPACINGS = ("exponential", "linear")

MIN_STEPS = 10
"""Shortest sweep: three points of the starting level, a descent, and three of what follows it."""


@dataclass(frozen=True)
class Sweep:
    """The learning rates of a range test, from low to high.

    Exponential: `start_lr * (end_lr / start_lr) ** (i / (steps - 1))`;
    linear: `start_lr + (end_lr - start_lr) * i / (steps - 1)`.

    Args:
        start_lr: The first rate; above 0 if the spacing is exponential, at least 0 if linear.
            Default 1e-7.
        end_lr: The last rate, above `start_lr`. Default 10.
        steps: Number of rates, one optimizer step each, at least 10. Default 100.
        spacing: "exponential" or "linear".

    Raises:
        ValueError: An argument is not as described.

    Source: Smith 2017, arXiv 1506.01186, section 3.3 (linear).

    >>> sweep = Sweep(1e-4, 1.0, steps=41)
    >>> sweep.lr(0), round(sweep.lr(10), 12), sweep.lr(40)
    (0.0001, 0.001, 1.0)
    """

    start_lr: float = 1e-7
    end_lr: float = 10.0
    steps: int = 100
    spacing: str = "exponential"

    def __post_init__(self) -> None:
        spacing = check_choice("spacing", self.spacing, SPACINGS)
        positive = spacing == "exponential"
        start_lr = check_number("start_lr", self.start_lr, low=0, low_open=positive)
        end_lr = check_number("end_lr", self.end_lr, low=start_lr, low_open=True)
        steps = check_count("steps", self.steps, low=MIN_STEPS)
        set_fields(self, start_lr=start_lr, end_lr=end_lr, steps=steps)

    def schedule(self) -> Schedule:
        """Returns the ramp itself: `start_lr` at step 0, `end_lr` at step `steps - 1`."""
        ramp = Exponential if self.spacing == "exponential" else Linear
        return ramp(self.start_lr, self.end_lr, self.steps - 1)

    def lr(self, i: int) -> float:
        """Returns the rate of the `i`-th step, counted from 0.

        Raises:
            ValueError: `i` is not one of the sweep's steps.
        """
        index = check_count("i", i, low=0)
        if index >= self.steps:
            raise bad_argument("i", f"a step of the sweep, 0 to {self.steps - 1}", i)
        return float(self.schedule()(index))

    def lrs(self) -> Curve:
        """Returns all rates, as a new array."""
        return np.asarray(self.schedule()(np.arange(self.steps)), dtype=np.float64)


_HIGHER = (
    r"acc|auc|precision|recall|specificity|sensitivity|score|f1|fbeta|iou|io_u|r2|dice|cosine_sim"
)
_LOWER = (
    r"loss|error|mse|mae|mape|msle|rmse|entropy|perplexity|hinge|poisson|diverg|logcosh|log_cosh"
)


def direction(metric: str, mode: str) -> str:
    """Returns "min" or "max".

    Args:
        metric: The name of the metric.
        mode: "min", "max", or "auto" to go by the name.

    Raises:
        ValueError: Another mode, or a name that says nothing.

    >>> direction("val_sparse_categorical_accuracy", "auto"), direction("mse", "auto")
    ('max', 'min')
    """
    check_choice("mode", mode, ("auto", "min", "max"))
    if mode != "auto":
        return mode
    # A dice loss is a loss, so these go first.
    if re.search(_LOWER, metric.lower()):
        return "min"
    if re.search(_HIGHER, metric.lower()):
        return "max"
    raise bad_argument("mode", f'"min" or "max" for {metric!r}, whose name says neither', mode)


class _Told(Protocol):
    """Settings that say what is recorded."""

    @property
    def sweep(self) -> Sweep: ...
    @property
    def metric(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def seed(self) -> int | None: ...


def checked_told(settings: _Told) -> dict[str, Any]:
    """Returns `mode` and `seed` as they are meant, of settings whose sweep and metric are right.

    Raises:
        ValueError: One of the four is not.
    """
    if not isinstance(settings.sweep, Sweep):
        raise bad_argument("sweep", "a Sweep", settings.sweep)
    if not isinstance(settings.metric, str) or not settings.metric:
        raise bad_argument("metric", "a name", settings.metric)
    seed = 0 if settings.seed is None else check_count("seed", settings.seed, low=0)
    return {"mode": direction(settings.metric, settings.mode), "seed": seed}


def set_fields(settings: Any, **values: Any) -> None:
    """Sets fields of a frozen dataclass while it is being made."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)


S = TypeVar("S")


def settings_of(kind: type[S], settings: S | None, sweep: Mapping[str, Any], **keywords: Any) -> S:
    """Returns the settings that a call was given, or those that its keywords describe.

    Args:
        kind: The class of the settings.
        settings: What was given, or None.
        sweep: The keywords of the sweep.
        **keywords: All others.

    Raises:
        ValueError: Both were given, or a keyword is not as described.
    """
    if settings is None:
        return cast(Any, kind)(sweep=Sweep(**sweep), **keywords)
    if not isinstance(settings, kind):
        raise bad_argument("settings", f"{kind.__name__} or None", settings)
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    defaults |= vars(kind.DEFAULT_SWEEP) | {"seed": None}  # type: ignore[attr-defined]
    for name, value in {**sweep, **keywords}.items():
        if value != defaults[name]:
            raise bad_argument(name, "left out where settings are given", value)
    return settings
