"""What to train by: policy, rates and schedule for a budget, of a Keras model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from cyclerate._errors import check_number
from cyclerate.finder import Recommendation, RecommendationPlan, recommended
from cyclerate.finder._progress import Progress
from cyclerate.finder._recommend import USUAL_POLICIES
from cyclerate.finder._run import given_seed
from cyclerate.keras._data import number_of_batches
from cyclerate.keras._finder import check_model, metric_name
from cyclerate.keras._trainee import HIGHEST_SEED
from cyclerate.keras.conducting import conducting
from cyclerate.keras.hyper import innermost
from cyclerate.range_test.metric import direction


def recommend(
    model: Any,
    x: Any,
    y: Any = None,
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
    validation_data: Any = None,
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
    seed: int | None = None,
    verbose: str | int = "auto",
) -> Recommendation:
    """Says how to spend a budget: the policy and its rates, with the races they were chosen by.

    A part of the budget is spent on finding out: 15 %, of less than 800 steps up to 30 %. First a
    probe, as in `range_test`, finds the rate of the first policy; where the budget allows, one race
    of each other policy follows, at the rate that it usually wants beside that. The first policy
    is kept unless another is clearly better. The schedule is for the steps that are left.

    The model is given back as `range_test` gives it, to the last bit, also after an error.

    Args:
        model: A compiled Keras model.
        x: As in `range_test`.
        y: Targets, where `x` is arrays.
        budget_steps: Updates of the weights of tuning and training together, at least 80.
        budget_minutes: The same as wall time: some steps are timed at a rate that changes nothing.
            What has passed when the tuning is over is taken off, whatever it was spent on.
        epochs: The same as passes over the data; one of the three is given.
        batch_size: As in `fit`, where `x` is arrays. Default 32.
        policies: What to choose from, the first to be kept where none is clearly better. Default:
            ("one_cycle", "triangular", "constant").
        start_lr: The first rate of the sweep. Default 1e-6.
        end_lr: The last one. Default 10.
        metric: As in `range_test`.
        mode: As in `range_test`.
        validation_data: What the races are scored on. Default: 512 rows of the training data.
        sample_weight: As in `fit`.
        class_weight: As in `fit`.
        seed: For the order of the data. Default 0.
        verbose: As in `range_test`.

    Returns:
        The recommendation; `print` it. Its `policy`, `schedule` and rates are None where there is
        no clear answer.

    Raises:
        ValueError: A wrong argument, a budget under 80 steps, a model that is not compiled.
        CyclerateError: The minutes are too few.

    Source: `docs/recommend.md`.

    >>> import keras
    >>> import numpy as np
    >>> keras.utils.set_random_seed(0)
    >>> x = np.random.normal(size=(64, 4)) * np.array([2.0, 1.0, 0.5, 0.1])
    >>> y = x @ np.array([[1.0], [-2.0], [0.5], [3.0]])
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> found = recommend(model, x, y, budget_steps=200, batch_size=16)
    >>> found.policy, found.steps <= 60, found.steps + found.training_steps
    ('one_cycle', True, 200)
    """
    started = time.perf_counter()
    check_model(model)
    metric = metric_name(metric, "probe", validation_data)
    plan = RecommendationPlan(
        budget_steps=budget_steps,
        budget_minutes=budget_minutes,
        epochs=epochs,
        batches_per_epoch=None if epochs is None else number_of_batches(x, batch_size),
        accumulation_steps=innermost(model.optimizer).gradient_accumulation_steps or 1,
        policies=policies,
        start_lr=start_lr,
        end_lr=end_lr,
        metric=metric,
        mode=direction(metric, mode),
    )
    seed = given_seed(seed)
    check_number("seed", seed, high=HIGHEST_SEED - 1)
    lending = conducting(
        model,
        x,
        y,
        metric=metric,
        batch_size=batch_size,
        sample_weight=sample_weight,
        class_weight=class_weight,
        validation_data=validation_data,
        progress=Progress(verbose, 1, "probe"),
    )
    with lending as conduct:
        return recommended(plan, conduct, seed=seed, since=started)
