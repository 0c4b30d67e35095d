"""A range test from beginning to end: its settings, its runs, its repeats as one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, Protocol, cast

import numpy as np

from cyclerate._errors import CyclerateError, bad_argument, check_choice, check_count, check_flag
from cyclerate._plain import now, versions
from cyclerate._trackers import tell_found
from cyclerate.finder._curve import Curve
from cyclerate.finder._prior import Prior
from cyclerate.finder._probe import (
    ASSUMED_HORIZON_STEPS,
    DECADES,
    LEAST_RACING_STEPS,
    POLICIES,
    Probe,
)
from cyclerate.finder._progress import VERBOSE, Progress
from cyclerate.finder._result import RangeTestResult, StopReason
from cyclerate.finder._run import FunctionTrainee, Run, Trainee
from cyclerate.finder._suggest import Suggestion, smooth_and_suggest
from cyclerate.finder._sweep import (
    STEPS_LIMIT,
    RangeTest,
    Sweep,
    checked_told,
    set_fields,
    settings_of,
)

METHODS = ("probe", "range")
DEFAULT_MAX_STEPS = 400
_USUAL_RACING_STEPS = 300
_SAMPLE_SEEDS_FROM, _SAMPLE_SEEDS_BELOW = 2**30, 2**31


@dataclass(frozen=True)
class RangeTestSettings:
    """The settings of a range test: a value that every `range_test` takes as `settings`.

    Args:
        sweep: The rates of the sweep. Default `Sweep()`.
        method: "probe" (default), the sweep and the races after it; or "range", the sweep alone.
        policy: What the rate is for: "one_cycle" (default), "constant" or "triangular". Of use to
            the races only, as are the next two.
        horizon_steps: Optimizer steps of the training to come. Default None: taken to be 1,000.
        max_steps: Most optimizer steps in all, the sweep included. Default: 400, or 300 more than
            the sweep, whichever is more.
        metric: Name of what is recorded. Default "loss".
        mode: "min" or "max", whichever is better. Default "auto": by the metric's name.
        stop_early: Whether the sweep stops when the metric diverges. Default True.
        repeats: How often to do it all, each time with the next seed. Default 1.
        seed: For the order of the data. Default 0.

    Raises:
        ValueError: An argument is not as described.

    >>> RangeTestSettings(Sweep(steps=50)).max_steps
    400
    >>> RangeTestSettings(Sweep(steps=50), max_steps=60)
    Traceback (most recent call last):
        ...
    ValueError: max_steps must be at least 80 with this sweep. Received: 60
    """

    DEFAULT_SWEEP: ClassVar[Sweep] = Sweep()

    sweep: Sweep = DEFAULT_SWEEP
    _: KW_ONLY
    method: str = "probe"
    policy: str = "one_cycle"
    horizon_steps: int | None = None
    max_steps: int | None = None
    metric: str = "loss"
    mode: str = "auto"
    stop_early: bool = True
    repeats: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        check_choice("policy", self.policy, POLICIES)
        check_flag("stop_early", self.stop_early)
        repeats = check_count("repeats", self.repeats, below=STEPS_LIMIT)
        set_fields(self, **checked_told(self), repeats=repeats)
        if self.horizon_steps is not None:
            set_fields(self, horizon_steps=check_count("horizon_steps", self.horizon_steps))
        most = max(DEFAULT_MAX_STEPS, self.sweep.steps + _USUAL_RACING_STEPS)
        if self.max_steps is not None:
            most = check_count("max_steps", self.max_steps, below=2 * STEPS_LIMIT)
        least = self.sweep.steps + LEAST_RACING_STEPS
        if self.method == "probe" and most < least:
            raise bad_argument("max_steps", f"at least {least} with this sweep", self.max_steps)
        set_fields(self, max_steps=most)

    def new(self, prior: Prior | None = None) -> Procedure:
        """Returns a procedure that has not begun; one for each repeat.

        Args:
            prior: The rate to expect, for a probe. Default None: not known.
        """
        told: dict[str, Any] = {
            "metric": self.metric,
            "mode": self.mode,
            "stop_early": self.stop_early,
        }
        if self.method == "range":
            return SingleSweep(RangeTest(self.sweep, **told))
        return Probe(
            self.sweep,
            policy=self.policy,
            horizon_steps=self.horizon_steps,
            max_steps=cast(int, self.max_steps),
            prior=prior,
            **told,
        )


def most_steps_of(asked: Mapping[str, Any]) -> int:
    """Returns how many steps `range_test` takes at most, of the keywords that it is called with.

    Raises:
        ValueError: One of those that decide it is not as described.

    >>> most_steps_of({"method": "probe", "steps": 300, "repeats": 2}), most_steps_of({})
    (1200, 400)
    """
    sweep, own = (
        {name: asked[name] for name in names if name in asked}
        for names in (vars(RangeTestSettings.DEFAULT_SWEEP), ("method", "max_steps", "repeats"))
    )
    settings = settings_of(RangeTestSettings, asked.get("settings"), sweep, **own)
    most = settings.sweep.steps if settings.method == "range" else cast(int, settings.max_steps)
    return settings.repeats * most


class Procedure(Protocol):
    """A `Probe`, a single sweep, or a `Recommender`: says which run is next."""

    @property
    def run(self) -> Run | None:
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
    procedure: Procedure, trainee: Trainee, *, seed: int = 0, progress: Progress | None = None
) -> None:
    """Takes all runs of a procedure, on batches in the order of a seed; the trainee is lent.

    >>> from cyclerate.finder import FunctionTrainee, Probe
    >>> probe, steps = Probe(), []
    >>> conduct(probe, FunctionTrainee(list, steps.append, lambda: 1.0))
    Traceback (most recent call last):
        ...
    ValueError: value must be a single number. Received: None
    >>> steps == [probe.run.lr]
    True
    """
    while (run := procedure.run) is not None:
        trainee.restore(seed)
        if progress is not None:
            run.watcher = progress.show
        trainee.train(run)
        procedure.tell(trainee.score(sample_seed(seed)) if procedure.wants_score else None)


def shown(verbose: str | int, repeats: int, method: str) -> AbstractContextManager[Progress | None]:
    """Lends a line of progress; none where nothing is ever to be shown.

    Raises:
        ValueError: As `Progress`.
    """
    if check_choice("verbose", verbose, VERBOSE) == 0:
        return nullcontext()
    return closing(Progress(verbose, repeats, method))


def drive(
    procedure: Procedure,
    *,
    restore: Callable[[], object],
    step: Callable[[float], Any],
    score: Callable[[], Any],
) -> None:
    """Takes all runs of a procedure by three functions; see `FunctionTrainee`.

    >>> from cyclerate.finder import Probe
    >>> probe = Probe()
    >>> drive(probe, restore=lambda: None, step=lambda lr: 1.0, score=lambda: 1.0)
    >>> print(probe.result().max_lr)
    None
    """
    conduct(procedure, FunctionTrainee(restore, step, score))


def range_test(
    trainee: Trainee,
    settings: RangeTestSettings | None = None,
    *,
    verbose: str | int = "auto",
    since: float | None = None,
) -> RangeTestResult:
    """Finds the learning rate of a trainee, and gives it back as it was.

    Args:
        trainee: What to train.
        settings: Default `RangeTestSettings()`.
        verbose: "auto" shows progress on a terminal after 2 seconds, 1 always, 0 never.
        since: When the first repeat began, by the trainee's `clock`. Default: now.

    Returns:
        The curve, `base_lr`, `max_lr` and an interval for it, or None where there is no clear
        answer.

    Raises:
        ValueError: `verbose` is none of these.

    >>> from cyclerate.finder import FunctionTrainee
    >>> weight = [1.0]
    >>> def restore():
    ...     weight[0] = 1.0
    >>> def step(lr):
    ...     weight[0] -= lr * 2 * weight[0]
    ...     return weight[0] ** 2
    >>> bowl = FunctionTrainee(restore, step, score=lambda: weight[0] ** 2)
    >>> range_test(bowl, RangeTestSettings(Sweep(1e-4, 10.0, 60), method="range")).stop_reason.name
    'DIVERGED'
    """
    settings = settings or RangeTestSettings()
    began = trainee.clock() if since is None else since
    results: list[RangeTestResult] = []
    with shown(verbose, settings.repeats, settings.method) as progress, trainee.lent():
        prior = trainee.prior(settings.horizon_steps or ASSUMED_HORIZON_STEPS)
        prior = prior and prior.times(10 ** DECADES[settings.policy])
        for repeat in range(settings.repeats):
            procedure = settings.new(prior)
            conduct(procedure, trainee, seed=settings.seed + repeat, progress=progress)
            if progress is not None:
                progress.sweep += 1
            ended = trainee.clock()
            results.append(procedure.result(seconds=ended - began))
            began = ended
    result = results[0] if len(results) == 1 else combine(results)
    result = replace(result, provenance=provenance_of(trainee, settings))
    result = result.with_fallback(prior)
    _tell_trackers(result)
    return result


def _tell_trackers(result: RangeTestResult) -> None:
    told: dict[str, Any] = {"max_lr": result.max_lr, "base_lr": result.base_lr}
    if result.interval is not None:
        told["interval_low"], told["interval_high"] = result.interval
    told |= {"fallback_lr": result.fallback_lr, "steps": result.steps, "verdict": result.verdict}
    known = np.isfinite(result.losses)
    curve = {"lr": result.lrs[known].tolist(), result.metric: result.losses[known].tolist()}
    values = {name: value for name, value in told.items() if value is not None}
    tell_found("range_test", values, curve, result.plot)


def provenance_of(trainee: Trainee, settings: Any) -> dict[str, Any]:
    """Returns where a result comes from: its settings, the versions, and what the trainee says."""
    told = trainee.provenance()
    names = ("seed", "repeats", "policy", "horizon_steps", "budget_steps", "metric")
    asked = {name: getattr(settings, name) for name in names if hasattr(settings, name)}
    made = {**versions(), **told.pop("versions", {})}
    return {**asked, "created": now(), "versions": made, **told}


def sample_seed(seed: int) -> int:
    """Returns the seed by which the fixed sample is drawn: another one than its runs have.

    >>> sample_seed(0), sample_seed(2**30 + 1)
    (1073741824, 1)
    """
    return (seed + _SAMPLE_SEEDS_FROM) % _SAMPLE_SEEDS_BELOW


_SAME = ("metric", "mode", "spacing", "method", "planned_steps")
_SEVERITY = list(StopReason)


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
    verdict = f"{len(without)} of {len(runs)} probes had no answer. The first: {without[0]}"
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


def rate_of(found: RangeTestResult) -> float:
    """The rate that was found; without a clear answer, the one to train at all the same.

    Raises:
        CyclerateError: There is neither; the message says what to do.
    """
    rate = found.fallback_lr if found.max_lr is None else found.max_lr
    if rate is None:
        raise CyclerateError(
            f"The range test found no clear answer, so nothing was trained. {found.verdict} "
            f"{found.stop_reason.value} Give max_lr yourself, or let the test look elsewhere: "
            'range_test_options={"start_lr": ..., "end_lr": ..., "repeats": 3}.'
        )
    return rate
