"""The result of `compare`: all runs, the table, the differences, and what was compared."""

from __future__ import annotations

import html
import math
import os
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cyclerate._errors import check_choice, count, require
from cyclerate._files import built, read_json, without_schema, write_json
from cyclerate._plain import plain
from cyclerate._svg import notebook
from cyclerate._theme import CSS, styles
from cyclerate.compare._curves import curves, draw_curves
from cyclerate.compare._record import (
    About,
    Place,
    Run,
    SummaryRow,
    Tested,
    final,
    finish_lines,
    steps_to_reference,
    summarise,
)
from cyclerate.compare._wording import MISSING, Numbers, aligned, signed
from cyclerate.finder import RangeTestResult
from cyclerate.schedules import Schedule, from_dict
from cyclerate.schedules._base import axes_for

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


SCHEMA = 2
FILE_NAME = "record.json"


@dataclass(frozen=True)
class Comparison:
    """What policies gave on one model: `print` it for the table.

    Two are equal whatever their wall time, and when and by what they were computed.

    Attributes:
        cells: Every run: policy, seed, fold, and its curves over the steps.
        policies: The names, in the order of the table.
        reference: The policy that the others are compared with.
        metric: The name of what is recorded beside the held-out loss; None if nothing is.
        schedules: The schedule of each policy: that of the first seed and fold. A comparison that
            was read from a file has none where a function of your own is not loaded.
        range_tests: What the range tests found, by (seed, fold); empty if `max_lr` was given.
        about: What was compared, where and how.
    """

    cells: tuple[Run, ...]
    policies: tuple[str, ...]
    reference: str
    metric: str | None
    schedules: dict[str, Schedule] = field(compare=False)
    range_tests: dict[Place, RangeTestResult]
    about: About

    @cached_property
    def summary(self) -> tuple[SummaryRow, ...]:
        """A row for each policy: means, spreads, and the steps to the reference's final loss."""
        return summarise(self.cells, self.policies, self.reference)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where it comes from, in the form of `RangeTestResult.provenance`.

        `seed` is the first of so many `repeats`, all of them are the text `seeds`; `policy` names
        all policies, `horizon_steps` are those of a run; `device` is there where a range test
        said it, and `machine` beside it.
        """
        about, hashes = self.about, self.about.settings.get("data")
        rows = f"{about.data.rows} rows of {about.data.features} features"
        known = [str(one)[:8] for one in hashes.values()] if isinstance(hashes, Mapping) else []
        seeds = about.seeds or tuple(dict.fromkeys(run.seed for run in self.cells))
        tested = [one.provenance or {} for one in self.range_tests.values()]
        devices = [told["device"] for told in tested if "device" in told]
        in_torch = about.model.optimizer_config.get("framework") == "torch"
        return {
            "seed": seeds[0] if seeds else None,
            "seeds": ", ".join(map(str, seeds)),
            "repeats": len(seeds),
            "policy": ", ".join(self.policies),
            "horizon_steps": about.total_steps,
            "metric": self.metric or "loss",
            "created": about.created,
            "versions": {k: v for k, v in about.versions.items() if k != "backend"},
            "machine": dict(about.machine),
            "backend": "torch" if in_torch else about.versions.get("backend"),
            **({"device": devices[0]} if devices else {}),
            "data": ": ".join([rows, " ".join(known)]) if known else rows,
        }

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Each other policy less the reference, pair by pair: the loss, and the metric.

        None where the reference has no runs, as in a comparison that has just begun.
        """
        if self.reference not in self.policies:
            return ()
        others = [name for name in self.policies if name != self.reference]
        values = ["loss", *([self.metric] if self.metric else [])]
        return tuple(self.difference(name, value) for name in others for value in values)

    def difference(self, policy: str, value: str = "loss", than: str | None = None) -> Difference:
        """A policy less another one, pair by pair: the same seed and fold, both not diverged.

        Args:
            policy: The policy.
            value: "loss" (held out, at the end), or the metric.
            than: The other policy. Default: the reference.

        Raises:
            ValueError: One of them is none of this comparison.
        """
        than = self.reference if than is None else than
        check_choice("policy", policy, self.policies)
        check_choice("than", than, self.policies)
        check_choice("value", value, ("loss", *([self.metric] if self.metric else [])))
        curve = "heldout_loss" if value == "loss" else "heldout_metric"
        ends = [
            {run.place: final(getattr(run, curve)) for run in self._sound(name)}
            for name in (policy, than)
        ]
        pairs = [(ends[0][place], ends[1].get(place)) for place in sorted(ends[0])]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        return difference(policy, than, value, known)

    def runs_of(self, policy: str) -> tuple[Run, ...]:
        """The runs of one policy."""
        return tuple(run for run in self.cells if run.policy == policy)

    def to_frame(self) -> pd.DataFrame:
        """The cells as a pandas DataFrame: one row each, with the values at the end.

        Raises:
            MissingExtra: pandas is not installed.
        """
        lines = finish_lines(self.cells, self.reference)
        rows = [_frame_row(run, self.metric, lines.get(run.place)) for run in self.cells]
        return require("pandas", "cli").DataFrame(rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the held-out loss over the steps: the mean of each policy, its runs paler.

        Args:
            ax: Matplotlib Axes to draw on; a new figure if None.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        axes: Any = axes_for(ax)
        for i, name in enumerate(self.policies):
            runs = self._sound(name)
            for run in runs:
                axes.plot(run.steps, run.heldout_loss, color=f"C{i}", alpha=0.25, linewidth=0.8)
            if runs:
                shortest = min((run.steps for run in runs), key=len)
                ends = zip(*(r.heldout_loss[: len(shortest)] for r in runs), strict=True)
                mean = [statistics.fmean(v for v in values if v is not None) for values in ends]
                axes.plot(shortest, mean, color=f"C{i}", label=name)
        axes.set(xlabel="step", ylabel="held-out loss")
        axes.legend()
        return axes

    def _repr_html_(self) -> str:
        """The comparison as a notebook shows it: its table, and its learning curves."""
        drawn = curves(self.cells, self.policies, "heldout_loss")
        title, *lines = str(self).split("\n")
        parts = [f"<pre style='overflow-x:auto'>{html.escape(chr(10).join(lines).strip())}</pre>"]
        if drawn:
            look = styles(self.policies, self.reference, CSS)
            labels = {policy.name: policy.label for policy in self.about.policies}
            alt = f"Line chart of the held-out loss of {', '.join(self.policies)}."
            parts.append(draw_curves(drawn, "Held-out loss", alt, look, labels))
        return notebook(title, *parts)

    def __str__(self) -> str:
        seeds, folds = ({getattr(run, of) for run in self.cells} for of in ("seed", "fold"))
        many = f", {count(len(folds), 'fold')}" if len(folds) > 1 else ""
        steps = max((row.steps for row in self.summary), default=0)
        title = f"{count(len(seeds), 'seed')}{many}, {steps:,} steps a run. Held-out values."
        heads = ["policy", "top rate", "loss", *([self.metric] if self.metric else []), "reached"]
        losses = Numbers.fitting(row.loss_mean for row in self.summary)
        scores = Numbers.fitting(row.metric_mean for row in self.summary)
        table = aligned([heads, *(self._line(row, losses, scores) for row in self.summary)])
        legend = f"reached: runs that reached the final loss of {self.reference}, and mean steps."
        parts = [title, "", *table, "", legend]
        if pairs := [one.in_a_line() for one in self.differences]:
            parts += ["", f"Less {self.reference}, pair by pair, with a 95 % interval:", *pairs]
        return "\n".join(parts)

    def _line(self, row: SummaryRow, losses: Numbers, scores: Numbers) -> list[str]:
        own = self.schedules.get(row.policy)
        when = "" if row.steps_to_reference is None else f" in {row.steps_to_reference:,.0f}"
        diverged = f" ({row.diverged} diverged)" if row.diverged else ""
        return [
            row.policy[:20],
            MISSING if own is None else f"{own.bounds[1]:.3g}",
            losses.text(row.loss_mean, row.loss_std) + diverged,
            *([scores.text(row.metric_mean, row.metric_std)] if self.metric else []),
            MISSING if row.policy == self.reference else f"{row.reached}{when}",
        ]

    def _sound(self, policy: str) -> list[Run]:
        return [run for run in self.runs_of(policy) if not run.diverged]

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as plain JSON values; the table is there for other programs."""
        tests = [
            asdict(Tested(seed, fold, result.to_dict()))
            for (seed, fold), result in self.range_tests.items()
        ]
        values = {
            "schema": SCHEMA,
            **asdict(self.about),
            "reference": self.reference,
            "metric": self.metric,
            "range_tests": tests,
            "cells": [asdict(run) for run in self.cells],
            "summary": [asdict(row) for row in self.summary],
        }
        return plain(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Comparison:
        """Builds a comparison from what `to_dict` returned.

        Raises:
            ValueError: It is of another schema, or a part is missing or unknown.
        """
        parts = without_schema(values, SCHEMA)
        parts.pop("summary", None)

        def part(name: str, kind: Any) -> Any:
            return built(kind, parts.pop(name, None), name)

        runs, tests = part("cells", tuple[Run, ...]), part("range_tests", tuple[Tested, ...])
        found = {(one.seed, one.fold): RangeTestResult.from_dict(one.result) for one in tests}
        reference, metric = part("reference", str), part("metric", str | None)
        about = built(About, parts, "the record")
        made = {policy.name: revived(policy.schedule) for policy in about.policies}
        schedules = {name: schedule for name, schedule in made.items() if schedule is not None}
        return cls(runs, tuple(made), reference, metric, schedules, found, about)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes it to `path` as strict JSON, replacing the file in one step."""
        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Comparison:
        """Reads what `save` wrote; a folder stands for the `record.json` in it.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not the record of a comparison.
        """
        file = Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)
        return read_json(file, "record", cls.from_dict)


def _frame_row(run: Run, metric: str | None, finish: float | None) -> dict[str, Any]:
    return {
        "policy": run.policy,
        "seed": run.seed,
        "fold": run.fold,
        "loss": final(run.heldout_loss),
        **({metric: final(run.heldout_metric)} if metric else {}),
        "train_loss": final(run.train_loss),
        "steps": run.steps[-1],
        "steps_to_reference": None if finish is None else steps_to_reference(run, finish),
        "seconds": run.seconds,
        "diverged": run.diverged,
    }


def revived(schedule: Mapping[str, Any]) -> Schedule | None:
    """Makes a schedule of its dict; None if that cannot be done here.

    That is so for a schedule with a function of the user's own, when the module that defines the
    function is not loaded, and for a record that was damaged.
    """
    try:
        return from_dict(dict(schedule))
    except ValueError:
        return None


FEWEST_FOR_INTERVAL = 3
LEVEL = 0.95
_MOST_EXACT = 12
_SEED = 0


@dataclass(frozen=True)
class Difference:
    """By how much a policy differs from the reference in one value, over all pairs.

    Attributes:
        policy: The policy.
        reference: What it is compared with.
        value: "loss", or the metric's name.
        pairs: The difference of each pair: the policy's value less the reference's.
        mean: Their mean; None without pairs.
        low: Lower end of a 95 % bootstrap interval of the mean; None with fewer than 3 pairs.
        high: Its upper end.
        chance: How often signs drawn at random give a mean as far from 0, or farther: the exact
            probability of a sign-flip test. It is never below 2 / 2**n with n pairs.
    """

    policy: str
    reference: str
    value: str
    pairs: tuple[float, ...]
    mean: float | None
    low: float | None
    high: float | None
    chance: float | None

    @property
    def verdict(self) -> str:
        """One honest phrase: "higher", "lower", or why neither can be said."""
        if self.mean is None:
            return "no pair to compare"
        way = "higher" if self.mean > 0 else "lower"
        number = count(len(self.pairs), "pair")
        if self.low is None or self.high is None or self.chance is None:
            return f"{number}: too few for an interval"
        if self.low <= 0 <= self.high:
            return "cannot be told apart"
        if self.chance <= 1 - LEVEL:
            return way
        if 2 / 2 ** len(self.pairs) > 1 - LEVEL:
            return f"{way} in these {number}, too few to be sure"
        return "cannot be told apart"

    def in_a_line(self) -> str:
        """Writes it in less than 80 columns where the names are short."""
        name = f"  {self.policy[:20]}, {self.value[:20]}: "
        if self.mean is None:
            return name + self.verdict
        interval = ""
        if self.low is not None and self.high is not None:
            interval = f" [{signed(self.low)}, {signed(self.high)}]"
        return f"{name}{signed(self.mean)}{interval}: {self.verdict}"


def difference(
    policy: str, reference: str, value: str, pairs: Sequence[tuple[float, float]]
) -> Difference:
    """Compares a value of a policy with that of the reference, pair by pair.

    The interval is a bootstrap (BCa, 9,999 resamples, a seed of its own), the chance that of a
    sign-flip test.

    Source: Efron 1987, Better bootstrap confidence intervals; Fisher 1935, The design of
    experiments, section 21, for the test by signs.

    >>> found = difference("one_cycle", "fixed", "loss", [(0.40, 0.50), (0.41, 0.52), (0.43, 0.5)])
    >>> found.verdict
    'lower in these 3 pairs, too few to be sure'
    """
    gaps = np.array([one - other for one, other in pairs], dtype=np.float64)
    mean = float(gaps.mean()) if len(gaps) else None
    low = high = chance = None
    if len(gaps) >= FEWEST_FOR_INTERVAL:
        low, high = _interval(gaps)
        chance = _chance(gaps)
    return Difference(policy, reference, value, tuple(gaps.tolist()), mean, low, high, chance)


def _interval(gaps: Any) -> tuple[float, float]:
    if np.ptp(gaps) == 0:
        return float(gaps[0]), float(gaps[0])
    stats = require("scipy.stats", "cli")
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            # Where the correction cannot be had, as with few distinct values, it gives NaN.
            warnings.simplefilter("ignore")
            found = stats.bootstrap(
                (gaps,),
                np.mean,
                confidence_level=LEVEL,
                method=method,
                random_state=np.random.default_rng(_SEED),
            ).confidence_interval
        if math.isfinite(found.low) and math.isfinite(found.high):
            break
    return float(found.low), float(found.high)


def _chance(gaps: Any) -> float:
    """All signs where there are few pairs, else 9,999 drawings of them."""
    n = len(gaps)
    if n <= _MOST_EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        drawn = np.random.default_rng(_SEED).integers(0, 2, size=(9_999, n))
        signs = np.vstack([np.ones(n, dtype=np.int64), 1 - 2 * drawn])
    means = np.abs(signs @ gaps)
    return float(np.mean(means >= abs(gaps.sum()) * (1 - 1e-12)))
