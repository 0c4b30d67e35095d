"""The range test of a loss function in JAX."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from cyclerate import finder
from cyclerate.finder import (
    RangeTestResult,
    RangeTestSettings,
    Recommendation,
    RecommendationSettings,
)
from cyclerate.finder._recommend import USUAL_POLICIES
from cyclerate.finder._sweep import settings_of
from cyclerate.optax._step import MakeOptimizer
from cyclerate.optax._trainee import OptaxTrainee, number_of_batches


def range_test(
    loss_fn: Callable[..., Any],
    params: Any,
    make_optimizer: MakeOptimizer,
    data: Any,
    *,
    batch_size: int | None = None,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    steps: int = 100,
    spacing: str = "exponential",
    method: str = "probe",
    policy: str = "one_cycle",
    horizon_steps: int | None = None,
    max_steps: int | None = None,
    metric: str = "loss",
    mode: str = "auto",
    has_aux: bool = False,
    model_state: Any = None,
    rng: Any = None,
    opt_state: Any = None,
    accumulation_steps: int = 1,
    score_fn: Callable[..., Any] | None = None,
    seed: int | None = None,
    repeats: int = 1,
    stop_early: bool = True,
    settings: RangeTestSettings | None = None,
    verbose: str | int = "auto",
) -> RangeTestResult:
    """Finds the learning rate by short trainings; nothing that it is given changes.

    A sweep finds the region: step i is one update at the rate `start_lr * (end_lr / start_lr) ** (i
    / (steps - 1))`. What is recorded for it is the loss of its own batch, taken before its update.
    Then short races inside that region, each the policy in miniature, from the same parameters and
    on the same batches; each is scored on a sample that is the same for all. `method="range"` is
    the sweep alone. The steps are calls of one compiled function that takes the rate as an input.

    The parameters and states are copied, so their arrays stay as they are and valid. The random
    generators of Python, NumPy and PyTorch (where the data use them), and those that the data hold
    in their attributes, are put back, also after an exception and after Ctrl-C. Memory: one copy of
    `params`, `model_state` and the optimizer's state, and the sample of 512 rows.

    Args:
        loss_fn: `loss_fn(params, batch)` gives the loss to minimise, a single number; jax.jit must
            be able to trace it. With `model_state`, `loss_fn(params, batch, model_state)` gives
            `(loss, new_model_state)`; with `rng`, it takes a key as its last argument.
        params: The parameters, any pytree of arrays.
        make_optimizer: Builds the optimizer for a rate, as `optax.adam` does, or
            `lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(rate, 0.9))`. The
            rate is a number that jax.jit traces.
        data: Arrays of equal length in a tuple or dictionary, from which batches are drawn in
            random order; or an iterable of batches (a list, a PyTorch `DataLoader`, a
            `tf.data.Dataset`); or a function of no arguments that returns one. It begins again when
            it runs out. An iterator cannot, so it is for `method="range"` only; the batches drawn
            are gone afterwards.
        batch_size: Rows of a batch, where `data` is arrays. Default 32.
        start_lr: The first rate. Default 1e-7.
        end_lr: The last rate. Default 10.
        steps: How many rates, one update each. Default 100.
        spacing: "exponential" (default) or "linear".
        method: "probe" (default), the sweep and the races; "range", the sweep alone, quicker and
            less certain.
        policy: What the rate is for: "one_cycle" (default), "constant" or "triangular". Of use to
            the races only, as are the next two.
        horizon_steps: Updates of the training to come: a long one wants a lower rate than a short
            one. Default: taken to be 1,000.
        max_steps: Most updates in all, the sweep included. Default: 400, or 300 more than the
            sweep, whichever is more.
        metric: What to record: "loss", or the key of a number in the auxiliary output.
        mode: "min" or "max", whichever is better. Default "auto": by the metric's name.
        has_aux: Whether `loss_fn` gives `(loss, aux)`; with `model_state`,
            `(loss, (new_model_state, aux))`.
        model_state: What a step changes beside the parameters, as running means. Default None.
        rng: A key of `jax.random`; each step gets one of its own, made from it. Default None.
        opt_state: The optimizer's state, in the midst of a training. Default: a new one.
        accumulation_steps: How many batches make an update, where `make_optimizer` builds an
            `optax.MultiSteps`: as many as there. The rate stays the same for them, and what is
            recorded is their mean. Default 1.
        score_fn: `score_fn(params, batch)`, or with `model_state` `score_fn(params, batch,
            model_state)`, gives the metric in evaluation mode, without dropout and with running
            means, to score the races by. Default: the metric of `loss_fn`, with a key that is
            always the same, and its new state let go.
        seed: For the order of the data. Default 0. The same seed gives the same answer.
        repeats: How often to do it all; the answer is the middle of theirs. Each draws from arrays
            in another order, or goes on where the one before left an iterable. Default 1.
        stop_early: Whether to stop when the loss diverges. NaN always stops the sweep.
        settings: All of the sweep, the races, the metric, the repeats and the seed as one value, in
            place of the single arguments. Default: what these say.
        verbose: "auto" shows progress on a terminal after 2 seconds, 1 always, 0 never.

    Returns:
        The curve, `base_lr`, `max_lr` and an interval for it, or None where there is no clear
        answer; `print` it for the verdict.

    Raises:
        ValueError: A wrong argument, data without a batch, an optimizer that does not depend on the
            rate, or a state that does not belong to it.

    Source: the sweep, Smith 2017, arXiv 1506.01186, section 3.3; the races, `docs/finders.md`.

    >>> import numpy as np
    >>> import optax
    >>> x = np.random.default_rng(0).normal(size=(64, 4))
    >>> y = x @ np.array([1.0, -2.0, 0.5, 3.0])
    >>> def loss_fn(params, batch):
    ...     x, y = batch
    ...     return ((x @ params - y) ** 2).mean()
    >>> result = range_test(
    ...     loss_fn, np.zeros(4), optax.sgd, (x, y), batch_size=16, horizon_steps=200
    ... )
    >>> 0.01 < result.max_lr < 1.0, result.steps <= 400
    (True, True)
    """
    settings = settings_of(
        RangeTestSettings,
        settings,
        {"start_lr": start_lr, "end_lr": end_lr, "steps": steps, "spacing": spacing},
        method=method,
        policy=policy,
        horizon_steps=horizon_steps,
        max_steps=max_steps,
        metric=metric,
        mode=mode,
        stop_early=stop_early,
        seed=seed,
        repeats=repeats,
    )
    trainee = OptaxTrainee(
        loss_fn,
        params,
        make_optimizer,
        data,
        batch_size=batch_size,
        start_lr=settings.sweep.start_lr,
        metric=settings.metric,
        has_aux=has_aux,
        model_state=model_state,
        rng=rng,
        opt_state=opt_state,
        accumulation_steps=accumulation_steps,
        score_fn=score_fn,
        again=settings.method == "probe",
    )
    return finder.range_test(trainee, settings, verbose=verbose)


def recommend(
    loss_fn: Callable[..., Any],
    params: Any,
    make_optimizer: MakeOptimizer,
    data: Any,
    *,
    budget_steps: int | None = None,
    budget_minutes: float | None = None,
    epochs: int | None = None,
    find: str = "auto",
    fine_tuned: bool = False,
    batch_size: int | None = None,
    policies: Sequence[str] = USUAL_POLICIES,
    start_lr: float = 1e-6,
    end_lr: float = 10.0,
    metric: str = "loss",
    mode: str = "auto",
    has_aux: bool = False,
    model_state: Any = None,
    rng: Any = None,
    opt_state: Any = None,
    accumulation_steps: int = 1,
    score_fn: Callable[..., Any] | None = None,
    seed: int | None = None,
    settings: RecommendationSettings | None = None,
    verbose: str | int = "auto",
) -> Recommendation:
    """Says how to spend a budget: the policy and its rates, with the races they were chosen by.

    A budget under 5,000 steps is left to the training: the recommendation is the rate to expect,
    for a cycle that finds its own top (`find="warmup"`). Of a larger one 15 % are spent on finding
    out. First a probe, as in `range_test`, finds the rate of the first policy; where the budget
    allows, one race of each other policy follows, at the rate that it usually wants beside that.
    The first policy is kept unless another is clearly better. The schedule is for the steps left.

    Nothing that is given changes; random states are put back, also after an error.

    Args:
        loss_fn: As in `range_test`.
        params: The parameters, any pytree of arrays.
        make_optimizer: Builds the optimizer for a rate.
        data: As in `range_test`.
        budget_steps: Updates of tuning and training together, at least 80.
        budget_minutes: The same as wall time: some steps are timed at a rate that changes nothing.
            What has passed when the tuning is over is taken off, whatever it was spent on.
        epochs: The same as passes over the data; one of the three is given.
        find: "warmup", nothing is tried; "probe", a part is spent, of a small budget up to 30 %.
            Default "auto": by the budget.
        fine_tuned: Whether the weights were trained before: lower rates are expected then. Default
            False.
        batch_size: Rows of a batch, where `data` is arrays. Default 32.
        policies: What to choose from, the first to be kept where none is clearly better. Default:
            ("one_cycle", "triangular", "constant").
        start_lr: The first rate of the sweep. Default 1e-6.
        end_lr: The last one. Default 10.
        metric: As in `range_test`.
        mode: As in `range_test`.
        has_aux: As in `range_test`.
        model_state: As in `range_test`.
        rng: As in `range_test`.
        opt_state: As in `range_test`.
        accumulation_steps: As in `range_test`.
        score_fn: As in `range_test`.
        seed: For the order of the data. Default 0.
        settings: The budget, the policies, the range, the metric and the seed as one value, in
            place of the single arguments. Default: what these say.
        verbose: As in `range_test`.

    Returns:
        The recommendation; `print` it. Without a clear answer its rate is the one to expect.

    Raises:
        ValueError: A wrong argument, or a budget under 80 steps.
        CyclerateError: The minutes are too few.

    Source: `docs/recommend.md`.

    >>> import numpy as np
    >>> import optax
    >>> x = np.random.default_rng(0).normal(size=(64, 4))
    >>> y = x @ np.array([1.0, -2.0, 0.5, 3.0])
    >>> def loss_fn(params, batch):
    ...     x, y = batch
    ...     return ((x @ params - y) ** 2).mean()
    >>> found = recommend(loss_fn, np.zeros(4), optax.sgd, (x, y), epochs=100)
    >>> found.policy, found.steps <= 60, found.steps + found.training_steps
    ('one_cycle', True, 200)
    """
    started = time.perf_counter()
    settings = settings_of(
        RecommendationSettings,
        settings,
        {"start_lr": start_lr, "end_lr": end_lr},
        budget_steps=budget_steps,
        budget_minutes=budget_minutes,
        epochs=epochs,
        find=find,
        fine_tuned=fine_tuned,
        policies=policies,
        metric=metric,
        mode=mode,
        seed=seed,
    )
    if settings.epochs is not None:
        settings = settings.in_steps(number_of_batches(data, batch_size), accumulation_steps)
    trainee = OptaxTrainee(
        loss_fn,
        params,
        make_optimizer,
        data,
        batch_size=batch_size,
        start_lr=settings.sweep.start_lr,
        metric=settings.metric,
        has_aux=has_aux,
        model_state=model_state,
        rng=rng,
        opt_state=opt_state,
        accumulation_steps=accumulation_steps,
        score_fn=score_fn,
        again=True,
    )
    return finder.recommend(trainee, settings, verbose=verbose, since=started)
