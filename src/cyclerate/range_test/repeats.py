"""Several sweeps or probes of the same model, on differently ordered data, as one answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from cyclerate._errors import bad_argument
from cyclerate.finder._curve import Curve
from cyclerate.finder._progress import Progress
from cyclerate.finder._result import RangeTestResult
from cyclerate.finder._run import Procedure, RangeTestPlan
from cyclerate.finder._suggest import Suggestion, smooth_and_suggest
from cyclerate.range_test.stopping import StopReason

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
