"""The probe: a sweep to find the region, then short races of whole small cycles inside it.

A sweep changes the rate at every step, so it cannot tell what a rate does to a training. A race
can: it is the policy itself in miniature, from the same weights and on the same batches as every
other race, scored in evaluation mode on a fixed sample. Few long races tell more than many short
ones; one that stays above the untrained loss, or shoots far above it, is given up. Where the
sweep shows nothing, scouts a quarter as long go down from where it broke down, until one does no
harm.

The answer is what the rate to expect, the sweep and the races say together (_prior.py); races stop
where another one would hardly change it. How the best rate of a race becomes that of a longer
training is in _race.py; docs/finders.md has the figures.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cyclerate._errors import CyclerateError, bad_argument, check_choice, check_count
from cyclerate.finder._curve import noise_level, running_median, to_minimise
from cyclerate.finder._prior import Prior, RateReading, quantile_of, share_below
from cyclerate.finder._race import (
    DECADES_PER_TENFOLD,
    OFFSETS_PER_DECADE,
    WIDE,
    Look,
    Race,
    best_offset,
    noisiness,
    offset_for,
    open_offsets,
    smallness,
    spreads,
)
from cyclerate.finder._result import RangeTestResult, StopReason
from cyclerate.finder._run import Run, one_number
from cyclerate.finder._suggest import BASE_FRAC
from cyclerate.finder._sweep import STEPS_LIMIT, RangeTest, Sweep
from cyclerate.schedules import Constant, OneCycle, Schedule, Triangular

RACES = 3
"""Whole races that the steps after the sweep pay for; one that diverges early leaves more."""

SCOUTS = 4
"""Most short races that look for the region where the sweep shows none; a quarter as long."""

MIN_RACE_STEPS = 10

LEAST_RACING_STEPS = RACES * MIN_RACE_STEPS

ASSUMED_HORIZON_STEPS = 1000
# Of the posterior. All of these: benchmarks/finders, on the design and validation tasks.
_ANSWER_SHARE, _NOISY_SHARE = 0.5, 0.15  # lies below the answer
# The posterior is of the best rate. The interval holds a good one in nine cases of ten, so less of
# the posterior is enough.
_INTERVAL_SHARE = 0.6
_WORTH_SHARE, _BETWEEN_SHARE = 0.15, 0.65  # nearer to a rate: it is raced
_READING_DECADES, _UNKNOWN_READING_DECADES = 0.4, 0.45
_UNKNOWN_BESIDE_DECADES = 0.2
_BREAKDOWN_DECADES = 0.4
# Of the noise from batch to batch, what a race must gain: a score, of more rows, has less of it.
_CLEAR_FALL_SDS = 0.15
_SUMMIT_FALLS = 4.0  # of what the sweep fell below the untrained level
_NOTHING_FRAC = 3e-6  # of the level: a score in float32 tells no smaller gain
_SAME_FRAC = 1e-6  # what rounding makes of the same race run twice
_BREAKDOWN_FACTOR = 20.0
_SCOUT_DECADES = 0.5
_SCOUT_WORSE_SDS = 0.5  # of the noise: so much worse may a few steps leave a model that can learn
_FIRST_STEPS = 10
_MEDIAN_STEPS = 5
_FAR_SDS = 10.0
_NOISE_STEPS = 30


def _triangular(max_lr: float, steps: int) -> Schedule:
    return Triangular(base_lr=BASE_FRAC * max_lr, max_lr=max_lr, step_size=max(1, steps // 4))


def _constant(max_lr: float, _steps: int) -> Schedule:
    return Constant(max_lr)


POLICIES: dict[str, Callable[[float, int], Schedule]] = {
    "one_cycle": OneCycle,
    "constant": _constant,
    "triangular": _triangular,
}

DECADES = {"one_cycle": 0.0, "triangular": -0.2, "constant": -0.45}
"""Where the best highest rate of a policy lies beside that of 1cycle: means over 46 tasks,
to a twentieth."""


class Probe:
    """A sweep and the races after it, to be driven run by run.

    The probe decides; whoever drives it only trains. `run` is what to do next: a look at the
    untouched model (a race of no steps), the sweep, then races. Each starts from the same weights,
    optimizer state and batches, and ends with `tell(score)`:

        while probe.run is not None:
            restore()                                 # weights, optimizer, random state, data
            while not probe.run.done:
                probe.run.tell(train_step(probe.run.lr))
            probe.tell(evaluate_on_fixed_sample())

    which is what `drive` does, but for a score that nobody needs (`wants_score`).

    Args:
        sweep: The rates of the sweep. Default `Sweep()`.
        policy: What the rate is for: "one_cycle", "constant" or "triangular".
        horizon_steps: Optimizer steps of the training to come. Default None: taken to be 1,000.
        max_steps: Most optimizer steps in all, the sweep included; enough for the sweep and three
            races of 10 steps. Default 400.
        metric: Name of what is told, for the result. Default "loss".
        mode: "min" if lower values of it are better, "max" if higher ones are.
        stop_early: Whether the sweep stops when the metric diverges.
        prior: The rate to expect of this policy, from `Trainee.prior`. Default None: not known.

    Raises:
        ValueError: An argument is not as described.

    >>> from cyclerate.finder import drive
    >>> probe = Probe(horizon_steps=500)
    >>> weights = [1.0, 1.0]
    >>> def restore():
    ...     weights[:] = [1.0, 1.0]
    >>> def step(lr):
    ...     weights[:] = [w - lr * steep * w for w, steep in zip(weights, [1.0, 20.0])]
    ...     return score()
    >>> def score():
    ...     return weights[0] ** 2 + 20 * weights[1] ** 2
    >>> drive(probe, restore=restore, step=step, score=score)
    >>> result = probe.result()
    >>> 0.01 < result.max_lr < 0.1, result.steps <= 400
    (True, True)
    """

    def __init__(
        self,
        sweep: Sweep | None = None,
        *,
        policy: str = "one_cycle",
        horizon_steps: int | None = None,
        max_steps: int = 400,
        metric: str = "loss",
        mode: str = "min",
        stop_early: bool = True,
        prior: Prior | None = None,
    ) -> None:
        self._prior = prior
        self._read: RateReading | None = None
        self._noise_sd = math.nan
        self._sweep = RangeTest(sweep, metric=metric, mode=mode, stop_early=stop_early)
        self.policy = check_choice("policy", policy, POLICIES)
        self.horizon_steps = (
            None if horizon_steps is None else check_count("horizon_steps", horizon_steps)
        )
        self.max_steps = check_count("max_steps", max_steps, below=2 * STEPS_LIMIT)
        least = self._sweep.sweep.steps + LEAST_RACING_STEPS
        if self.max_steps < least:
            raise bad_argument("max_steps", f"at least {least} with this sweep", max_steps)
        first, second = self._sweep.lrs_from(0, 2)
        self._lowest_lr = first or second  # a linear sweep may begin at 0
        self._courses: list[tuple[float, array[float]]] = []
        self._scores: dict[int, float] = {}
        self._raced: list[tuple[float, float]] = []
        self._start = math.nan
        self._ceiling = math.inf
        self._summit = math.inf
        self._scouts_left = 0
        self._spent_steps = 0
        self._race_steps = 0
        self._centre = math.nan  # log10
        self._offset = 0
        self.run: Run | None = Look()
        """What to do next; None when there is nothing more to do."""

    @property
    def done(self) -> bool:
        """Whether there is nothing more to do."""
        return self.run is None

    @property
    def wants_score(self) -> bool:
        """Whether the present run ends with a score: all but the sweep, and races that failed."""
        run = self.run
        return isinstance(run, Race) and not run.failed

    @property
    def scores(self) -> dict[float, float]:
        """What each race scored, by its highest rate, lower being better.

        Infinity: it diverged, or ended no better than it began.
        """
        return {self._lr(offset): self._scores[offset] for offset in sorted(self._scores)}

    @property
    def start(self) -> float:
        """What the untouched model scores, lower being better."""
        return self._start

    @property
    def race_steps(self) -> int:
        """Length of a race; 0 before the sweep is over."""
        return self._race_steps

    def race_of(self, policy: str, max_lr: float) -> Race:
        """Returns a race like the probe's own, by any policy: of the same length and limits.

        Args:
            policy: "one_cycle", "constant" or "triangular".
            max_lr: Its highest rate.

        Raises:
            ValueError: Another policy.
        """
        return self._race(max_lr, self._race_steps, check_choice("policy", policy, POLICIES))

    def tell(self, score: Any) -> None:
        """Ends the present run.

        Args:
            score: The metric on the fixed sample, in evaluation mode, of the model as the run
                left it. May be None where the run does not want one.

        Raises:
            ValueError: `score` is not a single number.
            CyclerateError: The run is not over, or there is none.
        """
        run = self.run
        if run is None or not run.done:
            raise CyclerateError("a score belongs to a run that is over; see Probe.run")
        if run is self._sweep:
            self._after_sweep()
        elif isinstance(run, Look):
            self._start = self.to_minimise(score)
            self.run = self._sweep
        else:
            failed = isinstance(run, Race) and run.failed
            ended_at = math.inf if failed else self.to_minimise(score)
            self._spent_steps += run.index
            if not self._scouts_left:
                sign = 1 if self._sweep.mode == "min" else -1
                self._raced.append((self._lr(self._offset), sign * ended_at))
                if isinstance(run, Race) and not run.failed:
                    self._courses.append((ended_at, array("d", run.told)))
            bar = self._start + (_SCOUT_WORSE_SDS * self._noise() if self._scouts_left else 0.0)
            self._after_race(ended_at if ended_at < bar else math.inf)
            self.run = self._next_run()

    def result(self, *, seconds: float | None = None) -> RangeTestResult:
        """Reads what the runs told so far.

        Args:
            seconds: Wall time they took, if known.

        Returns:
            The curve of the sweep, with the rates that the races chose; method "probe".
        """
        swept = self._sweep.result(method="probe", seconds=seconds)
        why_none = self._why_none()
        answer = {
            "base_lr": None,
            "max_lr": None,
            "interval": None,
            "verdict": f"No clear answer: {why_none}.",
        }
        if why_none is None:
            answer = self._answer()
        return dataclasses.replace(
            swept,
            steps=self._spent_steps,
            races=tuple(sorted(self._raced)),
            readings=self._readings(),
            **answer,
        )

    def _readings(self) -> tuple[RateReading, ...]:
        """Returns what prior, sweep and races say of the rate."""
        found: list[RateReading] = []
        if self._prior is not None:
            decades = self._prior.decades
            found.append(RateReading("prior", self._prior.lr, decades, decades))
        if self._read is not None:
            found.append(self._read)
        if math.isfinite(min(self._scores.values(), default=math.inf)):
            lr = self._lr(self._chosen())
            found.append(RateReading("races", lr, *self._spreads()))
        return tuple(found)

    def _spreads(self) -> tuple[float, float]:
        """Returns how far off the races may be: the more, the less they gained beside the noise."""
        gain = self._start - min(self._scores.values())
        more = 1 + smallness(gain, min(self._noise(), self._noise_of_best()))
        below, above = spreads(self._scores, self._start)
        return below * more, above * more

    def _reading_of(self, swept: RangeTestResult) -> RateReading | None:
        """Returns what the sweep says: by its answer, or by where it broke down."""
        beside = DECADES[self.policy]
        if self._prior is not None:
            beside += self._prior.reading_decades
        if swept.max_lr is not None:
            known = self._prior is not None
            lr, decades = swept.max_lr, _READING_DECADES if known else _UNKNOWN_READING_DECADES
            beside += 0.0 if known else _UNKNOWN_BESIDE_DECADES
        elif swept.diverged_at is not None:
            lr, decades = swept.diverged_at / _BREAKDOWN_FACTOR, _BREAKDOWN_DECADES
        else:
            return None
        return RateReading("sweep", max(lr, self._lowest_lr) * 10**beside, decades, decades)

    def _after_sweep(self) -> None:
        self._spent_steps = self._sweep.index
        swept = self._sweep.result()
        self._take_level(swept)
        self._read = self._reading_of(swept)
        self._scouts_left = SCOUTS if swept.max_lr is None and self._prior is None else 0
        self._plan_races()
        self._centre = self._centre_of(swept)
        self.run = self._next_run()

    def _plan_races(self) -> None:
        steps = (self.max_steps - self._spent_steps) // RACES
        self._race_steps = min(steps, self.horizon_steps or steps)

    def _after_race(self, score: float) -> None:
        """Notes a score; a scout that got nowhere is followed by one at a lower rate."""
        if not self._scouts_left:
            self._scores[self._offset] = score
            return
        self._scouts_left -= 1
        if math.isfinite(score):
            self._scouts_left = 0
        else:
            self._centre = max(self._centre - _SCOUT_DECADES, math.log10(self._lowest_lr))
        self._plan_races()

    def _take_level(self, swept: RangeTestResult) -> None:
        """Takes the level of the loss from the first steps, which taught the model nothing yet."""
        first = swept.losses[:_FIRST_STEPS]
        if not np.isfinite(first).any():
            return
        level = self.to_minimise(np.nanmedian(first))
        # Differences alone: a constant added to the loss changes nothing.
        known = to_minimise(swept.losses[np.isfinite(swept.losses)], swept.mode)
        medians = running_median(known, _MEDIAN_STEPS)
        lowest = int(np.argmin(medians))
        noise_there = noise_level(known[max(0, lowest - _NOISE_STEPS) : lowest])
        high = max(_FAR_SDS * noise_there, _SUMMIT_FALLS * (level - float(medians[lowest])))
        self._ceiling = level + _FAR_SDS * self._noise()
        self._summit = max(self._ceiling, level + high)
        if np.any(known[:lowest] > self._summit):
            # Batches with rare large targets have such a loss at any rate: it tells nothing.
            self._summit = math.inf
        # In evaluation mode an untrained batch norm takes unscaled inputs for scaled ones, and its
        # loss may be millions.
        if self._start > self._ceiling:
            self._start = level

    def _centre_of(self, swept: RangeTestResult) -> float:
        """Returns the sweep's answer; without one, far below where it broke down, or its middle."""
        sweep = self._sweep.sweep
        if swept.max_lr is not None or self._prior is not None:
            shift = DECADES_PER_TENFOLD * self._tenfolds
            centre = quantile_of(self._readings(), _ANSWER_SHARE) + shift
            return min(max(centre, math.log10(self._lowest_lr)), math.log10(sweep.end_lr))
        if swept.stop_reason in (StopReason.DIVERGED, StopReason.NON_FINITE):
            return math.log10(max(swept.lrs[-1] / _BREAKDOWN_FACTOR, self._lowest_lr))
        return (math.log10(self._lowest_lr) + math.log10(sweep.end_lr)) / 2

    def _next_run(self) -> Race | None:
        """Returns the next scout or race that there are steps for.

        Rates outside those of the sweep count as failures.
        """
        if self._scouts_left:
            return self._race(10**self._centre, max(1, self._race_steps // SCOUTS), self.policy)
        while (offset := self._next_offset()) is not None:
            lr = self._lr(offset)
            if self._lowest_lr * 0.999 <= lr <= self._sweep.sweep.end_lr * 1.001:
                if self._spent_steps + self._race_steps > self.max_steps:
                    return None
                self._offset = offset
                return self._race(lr, self._race_steps, self.policy)
            self._scores[offset] = math.inf
            if all(map(math.isinf, self._scores.values())):
                return None
        return None

    def _next_offset(self) -> int | None:
        """Returns the next offset to race; None where another race would hardly change the answer.

        That is: where the best rate hardly lies nearer to any that could be raced next.
        """
        offsets = open_offsets(self._scores)
        if not self._scores or math.isinf(min(self._scores.values())):
            return offsets[0]
        readings, best = self._readings(), best_offset(self._scores)
        shift = DECADES_PER_TENFOLD * self._tenfolds
        worth: dict[float, int] = {}
        for offset in offsets:
            below = share_below(readings, math.log10(self._lr((best + offset) / 2)) - shift)
            least = _WORTH_SHARE if abs(offset - best) == WIDE else _BETWEEN_SHARE
            worth[(below if offset < best else 1 - below) - least] = offset
        most = max(worth, default=-1.0)
        return worth[most] if most >= 0 else None

    def _race(self, max_lr: float, steps: int, policy: str) -> Race:
        lrs = POLICIES[policy](max_lr, steps)(np.arange(steps))
        return Race(lrs, max_lr, ceiling=self._ceiling, summit=self._summit, mode=self._sweep.mode)

    def _lr(self, offset: float) -> float:
        return 10 ** (self._centre + offset / OFFSETS_PER_DECADE)

    def to_minimise(self, score: Any) -> float:
        """Returns a score with its sign turned where more is better; infinity for NaN."""
        number = one_number(score)
        number = number if self._sweep.mode == "min" else -number
        return number if math.isfinite(number) else math.inf

    def _why_none(self) -> str | None:
        metric = self._sweep.metric
        scores = [score for score in self._scores.values() if math.isfinite(score)]
        fall = self._start - min(scores, default=self._start)
        if not fall > max(_CLEAR_FALL_SDS * self._noise(), _NOTHING_FRAC * abs(self._start)):
            return (
                f"none of {len(self._scores)} short trainings improved the {metric} by more than "
                f"chance would{self._little()}; check that this model can learn from this data"
            )
        # Not by the scores alone: many rates may lead to the bottom of an easy problem.
        totals = [sum(told) for _, told in self._courses]
        if len(totals) > 1 and _are_same(totals) and _are_same(scores):
            return f"{len(scores)} short trainings took the same course, whatever their rate"
        return None

    def _little(self) -> str:
        """Returns where the little that there was to gain was found, for whoever wants to try."""
        best = best_offset(self._scores) if self._scores else 0
        score = self._scores.get(best, math.inf)
        if math.isinf(score):
            return ""
        return f" (the best of them, at {self._lr(best):.2g}, by {self._start - score:.2g})"

    def _noise(self) -> float:
        """Returns the standard deviation of the metric over the first batches of the sweep.

        And no less than rounding makes: batches may be alike where a model gives a constant.
        """
        if math.isnan(self._noise_sd):
            first = self._sweep.result().losses[:_NOISE_STEPS]
            finite = np.abs(first[np.isfinite(first)])
            least = _SAME_FRAC * float(np.median(finite)) if len(finite) else 0.0
            noise = max(noise_level(first), least)
            if not self._sweep.done:
                return noise
            self._noise_sd = noise
        return self._noise_sd

    def _noise_of_best(self) -> float:
        """Returns that of the best race's second half: a loss that fell far has less of it."""
        if not self._courses:
            return math.inf
        _, told = min(self._courses)
        return noise_level(np.array(told[-max(_FIRST_STEPS, len(told) // 2) :]))

    @property
    def _horizon(self) -> int:
        return self.horizon_steps or max(ASSUMED_HORIZON_STEPS, self._race_steps)

    @property
    def _tenfolds(self) -> float:
        """The decimal logarithm of the training's length over a race's."""
        return math.log10(self._horizon / self._race_steps)

    def _chosen(self) -> float:
        """Returns the offset that the races alone say."""
        return offset_for(
            self._scores,
            self._start,
            noise=self._noise(),
            least_noise=self._noise_of_best(),
            tenfolds=self._tenfolds,
        )

    def _answer_share(self) -> float:
        """Returns the share of the posterior that is to lie below the answer.

        Too high a rate costs more than one too low, and most where batches differ much: a long
        training meets worse ones than any race.
        """
        gain = self._start - min(self._scores.values())
        noisy = noisiness(gain, self._noise()) * min(1.0, self._tenfolds)
        return _ANSWER_SHARE + noisy * (_NOISY_SHARE - _ANSWER_SHARE)

    def _answer(self) -> dict[str, Any]:
        readings = self._readings()
        tail = (1 - _INTERVAL_SHARE) / 2
        max_lr = min(10 ** quantile_of(readings, self._answer_share()), self._sweep.sweep.end_lr)
        low, high = (10 ** quantile_of(readings, share) for share in (tail, 1 - tail))
        count = len(self._scores) - [*self._scores.values()].count(math.inf)
        races = "1 race" if count == 1 else f"{count} races"
        return {
            "base_lr": BASE_FRAC * max_lr,
            "max_lr": max_lr,
            "interval": (min(low, max_lr), max(high, max_lr)),
            "verdict": (
                f"Of {races} of {self._race_steps} steps the best rate was "
                f"{self._lr(best_offset(self._scores)):.2g}; "
                f"for {self._horizon} steps that is {max_lr:.2g}"
                f"{self._caution()}."
            ),
        }

    def _caution(self) -> str:
        """Returns which rates might have been better, had there been steps to race them."""
        best, missing = best_offset(self._scores), self._next_offset()
        if missing is None or min(self._scores) <= missing <= max(self._scores):
            return ""
        side = "higher" if missing > best else "lower"
        return f"; {side} rates were not raced, and may be better"


def _are_same(values: Sequence[float]) -> bool:
    """Whether they differ by no more than rounding makes of the same race run twice."""
    return bool(np.ptp(values) <= _SAME_FRAC * np.max(np.abs(values)))
