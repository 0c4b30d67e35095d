"""Recipes: one cycle, whole cycles, or cycles that double the training, to say how long to go."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cyclerate._errors import CyclerateError, bad_argument, check_flag
from cyclerate._files import replacing
from cyclerate._randomness import lending
from cyclerate.cycles._how_long import HowLong, at_the_end, in_doublings
from cyclerate.cycles._rules import CycleOptions, cycle_policy, plan_cycles, way_to_find
from cyclerate.finder._prior import Prior
from cyclerate.finder._recommend import tell_cost
from cyclerate.keras._data import borrow
from cyclerate.keras._fit import Fit
from cyclerate.keras._internals import without_optimizer
from cyclerate.keras._self_finding import SelfFindingCycle
from cyclerate.keras._state import (
    Snapshot,
    packed,
    remember_all_randomness,
    seed_all_randomness,
    unpacked,
)
from cyclerate.keras._step import build
from cyclerate.keras._trainee import prior_of, provenance_of, told_of_data
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
        **fit_options: Anything else that `fit` takes, as `shuffle` and `validation_split`. The
            cycles span all `epochs`: with an `initial_epoch` the fit goes on with that epoch's
            step, at a `max_lr` that is given.

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
    check_flag("guard", guard)
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
        tell_cost(verbose, fit.updates)
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
        **fit_options: Anything else that `fit` takes, as `shuffle` and `validation_split`. The
            cycles span all `epochs`: with an `initial_epoch` the fit goes on with that epoch's
            step, at a `max_lr` that is given.

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
    check_flag("guard", guard)
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
    return fit.run(schedule, momentum, guard=guard, found=found, whole_cycles=True)


def how_long(
    model: Any,
    x: Any,
    y: Any = None,
    epochs: int | None = None,
    max_lr: float | None = None,
    *,
    total_steps: int | None = None,
    points: int = 5,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    validation_data: Any = None,
    metric: str | None = None,
    sample_weight: Any = None,
    class_weight: dict[int, float] | None = None,
    momentum: tuple[float, float] | None = (0.85, 0.95),
    fine_tuned: bool = False,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    callbacks: Any = None,
    verbose: str | int = "auto",
    **fit_options: Any,
) -> HowLong:
    """Trains a model once, and says how good it is after how long, and would be after longer.

    The training consists of cycles that each double the steps so far, `total / 2 ** (points - i)`
    after the i-th. Each ends at a rate of zero, about as good as a training of its own that is as
    long: that gives the curve, and `HowLong.forecast` what two and four times the steps would
    bring. The first cycle finds its rate on its own way up (`SelfFindingCycle`), the later ones
    have the lower rates that longer trainings have; all clip the gradients, and repair a loss that
    explodes. The model has the weights of the last point afterwards. Each cycle is a `fit`.

    With a folder, the model of every point is kept there (an ensemble: `SnapshotEnsemble.load`),
    and the same call on a model made and compiled in the same way goes on where an interrupted one
    has ended a cycle: with the same bits, if the order of the data follows from the seed alone.

    Args:
        model: A compiled Keras model.
        x: As in `fit`.
        y: As in `fit`.
        epochs: The length of the whole training; or give `total_steps`.
        max_lr: The peak of each cycle. Default: found.
        total_steps: The length in updates of the weights, at least `2 ** points`.
        points: How many cycles, up to 12. Default 5: a sixteenth of the training, an eighth, ...
        batch_size: As in `fit`. Default 32, where `x` is arrays.
        steps_per_epoch: As in `fit`; needed where `x` does not say how many batches it has.
        validation_data: As in `fit`: all that Keras measures there is measured at each point.
        metric: What the curve is about: "loss", or a name that begins with "val_". Default
            "val_loss"; without validation data "loss", the mean over the batches of the last tenth
            of a cycle.
        sample_weight: As in `fit`.
        class_weight: As in `fit`.
        momentum: As in `fit_one_cycle`.
        fine_tuned: As in `fit_one_cycle`.
        folder: Where the points are kept. Default: nowhere.
        seed: Of all that is random in the training; the global generators are given back.
        callbacks: As in `fit`, in each of the fits.
        verbose: As in `fit`.
        **fit_options: Anything else that `fit` takes, as `validation_split`.

    Returns:
        The points, with their times and rates.

    Raises:
        ValueError: A wrong argument; the folder holds another run, and what differs is named.

    Source: Portes et al. 2022, arXiv 2206.00832.

    >>> import keras
    >>> import numpy as np
    >>> keras.utils.set_random_seed(0)
    >>> x = np.random.default_rng(0).normal(size=(128, 4))
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    >>> told = how_long(model, x, x.sum(1), total_steps=400, batch_size=8, verbose=0)
    >>> told.steps, told.values["loss"][0] > told.values["loss"][-1]
    ((25, 50, 100, 200, 400), True)
    """
    if fit_options.get("initial_epoch"):
        allowed = "0 here: with a folder, the same call goes on where it was interrupted"
        raise bad_argument("initial_epoch", allowed, fit_options["initial_epoch"])
    validated = validation_data is not None or bool(fit_options.get("validation_split"))
    usual = "val_loss" if validated else "loss"
    metric = usual if metric is None else metric
    if metric != "loss" and not (validated and str(metric).startswith("val_")):
        allowed = '"loss", or with validation_data a name that begins with "val_"'
        raise bad_argument("metric", allowed, metric)
    asked = CycleOptions(None, max_lr, momentum, None, fine_tuned)
    data = {"x": x, "y": y, "batch_size": batch_size}
    data |= {"sample_weight": sample_weight, "class_weight": class_weight}
    given = {
        "validation_data": validation_data,
        "steps_per_epoch": steps_per_epoch,
        "callbacks": callbacks,
        "verbose": verbose,
        "options": fit_options,
    }
    learner = _Learner(model, data, given, metric, asked)
    return in_doublings(
        learner,
        learner.fit(epochs=epochs, total_steps=total_steps).updates,
        points,
        metric=metric,
        options=asked,
        seed=seed,
        settings={
            "batch_size": batch_size,
            "data": told_of_data(x, y),
            "validation_data": "given" if validated else "none",
        },
        folder=folder,
    )


@dataclasses.dataclass
class _Learner:
    """A training in cycles that are each a fit of their own."""

    model: Any
    data: dict[str, Any]
    given: dict[str, Any]
    metric: str
    asked: CycleOptions
    suffix = ".keras"

    def fit(self, *, epochs: int | None = None, total_steps: int | None = None) -> Fit:
        """A fit of this length, which has not begun."""
        return Fit(self.model, self.data, epochs=epochs, total_steps=total_steps, **self.given)

    def train(self, steps: int, max_lr: float | None, seed: int) -> tuple[float, dict[str, float]]:
        with lending() as stack:
            stack.callback(remember_all_randomness())
            seed_all_randomness(seed)
            fit = self.fit(total_steps=steps)
            cycle = SelfFindingCycle(
                steps,
                max_lr=max_lr,
                momentum=self.asked.momentum,
                batch_size=fit.rows_of_an_update,
                fine_tuned=self.asked.fine_tuned,
            )
            logged = fit.run_finding(cycle).history
        if (taken := len(cycle.history["loss"])) < steps:
            raise CyclerateError(
                f"a cycle of {steps} steps ended after {taken}: how_long needs whole ones. Leave "
                "out callbacks that end a fit, and give data for all steps."
            )
        measured = {"loss": at_the_end(cycle.history["loss"])}
        measured |= {name: values[-1] for name, values in logged.items() if name[:4] == "val_"}
        if self.metric not in measured:
            raise bad_argument("metric", f"one of {', '.join(measured)}", self.metric)
        return cycle.found["top"], measured

    def prior(self, total_steps: int) -> Prior:
        rows = self.fit(total_steps=total_steps).rows_of_an_update
        return prior_of(self.model, rows, total_steps, fine_tuned=self.asked.fine_tuned)

    def provenance(self) -> dict[str, Any]:
        return provenance_of(self.model, self.data["x"], self.data["y"])

    def save_model(self, path: Path) -> None:
        with without_optimizer(self.model):
            self.model.save(path)

    def save(self, path: Path) -> None:
        arrays = Snapshot(self.model, metrics=False).arrays()
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **packed("state", arrays))

    def load(self, path: Path) -> None:
        with lending() as stack:
            stack.callback(remember_all_randomness())
            build(self.model, borrow(**self.data))
        snapshot = Snapshot(self.model, metrics=False)
        with np.load(path, allow_pickle=False) as file:
            snapshot.take(unpacked(file, "state"))
        snapshot.put_back()
