"""What the recipes around one `fit` share: its length in updates, its rate, and the fit itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import keras

from cyclerate._errors import bad_argument, check_count
from cyclerate.cycles._rules import (
    FIRST_STEP,
    batches_per_epoch,
    cycle_policy,
    opposite_cycle,
    plan_cycles,
)
from cyclerate.finder import RangeTestResult
from cyclerate.finder._range_test import require_answer
from cyclerate.keras._data import number_of_batches, shuffled_by_keras
from cyclerate.keras._finder import check_model, range_test
from cyclerate.keras._guard import DivergenceGuard
from cyclerate.keras._internals import has_momentum, innermost
from cyclerate.keras._layers import LayerRates
from cyclerate.keras._schedule import ScheduleCallback
from cyclerate.schedules import OneCycle, Schedule


class Fit:
    """A training that a schedule spans from its first update to its last.

    Args:
        model: A compiled Keras model.
        data: What `fit` and `range_test` take of them, by name.
        steps_per_epoch: As in `fit`, like all that follows.
        options: Anything else that `fit` takes.

    Attributes:
        batches_per_epoch: Batches of an epoch.
        accumulated: Batches of an update.

    Raises:
        ValueError: A model that cannot be trained, or an option that would change the length.
    """

    def __init__(
        self,
        model: Any,
        data: dict[str, Any],
        *,
        steps_per_epoch: int | None,
        callbacks: Any,
        verbose: str | int,
        options: dict[str, Any],
    ) -> None:
        check_model(model)
        for name in ("validation_split", "initial_epoch"):
            if options.get(name):
                allowed = "left out: the cycles span all the data and all epochs"
                raise bad_argument(name, allowed, options[name])
        x, batch_size = data["x"], data["batch_size"]
        self._model, self._optimizer, self._data = model, innermost(model.optimizer), data
        self._callbacks: list[Any] = keras.tree.flatten(callbacks or [])
        self._options: dict[str, Any] = {} if shuffled_by_keras(x) else {"shuffle": False}
        self._options |= {"steps_per_epoch": steps_per_epoch, "verbose": verbose, **options}
        self.batches_per_epoch = batches_per_epoch(
            steps_per_epoch, x, lambda: number_of_batches(x, batch_size)
        )
        self.accumulated: int = self._optimizer.gradient_accumulation_steps or 1

    def updates(self, epochs: int) -> int:
        """Updates of the weights in so many epochs.

        Raises:
            ValueError: There is none.
        """
        updates = check_count("epochs", epochs) * self.batches_per_epoch // self.accumulated
        return check_count("epochs, counted in updates of the weights", updates)

    def momentum(self, policy: Schedule, momentum: tuple[float, float] | None) -> Schedule | None:
        """The opposite cycle of the momentum; None where there is none.

        Raises:
            ValueError: `momentum` is not (lowest, highest).
        """
        cycled = opposite_cycle(policy, momentum)
        return cycled if has_momentum(self._optimizer) else None

    def find(
        self, policy: str, updates: int, options: Mapping[str, Any] | None
    ) -> tuple[float, RangeTestResult]:
        """The highest rate for a policy over so many updates, and how it was found.

        Layers have rates of their own if they will have them in the fit.

        Raises:
            CyclerateError: There is no clear answer.
        """
        told: dict[str, Any] = {"policy": policy, "horizon_steps": updates, **self._data}
        told |= {"verbose": self._options["verbose"], **(options or {})}
        layers = next((c for c in self._callbacks if isinstance(c, LayerRates)), None)
        with nullcontext() if layers is None else layers.lent_to(self._model):
            found = range_test(self._model, **told)
        return require_answer(found), found

    def run(
        self,
        policy: Schedule,
        momentum: tuple[float, float] | None,
        *,
        epochs: int,
        validation_data: Any,
        guard: bool,
        found: RangeTestResult | None,
        start_step: int = 0,
    ) -> keras.callbacks.History:
        """Trains; `found` goes into the history."""
        cycle = ScheduleCallback(policy, self.momentum(policy, momentum), start_step=start_step)
        guards = [DivergenceGuard(batch_size=self._rows_of_an_update())] if guard else []
        history = self._model.fit(
            **self._data,
            epochs=epochs,
            validation_data=validation_data,
            callbacks=[cycle, *guards, *self._callbacks],
            **self._options,
        )
        history.range_test = found
        history.explosion = guards[0].explosion if guards else None
        return history

    def _rows_of_an_update(self) -> int | None:
        rows = self._data["batch_size"] or (32 if hasattr(self._data["x"], "shape") else None)
        return None if rows is None else rows * self.accumulated


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
    data = {"x": x, "y": y, "batch_size": batch_size}
    fit = Fit(
        model,
        {**data, "sample_weight": sample_weight, "class_weight": class_weight},
        steps_per_epoch=steps_per_epoch,
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
    data = {"x": x, "y": y, "batch_size": batch_size}
    fit = Fit(
        model,
        {**data, "sample_weight": sample_weight, "class_weight": class_weight},
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
