"""What a range test does from beginning to end, as runs that an adapter drives.

A procedure says which run is next. Each run starts from the same weights, optimizer state, random
state and batches; the adapter trains its steps, and ends it with a score where one is wanted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from cyclerate._errors import CyclerateError, bad_argument, check_choice, check_count
from cyclerate.finder._curve import Curve
from cyclerate.finder._probe import LEAST_RACING_STEPS, POLICIES, Probe
from cyclerate.finder._progress import Progress
from cyclerate.finder._race import Race
from cyclerate.finder._result import RangeTestResult, StopReason
from cyclerate.finder._settings import Sweep
from cyclerate.finder._suggest import Suggestion, smooth_and_suggest
from cyclerate.finder._sweep import RangeTest

METHODS = ("probe", "range")
DEFAULT_MAX_STEPS = 400
_USUAL_RACING_STEPS = 300

SCORE_ROWS = 512
"""Rows of the fixed sample on which a run is scored, where the data have as many."""


_SAMPLE_SEEDS_FROM, _SAMPLE_SEEDS_BELOW = 2**30, 2**31


def sample_seed(seed: int) -> int:
    """Returns the seed by which that sample is drawn: another one than its runs have.

    >>> sample_seed(0), sample_seed(2**30 + 1)
    (1073741824, 1)
    """
    return (seed + _SAMPLE_SEEDS_FROM) % _SAMPLE_SEEDS_BELOW


def given_seed(seed: Any) -> int:
    """Returns the seed of a range test: 0 where none was given.

    Raises:
        ValueError: It is not a whole number of at least 0.

    >>> given_seed(None), given_seed(7)
    (0, 7)
    """
    return 0 if seed is None else check_count("seed", seed, low=0)


class Procedure(Protocol):
    """A `Probe`, or a single sweep."""

    @property
    def run(self) -> RangeTest | Race | None:
        """What to do next; None when there is nothing more to do."""
        ...

    @property
    def wants_score(self) -> bool:
        """Whether the present run ends with a score; otherwise it may be None."""
        ...

    def tell(self, score: Any) -> None:
        """Ends the present run."""
        ...

    def result(self, *, seconds: float | None = None) -> RangeTestResult:
        """Reads what the runs told so far."""
        ...


class SingleSweep:
    """The procedure of one run: the sweep itself."""

    wants_score = False

    def __init__(self, test: RangeTest) -> None:
        self._test = test
        self._over = False

    @property
    def run(self) -> RangeTest | None:
        """The sweep; None when it is over."""
        return None if self._over else self._test

    def tell(self, score: Any = None) -> None:
        """Ends the sweep.

        Raises:
            CyclerateError: It is not over yet.
        """
        if not self._test.done:
            raise CyclerateError("this sweep is not over")
        self._over = True

    def result(self, *, seconds: float | None = None) -> RangeTestResult:
        """Reads the curve told so far."""
        return self._test.result(seconds=seconds)


def conduct(
    procedure: Procedure,
    *,
    restore: Callable[[], None],
    train: Callable[[RangeTest | Race], None],
    score: Callable[[], Any],
) -> None:
    """Does everything, run by run; for who trains several steps before their losses are told.

    Args:
        procedure: What to do.
        restore: Puts weights, optimizer, random state and batches back to the start.
        train: Trains the steps of a run, and tells it what they gave, until it is done.
        score: Evaluates the metric on a fixed sample, in evaluation mode.
    """
    while (run := procedure.run) is not None:
        restore()
        train(run)
        procedure.tell(score() if procedure.wants_score else None)


def drive(
    procedure: Procedure,
    *,
    restore: Callable[[], None],
    step: Callable[[float], Any],
    score: Callable[[], Any],
) -> None:
    """Does everything, step by step, with the three things that only a framework can do.

    Args:
        procedure: What to do.
        restore: Puts weights, optimizer, random state and batches back to the start.
        step: Trains one step at a rate, on the next batch, and returns its metric.
        score: Evaluates the metric on a fixed sample, in evaluation mode.
    """

    def train(run: RangeTest | Race) -> None:
        while not run.done:
            run.tell(step(run.lr))

    conduct(procedure, restore=restore, train=train, score=score)


class RangeTestPlan:
    """The arguments of a range test that no framework needs to know, checked.

    Args:
        sweep: The rates of the sweep.
        method: "probe", a sweep and the races after it; or "range", the sweep alone.
        policy: What the rate is for: "one_cycle", "constant" or "triangular". The sweep alone has
            no use for it.
        horizon_steps: Optimizer steps of the training to come, or None. The same.
        max_steps: Most optimizer steps in all, the sweep included. Default None: 400, or 300 more
            than the sweep, whichever is more. The same.
        metric: Name of what is told.
        mode: "min" if lower values of it are better, "max" if higher ones are.
        stop_early: Whether the sweep stops when the metric diverges.

    Raises:
        ValueError: An argument is not as described.

    >>> RangeTestPlan(Sweep(steps=50), method="range").new().run.index
    0
    >>> RangeTestPlan(Sweep(steps=50), max_steps=60)
    Traceback (most recent call last):
        ...
    ValueError: max_steps must be at least 80 with this sweep. Received: 60
    """

    def __init__(
        self,
        sweep: Sweep,
        *,
        method: str = "probe",
        policy: str = "one_cycle",
        horizon_steps: int | None = None,
        max_steps: int | None = None,
        metric: str = "loss",
        mode: str = "min",
        stop_early: bool = True,
    ) -> None:
        self.sweep = sweep
        self.method = check_choice("method", method, METHODS)
        self._races: dict[str, Any] = {
            "policy": check_choice("policy", policy, POLICIES),
            "horizon_steps": _count_or_none("horizon_steps", horizon_steps),
            "max_steps": _count_or_none("max_steps", max_steps)
            or max(DEFAULT_MAX_STEPS, sweep.steps + _USUAL_RACING_STEPS),
        }
        least = sweep.steps + LEAST_RACING_STEPS
        if method == "probe" and self._races["max_steps"] < least:
            raise bad_argument("max_steps", f"at least {least} with this sweep", max_steps)
        check_choice("stop_early", stop_early, (True, False))
        self._told: dict[str, Any] = {"metric": metric, "mode": mode, "stop_early": stop_early}

    def new(self) -> Procedure:
        """Returns a procedure that has not begun; one for each repeat."""
        if self.method == "range":
            return SingleSweep(RangeTest(self.sweep, **self._told))
        return Probe(self.sweep, **self._races, **self._told)


def _count_or_none(name: str, value: Any) -> int | None:
    return None if value is None else check_count(name, value)


_SAME = ("metric", "mode", "spacing", "method", "planned_steps")
_SEVERITY = list(StopReason)


def repeated(
    plan: RangeTestPlan,
    conduct: Callable[[Procedure, int], None],
    *,
    repeats: int,
    seed: int,
    progress: Progress,
    since: float | None = None,
) -> RangeTestResult:
    """Makes a range test as often as wanted, with a seed each, and combines the results.

    Args:
        plan: What to do.
        conduct: Makes all runs of a procedure, on data in the order of a seed.
        repeats: How often.
        seed: That of the first; each further one has the next.
        progress: Told which one is under way.
        since: When the first began, by `time.perf_counter`. Default: now.
    """
    began = time.perf_counter() if since is None else since
    results: list[RangeTestResult] = []
    for repeat in range(repeats):
        progress.sweep = repeat + 1
        procedure = plan.new()
        conduct(procedure, seed + repeat)
        ended = time.perf_counter()
        results.append(procedure.result(seconds=ended - began))
        began = ended
    return combine(results)


def combine(results: Sequence[RangeTestResult]) -> RangeTestResult:
    """Combines repeats of one sweep or probe: the middle `max_lr`, the union of the intervals.

    `max_lr` and `base_lr` are the medians, in log rate, of the repeats that had an answer. If these
    are half or fewer, there is none; but of sweeps alone the median curve is read instead: what
    noise hides in every one of them may show there. The curve of the result is that median, as far
    as all sweeps came; its races are those of all repeats.

    Args:
        results: Results of the same sweep or probe; a repeated one counts as its runs.

    Returns:
        The result with `runs` and the summed `steps` and `seconds`; the result itself if it is
        the only one.

    Raises:
        ValueError: There are none, or they differ in metric, mode, method or rates.

    >>> import numpy as np
    >>> from cyclerate.finder import RangeTest, Sweep
    >>> def sweep_with(noise):
    ...     test = RangeTest(Sweep(1e-4, 1.0, steps=50))
    ...     while test.tell(1 / (1 + 100 * test.lr) + next(noise)):
    ...         pass
    ...     return test.result()
    >>> noises = [iter(0.01 * np.random.default_rng(seed).normal(size=50)) for seed in (1, 2, 3)]
    >>> result = combine([sweep_with(noise) for noise in noises])
    >>> len(result.runs), result.steps
    (3, 150)
    """
    runs = [run for result in results for run in (result.runs or (result,))]
    _check_alike(runs)
    if len(runs) == 1:
        return runs[0]
    length = min(len(run.lrs) for run in runs)
    first = runs[0]
    lrs = first.lrs[:length]
    losses = np.median([run.losses[:length] for run in runs], axis=0)
    smoothed, of_median = smooth_and_suggest(
        lrs, losses, mode=first.mode, planned_steps=first.planned_steps, metric=first.metric
    )
    read = _answer(runs) or (of_median if first.method == "range" else _no_answer(runs))
    seconds = [run.seconds for run in runs]
    return RangeTestResult(
        lrs=lrs,
        losses=losses,
        smoothed=smoothed,
        base_lr=read.base_lr,
        max_lr=read.max_lr,
        interval=read.interval,
        verdict=read.verdict,
        stop_reason=max((run.stop_reason for run in runs), key=_SEVERITY.index),
        steps=sum(run.steps for run in runs),
        seconds=None if None in seconds else sum(filter(None, seconds)),
        runs=tuple(runs),
        races=tuple(sorted((race for run in runs for race in run.races), key=lambda race: race[0])),
        **{name: getattr(first, name) for name in _SAME},
    )


def _answer(runs: list[RangeTestResult]) -> Suggestion | None:
    """Returns what most of them say; None where half or fewer have an answer."""
    answers = [run for run in runs if run.max_lr is not None]
    if 2 * len(answers) <= len(runs):
        return None
    max_lr = _log_median([run.max_lr for run in answers])
    base_lr = _log_median([run.base_lr for run in answers])
    intervals = np.array([run.interval for run in answers])
    listed = ", ".join(f"{rate:.2g}" for rate in sorted(run.max_lr or 0 for run in answers))
    return Suggestion(
        base_lr=base_lr,
        max_lr=max_lr,
        interval=(float(intervals[:, 0].min()), float(intervals[:, 1].max())),
        verdict=f"{len(answers)} of {len(runs)} {_named(runs)} had an answer, and put max_lr at "
        f"{listed}.",
    )


def _no_answer(runs: list[RangeTestResult]) -> Suggestion:
    without = [run.verdict for run in runs if run.max_lr is None]
    reason = without[0].removeprefix("No clear answer: ")
    verdict = f"No clear answer in {len(without)} of {len(runs)} probes: {reason}"
    return Suggestion(base_lr=None, max_lr=None, interval=None, verdict=verdict)


def _named(runs: list[RangeTestResult]) -> str:
    return "sweeps" if runs[0].method == "range" else "probes, a seed each,"


def _log_median(rates: list[float | None]) -> float:
    return float(np.exp(np.median(np.log(np.array(rates, dtype=np.float64)))))


def _check_alike(runs: list[RangeTestResult]) -> None:
    if not runs:
        raise bad_argument("results", "at least one result", runs)
    for run in runs[1:]:
        for name in _SAME:
            if getattr(run, name) != getattr(runs[0], name):
                raise bad_argument(
                    "results", f"of the same sweep ({name} {getattr(runs[0], name)!r})", run
                )
        if not _one_begins_the_other(run.lrs, runs[0].lrs):
            raise bad_argument("results", "of the same sweep (equal rates)", run)


def _one_begins_the_other(a: Curve, b: Curve) -> bool:
    length = min(len(a), len(b))
    return np.array_equal(a[:length], b[:length])


def clear_max_lr(found: RangeTestResult) -> float:
    """The rate that was found.

    Raises:
        CyclerateError: None was; the message says what to do.
    """
    if found.max_lr is None:
        raise CyclerateError(
            f"The range test found no clear answer, so nothing was trained. {found.verdict} "
            f"{found.stop_reason.value} Give max_lr yourself, or let the test look elsewhere: "
            'range_test_options={"start_lr": ..., "end_lr": ..., "repeats": 3}.'
        )
    return found.max_lr
