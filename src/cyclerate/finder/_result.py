"""The result of a range test: a value that can be compared, printed, drawn and kept in a file."""

from __future__ import annotations

import dataclasses
import enum
import math
import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cyclerate._errors import (
    bad_argument,
    check_choice,
    check_count,
    check_number,
    check_rate,
    require,
)
from cyclerate._files import read_json, write_json
from cyclerate._svg import notebook, paragraphs
from cyclerate.finder._curve import MODES, SPACINGS, Curve
from cyclerate.finder._prior import SOURCES, Prior, RateReading, density_of, grid_of
from cyclerate.finder._suggest import RULES, suggest_by

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame


class StopReason(enum.Enum):
    """The reason a sweep ended. Ordered from the mildest to the most severe.

    Attributes:
        event: What happened.
        advice: What to do about it.
        value: Both.

    >>> StopReason.CUT_SHORT.event
    'The sweep was ended from outside before its last rate.'
    >>> StopReason.DIVERGED.advice
    'Nothing to do: this is how a sweep should end.'
    """

    event: str
    advice: str

    END_OF_RANGE = (
        "The sweep reached its last rate without diverging.",
        "If it was still improving there, raise end_lr and run it again.",
    )
    CUT_SHORT = (
        "The sweep was ended from outside before its last rate.",
        "Give it enough data for all of its steps, or ask for fewer steps.",
    )
    DIVERGED = (
        (
            "Training diverged: the curve left the range it had started in, so higher rates were "
            "not tried."
        ),
        "Nothing to do: this is how a sweep should end.",
    )
    NON_FINITE = (
        "A value was NaN or infinite; it and all higher rates were left out.",
        "If it happened in the first steps, lower start_lr and look for NaN in the data.",
    )

    def __new__(cls, event: str, advice: str) -> Self:
        """Makes a reason; both texts together are its value."""
        reason = object.__new__(cls)
        reason._value_ = f"{event} {advice}"
        reason.event, reason.advice = event, advice
        return reason


SCHEMA = 1

CURVES = ("lrs", "losses", "smoothed")

_ADDED: dict[str, Any] = {"races": [], "readings": [], "fallback_lr": None, "provenance": None}
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
    values["readings"] = [dataclasses.asdict(reading) for reading in result.readings]
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
        "readings": lambda name, value: tuple(map(_reading, _list(name, value))),
    }
    return {
        name: readers[name](name, values[name]) if name in readers else values[name]
        for name in _names(cls)
    }


_REASONS = list(StopReason.__members__)


def _reading(value: Any) -> RateReading:
    names = {field.name for field in dataclasses.fields(RateReading)}
    if not isinstance(value, dict) or set(value) != names:
        raise bad_argument("readings", f"objects with {', '.join(sorted(names))}", value)
    return RateReading(**value)


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


_LINE_WIDTH = 79


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RangeTestResult:
    """The curve of a range test and the rates that were read from it.

    Made by `RangeTest.result`, by the `range_test` of an adapter, or by `load`. Two results are
    equal if all their fields are but wall time and provenance; NaN equals NaN here.

    Attributes:
        lrs: The rates that were tried, rising; read-only.
        losses: What each step at them gave, raw; NaN where it was not finite.
        smoothed: The curve that the rates were read from.
        base_lr: Lower bound of a cycle: max_lr / 4.
            None if there is no clear answer, as are `max_lr` and `interval`.
        max_lr: Upper bound of a cycle: the highest rate to train with.
        interval: (low, high) for `max_lr`. Of a probe: a rate as good as the best one lies there in
            nine cases of ten. Of a sweep alone: where three readings of the curve lie, give or take
            a factor of 2.
        verdict: How the rates were read, or why there are none.
        stop_reason: Why the sweep ended; its value is advice.
        method: The procedure: "range" is a sweep alone, "probe" a sweep and races, "prior" nothing:
            the rate to expect, as a recommendation has it before anything is tried.
        steps: Optimizer steps it cost.
        planned_steps: Length of the sweep had it not stopped.
        metric: Name of what was measured.
        mode: "min" if lower is better, "max" if higher is.
        spacing: "exponential" or "linear".
        seconds: Wall time; None if not measured.
        runs: The single sweeps or probes, if it was repeated.
        races: (rate, score) of every whole race of a probe: its highest rate, and the metric after
            it on a fixed sample, None where it diverged. A sweep alone has no races.
        readings: What the prior, the sweep and the races say of `max_lr`, each with its spread;
            empty where nothing was read. `posterior` is all of them together.
        fallback_lr: Without a clear answer, the rate for whoever has to train all the same: the one
            that optimizer, batch, length and size let expect, kept below the rate that diverged.
            None with an answer, and where nothing is known of these.
        provenance: Where it comes from, as plain JSON: `seed`, `repeats`, `policy`,
            `horizon_steps`, `metric`, `created` (in UTC), `versions`, and what the adapter says:
            `backend`, `device` and `data`, a fingerprint. None of a result that no `range_test`
            made.

    >>> from cyclerate.finder import RangeTest, Sweep
    >>> test = RangeTest(Sweep(1e-4, 1.0, steps=30))
    >>> while test.tell(1.0 - test.lr if test.lr < 0.3 else 9.0):
    ...     pass
    >>> test.result()
    RangeTestResult(max_lr=0.1, base_lr=0.026, DIVERGED after 29 of 30 steps)
    """

    lrs: Curve
    losses: Curve
    smoothed: Curve
    base_lr: float | None
    max_lr: float | None
    interval: tuple[float, float] | None
    verdict: str
    stop_reason: StopReason
    method: str
    steps: int
    planned_steps: int
    metric: str = "loss"
    mode: str = "min"
    spacing: str = "exponential"
    seconds: float | None = None
    runs: tuple[RangeTestResult, ...] = ()
    races: tuple[tuple[float, float | None], ...] = ()
    readings: tuple[RateReading, ...] = ()
    fallback_lr: float | None = None
    provenance: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in CURVES:
            object.__setattr__(self, name, _curve(name, getattr(self, name)))
            if len(getattr(self, name)) != len(self.lrs):
                raise bad_argument(name, f"as long as lrs ({len(self.lrs)})", getattr(self, name))
        if not (np.isfinite(self.lrs).all() and (np.diff(self.lrs, prepend=0) >= 0).all()):
            raise bad_argument("lrs", "rising finite rates", self.lrs)
        for name in ("verdict", "method", "metric"):
            if not isinstance(getattr(self, name), str):
                raise bad_argument(name, "text", getattr(self, name))
        check_choice("mode", self.mode, MODES)
        check_choice("spacing", self.spacing, SPACINGS)
        if not isinstance(self.stop_reason, StopReason):
            raise bad_argument("stop_reason", "a StopReason", self.stop_reason)
        object.__setattr__(self, "steps", check_count("steps", self.steps, low=0))
        planned = check_count("planned_steps", self.planned_steps, low=max(1, len(self.lrs)))
        object.__setattr__(self, "planned_steps", planned)
        if self.seconds is not None:
            object.__setattr__(self, "seconds", check_number("seconds", self.seconds, low=0))
        self._check_rates()
        if self.fallback_lr is not None:
            lr = check_number("fallback_lr", self.fallback_lr, low=0, low_open=True)
            object.__setattr__(self, "fallback_lr", lr)
        object.__setattr__(self, "provenance", _plain(self.provenance))
        object.__setattr__(self, "runs", tuple(self.runs))
        if not all(isinstance(run, RangeTestResult) for run in self.runs):
            raise bad_argument("runs", "results of range tests", self.runs)
        races = tuple(_race(f"races[{i}]", race) for i, race in enumerate(self.races))
        object.__setattr__(self, "races", races)

    def _check_rates(self) -> None:
        object.__setattr__(self, "readings", tuple(self.readings))
        if not all(isinstance(reading, RateReading) for reading in self.readings):
            raise bad_argument("readings", "of prior, sweep and races", self.readings)
        rates = (self.base_lr, self.max_lr, self.interval)
        if self.base_lr is None and self.max_lr is None and self.interval is None:
            return
        if self.base_lr is None or self.max_lr is None or self.interval is None:
            raise bad_argument("base_lr, max_lr and interval", "all given or all None", rates)
        max_lr = check_rate("max_lr", self.max_lr)
        base_lr = check_number(
            "base_lr", self.base_lr, low=0, high=max_lr, low_open=True, high_open=True
        )
        if not isinstance(self.interval, (tuple, list)) or len(self.interval) != 2:
            raise bad_argument("interval", "a pair (low, high)", self.interval)
        low = check_number("interval[0]", self.interval[0], low=0, high=max_lr)
        high = check_number("interval[1]", self.interval[1], low=max_lr)
        object.__setattr__(self, "max_lr", max_lr)
        object.__setattr__(self, "base_lr", base_lr)
        object.__setattr__(self, "interval", (low, high))

    @property
    def posterior(self) -> tuple[Curve, Curve] | None:
        """(rates, density): how probable it is of each rate that it is the one to train with.

        The rates rise by 0.02 decades; the density is per decade, and sums up to 1. It is the
        product of what prior, sweep and races say, each by itself in `density`; of repeats, the
        mean. None where nothing was read.

        >>> from cyclerate.finder import Probe, drive
        >>> weight = [1.0]
        >>> def restore():
        ...     weight[0] = 1.0
        >>> def step(lr):
        ...     weight[0] -= lr * 2 * weight[0]
        ...     return weight[0] ** 2
        >>> probe = Probe(horizon_steps=500)
        >>> drive(probe, restore=restore, step=step, score=lambda: weight[0] ** 2)
        >>> rates, density = probe.result().posterior
        >>> bool(0.01 < rates[density.argmax()] < 1.0), round(0.02 * float(density.sum()), 6)
        (True, 1.0)
        """
        return self.density(*SOURCES)

    def density(self, *sources: str) -> tuple[Curve, Curve] | None:
        """Returns (rates, density) of some of the sources alone, at the rates of `posterior`.

        Args:
            *sources: "prior", "sweep", "races".

        Returns:
            None where none of them said anything.

        Raises:
            ValueError: An unknown source.
        """
        for source in sources:
            check_choice("source", source, SOURCES)
        every = [run.readings for run in self.runs or (self,)]
        chosen = [[one for one in readings if one.source in sources] for readings in every]
        if not any(chosen):
            return None
        log_lrs = grid_of([reading for readings in every for reading in readings])
        densities = [density_of(readings, log_lrs) for readings in chosen if readings]
        return 10**log_lrs, np.mean(densities, axis=0)

    def suggest(self, rule: str) -> float | None:
        """Returns what one of the field's single rules makes of the same sweep, to compare.

        Args:
            rule: "valley", "slide", "steepest" or "minimum": fastai's, on fastai's own smoothing;
                "smith": the max_lr of Smith's description, where improving slows, gets ragged or
                ends.

        Returns:
            A rate, or None where the curve is too short for the rule. Of repeated sweeps, the
            geometric middle of their answers.

        Raises:
            ValueError: Unknown rule.
        """
        check_choice("rule", rule, RULES)
        if self.runs:
            answers = [run.suggest(rule) for run in self.runs]
            found = [answer for answer in answers if answer is not None]
            return float(np.exp(np.median(np.log(found)))) if found else None
        return suggest_by(
            rule, self.lrs, self.losses, mode=self.mode, planned_steps=self.planned_steps
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the losses, the smoothed curve and the rates read from it.

        Args:
            ax: Matplotlib Axes to draw on; a new figure if None.

        Returns:
            The Axes; `plot().figure.savefig(...)` keeps the picture.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        from cyclerate.finder._plot import plot_result

        return plot_result(self, ax)

    def _repr_html_(self) -> str:
        """The result as a notebook shows it: the answer, its chart, and why."""
        from cyclerate.finder._plot import draw_result

        title = f"Range test of the {self.metric}: {self.headline()}"
        return notebook(title, draw_result(self), paragraphs([*self._cost(), self.verdict]))

    def to_frame(self) -> DataFrame:
        """Returns a pandas DataFrame with a row per step: run (from 1), lr, loss, smoothed.

        The column `loss` holds the metric of the sweep, whatever its name.

        Raises:
            MissingExtra: pandas is not installed.
        """
        pandas = require("pandas", "cli")
        runs = self.runs or (self,)
        return pandas.DataFrame(
            {
                "run": np.repeat(np.arange(1, len(runs) + 1), [len(run.lrs) for run in runs]),
                "lr": np.concatenate([run.lrs for run in runs]),
                "loss": np.concatenate([run.losses for run in runs]),
                "smoothed": np.concatenate([run.smoothed for run in runs]),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as JSON-safe values: NaN is None."""
        return to_values(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RangeTestResult:
        """Returns the result that `to_dict` made `values` of.

        Raises:
            ValueError: A key is missing or unknown, or a value is of the wrong type or impossible.
        """
        return cls(**from_values(cls, values))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the result to a JSON file, replacing it in one step; returns its path."""
        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RangeTestResult:
        """Returns the result that `save` wrote to `path`.

        Raises:
            ValueError: The file does not hold a range test result; the message says what is wrong.
            OSError: The file cannot be read.
        """
        return read_json(path, "range test result", cls.from_dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeTestResult):
            return NotImplemented
        return self._scalars() == other._scalars() and all(
            np.array_equal(getattr(self, name), getattr(other, name), equal_nan=True)
            for name in CURVES
        )

    def __hash__(self) -> int:
        return hash(self._scalars())

    def _scalars(self) -> tuple[Any, ...]:
        left_out = (*CURVES, "seconds", "provenance")
        names = (field.name for field in dataclasses.fields(self) if field.name not in left_out)
        return (len(self.lrs), *(getattr(self, name) for name in names))

    def __repr__(self) -> str:
        answer = f"max_lr={_short(self.max_lr)}, base_lr={_short(self.base_lr)}"
        return (
            f"{type(self).__name__}({answer}, {self.stop_reason.name} after {len(self.lrs)} of "
            f"{self.planned_steps} steps)"
        )

    def __str__(self) -> str:
        lines = [f"Range test of the {self.metric}: {self.headline()}", *self._cost(), self.verdict]
        if self.method != "prior":
            lines.append(f"{self.stop_reason.name}: {self.stop_reason.value}")
        if self.fallback_lr is not None:
            lines.append(
                f"If it has to be one: {self.fallback_lr:.2g}, by optimizer, batch, length and size"
            )
        return "\n".join(
            textwrap.fill(line, _LINE_WIDTH, subsequent_indent="  ", break_long_words=True)
            for line in lines
        )

    def headline(self) -> str:
        """Returns the answer in a few words."""
        if self.interval is None:
            return "no clear answer"
        low, high = map(_short, self.interval)
        return f"max_lr {_short(self.max_lr)} ({low} to {high}), base_lr {_short(self.base_lr)}"

    @property
    def diverged_at(self) -> float | None:
        """The last rate of the sweep if that ended it, else None."""
        ended = self.stop_reason in (StopReason.DIVERGED, StopReason.NON_FINITE)
        return float(self.lrs[-1]) if ended and len(self.lrs) else None

    def with_fallback(self, prior: Prior | None) -> RangeTestResult:
        """Returns the result with a `fallback_lr`, where it has no answer and a prior is known."""
        if self.max_lr is not None or prior is None:
            return self
        ended = self.diverged_at
        rate = prior.lr if ended is None else prior.top_after(None, ended)
        return dataclasses.replace(self, fallback_lr=rate)

    def _cost(self) -> list[str]:
        if self.method == "prior":
            return ["0 steps: nothing was tried"]
        tried = f" from {self.lrs[0]:.2g} to {self.lrs[-1]:.2g}" if len(self.lrs) else ""
        time = "" if self.seconds is None else f" in {self.seconds:.1f} s"
        if self.method == "range":
            sweeps = f"{len(self.runs)} sweeps, " if self.runs else ""
            return [f"{sweeps}{self.steps} steps{tried}, {self.spacing}{time}"]
        probes = f"{len(self.runs)} probes, " if self.runs else ""
        races = "1 race" if len(self.races) == 1 else f"{len(self.races) or 'no'} races"
        sweep = "sweeps" if self.runs else "a sweep"
        return [f"{probes}{self.steps} steps: {sweep}{tried}, {self.spacing}, and {races}{time}"]


def _short(rate: float | None) -> str:
    return "None" if rate is None else f"{rate:.2g}"


def _plain(provenance: Any) -> dict[str, Any] | None:
    """Returns a copy of what is said of a result's origin: texts, numbers, and texts by names."""
    allowed = "names with texts and numbers, or None"
    if provenance is None:
        return None
    if not isinstance(provenance, dict):
        raise bad_argument("provenance", allowed, provenance)
    for name, value in provenance.items():
        inner = value if isinstance(value, dict) else {}
        texts = all(isinstance(text, str) for text in [name, *inner, *inner.values()])
        if not texts or not isinstance(value, (str, int, float, dict, type(None))):
            raise bad_argument("provenance", allowed, {name: value})
    return {k: dict(v) if isinstance(v, dict) else v for k, v in provenance.items()}


def _race(name: str, value: Any) -> tuple[float, float | None]:
    """Returns a pair (rate, score); a score that is not finite is None."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise bad_argument(name, "a pair (rate, score)", value)
    lr, score = value
    check_number(f"the rate of {name}", lr, low=0, low_open=True)
    if score is None or (isinstance(score, float) and not math.isfinite(score)):
        return float(lr), None
    return float(lr), check_number(f"the score of {name}", score)


def _curve(name: str, value: Any) -> Curve:
    """Returns a read-only copy; what is not finite is NaN, which JSON can keep (as null)."""
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise bad_argument(name, "a one-dimensional array of numbers", value)
    copy = array.astype(np.float64)
    if not np.isfinite(copy).all():
        copy[~np.isfinite(copy)] = np.nan
    copy.flags.writeable = False
    return copy
