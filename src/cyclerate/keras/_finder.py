"""The range test of a Keras model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cyclerate import finder
from cyclerate._errors import bad_argument, check_number
from cyclerate.finder import (
    RangeTestResult,
    RangeTestSettings,
    Recommendation,
    RecommendationSettings,
)
from cyclerate.finder._recommend import USUAL_POLICIES
from cyclerate.finder._sweep import settings_of
from cyclerate.keras._data import number_of_batches
from cyclerate.keras._internals import check_model, innermost
from cyclerate.keras._trainee import HIGHEST_SEED, VALIDATION, KerasTrainee


def range_test(
    model: Any,
    x: Any,
    y: Any = None,
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
    validation_data: Any = None,
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
    score_fn: Callable[[Any, Any], Any] | None = None,
    seed: int | None = None,
    repeats: int = 1,
    stop_early: bool = True,
    settings: RangeTestSettings | None = None,
    verbose: str | int = "auto",
) -> RangeTestResult:
    """Finds the learning rate of a model by short trainings, and gives it back as it was.

    A sweep finds the region: step i is a step of the model's own fit (its `train_step`, loss and
    metrics; no callbacks) at the rate `start_lr * (end_lr / start_lr) ** (i / (steps - 1))`. What
    is recorded for it is the loss of its own batch, taken before its update, as everywhere in the
    field. Then short races inside that region, each the policy in miniature, from the same weights
    and on the same batches; each is scored in evaluation mode on a sample that is the same for all.
    `method="range"` is the sweep alone.

    Given back, to the last bit, also after an exception and after Ctrl-C: weights, statistics of
    normalisation, the optimizer's state, iteration count and rate, the seeds of layers, metrics,
    `model.history`, `stop_training`, the compiled functions, and the random generators of Python,
    NumPy, Keras, TensorFlow and PyTorch. What was not built is built, in the state in which the
    first fit would find it; a following fit gives what it would have given without the test.
    Memory: one copy of the weights and of the optimizer's state, and the sample.

    Args:
        model: A compiled Keras model.
        x: Whatever `fit` takes: arrays (also nested, or pandas), a `tf.data.Dataset`, a
            `PyDataset`, a PyTorch `DataLoader`; or any iterable of batches; or a function of no
            arguments that returns one. It begins again when it runs out. Of an iterator, the
            batches drawn are gone afterwards: pass a function that makes one instead. Of a
            `PyDataset`, `on_epoch_begin` and `on_epoch_end` are not called. A shuffled
            `tf.data.Dataset` of over 256 MB, or one that cannot be copied, is itself passed over,
            which moves its order on.
        y: Targets, where `x` is arrays.
        batch_size: As in `fit`, where `x` is arrays. Default 32.
        start_lr: The first rate. Default 1e-7.
        end_lr: The last rate. Default 10.
        steps: How many rates, one update of the weights each. Default 100.
        spacing: "exponential" (default) or "linear".
        method: "probe" (default), the sweep and the races; "range", the sweep alone, quicker and
            less certain.
        policy: What the rate is for: "one_cycle" (default), "constant" or "triangular". Of use to
            the races only, as are the next two.
        horizon_steps: Updates of the training to come: a long one wants a lower rate than a short
            one. Default: taken to be 1,000.
        max_steps: Most updates in all, the sweep included. Default: 400, or 300 more than the
            sweep, whichever is more.
        metric: What to record: "loss", or a metric that the model was compiled with.
        mode: "min" or "max", whichever is better. Default "auto": by the metric's name.
        validation_data: (x, y), (x, y, sample_weight), or a data set: what the races are scored on.
            Default: 512 rows of the training data. A sweep alone is measured on it after every
            step, under a name that begins with "val_", so let it be small there.
        sample_weight: As in `fit`.
        class_weight: As in `fit`.
        score_fn: `score_fn(model, batch)` gives the metric in evaluation mode, to score the races
            by; for a model that `evaluate` is not for. Default: what `evaluate` gives.
        seed: For the order of the data. Default 0. The same seed gives the same answer.
        repeats: How often to do it all, each time with another order of the data; the answer is the
            middle of theirs. Default 1.
        stop_early: Whether to stop when the loss diverges. NaN always stops the sweep.
        settings: All of the sweep, the races, the metric, the repeats and the seed as one value, in
            place of the single arguments. Default: what these say.
        verbose: "auto" shows progress on a terminal after 2 seconds, 1 always, 0 never.

    Returns:
        The curve, `base_lr`, `max_lr` and an interval for it, or None where there is no clear
        answer; `print` it for the verdict.

    Raises:
        ValueError: A wrong argument, a model that is not compiled, data without a batch.

    Source: the sweep, Smith 2017, arXiv 1506.01186, section 3.3; the races, `docs/finders.md`.

    >>> import keras
    >>> import numpy as np
    >>> keras.utils.set_random_seed(0)
    >>> x = np.random.normal(size=(64, 4)) * np.array([2.0, 1.0, 0.5, 0.1])
    >>> y = x @ np.array([[1.0], [-2.0], [0.5], [3.0]])
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> result = range_test(model, x, y, batch_size=16, horizon_steps=200)
    >>> 0.01 < result.max_lr < 1.0, result.steps <= 400, int(model.optimizer.iterations)
    (True, True, 0)
    """
    started = time.perf_counter()
    given = settings_of(
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
    settings = replace(given, metric=metric_name(given.metric, given.method, validation_data))
    check_number("seed", settings.seed, high=HIGHEST_SEED - settings.repeats)
    check_model(model)
    weights = {"sample_weight": sample_weight, "class_weight": class_weight}
    data: dict[str, Any] = {"batch_size": batch_size, "validation_data": validation_data, **weights}
    trainee = KerasTrainee(model, x, y, metric=settings.metric, score_fn=score_fn, **data)
    return finder.range_test(trainee, settings, verbose=verbose, since=started)


def metric_name(metric: Any, method: Any, validation_data: Any) -> str:
    """Returns what the metric is called in the result.

    Raises:
        ValueError: It is no name, or needs validation data.
    """
    if not isinstance(metric, str) or not metric:
        raise bad_argument("metric", "the name of a metric", metric)
    plain = metric.removeprefix(VALIDATION)
    if metric != plain and validation_data is None:
        raise bad_argument("validation_data", f"given for the metric {metric!r}", None)
    # Only a sweep alone looks at the validation data after every step.
    return plain if method == "probe" or validation_data is None else VALIDATION + plain


def recommend(
    model: Any,
    x: Any,
    y: Any = None,
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
    validation_data: Any = None,
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
    score_fn: Callable[[Any, Any], Any] | None = None,
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

    The model is given back as `range_test` gives it, to the last bit, also after an error.

    Args:
        model: A compiled Keras model.
        x: As in `range_test`.
        y: Targets, where `x` is arrays.
        budget_steps: Updates of the weights of tuning and training together, at least 80.
        budget_minutes: The same as wall time: some steps are timed at a rate that changes nothing.
            What has passed when the tuning is over is taken off, whatever it was spent on.
        epochs: The same as passes over the data; one of the three is given.
        find: "warmup", nothing is tried; "probe", a part is spent, of a small budget up to 30 %.
            Default "auto": by the budget.
        fine_tuned: Whether the weights were trained before: lower rates are expected then. Default
            False.
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
        score_fn: As in `range_test`.
        seed: For the order of the data. Default 0.
        settings: The budget, the policies, the range, the metric and the seed as one value, in
            place of the single arguments. Default: what these say.
        verbose: As in `range_test`.

    Returns:
        The recommendation; `print` it. Without a clear answer its rate is the one to expect.

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
    given = settings_of(
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
    if given.epochs is not None:
        accumulated = innermost(model.optimizer).gradient_accumulation_steps or 1
        given = given.in_steps(number_of_batches(x, batch_size), accumulated)
    settings = replace(given, metric=metric_name(given.metric, "probe", validation_data))
    check_number("seed", settings.seed, high=HIGHEST_SEED - 1)
    weights = {"sample_weight": sample_weight, "class_weight": class_weight}
    data: dict[str, Any] = {"batch_size": batch_size, "validation_data": validation_data, **weights}
    trainee = KerasTrainee(model, x, y, metric=settings.metric, score_fn=score_fn, **data)
    return finder.recommend(trainee, settings, verbose=verbose, since=started)
