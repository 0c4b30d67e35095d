"""What to train by: policy, rates and schedule for a budget, of a loss function in JAX."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from cyclerate._errors import bad_argument
from cyclerate.finder import Recommendation, RecommendationPlan, recommended
from cyclerate.finder._progress import Progress
from cyclerate.finder._recommend import USUAL_POLICIES
from cyclerate.finder._run import given_seed
from cyclerate.optax._data import number_of_batches
from cyclerate.optax._finder import check_again
from cyclerate.optax._objective import MakeOptimizer
from cyclerate.optax.conducting import conducting
from cyclerate.range_test.metric import direction


def recommend(
    loss_fn: Callable[..., Any],
    params: Any,
    make_optimizer: MakeOptimizer,
    data: Any,
    *,
    budget_steps: int | None = None,
    budget_minutes: float | None = None,
    epochs: int | None = None,
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
    verbose: str | int = "auto",
) -> Recommendation:
    """Says how to spend a budget: the policy and its rates, with the races they were chosen by.

    A part of the budget is spent on finding out: 15 %, of less than 800 steps up to 30 %. First a
    probe, as in `range_test`, finds the rate of the first policy; where the budget allows, one race
    of each other policy follows, at the rate that it usually wants beside that. The first policy
    is kept unless another is clearly better. The schedule is for the steps that are left.

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
        verbose: As in `range_test`.

    Returns:
        The recommendation; `print` it. Its `policy`, `schedule` and rates are None where there is
        no clear answer.

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
    if not isinstance(metric, str) or not metric:
        raise bad_argument("metric", "a name", metric)
    plan = RecommendationPlan(
        budget_steps=budget_steps,
        budget_minutes=budget_minutes,
        epochs=epochs,
        batches_per_epoch=None if epochs is None else number_of_batches(data, batch_size),
        accumulation_steps=accumulation_steps,
        policies=policies,
        start_lr=start_lr,
        end_lr=end_lr,
        metric=metric,
        mode=direction(metric, mode),
    )
    seed = given_seed(seed)
    check_again(data, "probe")
    lending = conducting(
        loss_fn,
        params,
        make_optimizer,
        data,
        batch_size=batch_size,
        start_lr=start_lr,
        metric=metric,
        has_aux=has_aux,
        model_state=model_state,
        rng=rng,
        opt_state=opt_state,
        accumulation_steps=accumulation_steps,
        score_fn=score_fn,
        progress=Progress(verbose, 1, "probe"),
    )
    with lending as conduct:
        return recommended(plan, conduct, seed=seed, since=started)
