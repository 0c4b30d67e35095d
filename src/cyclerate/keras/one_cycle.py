"""Fit by the 1cycle policy, with the rate found first where none is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from cyclerate.keras._fit import Fit
from cyclerate.schedules import OneCycle


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
    guard: bool = False,
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
        guard: Whether a `DivergenceGuard` watches the loss. Default False.
        callbacks: More callbacks, a list of them or one; the rate of a `LayerRates` among them is
            the one that is found.
        verbose: As in `fit`.
        range_test_options: Options of `range_test` by name, as `{"end_lr": 1.0, "repeats": 3}`.
        **fit_options: Anything else that `fit` takes, as `shuffle`.

    Returns:
        Keras's History; `history.steps` holds rate and momentum of every update,
        `history.range_test` what the range test found (None if `max_lr` was given), and
        `history.explosion` what the guard saw (None if nothing happened).

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
    fit = Fit(
        model,
        x,
        y,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        sample_weight=sample_weight,
        class_weight=class_weight,
        callbacks=callbacks,
        verbose=verbose,
        options=fit_options,
    )
    updates = fit.updates(epochs)
    policy = OneCycle(
        1.0 if max_lr is None else max_lr,
        updates,
        up_frac=up_frac,
        start_div=start_div,
        end_div=end_div,
        shape=shape,
        three_phase=three_phase,
    )
    fit.momentum(policy, momentum)  # refuses before anything is tried
    found = None
    if max_lr is None:
        max_lr, found = fit.find("one_cycle", updates, range_test_options)
        policy = dataclasses.replace(policy, max_lr=max_lr)
    return fit.run(
        policy,
        momentum,
        epochs=epochs,
        validation_data=validation_data,
        guard=guard,
        found=found,
    )
