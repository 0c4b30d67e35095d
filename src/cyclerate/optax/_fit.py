"""A whole training by one cycle, with its data; its highest rate is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from cyclerate._errors import bad_argument, check_choice, check_count
from cyclerate._trackers import tell_cycle, tell_steps
from cyclerate.finder import RangeTestResult
from cyclerate.finder._progress import StatusLine
from cyclerate.finder._range_test import most_steps_of
from cyclerate.finder._recommend import LEAST_BUDGET_STEPS, tell_cost, tuning_for
from cyclerate.finder._run import Passes
from cyclerate.optax._cycle import CycleTraining, checked_momentum
from cyclerate.optax._finder import range_test
from cyclerate.optax._step import MakeOptimizer
from cyclerate.optax._trainee import batches_of, number_of_batches, rows_in
from cyclerate.schedules._base import check_steps

FINDS = ("auto", "warmup", "probe", "sweep")
_TOLD_STEPS = 100  # after so many of them trackers are told
_SWEEP_FRAC, _MOST_SWEEP_STEPS, _LEAST_SWEEP_STEPS = 0.1, 100, 10


@dataclass(frozen=True, eq=False)
class FitResult:
    """A trained model, and how it was trained.

    Attributes:
        params: The parameters.
        opt_state: The optimizer's state.
        model_state: What a step changes beside the parameters; None if there is none.
        max_lr: The highest rate of the cycle.
        history: Loss, rate and momentum of every update, as of `CycleTraining`.
        verdict: Where the rate came from, and what became of the training.
        found: What the cycle found and repaired, as plain JSON; None where it was not asked to.
        range_test: What the range test found, with `find="probe"` or "sweep"; None without.

    >>> import numpy as np
    >>> import optax
    >>> def loss_fn(params, batch):
    ...     return ((params - batch) ** 2).mean()
    >>> data = np.zeros((64, 2), np.float32)
    >>> done = fit_one_cycle(loss_fn, np.ones(2, np.float32), optax.sgd, data, epochs=5, max_lr=0.5)
    >>> len(done.history["loss"]), done.verdict
    (10, 'max_lr 0.5, as it was given.')
    """

    params: Any = field(repr=False)
    opt_state: Any = field(repr=False)
    model_state: Any = field(repr=False)
    max_lr: float
    history: dict[str, list[float]] = field(repr=False)
    verdict: str
    found: dict[str, Any] | None = field(repr=False)
    range_test: RangeTestResult | None = field(repr=False)


def fit_one_cycle(
    loss_fn: Callable[..., Any],
    params: Any,
    make_optimizer: MakeOptimizer,
    data: Any,
    *,
    epochs: int | None = None,
    total_steps: int | None = None,
    max_lr: float | None = None,
    find: str = "auto",
    batch_size: int | None = None,
    momentum: tuple[float, float] | None = None,
    fine_tuned: bool = False,
    has_aux: bool = False,
    model_state: Any = None,
    rng: Any = None,
    opt_state: Any = None,
    accumulation_steps: int = 1,
    seed: int | None = None,
    range_test_options: Mapping[str, Any] | None = None,
    verbose: str | int = "auto",
) -> FitResult:
    """Trains by one cycle, and finds its highest rate where none is given.

    Args:
        loss_fn: As in `range_test`.
        params: The parameters to begin with; they stay as they are.
        make_optimizer: Builds the optimizer for a rate; with `momentum`, for a rate and a momentum.
        data: As in `range_test`; gone through again and again.
        epochs: Passes over the data.
        total_steps: The same as updates: exactly so many, finding the rate included. One of the two
            is given.
        max_lr: The peak of the rate. Default: found.
        find: "warmup", the way up of the cycle is the range test (see `CycleTraining`); "probe" or
            "sweep", a range test before a `OneCycle`, in addition to `epochs`, or as a part of
            `total_steps`. "auto" (default) is "warmup", and so is a range test without an answer.
        batch_size: Rows of a batch, where `data` is arrays. Default 32.
        momentum: As in `CycleTraining`.
        fine_tuned: As in `CycleTraining`.
        has_aux: As in `range_test`.
        model_state: As in `range_test`.
        rng: As in `range_test`.
        opt_state: As in `range_test`.
        accumulation_steps: As in `range_test`.
        seed: For the order of the data. Default 0.
        range_test_options: Options of `range_test`, by name, for "probe" and "sweep".
        verbose: As in `range_test`.

    Returns:
        The trained parameters and states, and how they came to be.

    Raises:
        ValueError: A wrong argument; the data do not say how many batches are in an epoch.

    Source: Smith and Topin 2018, arXiv 1708.07120; finding the top, `docs/budget.md`.

    >>> import numpy as np
    >>> import optax
    >>> x = np.random.default_rng(0).normal(size=(320, 4)).astype(np.float32)
    >>> y = x @ np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    >>> def loss_fn(params, batch):
    ...     x, y = batch
    ...     return ((x @ params - y) ** 2).mean()
    >>> done = fit_one_cycle(loss_fn, np.zeros(4, np.float32), optax.sgd, (x, y), total_steps=300)
    >>> bool(abs(done.params - np.array([1.0, -2.0, 0.5, 3.0])).max() < 0.01)
    True
    """
    check_choice("find", find, FINDS)
    if (epochs is None) == (total_steps is None):
        raise bad_argument("epochs and total_steps", "one given", (epochs, total_steps))
    steps = total_steps
    if steps is None:
        steps = _steps_in(epochs, number_of_batches(data, batch_size), accumulation_steps)
    steps = check_count("total_steps", steps)
    options: dict[str, Any] = {
        "has_aux": has_aux,
        "model_state": model_state,
        "rng": rng,
        "opt_state": opt_state,
        "accumulation_steps": accumulation_steps,
    }
    tested = None
    if max_lr is None and find in ("probe", "sweep"):
        asked: dict[str, Any] = _sized(find, steps, whole=epochs is not None)
        asked |= dict(range_test_options or {})
        asked = {"seed": seed, "verbose": verbose, "batch_size": batch_size, **options, **asked}
        make = _of_rate_alone(make_optimizer, momentum)
        tell_cost(verbose, steps, most_steps=most_steps_of(asked), beside=epochs is not None)
        tested = range_test(loss_fn, params, make, data, **asked)
        max_lr = tested.max_lr
        if epochs is None:
            steps = check_count("total_steps, less those of the range test", steps - tested.steps)
    batches = batches_of(data, batch_size)
    batches.begin_repeat(0 if seed is None else check_count("seed", seed, low=0))
    options |= {"momentum": momentum, "fine_tuned": fine_tuned}
    if max_lr is None:
        tell_cost(verbose, steps)
    with closing(batches), closing(StatusLine(verbose)) as line:
        batch = next(batches)
        rows = rows_in(batch)
        training = CycleTraining(
            loss_fn, params, make_optimizer, steps, max_lr, batch_size=rows, **options
        )
        _train(training, batch, batches, line)
    return FitResult(
        params=training.params,
        opt_state=training.opt_state,
        model_state=training.model_state,
        max_lr=training.cycle.top,
        history=training.history,
        verdict=training.verdict if tested is None or max_lr is None else tested.verdict,
        found=training.found,
        range_test=tested,
    )


def _train(training: CycleTraining, batch: Any, batches: Passes, line: StatusLine) -> None:
    """Trains to the end, from this batch on; trackers are told on the way."""
    steps, told = training.cycle.total_steps, 0
    loss = training.step(batch)
    while not training.done:
        line.show(f"one cycle: step {training.step_number}/{steps}, loss {loss:.4g}")
        loss = training.step(next(batches))
        if len(training.columns) >= told + _TOLD_STEPS:
            told = _tell_steps(training, told)
    _tell_steps(training, told)
    if training.found is not None:
        tell_cycle(training.found, training.verdict)


def _tell_steps(training: CycleTraining, told: int) -> int:
    """Tells the trackers the steps after those that they were told; returns how many that is."""
    tell_steps("training", training.columns.since(told), told)
    return len(training.columns)


def _of_rate_alone(
    make_optimizer: MakeOptimizer, momentum: tuple[float, float] | None
) -> MakeOptimizer:
    """Returns what a range test trains: the momentum is the one at the top of the cycle."""
    bounds = checked_momentum(momentum)
    return make_optimizer if bounds is None else lambda rate: make_optimizer(rate, bounds[0])


def _steps_in(epochs: Any, batches: int | None, accumulation_steps: int) -> int:
    if batches is None:
        allowed = (
            "None, and total_steps given, where the data do not say how many batches they have"
        )
        raise bad_argument("epochs", allowed, epochs)
    accumulated = check_count("accumulation_steps", accumulation_steps, below=2**31)
    if not batches:
        raise bad_argument("data", "at least one batch", "none")
    updates = check_count("epochs", epochs) * batches // accumulated
    return check_steps("epochs, counted in updates", updates)


def _sized(find: str, steps: int, *, whole: bool) -> dict[str, Any]:
    """Returns the settings of a range test before a training, or as a part of it."""
    if find == "sweep":
        most = min(_MOST_SWEEP_STEPS, int(_SWEEP_FRAC * steps))
        count = _MOST_SWEEP_STEPS if whole else max(_LEAST_SWEEP_STEPS, most)
        return {"method": "range", "steps": count}
    if whole:
        return {"method": "probe", "horizon_steps": steps}
    if steps < LEAST_BUDGET_STEPS:
        raise bad_argument("total_steps", f'at least {LEAST_BUDGET_STEPS} with "probe"', steps)
    tuning = tuning_for(steps, 1)
    horizon = steps - tuning.probe_steps
    return {
        "method": "probe",
        "steps": tuning.sweep_steps,
        "max_steps": tuning.probe_steps,
        "horizon_steps": horizon,
    }
