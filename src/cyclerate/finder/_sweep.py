"""The sweep: its rates, which are a value, and the test that goes through them step by step.

The checks that settings share stand here, too.
"""

from __future__ import annotations

import dataclasses
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from cyclerate._errors import (
    bad_argument,
    check_choice,
    check_count,
    check_flag,
    check_rate,
)
from cyclerate.finder._curve import MODES, SPACINGS, Curve, DivergenceMonitor
from cyclerate.finder._result import RangeTestResult, StopReason
from cyclerate.finder._run import Run
from cyclerate.finder._suggest import smooth_and_suggest
from cyclerate.schedules import Exponential, Linear, Schedule

MIN_STEPS = 10
"""Shortest sweep: three points of the starting level, a descent, and three of what follows it."""

STEPS_LIMIT = 10**6
"""All rates of a run are listed beforehand, so they are fewer than this."""


@dataclass(frozen=True)
class Sweep:
    """The learning rates of a range test, from low to high.

    Exponential: `start_lr * (end_lr / start_lr) ** (i / (steps - 1))`;
    linear: `start_lr + (end_lr - start_lr) * i / (steps - 1)`.

    Args:
        start_lr: The first rate; above 0 if the spacing is exponential, at least 0 if linear.
            Default 1e-7.
        end_lr: The last rate, above `start_lr`. Default 10.
        steps: Number of rates, one optimizer step each, 10 to 999,999. Default 100.
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
        start_lr = check_rate("start_lr", self.start_lr, low_open=positive)
        end_lr = check_rate("end_lr", self.end_lr, low=start_lr)
        steps = check_count("steps", self.steps, low=MIN_STEPS, below=STEPS_LIMIT)
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
    raise bad_argument(
        "mode", f'"min" or "max" for the metric {metric!r}, whose name says neither', mode
    )


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


_INFINITE = 1e300  # as good as infinite: sums of such values overflow


class RangeTest(Run):
    """One sweep of a learning-rate range test, to be driven step by step.

    Args:
        sweep: The rates to try. Default `Sweep()`.
        metric: Name of what will be told, for the result. Default "loss".
        mode: "min" if lower values are better (a loss), "max" if higher ones are (an accuracy).
        stop_early: Whether to stop when the metric diverges. NaN and infinity always stop it.

    Raises:
        ValueError: `mode` is neither, `metric` is not a name, or `sweep` is not a `Sweep`.

    Source: Smith 2017, arXiv 1506.01186, section 3.3.

    >>> position = 10.0
    >>> test = RangeTest(Sweep(start_lr=1e-4, end_lr=10.0, steps=60))
    >>> while not test.done:
    ...     position -= test.lr * 2 * position  # gradient descent on position**2
    ...     going_on = test.tell(position**2)
    >>> test.result().stop_reason.name
    'DIVERGED'
    """

    def __init__(
        self,
        sweep: Sweep | None = None,
        *,
        metric: str = "loss",
        mode: str = "min",
        stop_early: bool = True,
    ) -> None:
        if sweep is not None and not isinstance(sweep, Sweep):
            raise bad_argument("sweep", "a Sweep", sweep)
        if not isinstance(metric, str) or not metric:
            raise bad_argument("metric", "a name", metric)
        self.sweep = sweep or Sweep()
        self.metric = metric
        self.mode = check_choice("mode", mode, MODES)
        over = "this sweep is over; make a new RangeTest for another one"
        super().__init__(self.sweep.lrs(), over)
        self._values = array("d")
        stops = check_flag("stop_early", stop_early)
        self._monitor = DivergenceMonitor() if stops else None
        self._stop_reason: StopReason | None = None

    @property
    def done(self) -> bool:
        """Whether the sweep is over."""
        return self._stop_reason is not None

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the sweep is over; None while it is not."""
        return self._stop_reason

    @property
    def lr(self) -> float:
        """The rate to use for the next optimizer step; the last one used, once it is over."""
        return self._rates[self.index - 1 if self.done else self.index]

    def result(self, *, method: str = "range", seconds: float | None = None) -> RangeTestResult:
        """Reads the curve told so far.

        Args:
            method: Name of the procedure, for the result.
            seconds: Wall time it took, if known.
        """
        lrs, losses = np.array(self._rates[: self.index]), np.array(self._values)
        losses[~(np.abs(losses) < _INFINITE)] = np.nan
        smoothed, suggestion = smooth_and_suggest(
            lrs, losses, mode=self.mode, planned_steps=self.sweep.steps, metric=self.metric
        )
        return RangeTestResult(
            lrs=lrs,
            losses=losses,
            smoothed=smoothed,
            base_lr=suggestion.base_lr,
            max_lr=suggestion.max_lr,
            interval=suggestion.interval,
            verdict=suggestion.verdict,
            stop_reason=self._stop_reason or StopReason.CUT_SHORT,
            method=method,
            steps=self.index,
            planned_steps=self.sweep.steps,
            metric=self.metric,
            mode=self.mode,
            spacing=self.sweep.spacing,
            seconds=seconds,
        )

    def _take(self, number: float) -> None:
        self._values.append(number)
        loss = number if self.mode == "min" else -number
        if not abs(number) < _INFINITE:
            self._stop_reason = StopReason.NON_FINITE
        elif self._monitor is not None and self._monitor.update(loss):
            self._stop_reason = StopReason.DIVERGED
        elif self.index == self.sweep.steps:
            self._stop_reason = StopReason.END_OF_RANGE
