"""Recipes around one `fit`: a cycle, or some cycles by Smith's rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from cyclerate.cycles._rules import FIRST_STEP, cycle_policy, plan_cycles, way_to_find
from cyclerate.keras._fit import Fit
from cyclerate.keras._self_finding import SelfFindingCycle
from cyclerate.schedules import OneCycle


def fit_one_cycle(
    model: Any,
    x: Any,
    y: Any = None,
    epochs: int | None = None,
    max_lr: float | None = None,
    *,
    total_steps: int | None = None,
    find: str = "auto",
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
    fine_tuned: bool = False,
    callbacks: Any = None,
    verbose: str | int = "auto",
    range_test_options: Mapping[str, Any] | None = None,
    **fit_options: Any,
) -> keras.callbacks.History:
    """Trains a compiled model by one cycle of the rate, for all of its length.

    Without `max_lr`, the cycle finds its own top (`SelfFindingCycle`): its way up is the range
    test, and there is always an answer. Or a range test finds it before (`find="probe"`); the model
    is given back by that as it was.

    Args:
        model: A compiled Keras model.
        x: As in `fit`.
        y: As in `fit`.
        epochs: How many epochs the cycle spans; or give `total_steps`.
        max_lr: The peak of the rate. Default: found.
        total_steps: How many updates of the weights there are, those for finding `max_lr` included.
        find: "warmup", on the way up of the cycle; "probe" or "sweep", by a range test before it,
            beside the epochs or as a part of `total_steps`, and the 1cycle policy then. Default
            "auto": "warmup", or "probe" where something is given that only the policy has.
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
        guard: Whether a `DivergenceGuard` watches the loss; a cycle that finds its own top repairs
            itself. Default False.
        fine_tuned: Whether the weights were trained before: "warmup" expects lower rates then.
            Default False.
        callbacks: More callbacks, a list of them or one; the rate of a `LayerRates` among them is
            the one that is found.
        verbose: As in `fit`.
        range_test_options: Options of `range_test` by name, as `{"end_lr": 1.0, "repeats": 3}`.
        **fit_options: Anything else that `fit` takes, as `shuffle`.

    Returns:
        Keras's History; `history.steps` holds rate and momentum of every update,
        `history.finding` what the cycle found and repaired, `history.range_test` what the range
        test found, and `history.explosion` what the guard saw (None where there was none).

    Raises:
        ValueError: A wrong argument; the number of batches is not known.

    Source: Smith and Topin 2018, arXiv 1708.07120; Smith 2018, arXiv 1803.09820; `docs/budget.md`.

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.Adam(), "mse")
    >>> x, y = np.ones((20, 2)), np.ones((20, 1))
    >>> history = fit_one_cycle(model, x, y, epochs=2, max_lr=0.1, batch_size=5, verbose=0)
    >>> len(history.steps["learning_rate"]), max(history.steps["learning_rate"])
    (8, 0.1)
    """
    only_of_the_policy = {
        "up_frac": (up_frac, 0.3),
        "start_div": (start_div, 25.0),
        "end_div": (end_div, 1e4),
        "shape": (shape, "cosine"),
        "three_phase": (three_phase, False),
        "guard": (guard, False),
        "range_test_options": (range_test_options, None),
    }
    way = way_to_find(find, max_lr, only_of_the_policy)
    data = {"x": x, "y": y, "batch_size": batch_size}
    fit = Fit(
        model,
        {**data, "sample_weight": sample_weight, "class_weight": class_weight},
        epochs=epochs,
        total_steps=total_steps,
        validation_data=validation_data,
        steps_per_epoch=steps_per_epoch,
        callbacks=callbacks,
        verbose=verbose,
        options=fit_options,
    )
    if way == "warmup":
        rows = fit.rows_of_an_update
        cycle = SelfFindingCycle(
            fit.updates, momentum=momentum, batch_size=rows, fine_tuned=fine_tuned
        )
        return fit.run_finding(cycle)
    rate = 1.0 if max_lr is None else max_lr
    policy = OneCycle(rate, fit.updates, up_frac, start_div, end_div, shape, three_phase)
    fit.momentum(policy, momentum)  # refuses before anything is tried
    found = None
    if max_lr is None:
        method = "range" if way == "sweep" else way
        max_lr, found = fit.find("one_cycle", method, range_test_options)
        policy = dataclasses.replace(policy, max_lr=max_lr, total_steps=fit.updates)
    return fit.run(policy, momentum, guard=guard, found=found)


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
    data = {"x": x, "y": y, "batch_size": batch_size}
    fit = Fit(
        model,
        {**data, "sample_weight": sample_weight, "class_weight": class_weight},
        epochs=plan.epochs,
        total_steps=None,
        validation_data=validation_data,
        steps_per_epoch=steps_per_epoch,
        callbacks=callbacks,
        verbose=verbose,
        options=fit_options,
    )
    step_size = plan.step_size(fit.batches_per_epoch, fit.accumulated)
    schedule = cycle_policy(policy, base_lr, max_lr, step_size, gamma)
    fit.momentum(schedule, momentum)  # refuses before anything is tried
    found = None
    if max_lr is None:
        max_lr, found = fit.find("triangular", "probe", range_test_options)
        schedule = cycle_policy(policy, base_lr, max_lr, step_size, gamma)
    return fit.run(schedule, momentum, guard=guard, found=found, start_step=FIRST_STEP)
