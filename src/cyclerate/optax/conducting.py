"""A loss function and its data, ready to make the runs of a range test or of a recommendation."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import Any

import jax

from cyclerate._errors import bad_argument, check_choice, check_count
from cyclerate._randomness import (
    PutBack,
    all_of,
    remember_generators_of,
    remember_global_randomness,
)
from cyclerate.finder import Procedure
from cyclerate.finder._progress import Progress
from cyclerate.optax._data import batches_of
from cyclerate.optax._objective import MakeOptimizer, RatedOptimizer
from cyclerate.optax._trainee import Runner, Training, compiled_evaluation, compiled_step
from cyclerate.optax.objective import Objective


@contextmanager
def conducting(
    loss_fn: Callable[..., Any],
    params: Any,
    make_optimizer: MakeOptimizer,
    data: Any,
    *,
    batch_size: int | None,
    start_lr: float,
    metric: str,
    has_aux: bool,
    model_state: Any,
    rng: Any,
    opt_state: Any,
    accumulation_steps: int,
    score_fn: Callable[..., Any] | None,
    progress: Progress,
) -> Generator[Callable[[Procedure, int], None]]:
    """Compiles the steps, and puts back afterwards whatever the data draw from.

    Args:
        loss_fn: As `range_test` takes it, like all that follows.
        params: The parameters.
        make_optimizer: Builds the optimizer for a rate.
        data: The training data.
        batch_size: Rows of a batch.
        start_lr: A rate to begin the optimizer's state with.
        metric: What to record.
        has_aux: Whether the loss function gives more than the loss.
        model_state: What a step changes beside the parameters.
        rng: A key of `jax.random`.
        opt_state: The optimizer's state; None for a new one.
        accumulation_steps: Batches of an update.
        score_fn: What the races are scored by.
        progress: Shown after each step, and closed.

    Yields:
        What makes all runs of a procedure, on data in the order of a seed.

    Raises:
        ValueError: A wrong argument.
    """
    accumulation_steps = check_count("accumulation_steps", accumulation_steps)
    check_choice("has_aux", has_aux, (True, False))
    if score_fn is not None and not callable(score_fn):
        raise bad_argument("score_fn", "a function of (params, batch)", score_fn)
    batches = batches_of(data, batch_size)
    objective = Objective(loss_fn, metric, model_state is not None, rng is not None, has_aux)
    optimizer = RatedOptimizer(make_optimizer, params)
    if opt_state is not None:
        optimizer.check_state(opt_state)
    _check_accumulation(optimizer, accumulation_steps)

    def begin() -> Training:
        state = optimizer.init(start_lr, params) if opt_state is None else opt_state
        return Training(params, state, model_state, rng)

    runner = Runner(
        begin,
        compiled_step(objective, optimizer),
        compiled_evaluation(objective, score_fn, rng),
        batches,
        accumulation_steps=accumulation_steps,
        remember_order=lambda: _remember_order(data),
        progress=progress,
    )
    with _lent(data), closing(progress):
        yield runner.conduct


def _check_accumulation(optimizer: RatedOptimizer, accumulation_steps: int) -> None:
    if optimizer.accumulates != (accumulation_steps > 1):
        allowed = "every_k_schedule where make_optimizer builds an optax.MultiSteps, else 1"
        raise bad_argument("accumulation_steps", allowed, accumulation_steps)


@contextmanager
def _lent(data: Any) -> Generator[None]:
    """Puts back the generators that the data draw from; lets losses be NaN meanwhile."""
    put_back = all_of([remember_global_randomness(), _remember_order(data)])
    try:
        with jax.debug_nans(False), jax.debug_infs(False):  # a sweep is there to diverge
            yield
    finally:
        put_back()


def _remember_order(data: Any) -> PutBack:
    return remember_generators_of(
        data, getattr(data, "dataset", None), getattr(data, "sampler", None)
    )
