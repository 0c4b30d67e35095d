"""The range test of a loss function in JAX."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import Any

import jax

from cyclerate._errors import bad_argument, check_choice, check_count
from cyclerate._randomness import (
    all_of,
    remember_generators_of,
    remember_global_randomness,
    seed_global_randomness,
)
from cyclerate.optax.batches import batches_of, in_groups
from cyclerate.optax.objective import Objective
from cyclerate.optax.optimizer import MakeOptimizer, RatedOptimizer
from cyclerate.optax.sweeping import Training, compiled_step, sweep
from cyclerate.range_test import RangeTest, RangeTestResult, Sweep, combine
from cyclerate.range_test.metric import direction
from cyclerate.range_test.progress import Progress


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
    method: str = "range",
    metric: str = "loss",
    mode: str = "auto",
    has_aux: bool = False,
    model_state: Any = None,
    rng: Any = None,
    opt_state: Any = None,
    accumulation_steps: int = 1,
    horizon_steps: int | None = None,
    seed: int | None = None,
    repeats: int = 1,
    stop_early: bool = True,
    verbose: str | int = "auto",
) -> RangeTestResult:
    """Trains some steps at rising rates and reads the curve; nothing that it is given changes.

    Step i is one update at the rate `start_lr * (end_lr / start_lr) ** (i / (steps - 1))`. What is
    recorded for it is the loss of its own batch, taken before its update. The steps are calls of
    one compiled function that takes the rate as an input.

    The parameters and states are copied, so their arrays stay as they are and valid. The random
    generators of Python, NumPy and PyTorch (where the data use them), and those that the data hold
    in their attributes, are put back, also after an exception and after Ctrl-C. Memory: one copy of
    `params`, `model_state` and the optimizer's state.

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
            it runs out. Of an iterator, the batches drawn are gone afterwards.
        batch_size: Rows of a batch, where `data` is arrays. Default 32.
        start_lr: The first rate. Default 1e-7.
        end_lr: The last rate. Default 10.
        steps: How many rates, one update each. Default 100.
        spacing: "exponential" (default) or "linear".
        method: "range", the single sweep.
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
        horizon_steps: The length of the training to come; the single sweep has no use for it.
        seed: For the order of the data. Default 0. The same seed gives the same curve.
        repeats: How many sweeps; the answer is the middle of theirs. Each draws from arrays in
            another order, or goes on where the one before left an iterable. Default 1.
        stop_early: Whether to stop when the loss diverges. NaN always stops the sweep.
        verbose: "auto" shows progress on a terminal after 2 seconds, 1 always, 0 never.

    Returns:
        The curve, `base_lr`, `max_lr` and an interval for it, or None where there is no clear
        answer; `print` it for the verdict.

    Raises:
        ValueError: A wrong argument, data without a batch, an optimizer that does not depend on the
            rate, or a state that does not belong to it.

    Source: Smith 2017, arXiv 1506.01186, section 3.3.

    >>> import numpy as np
    >>> import optax
    >>> x = np.random.default_rng(0).normal(size=(64, 4))
    >>> y = x @ np.array([1.0, -2.0, 0.5, 3.0])
    >>> def loss_fn(params, batch):
    ...     x, y = batch
    ...     return ((x @ params - y) ** 2).mean()
    >>> result = range_test(loss_fn, np.zeros(4), optax.sgd, (x, y), batch_size=16, steps=60)
    >>> 0.01 < result.max_lr < 1.0
    True
    """
    plan = Sweep(start_lr, end_lr, steps, spacing)
    if not isinstance(metric, str) or not metric:
        raise bad_argument("metric", "a name", metric)
    mode = direction(metric, mode)
    seed = 0 if seed is None else check_count("seed", seed, low=0)
    repeats = check_count("repeats", repeats)
    accumulation_steps = check_count("accumulation_steps", accumulation_steps)
    check_choice("stop_early", stop_early, (True, False))
    check_choice("has_aux", has_aux, (True, False))
    _check_method(method, horizon_steps)
    progress = Progress(verbose, repeats)
    source = batches_of(data, batch_size)
    objective = Objective(loss_fn, metric, model_state is not None, rng is not None, has_aux)
    optimizer = RatedOptimizer(make_optimizer, params)
    if opt_state is not None:
        optimizer.check_state(opt_state)
    _check_accumulation(optimizer, accumulation_steps)
    step = compiled_step(objective, optimizer)

    def begin() -> Training:
        state = optimizer.init(plan.start_lr, params) if opt_state is None else opt_state
        return Training(params, state, model_state, rng)

    results: list[RangeTestResult] = []
    with _lent(data), closing(progress):
        for run in range(repeats):
            started = time.perf_counter()
            progress.sweep = run + 1
            seed_global_randomness(seed + run)
            test = RangeTest(plan, metric=metric, mode=mode, stop_early=stop_early)
            updates = in_groups(source(seed + run), accumulation_steps)
            sweep(test, step, begin(), updates, progress)
            results.append(test.result(seconds=time.perf_counter() - started))
    return combine(results)


def _check_method(method: Any, horizon_steps: Any) -> None:
    if horizon_steps is not None:
        check_count("horizon_steps", horizon_steps)
    if method == "probe":
        raise bad_argument("method", '"range"; "probe" is not available yet', method)
    check_choice("method", method, ("range",))


def _check_accumulation(optimizer: RatedOptimizer, accumulation_steps: int) -> None:
    if optimizer.accumulates != (accumulation_steps > 1):
        allowed = "every_k_schedule where make_optimizer builds an optax.MultiSteps, else 1"
        raise bad_argument("accumulation_steps", allowed, accumulation_steps)


@contextmanager
def _lent(data: Any) -> Generator[None]:
    """Puts back the generators that the data draw from; lets losses be NaN meanwhile."""
    holders = (data, getattr(data, "dataset", None), getattr(data, "sampler", None))
    put_back = all_of([remember_global_randomness(), remember_generators_of(*holders)])
    try:
        with jax.debug_nans(False), jax.debug_infs(False):  # a sweep is there to diverge
            yield
    finally:
        put_back()
