"""The callback that cycles rate, momentum and weight decay during a fit."""

from __future__ import annotations

import copyreg
import warnings
import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from cyclerate._errors import bad_argument, check_count, check_number
from cyclerate._plain import Columns
from cyclerate.keras._internals import (
    attribute_for,
    check_one_replica,
    innermost,
    rate_of,
    trace,
)
from cyclerate.keras._step import RateWatch
from cyclerate.keras._train_function import Plan, ScheduledFunction, install, remove
from cyclerate.schedules import Schedule, from_dict
from cyclerate.schedules._base import check_schedule

LAST_STEP = 2**31 - 1
"""Backends count steps in 32 bits."""


def check_compilable(name: str, schedule: Schedule, model: Any = None) -> None:
    """Checks that a schedule can be computed inside of a compiled step.

    On JAX a step that fails while it is traced leaves the model without its weights.

    Raises:
        ValueError: It cannot.
    """
    eager = model is not None and model.run_eagerly
    if keras.backend.backend() == "torch" or eager:
        return
    try:
        trace(schedule)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:100]
        allowed = (
            "a schedule whose scale_fn can be compiled: no `if`, `int` or `math` of its argument "
            f"({type(error).__name__}: {reason})"
        )
        raise bad_argument(name, allowed, type(schedule).__name__) from error


class ScheduleCallback(keras.callbacks.Callback):
    """Cycles the rate, the momentum and the weight decay of the optimizer, update by update.

    At the callback's step n the optimizer uses `lr(n)`, `momentum(n)` and `weight_decay(n)`. The
    values are computed inside the compiled step, on every backend, and cost nothing per batch on
    the host. Momentum is `momentum` (SGD, RMSprop, Muon) or `beta_1` (the Adam family, Lion).

    A step is an update of the weights: with `gradient_accumulation_steps` = k there is one in k
    batches, and none where a LossScaleOptimizer skips. A callback used in several fits goes on
    counting; a new one starts at `start_step`, or in a fit that goes on (`initial_epoch`, or
    `BackupAndRestore`) with the step of the epoch that it goes on with.

    After the fit the optimizer is as it was: momentum and weight decay as numbers, the rate (where
    it is a number) at the last one used. A fit that ended by an exception or Ctrl-C is tidied up
    when the next training of that model begins, and what it did is then in `history`.

    Args:
        lr: The schedule of the rate, or None to leave it alone.
        momentum: The schedule of the momentum, or None; usually `lr_schedule.mirrored(0.85, 0.95)`.
        weight_decay: The schedule of the decoupled weight decay, or None.
        start_step: The step to begin with, to go on where an earlier training stopped. Default 0,
            in the first epoch.

    Attributes:
        history: What was used, one value per update, under "learning_rate", "momentum" and
            "weight_decay" (those that are scheduled). Complete up to the last epoch's end. Keras's
            own `History.history` gets the values of each epoch's last update under the same names,
            and `History.steps` this fit's part of the lists here.

    Raises:
        ValueError: Nothing to schedule, or something that is no schedule. When the fit begins: the
            optimizer has no momentum or was made with momentum 0; another callback schedules the
            same thing; this callback has been used with another model; a function in a schedule
            that cannot be compiled.

    Source: Smith 2018, arXiv 1803.09820, sections 4.1 and 4.2 (rate and momentum in opposite
    cycles).

    >>> import cyclerate as cr
    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    >>> lr = cr.OneCycle(max_lr=0.1, total_steps=4)
    >>> cycle = ScheduleCallback(lr=lr, momentum=lr.mirrored(0.85, 0.95))
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> history = model.fit(x, y, batch_size=4, epochs=2, callbacks=[cycle], verbose=0)
    >>> [round(value, 3) for value in cycle.history["momentum"]]
    [0.95, 0.85, 0.9, 0.95]
    >>> history.history["learning_rate"] == [lr(1), lr(3)]
    True
    """

    _step_of_first_epoch = 0

    def __init__(
        self,
        lr: Schedule | None = None,
        momentum: Schedule | None = None,
        weight_decay: Schedule | None = None,
        *,
        start_step: int = 0,
    ) -> None:
        super().__init__()
        given = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        checked = {name: check_schedule(name, s) for name, s in given.items() if s is not None}
        if not checked:
            raise bad_argument("lr, momentum, weight_decay", "at least one schedule", None)
        self.schedules = {"learning_rate" if k == "lr" else k: s for k, s in checked.items()}
        check_number("start_step", start_step, high=LAST_STEP)
        self.start_step = check_count("start_step", start_step, low=0)
        self._history = Columns(*self.schedules)
        self._next_step = self.start_step
        self._offset = 0  # the optimizer's iterations at this callback's step 0
        self._recorded = 0  # iterations that are in the history
        self._fit_start = 0  # length of the history when this fit began
        self._told_idle = False
        self._watch = RateWatch()
        self._model_used: weakref.ref[Any] | None = None
        self._optimizer: Any = None

    @property
    def history(self) -> dict[str, list[float]]:
        """The value of every update so far, by name; new lists each time."""
        return self._history.lists()

    def since(self, step: int) -> dict[str, Sequence[float]]:
        """The part of the history from an update on, without a copy of the rest."""
        return self._history.since(step)

    @property
    def next_step(self) -> int:
        """The step that comes next; up to date at the end of an epoch."""
        return self._next_step

    def on_train_begin(self, logs: Any = None) -> None:
        model = self.model
        if self._model_used is not None and self._model_used() is not model:
            raise bad_argument("callbacks", "a new ScheduleCallback for each model", self)
        check_one_replica(model)
        optimizer = innermost(model.optimizer)
        for name, schedule in self.schedules.items():
            check_compilable("lr" if name == "learning_rate" else name, schedule, model)
        done = int(optimizer.iterations)
        offset = done - self._next_step
        plans = tuple(
            Plan(attribute_for(optimizer, name), schedule, offset)
            for name, schedule in self.schedules.items()
        )
        install(model, optimizer, plans, when_over=self._tidy_up)
        model.train_function.when_begun.append(partial(self._go_on, plans))
        self._model_used = weakref.ref(model)
        self._optimizer, self._offset, self._recorded = optimizer, offset, done
        if "learning_rate" in self.schedules:
            self._watch.leave(optimizer)
        self._fit_start = len(self._history)

    def _go_on(self, plans: tuple[Plan, ...], first_epoch: int) -> None:
        """Begins where a fit stands that another process began, unless the place was given."""
        batches = (self.params or {}).get("steps")  # a callback may hold this one, and set none
        if first_epoch == 0 or batches is None or self._next_step != self._step_of_first_epoch:
            return
        # Not the optimizer's count: it may hold steps of other trainings, or not be restored.
        accumulated = self._optimizer.gradient_accumulation_steps or 1
        self._next_step = self._step_of_first_epoch + first_epoch * batches // accumulated
        self._offset = int(self._optimizer.iterations) - self._next_step
        self.model.train_function.shift(plans, self._offset)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if isinstance(self.model.train_function, ScheduledFunction):
            self.model.train_function.begin(epoch)
        # Another callback may have loaded an earlier state since: those steps are not of this fit.
        self._recorded = int(self._optimizer.iterations)
        self._watch.begin_epoch(self._optimizer)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        ends = self.model.stop_training  # a guard that ends the fit has put count and rate back
        if not ends:
            self._watch.look(self._optimizer)
        if self._record() == 0 and not ends and not self._told_idle:
            self._told_idle = True
            warnings.warn(
                "The optimizer of the model, whose rate is scheduled, took no step in this epoch: "
                "the model's train_step uses another one. Give that one ck.as_schedule(schedule).",
                stacklevel=2,
            )
        if logs is not None:
            logs.update(self._latest())

    def on_train_end(self, logs: Any = None) -> None:
        self._record()
        remove(self.model)
        history = vars(self.model).get("history")
        if history is not None:
            steps = self._history.lists(self._fit_start)
            history.steps = {**getattr(history, "steps", {}), **steps}

    def _tidy_up(self) -> None:
        """After an interrupted fit: records what it did."""
        try:
            self._record()
        except (RuntimeError, TypeError):
            # Interrupted inside a JAX step: the state went with it, the count too.
            return

    def _record(self) -> int:
        """Adds the updates since the last call, and leaves the rate at the last one used.

        Returns:
            How many there were.
        """
        done = int(self._optimizer.iterations)
        steps = np.arange(self._recorded - self._offset, done - self._offset)
        for name, schedule in self.schedules.items():
            self._history.extend(name, schedule(steps))
        self._recorded = done
        self._next_step = done - self._offset
        rate = rate_of(self._optimizer)
        if len(steps) and "learning_rate" in self.schedules and isinstance(rate, keras.Variable):
            rate.assign(self._latest()["learning_rate"])
            self._watch.leave(self._optimizer)
        return len(steps)

    def _latest(self) -> dict[str, float]:
        step = max(self._next_step - 1, self.start_step)
        return {name: schedule(step) for name, schedule in self.schedules.items()}


@keras.saving.register_keras_serializable(package="cyclerate", name="Schedule")
class KerasSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A cyclerate schedule where Keras expects a `LearningRateSchedule`; see `as_schedule`."""

    # Saved with a model: where a program has not imported it, Keras names this module.
    __module__ = "cyclerate.keras"

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = check_schedule("schedule", schedule)
        check_compilable("schedule", schedule)

    def __call__(self, step: Any) -> Any:
        value = self.schedule(step)
        if isinstance(value, (float, np.ndarray)):  # as every schedule of Keras, gives a tensor
            return keras.ops.convert_to_tensor(value, dtype=keras.config.floatx())
        return value

    def get_config(self) -> dict[str, Any]:
        return self.schedule.to_dict()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> KerasSchedule:
        return cls(from_dict(config))

    def __repr__(self) -> str:
        return f"as_schedule({self.schedule!r})"


def as_schedule(schedule: Schedule) -> KerasSchedule:
    """Makes a schedule usable as `learning_rate=` of any Keras optimizer.

    The rate of a step is `schedule(optimizer.iterations)`, computed inside the compiled train step
    on every backend; called by hand, it gives a tensor of the backend, as those of Keras do. It is
    saved with the model and goes on where it stood after loading; import `cyclerate.keras` before
    `keras.saving.load_model`, which says "Could not locate class 'KerasSchedule'" otherwise. With
    `gradient_accumulation_steps`, Keras counts batches here, not updates.

    Args:
        schedule: The schedule.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
        ValueError: `schedule` is no schedule, or holds a function that cannot be compiled.

    >>> import cyclerate as cr
    >>> import keras
    >>> rate = as_schedule(cr.Triangular(base_lr=0.1, max_lr=0.5, step_size=4))
    >>> optimizer = keras.optimizers.SGD(learning_rate=rate)
    >>> [round(float(rate(step)), 6) for step in range(5)]
    [0.1, 0.2, 0.3, 0.4, 0.5]
    """
    return KerasSchedule(schedule)


def _reduced(rate: KerasSchedule) -> tuple[Any, ...]:
    return as_schedule, (rate.schedule,)


copyreg.pickle(KerasSchedule, _reduced)  # its module has no public class of that name
