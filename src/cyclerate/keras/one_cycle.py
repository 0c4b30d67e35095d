"""Fit by the 1cycle policy, with the rate found first where none is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from cyclerate._errors import CyclerateError, bad_argument, check_count
from cyclerate.keras.batches import number_of_batches, shuffled_by_keras
from cyclerate.keras.callback import ScheduleCallback
from cyclerate.keras.hyper import has_momentum, innermost
from cyclerate.keras.range_test import check_model, range_test
from cyclerate.range_test import RangeTestResult
from cyclerate.schedules import OneCycle, Schedule


def fit_one_cycle(
    model: Any,
    x: Any,
    y: Any = None,
    epochs: int = 1,
    max_lr: float | None = None,
    *,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    validation_data: Any = None,
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
    momentum: tuple[float, float] | None = (0.85, 0.95),
    up_frac: float = 0.3,
    start_div: float = 25.0,
    end_div: float = 1e4,
    shape: str = "cosine",
    three_phase: bool = False,
    callbacks: Any = None,
    verbose: str | int = "auto",
    range_test_options: Mapping[str, Any] | None = None,
    **fit_options: Any,
) -> keras.callbacks.History:
    """Trains a compiled model by the 1cycle policy, for all of its epochs.

    Without `max_lr`, a range test on the same data finds it first; the model is given back by that
    as it was, so the training itself is the same as with that number given.

    Args:
        model: A compiled Keras model.
        x: As in `fit`.
        y: As in `fit`.
        epochs: How many epochs the cycle spans. Default 1.
        max_lr: The peak of the rate. Default: found by `range_test`, for a training of this length.
        batch_size: As in `fit`. Default 32, where `x` is arrays.
        steps_per_epoch: As in `fit`; needed where `x` does not say how many batches it has.
        validation_data: As in `fit`. The range test does not look at it.
        sample_weight: As in `fit`.
        class_weight: As in `fit`.
        momentum: (lowest, highest), in the opposite cycle; left alone if None, or if the optimizer
            has no momentum. Default (0.85, 0.95).
        up_frac: As in `OneCycle`.
        start_div: As in `OneCycle`.
        end_div: As in `OneCycle`.
        shape: As in `OneCycle`.
        three_phase: As in `OneCycle`.
        callbacks: More callbacks, a list of them or one.
        verbose: As in `fit`.
        range_test_options: Options of `range_test` by name, as `{"end_lr": 1.0, "repeats": 3}`.
        **fit_options: Anything else that `fit` takes, as `shuffle`.

    Returns:
        Keras's History; `history.steps` holds rate and momentum of every update, and
        `history.range_test` what the range test found (None if `max_lr` was given).

    Raises:
        ValueError: A wrong argument; the number of batches is not known.
        CyclerateError: The range test found no clear answer.

    Source: Smith and Topin 2018, arXiv 1708.07120; Smith 2018, arXiv 1803.09820.

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.Adam(), "mse")
    >>> x, y = np.ones((20, 2)), np.ones((20, 1))
    >>> history = fit_one_cycle(model, x, y, epochs=2, max_lr=0.1, batch_size=5, verbose=0)
    >>> len(history.steps["learning_rate"]), max(history.steps["learning_rate"])
    (8, 0.1)
    """
    check_model(model)
    epochs = check_count("epochs", epochs)
    for name in ("validation_split", "initial_epoch"):
        if fit_options.get(name):
            raise bad_argument(name, "left out: the cycle spans all the data and all epochs", name)
    optimizer = innermost(model.optimizer)
    batches = epochs * _batches_per_epoch(x, batch_size, steps_per_epoch)
    updates = batches // (optimizer.gradient_accumulation_steps or 1)
    data = {"batch_size": batch_size, "sample_weight": sample_weight, "class_weight": class_weight}
    policy = OneCycle(
        1.0 if max_lr is None else max_lr,
        check_count("epochs, counted in updates of the weights", updates),
        up_frac=up_frac,
        start_div=start_div,
        end_div=end_div,
        shape=shape,
        three_phase=three_phase,
    )
    cycled = _momentum(policy, momentum, optimizer)
    found = None
    if max_lr is None:
        asked: dict[str, Any] = {
            "horizon_steps": updates,
            "policy": "one_cycle",
            **(range_test_options or {}),
        }
        found = range_test(model, x, y, **data, verbose=verbose, **asked)
        policy = dataclasses.replace(policy, max_lr=_clear_answer(found))
        cycled = _momentum(policy, momentum, optimizer)
    if not shuffled_by_keras(x):
        fit_options.setdefault("shuffle", False)
    cycle = ScheduleCallback(lr=policy, momentum=cycled)
    history = model.fit(
        x,
        y,
        **data,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        validation_data=validation_data,
        callbacks=[cycle, *keras.tree.flatten(callbacks or [])],
        verbose=verbose,
        **fit_options,
    )
    history.range_test = found
    return history


def _batches_per_epoch(x: Any, batch_size: int | None, steps_per_epoch: int | None) -> int:
    if steps_per_epoch is not None:
        return check_count("steps_per_epoch", steps_per_epoch)
    batches = number_of_batches(x, batch_size)
    if batches is None:
        raise bad_argument("steps_per_epoch", f"given for a {type(x).__name__}", None)
    return batches


def _momentum(
    policy: OneCycle, momentum: tuple[float, float] | None, optimizer: Any
) -> Schedule | None:
    if momentum is None:
        return None
    if not isinstance(momentum, (tuple, list)) or len(momentum) != 2:
        raise bad_argument("momentum", "(lowest, highest) or None", momentum)
    cycled = policy.mirrored(*momentum)
    return cycled if has_momentum(optimizer) else None


def _clear_answer(found: RangeTestResult) -> float:
    if found.max_lr is None:
        raise CyclerateError(
            f"The range test found no clear answer, so nothing was trained. {found.verdict} "
            f"{found.stop_reason.value} Give max_lr yourself, or let the test look elsewhere: "
            'range_test_options={"start_lr": ..., "end_lr": ..., "repeats": 3}.'
        )
    return found.max_lr
