"""What the recipes around one `fit` share: its length in updates, its rate, and the fit itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np

from cyclerate._errors import bad_argument, check_choice, check_count, check_number
from cyclerate._trackers import listened, tell_steps
from cyclerate.cycles._rules import FIRST_STEP, batches_per_epoch, opposite_cycle
from cyclerate.finder import RangeTestResult
from cyclerate.finder._range_test import most_steps_of, rate_of
from cyclerate.finder._recommend import part_of_training, tell_cost
from cyclerate.keras._clock import OwnLosses, StopAfter, batches_counted
from cyclerate.keras._cycle_callbacks import DivergenceGuard
from cyclerate.keras._data import (
    borrow,
    is_arrays,
    number_of_batches,
    rows_of_an_update,
    shuffled_by_keras,
)
from cyclerate.keras._finder import range_test
from cyclerate.keras._internals import check_model, has_momentum, innermost, split_rows
from cyclerate.keras._layers import LayerRates
from cyclerate.keras._schedule import ScheduleCallback
from cyclerate.keras._self_finding import SelfFindingCycle
from cyclerate.keras._step import Updates
from cyclerate.keras._trainee import VALIDATION, check_targets, validation_of
from cyclerate.schedules import Schedule
from cyclerate.schedules._base import check_steps

_LARGEST_RATE = float(np.finfo(np.float32).max)


class _WholeCycles(ScheduleCallback):
    """Begins the first epoch with step 1: so an epoch ends with the last update of a cycle."""

    _step_of_first_epoch = FIRST_STEP

    def __init__(self, lr: Schedule, momentum: Schedule | None) -> None:
        super().__init__(lr, momentum, start_step=FIRST_STEP)


class _Telling(keras.callbacks.Callback):
    """Tells the trackers what a fit does: after an epoch its steps, and what was measured then.

    The callback that steers the rate, which stands before this one, knows the rates; where it does
    not know the losses, they are read here.

    Args:
        steering: That callback.
        first_step: The step that the fit begins with.
        batches_per_epoch: The last of several steps in one execution may lie beyond the epoch.
    """

    def __init__(
        self, steering: ScheduleCallback | SelfFindingCycle, first_step: int, batches_per_epoch: int
    ) -> None:
        super().__init__()
        self._steering, self._first_step, self._batches = steering, first_step, batches_per_epoch
        self._told = 0
        self._reads = isinstance(steering, ScheduleCallback)

    def on_train_begin(self, logs: Any = None) -> None:
        # Held, since `self.model` brings all variables up to date on JAX.
        self._fitted = self.model
        self._updates = Updates(self._fitted, lambda: batches_counted(self._fitted))
        self._own = OwnLosses(self._fitted)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._own.begin()
        self._done, self._losses = 0, list[float]()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._reads:
            return
        done = min(batch + 1, self._batches)
        mean = self._own.after(done, logs)
        known = [self._updates.loss_after(mean) for _ in range(done - self._done)]
        self._losses += [loss for loss in known if loss is not None]
        self._done = done

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        steps = self._steering.since(self._told)
        first, made = self._first_step + self._told, len(steps.get("learning_rate", ()))
        self._told += made
        # Of the steps that count: a guard may have taken some back.
        steps = {"loss": self._losses[:made], **steps}
        made = len(steps["loss"])
        tell_steps("training", {name: values[:made] for name, values in steps.items()}, first)
        measured = {k: [v] for k, v in (logs or {}).items() if k.startswith(VALIDATION)}
        tell_steps("training", measured, max(first + made - 1, 0))


def _set_aside(
    data: dict[str, Any], validation_data: Any, options: dict[str, Any]
) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Takes the part that `validation_split` asks for off the data, as `fit` would.

    Raises:
        ValueError: The data cannot be split.
    """
    share = options.get("validation_split") or 0.0
    options = {name: value for name, value in options.items() if name != "validation_split"}
    share = check_number("validation_split", share, low=0, high=1, high_open=True)
    if share == 0 or validation_data is not None:  # which goes before it in `fit`, too
        return data, validation_data, options
    if not is_arrays(data["x"]):
        allowed = f"left out with a {type(data['x']).__name__}: give a part as validation_data"
        raise bad_argument("validation_split", allowed, share)
    names = "x", "y", "sample_weight"
    try:
        train, held_out = split_rows(tuple(data[name] for name in names), share)
    except ValueError as error:
        allowed = "a share that leaves rows on both sides, of arrays that can be split"
        raise bad_argument("validation_split", allowed, share) from error
    return {**data, **dict(zip(names, train, strict=True))}, held_out, options


class Fit:
    """A training that a cycle, or some of them, span from the first update to the last.

    Args:
        model: A compiled Keras model.
        data: What `fit` and `range_test` take of them, by name.
        epochs: Its length in epochs, or None.
        total_steps: Or in updates, finding included.
        validation_data: As in `fit`, like all that follows.
        options: Anything else that `fit` takes.

    Attributes:
        batches_per_epoch: Batches of an epoch.
        accumulated: Batches of an update.
        updates: Updates of the weights that are left.

    Raises:
        ValueError: A model that cannot be trained, no length or two of them, or an option that
            would change it.
    """

    def __init__(
        self,
        model: Any,
        data: dict[str, Any],
        *,
        epochs: int | None,
        total_steps: int | None,
        validation_data: Any,
        steps_per_epoch: int | None,
        callbacks: Any,
        verbose: str | int,
        options: dict[str, Any],
    ) -> None:
        check_model(model)
        if (epochs is None) == (total_steps is None):
            raise bad_argument("epochs or total_steps", "given, one of them", (epochs, total_steps))
        borrow(**data)  # its checks alone: nothing is read
        data, validation_data, options = _set_aside(data, validation_data, options)
        x, batch_size = data["x"], data["batch_size"]
        for name, given in (("x", x), ("validation_data", validation_data)):
            if callable(given) or isinstance(given, (set, frozenset, range)):
                raise bad_argument(name, "what model.fit takes", given)
        check_targets(model, x, data["y"])
        validation_of(validation_data, batch_size, endless=True)
        one = not isinstance(validation_data, (tuple, list)) and is_arrays(validation_data)
        if data["y"] is not None and one:
            allowed = "(x, y), or with weights, or a data set, where y is given"
            raise bad_argument("validation_data", allowed, type(validation_data))
        check_choice("verbose", verbose, ("auto", 0, 1, 2))
        self._model, self._optimizer, self._data = model, innermost(model.optimizer), data
        self._callbacks: list[Any] = keras.tree.flatten([] if callbacks is None else callbacks)
        for callback in self._callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise bad_argument("callbacks", "Keras callbacks, a list or one", callbacks)
        self._options: dict[str, Any] = {} if shuffled_by_keras(x) else {"shuffle": False}
        self._options |= {"steps_per_epoch": steps_per_epoch, "verbose": verbose, **options}
        self._options["validation_data"] = validation_data
        self.batches_per_epoch = batches_per_epoch(
            steps_per_epoch, x, lambda: number_of_batches(x, batch_size)
        )
        self.accumulated: int = self._optimizer.gradient_accumulation_steps or 1
        self._epochs = None if epochs is None else check_count("epochs", epochs)
        if self._epochs is None:
            self.updates = check_count("total_steps", total_steps)
            if model.steps_per_execution != 1:  # the last update may lie inside of an execution
                allowed = "1 with total_steps; or give epochs"
                raise bad_argument("steps_per_execution", allowed, model.steps_per_execution)
        else:
            self.updates = check_steps(
                "epochs, counted in updates of the weights", self._updates_in(self._epochs)
            )
        self._first_epoch = check_count("initial_epoch", options.get("initial_epoch", 0), low=0)
        if self._updates_in(self._first_epoch) >= self.updates:
            raise bad_argument("initial_epoch", "before the last epoch", self._first_epoch)

    def _updates_in(self, epochs: int) -> int:
        return epochs * self.batches_per_epoch // self.accumulated

    def check_whole(self, instead: str) -> None:
        """Refuses a fit that goes on with a later epoch, where that cannot be: what to do instead.

        Raises:
            ValueError: It is such a fit.
        """
        if self._first_epoch:
            raise bad_argument("initial_epoch", f"0 here: {instead}", self._first_epoch)

    @property
    def rows_of_an_update(self) -> int | None:
        """Rows of the data that lead to an update, if that is known."""
        return rows_of_an_update(self._data["x"], self._data["batch_size"], self._optimizer)

    def momentum(self, policy: Schedule, momentum: tuple[float, float] | None) -> Schedule | None:
        """The opposite cycle of the momentum; None where there is none.

        Raises:
            ValueError: `momentum` is not (lowest, highest).
        """
        if policy.bounds[1] > _LARGEST_RATE:
            raise bad_argument("max_lr", f"at most {_LARGEST_RATE:.2g}", policy.bounds[1])
        cycled = opposite_cycle(policy, momentum)
        return cycled if has_momentum(self._optimizer) else None

    def find(
        self, policy: str, method: str, options: Mapping[str, Any] | None
    ) -> tuple[float, RangeTestResult]:
        """The highest rate for a policy over the updates there are, and how it was found.

        Of `total_steps`, finding takes its part. Layers have rates of their own if they will have
        them in the fit.

        Without a clear answer, it is the one to expect.
        """
        self.check_whole("to go on, give max_lr as the first epochs had it")
        told: dict[str, Any] = {"policy": policy, "method": method, **self._data}
        verbose = self._options["verbose"]
        told |= {"horizon_steps": self.updates, "verbose": 1 if verbose == 2 else verbose}
        if self._epochs is None:
            told |= part_of_training(self.updates, method)
        layers = next((c for c in self._callbacks if isinstance(c, LayerRates)), None)
        told |= options or {}
        most, beside = most_steps_of(told), self._epochs is not None
        tell_cost(told["verbose"], self.updates, most_steps=most, beside=beside)
        with nullcontext() if layers is None else layers.lent_to(self._model):
            found = range_test(self._model, **told)
        if self._epochs is None:
            left = self.updates - found.steps
            self.updates = check_count("total_steps, without those of the range test", left)
        return rate_of(found), found

    def run(
        self,
        policy: Schedule,
        momentum: tuple[float, float] | None,
        *,
        guard: bool,
        found: RangeTestResult | None,
        whole_cycles: bool = False,
    ) -> keras.callbacks.History:
        """Trains by a policy, whole cycles of it or one; `found` goes into the history."""
        schedules = policy, self.momentum(policy, momentum)
        callbacks: list[Any] = [(_WholeCycles if whole_cycles else ScheduleCallback)(*schedules)]
        if guard:
            callbacks.append(DivergenceGuard(batch_size=self.rows_of_an_update))
        if self._epochs is None:
            callbacks.append(StopAfter(self.updates - self._updates_in(self._first_epoch)))
        history = self._run(callbacks)
        history.range_test, history.finding = found, None
        history.explosion = callbacks[1].explosion if guard else None
        return history

    def run_finding(self, cycle: SelfFindingCycle) -> keras.callbacks.History:
        """Trains by a cycle that finds its own top."""
        self.check_whole("to go on, give max_lr, or SelfFindingCycle.load in a plain fit")
        history = self._run([cycle])
        history.range_test = history.explosion = None
        return history

    def _run(self, callbacks: list[Any]) -> keras.callbacks.History:
        epochs = self._epochs
        if epochs is None:
            epochs = -(-self.updates * self.accumulated // self.batches_per_epoch)
            if isinstance(self._model.optimizer, keras.optimizers.LossScaleOptimizer):
                epochs = 2 * epochs + 1  # batches that it skips are no updates
        if listened():
            first = self._updates_in(self._first_epoch)
            callbacks.append(_Telling(callbacks[0], first, self.batches_per_epoch))
        callbacks = [*callbacks, *self._callbacks]
        return self._model.fit(**self._data, epochs=epochs, callbacks=callbacks, **self._options)
