"""Fit by several cycles, by Smith's rules, with the rates found first where none are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from cyclerate.cycles._rules import FIRST_STEP, cycle_policy, plan_cycles
from cyclerate.keras._fit import Fit


def fit_cycles(
    model: Any,
    x: Any,
    y: Any = None,
    cycles: int | None = None,
    max_lr: float | None = None,
    *,
    step_size_epochs: int | None = None,
    base_lr: float | None = None,
    policy: str = "triangular",
    epochs: int | None = None,
    gamma: float | None = None,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    validation_data: Any = None,
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
    momentum: tuple[float, float] | None = None,
    guard: bool = False,
    callbacks: Any = None,
    verbose: str | int = "auto",
    range_test_options: Mapping[str, Any] | None = None,
    **fit_options: Any,
) -> keras.callbacks.History:
    """Trains a compiled model in cycles by Smith's rules; it stops at a cycle's end.

    Half a cycle is 2 to 10 epochs, and there are at least 3 cycles. The schedule is begun at its
    step 1: so the last update of every cycle is made at `base_lr` exactly, and with it an epoch
    ends, which is where `CycleEarlyStopping` and `CycleCheckpoint` judge.

    Without `max_lr`, a range test on the same data finds the rates first; the model is given back
    by that as it was.

    Args:
        model: A compiled Keras model.
        x: As in `fit`.
        y: As in `fit`.
        cycles: How many. Default 3, or what fits `epochs`.
        max_lr: The highest rate. Default: found by `range_test`, for a training of this length.
        step_size_epochs: Half a cycle in epochs, 2 to 10. Default 2; with `epochs`, the longest
            that fits.
        base_lr: The lowest rate. Default: a quarter of `max_lr`.
        policy: "triangular" (default), "triangular2" or "exp_range".
        epochs: The most epochs: the training ends with the last whole cycle in them. Default: what
            the cycles take.
        gamma: As in `ExpRange`, for "exp_range" only.
        batch_size: As in `fit`. Default 32, where `x` is arrays.
        steps_per_epoch: As in `fit`; needed where `x` does not say how many batches it has.
        validation_data: As in `fit`. The range test does not look at it.
        sample_weight: As in `fit`.
        class_weight: As in `fit`.
        momentum: (lowest, highest), in the opposite cycle. Default: left alone, as Smith did here.
        guard: Whether a `DivergenceGuard` watches the loss. Default False.
        callbacks: As in `fit_one_cycle`.
        verbose: As in `fit`.
        range_test_options: Options of `range_test` by name, as `{"end_lr": 1.0, "repeats": 3}`.
        **fit_options: Anything else that `fit` takes, as `shuffle`.

    Returns:
        Keras's History, as from `fit_one_cycle`.

    Raises:
        ValueError: A wrong argument, or one outside the rules; the number of batches is not known,
            or does not go into updates where gradients accumulate.
        CyclerateError: The range test found no clear answer.

    Source: Smith 2017, arXiv 1506.01186, sections 3.2 (length) and 3.3 (rates).

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> history = fit_cycles(model, x, y, max_lr=0.4, batch_size=4, verbose=0)
    >>> rates = history.steps["learning_rate"]
    >>> len(rates), max(rates), round(rates[7], 9), round(rates[-1], 9)
    (24, 0.4, 0.1, 0.1)
    """
    plan = plan_cycles(cycles, step_size_epochs, epochs)
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
    step_size = plan.step_size(fit.batches_per_epoch, fit.accumulated)
    schedule = cycle_policy(policy, base_lr, max_lr, step_size, gamma)
    fit.momentum(schedule, momentum)  # refuses before anything is tried
    found = None
    if max_lr is None:
        max_lr, found = fit.find("triangular", fit.updates(plan.epochs), range_test_options)
        schedule = cycle_policy(policy, base_lr, max_lr, step_size, gamma)
    return fit.run(
        schedule,
        momentum,
        epochs=plan.epochs,
        validation_data=validation_data,
        guard=guard,
        found=found,
        start_step=FIRST_STEP,
    )
