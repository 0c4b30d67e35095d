"""What to do with a budget: the rate to expect and a cycle that checks it, or a probe and races.

Up to `PROBES_FROM_STEPS`, whatever is tried beforehand costs more than it gains, as docs/budget.md
measures: the budget is a cycle that finds its own top. From there on, a probe for the rate comes
first, then races between policies. These share start, batches and sample, so a policy needs no more
than one race: the probe has already raced the first one, and the best rates of the others lie where
they usually do.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cyclerate._errors import (
    CyclerateError,
    bad_argument,
    check_choice,
    check_count,
    check_flag,
    check_number,
)
from cyclerate.finder._prior import Prior, RateReading
from cyclerate.finder._probe import DECADES, POLICIES, RACES, Probe
from cyclerate.finder._progress import announce
from cyclerate.finder._race import Race
from cyclerate.finder._range_test import conduct, provenance_of, shown
from cyclerate.finder._recommendation import Choice, PolicyRace, Recommendation, choose
from cyclerate.finder._result import RangeTestResult, StopReason
from cyclerate.finder._run import Run, Trainee
from cyclerate.finder._sweep import Sweep, checked_told, set_fields
from cyclerate.finder._warmup import way_up_steps
from cyclerate.schedules._base import check_steps

TUNING_FRAC = 0.15
"""Share of the budget, where it is large enough; of a small one up to twice of it."""

LEAST_BUDGET_STEPS = 80
"""Half of it is then the smallest tuning that is worth its steps."""

_SMALL_BUDGET_FRAC = 0.3
_GOOD_STEPS = 120  # so many are worth that: half of them give a rate that costs twice as much
_LEAST_STEPS, _MOST_STEPS = 40, 600
_LEAST_SWEEP_STEPS, _MOST_SWEEP_STEPS = 10, 100
_START_LR = 1e-6  # where a sweep of few steps begins
_SWEEP_FRAC = 1 / 4
_SWEPT_FRAC = 0.7  # a sweep that diverges earlier leaves longer races
_MOST_PROBE_STEPS = 400
_POLICIES_FROM_STEPS = 200  # below, their races would be paid for by worse rates

PROBES_FROM_STEPS = 5000
"""The largest budgets of docs/budget.md; up to them, a cycle that finds its own top is ahead."""

WAYS = ("auto", "warmup", "probe")


@dataclass(frozen=True)
class Tuning:
    """Lengths of the parts of a tuning, in optimizer steps.

    Attributes:
        sweep_steps: The sweep.
        probe_steps: The sweep and the races of rates.
        steps: All of it, the races of policies included.
    """

    sweep_steps: int
    probe_steps: int
    steps: int

    @property
    def races_policies(self) -> bool:
        """Whether anything is left for races of policies."""
        return self.steps > self.probe_steps


def tuning_for(budget_steps: int, policies: int) -> Tuning:
    """Returns the parts of the tuning for a budget.

    Args:
        budget_steps: Optimizer steps of tuning and training together, at least 80.
        policies: How many policies there are to choose from.

    Raises:
        ValueError: The budget is too small.

    >>> tuning_for(100, 3)
    Tuning(sweep_steps=10, probe_steps=40, steps=40)
    >>> tuning_for(2000, 3)
    Tuning(sweep_steps=75, probe_steps=201, steps=300)
    """
    budget_steps = check_steps("budget_steps", budget_steps)
    if budget_steps < LEAST_BUDGET_STEPS:
        allowed = f"at least {LEAST_BUDGET_STEPS}, of which the smallest tuning takes half"
        raise bad_argument("budget_steps", allowed, budget_steps)
    small = min(_GOOD_STEPS, round(_SMALL_BUDGET_FRAC * budget_steps))
    steps = min(max(round(TUNING_FRAC * budget_steps), small, _LEAST_STEPS), _MOST_STEPS)
    sweep = min(max(int(_SWEEP_FRAC * steps), _LEAST_SWEEP_STEPS), _MOST_SWEEP_STEPS)
    if policies < 2 or steps < _POLICIES_FROM_STEPS:
        probe = min(steps, _MOST_PROBE_STEPS)
        return Tuning(sweep, probe, probe)
    rivals = policies - 1
    # A race is a third of what the sweep leaves of the probe's steps.
    probe = int((RACES * steps + rivals * _SWEPT_FRAC * sweep) / (RACES + rivals))
    return Tuning(sweep, min(probe, _MOST_PROBE_STEPS), steps)


def part_of_training(total_steps: int, method: str) -> dict[str, Any]:
    """Returns the settings of a range test that takes its steps from those of the training.

    Args:
        total_steps: Optimizer steps of both together, at least 80.
        method: "probe", or "range" for a sweep alone.

    Raises:
        ValueError: The steps are too few.

    >>> part_of_training(1000, "probe")
    {'start_lr': 1e-06, 'horizon_steps': 850, 'steps': 37, 'max_steps': 150}
    >>> part_of_training(1000, "range")
    {'start_lr': 1e-06, 'horizon_steps': 850, 'steps': 150}
    """
    check_count("total_steps", total_steps, low=LEAST_BUDGET_STEPS)
    tuning = tuning_for(total_steps, policies=1)
    shared = {"start_lr": _START_LR, "horizon_steps": total_steps - tuning.steps}
    if method == "probe":
        return {**shared, "steps": tuning.sweep_steps, "max_steps": tuning.steps}
    return {**shared, "steps": tuning.steps}


def tell_cost(
    verbose: str | int, total_steps: int, *, most_steps: int | None = None, beside: bool = False
) -> None:
    """Says beforehand what finding the rate will cost, where anybody reads it.

    Args:
        verbose: "auto" on a terminal only, 1 always, 0 never.
        total_steps: Those of the training, finding included.
        most_steps: Those of a range test; None for the way up of a cycle that finds its own top.
        beside: Whether a range test's come on top of the training's.
    """
    cost = way_up_steps(total_steps) if most_steps is None else most_steps
    part = f"about {cost / total_steps:.0%} of your {total_steps:,}"
    if most_steps is None:
        announce(f"The way up of the cycle finds the rate: {cost:,} steps, {part}.", verbose)
    elif beside:
        announce(f"Finding the rate: at most {cost:,} steps more, {part}.", verbose)
    else:
        announce(f"Finding the rate: at most {cost:,} steps, {part}.", verbose)


TIMING_STEPS = 15
_SETTLING_STEPS = 5  # compiled, allocated and cached in: they say nothing of the others

Clock = Callable[[], float]


class TimedRace(Race):
    """A race at a rate that does nothing, to see how long a step takes."""

    def __init__(self, lr: float, clock: Clock) -> None:
        super().__init__([lr] * TIMING_STEPS, lr)
        self._clock = clock
        self._times: list[float] = []

    def tell(self, value: Any) -> bool:
        """Notes the time."""
        self._times.append(self._clock())
        return super().tell(value)

    @property
    def seconds_per_step(self) -> float:
        """The mean over all steps but the first ones.

        Raises:
            CyclerateError: The loss was not finite, so the race ended early.
        """
        if self.failed:
            raise CyclerateError("the loss is not finite, at a rate that changes nothing")
        since, until = self._times[_SETTLING_STEPS - 1], self._times[-1]
        return max((until - since) / (TIMING_STEPS - _SETTLING_STEPS), 1e-9)


USUAL_POLICIES = ("one_cycle", "triangular", "constant")


@dataclass(frozen=True, kw_only=True)
class RecommendationSettings:
    """The settings of a recommendation: a value that every `recommend` takes as `settings`.

    Args:
        budget_steps: Optimizer steps of tuning and training together, at least 80.
        budget_minutes: The same as wall time.
        epochs: The same as passes over the data. Exactly one of the three is given.
        find: "warmup", nothing is tried: the rate to expect, and a cycle that finds its own top;
            "probe", a probe and the races of policies. Default "auto": "warmup" for a budget under
            5,000 steps, where the trainee knows what to expect.
        fine_tuned: Whether the weights were trained before: lower rates are expected then. Default
            False.
        policies: What to choose from. Default "one_cycle", "triangular" and "constant".
        sweep: The range of rates to look in. Default 1e-6 to 10; its length follows the budget.
        metric: Name of what is recorded. Default "loss".
        mode: "min" or "max", whichever is better. Default "auto": by the metric's name.
        seed: For the order of the data. Default 0.

    Raises:
        ValueError: An argument is not as described.

    >>> RecommendationSettings(epochs=10).in_steps(batches_per_epoch=50, accumulation_steps=4)
    RecommendationSettings(budget_steps=125, ...)
    >>> RecommendationSettings(budget_steps=1000, policies=["sawtooth"])
    Traceback (most recent call last):
        ...
    ValueError: policies must be one of 'one_cycle', 'constant', 'triangular'. Received: 'sawtooth'
    """

    DEFAULT_SWEEP: ClassVar[Sweep] = Sweep(start_lr=_START_LR)

    budget_steps: int | None = None
    budget_minutes: float | None = None
    epochs: int | None = None
    find: str = "auto"
    fine_tuned: bool = False
    policies: Sequence[str] = USUAL_POLICIES
    sweep: Sweep = DEFAULT_SWEEP
    metric: str = "loss"
    mode: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        given = (self.budget_steps, self.budget_minutes, self.epochs)
        if sum(budget is not None for budget in given) != 1:
            raise bad_argument("budget_steps, budget_minutes and epochs", "one given", given)
        check_choice("find", self.find, WAYS)
        check_flag("fine_tuned", self.fine_tuned)
        set_fields(self, policies=_checked(self.policies), **checked_told(self))
        if self.epochs is not None:
            set_fields(self, epochs=check_count("epochs", self.epochs))
        if self.budget_steps is not None:
            set_fields(self, budget_steps=check_steps("budget_steps", self.budget_steps))
            tuning_for(self.budget_steps, len(self.policies))
        if self.budget_minutes is not None:
            minutes = check_number("budget_minutes", self.budget_minutes, low=0, low_open=True)
            set_fields(self, budget_minutes=minutes)

    def in_steps(
        self, batches_per_epoch: int | None, accumulation_steps: int = 1
    ) -> RecommendationSettings:
        """Returns the same with a budget of epochs as one of optimizer steps.

        Args:
            batches_per_epoch: Of the data; None if they do not say.
            accumulation_steps: How many of them make an optimizer step. Default 1.

        Raises:
            ValueError: The data do not say, or the steps are fewer than 80.
        """
        accumulated = check_count("accumulation_steps", accumulation_steps, below=2**31)
        if self.epochs is None:
            return self
        if batches_per_epoch is None:
            allowed = (
                "None, and budget_steps given, where the data do not say how many batches they have"
            )
            raise bad_argument("epochs", allowed, self.epochs)
        steps = self.epochs * batches_per_epoch // accumulated
        return dataclasses.replace(self, epochs=None, budget_steps=steps)

    def new(
        self,
        *,
        since: float | None = None,
        clock: Clock = time.perf_counter,
        expect: Callable[..., Prior | None] | None = None,
    ) -> Recommender:
        """Returns a procedure that has not begun.

        Args:
            since: When the budget of minutes began to run, by the clock. Default: now.
            clock: Gives the seconds.
            expect: `Trainee.prior`. Default: nothing is known.

        Raises:
            ValueError: The budget is in epochs; see `in_steps`.
        """
        return Recommender(self.in_steps(None), since=since, clock=clock, expect=expect)


class Recommender:
    """A probe and the races between policies after it, to be driven like a `Probe`.

    >>> from cyclerate.finder import drive
    >>> weights = [1.0, 1.0]
    >>> def restore():
    ...     weights[:] = [1.0, 1.0]
    >>> def step(lr):
    ...     weights[:] = [w - lr * steep * w for w, steep in zip(weights, [1.0, 20.0])]
    ...     return score()
    >>> def score():
    ...     return weights[0] ** 2 + 20 * weights[1] ** 2
    >>> recommender = RecommendationSettings(budget_steps=2000).new()
    >>> drive(recommender, restore=restore, step=step, score=score)
    >>> found = recommender.recommendation()
    >>> found.steps + found.training_steps, found.schedule.bounds[1] == found.max_lr
    (2000, True)
    """

    def __init__(
        self,
        settings: RecommendationSettings,
        *,
        since: float | None,
        clock: Clock,
        expect: Callable[..., Prior | None] | None,
    ) -> None:
        self._settings, self._clock, self._expect = settings, clock, expect
        self._since = clock() if since is None else since
        self._timing: TimedRace | None = None
        self._timing_steps = 0
        self._seconds_per_step = math.nan
        self._parts: tuple[Probe, Tuning] | None = None
        self._prior: Prior | None = None
        self._tries = True
        self._race: Race | None = None
        self._coming = list(settings.policies[1:])
        self._raced: list[PolicyRace] = []
        self._race_steps = 0
        self._racing = settings.policies[0]
        if settings.budget_steps is None:
            self._timing = TimedRace(settings.sweep.start_lr, clock)
        else:
            self._begin(settings.budget_steps)

    @property
    def run(self) -> Run | None:
        """What to do next; None when there is nothing more to do."""
        if not self._tries:
            return None
        return self._timing or self._race or self._probe.run

    @property
    def wants_score(self) -> bool:
        """Whether the present run ends with a score."""
        if self._timing is not None:
            return False
        return self._probe.wants_score if self._race is None else not self._race.failed

    @property
    def _probe(self) -> Probe:
        return self._begun()[0]

    @property
    def _tuning(self) -> Tuning:
        return self._begun()[1]

    def _begun(self) -> tuple[Probe, Tuning]:
        if self._parts is None:
            raise CyclerateError("there is no range test before the time of a step is known")
        return self._parts

    def tell(self, score: Any) -> None:
        """Ends the present run.

        Raises:
            ValueError: `score` is not a single number.
            CyclerateError: The run is not over, or there is none; the minutes are too few.
        """
        run = self.run
        if run is None or not run.done:
            raise CyclerateError("a score belongs to a run that is over; see Recommender.run")
        if self._timing is not None:
            self._after_timing(self._timing)
        elif self._race is not None:
            self._after_race(self._race, score)
        else:
            self._probe.tell(score)
            if self._probe.run is None:
                self._begin_policies()

    def result(self, *, seconds: float | None = None) -> RangeTestResult:
        """Reads what the probe told so far."""
        if self._prior is not None and not self._tries:
            return self._untried(self._prior)
        return self._probe.result(seconds=seconds).with_fallback(self._prior)

    def recommendation(self, *, seconds: float | None = None) -> Recommendation:
        """Returns the policy, its rates and its schedule for the steps that are left.

        Args:
            seconds: Wall time of the tuning, if known.

        Raises:
            CyclerateError: The tuning is not over, or has used up all the minutes.
        """
        if self.run is not None:
            raise CyclerateError("the tuning is not over; see Recommender.run")
        tested = self.result()
        steps = self._timing_steps + tested.steps + self._race_steps
        budget_steps = self._settings.budget_steps or steps + self._steps_left()
        kept, choice = self._settings.policies[0], None
        if tested.fallback_lr is not None:
            choice = Choice(kept, "without an answer, the rate to expect is taken")
        elif not self._tries:
            choice = Choice(
                kept, "Nothing was tried: up to 5,000 steps, that costs more than it gains"
            )
        elif self._raced:
            choice = choose(self._raced, start=self._sign * self._probe.start, mode=tested.mode)
        return Recommendation.of(
            tested,
            choice,
            prior=self._prior,
            evidence=tuple(self._raced),
            steps=steps,
            budget_steps=budget_steps,
            seconds=seconds,
        )

    def tell_cost(self, verbose: str | int) -> None:
        """Says beforehand what is tried, if anything is and the steps are known."""
        budget_steps = self._settings.budget_steps
        if budget_steps is not None and self._tries:
            tell_cost(verbose, budget_steps, most_steps=self._tuning.steps)

    def _after_timing(self, timing: TimedRace) -> None:
        self._seconds_per_step = timing.seconds_per_step
        self._timing_steps = timing.index
        self._timing = None
        self._begin(self._steps_left(LEAST_BUDGET_STEPS))

    def _steps_left(self, least: int = 1) -> int:
        """Returns how many steps the rest of the minutes pays for.

        Raises:
            CyclerateError: Fewer than the least.
        """
        budget = 60 * (self._settings.budget_minutes or 0)
        used = self._clock() - self._since
        steps = int((budget - used) / self._seconds_per_step)
        if steps < least:
            raise CyclerateError(
                f"budget_minutes is too small: after {used:.1f} s of {budget:.1f} s there is time "
                f"for {max(steps, 0)} steps of {self._seconds_per_step:.2g} s, and at least "
                f"{least} are needed"
            )
        return steps

    def _begin(self, budget_steps: int) -> None:
        settings = self._settings
        if self._expect is not None:
            prior = self._expect(budget_steps, fine_tuned=settings.fine_tuned)
            self._prior = prior and prior.times(10 ** DECADES[settings.policies[0]])
        small = settings.find == "auto" and budget_steps < PROBES_FROM_STEPS
        self._tries = self._prior is None or not (small or settings.find == "warmup")
        if self._tries:
            self._begin_probe(budget_steps)

    def _untried(self, prior: Prior) -> RangeTestResult:
        return RangeTestResult(
            lrs=np.empty(0),
            losses=np.empty(0),
            smoothed=np.empty(0),
            base_lr=prior.lr / 4,
            max_lr=prior.lr,
            interval=prior.interval,
            verdict="Optimizer, batch, length and size let this rate be expected.",
            stop_reason=StopReason.CUT_SHORT,
            method="prior",
            readings=(RateReading("prior", prior.lr, prior.decades, prior.decades),),
            steps=0,
            planned_steps=1,
            metric=self._settings.metric,
            mode=self._settings.mode,
        )

    def _begin_probe(self, budget_steps: int) -> None:
        tuning = tuning_for(budget_steps, len(self._settings.policies))
        sweep = self._settings.sweep
        probe = Probe(
            Sweep(sweep.start_lr, sweep.end_lr, tuning.sweep_steps),
            policy=self._settings.policies[0],
            horizon_steps=budget_steps - tuning.steps,
            max_steps=tuning.probe_steps,
            metric=self._settings.metric,
            mode=self._settings.mode,
            prior=self._prior,
        )
        self._parts = probe, tuning

    def _begin_policies(self) -> None:
        """Takes the best race of the probe as that of the first policy; then come the others."""
        if self._probe.result().max_lr is None:
            return
        scores = self._probe.scores
        best = min(scores, key=lambda lr: scores[lr])
        self._note(best, scores[best])
        self._next_policy()

    def _next_policy(self) -> None:
        self._race = None
        spent = self._probe.result().steps + self._race_steps
        if self._coming and spent + self._probe.race_steps <= self._tuning.steps:
            self._racing, anchor = self._coming.pop(0), self._raced[0]
            max_lr = anchor.max_lr * 10 ** (DECADES[self._racing] - DECADES[anchor.policy])
            self._race = self._probe.race_of(self._racing, max_lr)

    def _after_race(self, race: Race, score: Any) -> None:
        self._race_steps += race.index
        ended_at = math.inf if race.failed else self._probe.to_minimise(score)
        self._note(race.max_lr or 0.0, ended_at)
        self._next_policy()

    def _note(self, max_lr: float, to_minimise: float) -> None:
        score = self._sign * to_minimise if math.isfinite(to_minimise) else None
        self._raced.append(PolicyRace(self._racing, max_lr, score))

    @property
    def _sign(self) -> int:
        return 1 if self._settings.mode == "min" else -1


def recommend(
    trainee: Trainee,
    settings: RecommendationSettings,
    *,
    verbose: str | int = "auto",
    since: float | None = None,
) -> Recommendation:
    """Tells how to spend a budget on a trainee, and gives the trainee back as it was.

    Args:
        trainee: What to train.
        settings: The budget, in steps or minutes, and what to choose from.
        verbose: "auto" shows progress on a terminal after 2 seconds, 1 always, 0 never.
        since: When a budget of minutes began to run, by the trainee's `clock`. Default: now.

    Raises:
        ValueError: The budget is in epochs; `verbose` is none of these.
        CyclerateError: The minutes are too few.

    >>> from cyclerate.finder import FunctionTrainee
    >>> weights = [1.0, 1.0]
    >>> def restore():
    ...     weights[:] = [1.0, 1.0]
    >>> def step(lr):
    ...     weights[:] = [w - lr * c * w for w, c in zip(weights, [1.0, 20.0])]
    ...     return score()
    >>> def score():
    ...     return weights[0] ** 2 + 20 * weights[1] ** 2
    >>> bowl = FunctionTrainee(restore, step, score)
    >>> found = recommend(bowl, RecommendationSettings(budget_steps=400))
    >>> found.policy, found.steps + found.training_steps
    ('one_cycle', 400)
    """
    began = trainee.clock() if since is None else since
    with shown(verbose, 1, "probe") as progress, trainee.lent():
        recommender = settings.new(since=began, clock=trainee.clock, expect=trainee.prior)
        recommender.tell_cost(verbose)
        conduct(recommender, trainee, seed=settings.seed, progress=progress)
    found = recommender.recommendation(seconds=trainee.clock() - began)
    told = provenance_of(trainee, settings)
    tested = dataclasses.replace(found.range_test, provenance=told)
    return dataclasses.replace(found, range_test=tested)


def _checked(policies: Any) -> tuple[str, ...]:
    if isinstance(policies, str) or not isinstance(policies, Sequence) or not policies:
        raise bad_argument("policies", "a sequence of names", policies)
    names: tuple[str, ...] = tuple(check_choice("policies", name, POLICIES) for name in policies)
    if len(set(names)) < len(names):
        raise bad_argument("policies", "different names", policies)
    return names
