"""How good a training is after how long: the whole curve from one run.

The run consists of cycles that each double the steps so far. Every cycle ends at a rate of zero,
where a model is as good as a training of that length would have made it, so each end is a point of
the curve of quality against budget; and what twice and four times the budget would bring follows
from the last of them.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cyclerate._errors import bad_argument, check_choice, check_count, require
from cyclerate._files import built, check_path, read_json, without_schema, write_json
from cyclerate._plain import plain, versions
from cyclerate.cycles._members import MemberFolder
from cyclerate.cycles._rules import CycleOptions
from cyclerate.finder._prior import Prior
from cyclerate.finder._sweep import direction
from cyclerate.schedules import Linear, Sequence as SequenceOfSchedules
from cyclerate.schedules._base import axes_for, check_steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

SCHEMA = 1
RECORD = "how_long.json"
_LEAST_CYCLE_STEPS = 2
_MOST_POINTS = 12
_LINE_WIDTH = 79

# The forecast, fitted on the design and validation tasks of benchmarks/finders: the power of the
# steps that a value falls with, or rises with once it has turned; and how far the truth lies from
# it, as a share of the fall over the last points, or of a fifth of the whole fall.
_FORECAST_POINTS = 3
_POWERS, _USUAL_POWER, _USUAL_RISE, _POWER_SPREAD = np.geomspace(0.1, 2.5, 16), 0.3, 0.8, 0.5
_NOISES, _USUAL_NOISE = np.array([0.01, 0.02, 0.04, 0.08, 0.16]), 0.03
_LEVEL_SPREAD, _FALL_SPREAD = 0.5, 2.0
_OFF, _OFF_PER_DOUBLING, _FREEDOM, _LEAST_FALL = 0.3, 0.8, 3, 0.2
_OVERFITTING = 3.0  # on other data than were trained on, the worse side is so much farther
_DRAWS = 4000


@dataclass(frozen=True)
class Forecast:
    """What a training of another length would come to.

    Attributes:
        steps: Its length in optimizer steps.
        value: The value to expect.
        low: The lower end of the interval that holds 80 % of the true values.
        high: Its upper end.

    >>> print(Forecast(steps=2000, value=0.5, low=0.4, high=0.6))
    0.5 (0.4 to 0.6)
    """

    steps: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


@dataclass(frozen=True)
class HowLong:
    """Quality against budget, read from one run at the ends of its cycles.

    Attributes:
        steps: The optimizer steps of each point; each has twice as many as the one before.
        values: What was measured there, by name: "loss", the mean over the batches of the last
            tenth of the cycle, and what the validation data gave. None where it was not finite.
        metric: The name of the value that the forecast is about.
        seconds: The time of the training until there; equality does not look at it.
        max_lrs: The highest rate of each cycle.
        provenance: Settings, versions, backend, device and data of the run.

    Source: cycles in the place of many trainings, Portes et al. 2022, arXiv 2206.00832; the low
    points of cycles, Smith 2017, arXiv 1506.01186; their doubling, Loshchilov and Hutter 2017,
    arXiv 1608.03983.

    >>> how_long = HowLong((25, 50, 100), {"loss": (0.9, 0.7, 0.6)}, "loss", (1.0, 2.0, 4.0))
    >>> forecast = how_long.forecast(200)
    >>> forecast.low < 0.55 < forecast.high
    True
    >>> how_long.best_steps
    100
    """

    steps: tuple[int, ...]
    values: dict[str, tuple[float | None, ...]]
    metric: str
    seconds: tuple[float, ...] = field(default=(), compare=False)
    max_lrs: tuple[float, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict[str, Any], compare=False)

    def __post_init__(self) -> None:
        check_choice("metric", self.metric, tuple(self.values))
        for name, values in self.values.items():
            if len(values) != len(self.steps):
                raise bad_argument(f"values[{name!r}]", f"{len(self.steps)} numbers", values)
        if any(
            later <= earlier for earlier, later in zip(self.steps, self.steps[1:], strict=False)
        ):
            raise bad_argument("steps", "rising", self.steps)

    @property
    def best_steps(self) -> int | None:
        """The steps of the best point; None without a finite one."""
        known = self._known(self.metric)
        sign = _sign(self.metric)
        return min(known, key=lambda point: sign * point[1])[0] if known else None

    def forecast(self, total_steps: int, metric: str | None = None) -> Forecast:
        """Returns what a training of so many steps would come to.

        The value is taken to be `a + b * steps ** -c`, with `c` below 0 once it becomes worse.
        `a`, `b` and `c` are not fitted but weighed, by the last three points and by what is usual.
        The interval has been widened, for "val_" values to their worse side, until it held 80 % of
        the true values on the design and validation tasks of `benchmarks/finders`. What was never
        below 0 is not expected there, nor an accuracy above 1.

        Args:
            total_steps: More than those of the run, or fewer; up to eight times as many.
            metric: The name of a value. Default: `self.metric`.

        Raises:
            ValueError: An unknown metric, another length, or fewer than three finite points.
        """
        metric = check_choice("metric", self.metric if metric is None else metric, (*self.values,))
        known = self._known(metric)[-_FORECAST_POINTS:]
        if len(known) < _FORECAST_POINTS:
            allowed = f"one with {_FORECAST_POINTS} finite values at least"
            raise bad_argument("metric", allowed, f"{metric}, with {len(known)}")
        steps, most = check_count("total_steps", total_steps), 8 * known[-1][0]
        if not known[0][0] <= steps <= most:
            raise bad_argument("total_steps", f"from {known[0][0]} to {most}", total_steps)
        low, value, high = self._quantiles(metric, steps)
        if all(v >= 0 for _, v in self._known(metric)):  # as an error is, or a share
            low, value, high = (max(v, 0.0) for v in (low, value, high))
        if metric.removeprefix("val_").endswith(("accuracy", "auc")):
            low, value, high = (min(v, 1.0) for v in (low, value, high))
        return Forecast(steps, value, low, high)

    def plot(self, ax: Axes | None = None, metric: str | None = None) -> Axes:
        """Draws a value at every point, and the forecast for twice and four times the steps.

        Args:
            ax: Where. Default: a new figure.
            metric: The name of a value. Default: `self.metric`.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        metric = check_choice("metric", self.metric if metric is None else metric, (*self.values,))
        axes = axes_for(ax, figsize=(6.4, 4.0))
        known = self._known(metric)
        axes.plot(*zip(*known, strict=True), "o-", color="#1f4e79", label="measured")
        if len(known) >= _FORECAST_POINTS:
            last = known[-1][0]
            coming = [self.forecast(factor * last, metric) for factor in (2, 4)]
            steps, values = [f.steps for f in coming], [f.value for f in coming]
            far = np.array([[f.value - f.low, f.high - f.value] for f in coming]).T
            style: dict[str, Any] = {"color": "#d98200", "capsize": 4, "linestyle": "--"}
            axes.errorbar(steps, values, far, fmt="o", label="forecast, 80 % interval", **style)
        axes.set_xscale("log", base=2)
        ticks = [*self.steps, *(f * self.steps[-1] for f in (2, 4))]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set_xlabel("optimizer steps")
        axes.set_ylabel(metric)
        axes.legend()
        return axes

    def to_frame(self) -> DataFrame:
        """Returns a pandas DataFrame with a row per point: steps, seconds, max_lr, and the values.

        Raises:
            MissingExtra: pandas is not installed.
        """
        given = {"steps": self.steps, "seconds": self.seconds, "max_lr": self.max_lrs}
        given = {name: column for name, column in given.items() if column}
        return require("pandas", "cli").DataFrame({**given, **self.values})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes it to a JSON file, replacing that in one step; returns its path."""
        return write_json(path, {"schema": SCHEMA, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HowLong:
        """Returns what `save` wrote to `path`, or a run to its folder, as `how_long.json`.

        Raises:
            ValueError: The file holds something else; the message says what is wrong.
            OSError: The file cannot be read.
        """
        check_path("path", path)
        return read_json(
            path, "HowLong", lambda found: built(cls, without_schema(found, SCHEMA), "HowLong")
        )

    def __str__(self) -> str:
        return "\n".join([*self._table(), *self._outlook()])

    def __repr__(self) -> str:
        last = self.values[self.metric][-1] if self.steps else None
        told = "nothing" if last is None else f"{self.metric} {last:.4g}"
        steps = self.steps[-1] if self.steps else 0
        return f"{type(self).__name__}({len(self.steps)} points, {told} after {steps} steps)"

    def _known(self, metric: str) -> list[tuple[int, float]]:
        pairs = zip(self.steps, self.values[metric], strict=True)
        return [(steps, value) for steps, value in pairs if value is not None]

    def _quantiles(self, metric: str, wanted: int) -> list[float]:
        """The 10 %, 50 % and 90 % quantiles of a value after so many steps."""
        known, sign = self._known(metric), _sign(metric)
        steps = [n for n, _ in known[-_FORECAST_POINTS:]]
        y = np.array([value for _, value in known])
        last, y_last = y[-_FORECAST_POINTS:], y[-1]
        scale = max(np.ptp(last), _LEAST_FALL * np.ptp(y)) or abs(y_last) or 1.0
        rising = bool(sign * (y[-1] - y[-2]) > 0)
        shares, middles, variances = _beliefs(steps, (last - y_last) / scale, wanted, rising=rising)
        off = _OFF**2 + (_OFF_PER_DOUBLING * math.log2(wanted / steps[-1])) ** 2
        random = np.random.default_rng(0)
        drawn = random.choice(len(shares), _DRAWS, p=shares)
        far = random.standard_t(_FREEDOM, _DRAWS)
        if metric.startswith("val_"):
            far = np.where(sign * far > 0, _OVERFITTING * far, far)
        found = middles[drawn] + np.sqrt(variances[drawn] + off) * far
        return [float(y_last + scale * v) for v in np.quantile(found, (0.1, 0.5, 0.9))]

    def _table(self) -> list[str]:
        names = ["steps", *(["seconds"] if self.seconds else []), *self.values]
        rows = [names]
        for i, steps in enumerate(self.steps):
            row = [f"{steps:,}", *([f"{self.seconds[i]:.1f}"] if self.seconds else [])]
            numbers = (values[i] for values in self.values.values())
            rows.append(row + ["not finite" if v is None else f"{v:.4g}" for v in numbers])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))[
                :_LINE_WIDTH
            ]
            for row in rows
        ]

    def _outlook(self) -> list[str]:
        known = self._known(self.metric)
        if len(known) < _FORECAST_POINTS:
            return []
        (last, value), sign = known[-1], _sign(self.metric)
        lines: list[str] = []
        for factor in (2, 4):
            more, coming = (factor - 1) * last, self.forecast(factor * last)
            took = f" ({_time((factor - 1) * self.seconds[-1])})" if self.seconds else ""
            gain = sign * (value - coming.value)
            maybe = "may " if coming.low <= value <= coming.high else ""
            told = f"{maybe}{'gain' if gain > 0 else 'lose'} {abs(gain):.2g}"
            lines.append(f"Another {more:,} steps{took} {told}: {self.metric} {coming}.")
        best = min(known, key=lambda point: sign * point[1])
        if best[1] != value:
            lines.append(f"It was best after {best[0]:,} steps, {best[1]:.4g}: longer was worse.")
        return lines


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _sign(metric: str) -> float:
    """1 where lower values are better, -1 where higher ones are; what its name does not say: 1."""
    try:
        return 1.0 if direction(metric, "auto") == "min" else -1.0
    except ValueError:
        return 1.0


def _beliefs(
    steps: Sequence[int], values: Any, wanted: int, *, rising: bool
) -> tuple[Any, Any, Any]:
    """Weights, middles and variances of the value after so many steps, of normal distributions.

    Each power and each noise of a grid gives a straight line through the points, with normal
    beliefs about its level and its fall; they are weighed by how likely the points are under them.
    """
    x, target = np.array(steps) / steps[-1], wanted / steps[-1]
    precision = np.diag([_LEVEL_SPREAD**-2, _FALL_SPREAD**-2])
    usual_power = _USUAL_RISE if rising else _USUAL_POWER
    weights: list[float] = []
    middles: list[float] = []
    variances: list[float] = []
    for size in _POWERS:
        power = -size if rising else size
        fall = x[0] ** -power - 1  # so that the slope is the fall over the points
        lines = np.stack([np.ones_like(x), (x**-power - 1) / fall], axis=1)
        line = np.array([1.0, (target**-power - 1) / fall])
        for noise in _NOISES:
            covariance = np.linalg.inv(lines.T @ lines / noise**2 + precision)
            spread = noise**2 * np.eye(len(x)) + lines @ np.linalg.inv(precision) @ lines.T
            likely = values @ np.linalg.solve(spread, values) + np.linalg.slogdet(spread)[1]
            usual = (math.log(size / usual_power) / _POWER_SPREAD) ** 2
            usual += math.log(noise / _USUAL_NOISE) ** 2
            weights.append(-0.5 * (likely + usual))
            middles.append(line @ covariance @ (lines.T @ values / noise**2))
            variances.append(line @ covariance @ line + noise**2)
    shares = np.exp(np.array(weights) - max(weights))
    return shares / shares.sum(), np.array(middles), np.array(variances)


class Learner(Protocol):
    """A training in cycles, as an adapter gives it."""

    suffix: str
    """Of the file of a model."""

    def train(self, steps: int, max_lr: float | None, seed: int) -> tuple[float, dict[str, float]]:
        """Trains for a cycle; returns its top, and what was measured at its end.

        Args:
            steps: Updates of the cycle.
            max_lr: Its top; None: it finds its own.
            seed: Of all that is random in it.
        """
        ...

    def prior(self, total_steps: int) -> Prior:
        """The rate to expect of a training of this length; asked for after the first cycle."""
        ...

    def provenance(self) -> dict[str, Any]:
        """Backend, device and data, and the versions of the framework."""
        ...

    def save_model(self, path: Path) -> object:
        """Writes the model alone."""
        ...

    def save(self, path: Path) -> object:
        """Writes all that the training has changed."""
        ...

    def load(self, path: Path) -> object:
        """Takes it back."""
        ...


def ends_of_doublings(total_steps: int, points: int) -> tuple[int, ...]:
    """Returns the steps after which each cycle is over: the last has half of all.

    >>> ends_of_doublings(1000, 5)
    (62, 125, 250, 500, 1000)
    """
    if (points := check_count("points", points)) > _MOST_POINTS:
        raise bad_argument("points", f"at most {_MOST_POINTS}", points)
    least = _LEAST_CYCLE_STEPS * 2 ** (points - 1)
    total_steps = check_steps("total_steps", total_steps)
    if total_steps < least:
        raise bad_argument("total_steps", f"at least {least} for {points} points", total_steps)
    return tuple(total_steps // 2**halvings for halvings in reversed(range(points)))


def at_the_end(losses: Sequence[float]) -> float:
    """Returns the mean of the last tenth of some losses, of one at least."""
    return float(np.mean(losses[-max(len(losses) // 10, 1) :]))


def in_doublings(
    learner: Learner,
    total_steps: int,
    points: int,
    *,
    metric: str,
    options: CycleOptions,
    seed: int,
    settings: dict[str, Any],
    folder: str | os.PathLike[str] | None,
) -> HowLong:
    """Trains cycle by cycle, and measures at the end of each.

    A rate that is found is that of the first cycle's length; a longer training has the lower one
    that the prior says. With a folder, every point is kept in it, and the same call goes on; it is
    the same if all that is named here is, and `settings`, which hold what an adapter adds.
    """
    ends, max_lr = ends_of_doublings(total_steps, points), options.max_lr
    seed = check_count("seed", seed, low=0, below=2**32 - 64)
    asked = {"max_lr": max_lr, "momentum": options.momentum, "fine_tuned": options.fine_tuned}
    asked |= {"total_steps": ends[-1], "points": len(ends), "seed": seed, "metric": metric}
    settings = plain({**asked, **settings})  # as they come back from a file
    result, place = HowLong((), {metric: ()}, metric, provenance=settings), None
    if folder is not None:
        place = _Place(Path(check_path("folder", folder)), learner, ends, result)
        result = place.found
    began = time.monotonic() - (result.seconds[-1] if result.steps else 0.0)
    for cycle in range(len(result.steps), len(ends)):
        before, end = (0, *ends)[cycle], ends[cycle]
        top = max_lr
        if result.steps:
            lower = 1.0
            if max_lr is None:
                lower = learner.prior(end).lr / learner.prior(before).lr
            top = result.max_lrs[-1] * lower
        last, measured = learner.train(end - before, top, seed + cycle)
        result = HowLong(
            (*result.steps, end),
            {name: (*result.values.get(name, ()), _finite(v)) for name, v in measured.items()},
            metric,
            (*result.seconds, time.monotonic() - began),
            (*result.max_lrs, last),
            result.provenance if result.steps else _provenance(settings, learner),
        )
        if place is not None:
            place.keep(result)
    return result


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _provenance(settings: dict[str, Any], learner: Learner) -> dict[str, Any]:
    told = learner.provenance()
    return {**settings, "versions": {**versions(), **told.pop("versions", {})}, **told}


class _Place:
    """The folder of a run: its points, a model at each, and the state to go on from."""

    def __init__(self, folder: Path, learner: Learner, ends: tuple[int, ...], new: HowLong) -> None:
        self._folder, self._learner = folder, learner
        self.found = new
        if (folder / RECORD).exists():
            self.found = HowLong.load(folder / RECORD)
            for name, value in new.provenance.items():
                there = self.found.provenance.get(name)
                if there != value:
                    raise bad_argument(name, f"{there!r}, as in {folder}", value)
        # The rates of the cycles as shares of their tops, which are not known before.
        starts = (0, *ends[:-1])
        falls = [Linear(1.0, 0.0, end - start) for start, end in zip(starts, ends, strict=True)]
        shares = falls[0] if len(falls) == 1 else SequenceOfSchedules(tuple(falls), starts[1:])
        self._members = MemberFolder(folder, shares, learner.suffix, resume=True)
        if self.found.steps:
            learner.load(self._state(self.found.steps[-1]))

    def keep(self, result: HowLong) -> None:
        """Adds the last point; the state of the one before goes once the record names this one."""
        step = result.steps[-1]
        self._learner.save(self._state(step))
        metric = result.values[result.metric][-1]
        cycle = len(result.steps)
        self._members.add(step - 1, cycle, result.max_lrs[-1], self._learner.save_model, metric)
        result.save(self._folder / RECORD)
        for earlier in result.steps[:-1]:
            self._state(earlier).unlink(missing_ok=True)

    def _state(self, step: int) -> Path:
        return self._folder / f"state-{step:08d}"
