"""Cyclical rates by their older names: Kenstler's callback, and TensorFlow Addons' schedules.

Most cyclical rates in Keras were trained with the first; the second have come to their end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import keras

from cyclerate._errors import bad_argument, check_choice, check_number, check_rate
from cyclerate._plain import Columns
from cyclerate.keras._internals import innermost
from cyclerate.keras._schedule import KerasSchedule, ScheduleCallback
from cyclerate.schedules import Cyclic, ExpRange, Schedule, Triangular, Triangular2, from_dict

SCALE_MODES = {"cycle": "cycle", "iterations": "step"}


def whole_step_size(step_size: Any) -> int:
    """Half a cycle in whole steps; code in the field often passes rows / batch size * epochs.

    >>> whole_step_size(937.5 * 4), whole_step_size(1.2)
    (3750, 1)
    """
    return max(1, round(check_number("step_size", step_size, low=0, low_open=True)))


def scaled_by_function(
    base_lr: Any, max_lr: Any, step_size: Any, scale_fn: Callable[[Any], Any], scale_mode: Any
) -> Cyclic:
    """The triangular policy with a factor of the amplitude for each cycle or each iteration."""
    if not callable(scale_fn):
        raise bad_argument("scale_fn", "a function of the cycle or the iteration", scale_fn)
    mode = SCALE_MODES[check_choice("scale_mode", scale_mode, SCALE_MODES)]
    steps = whole_step_size(step_size)
    return Cyclic(base_lr, max_lr, steps, scale_fn=scale_fn, scale_mode=mode)


_MODES = ("triangular", "triangular2", "exp_range")


class CyclicLR(keras.callbacks.Callback):
    """Cycles the rate: the `CyclicLR` of bckenstler/CLR, on today's Keras and all its backends.

    Step n of the training uses the rate `clr()` had after n steps. Arguments, attributes and
    `history` are those of the original; the rate itself comes from a cyclerate schedule, computed
    inside the compiled step.

    What differs: a `step_size` that is not whole is rounded; a step is an update of the weights,
    also with gradient accumulation; after the fit the rate stays at the last one used. As ever, the
    losses and metrics in `history` are what Keras logs: means since the epoch began.

    Args:
        base_lr: The lower bound. Default 0.001.
        max_lr: The upper bound. Default 0.006.
        step_size: Half a cycle, in steps; 2 to 10 times the steps of an epoch. Default 2000.
        mode: "triangular" (default), "triangular2" (the amplitude halves every cycle) or
            "exp_range" (it shrinks by `gamma` every step). Without effect if `scale_fn` is given.
        gamma: The factor of "exp_range". Default 1.
        scale_fn: A factor of the amplitude of your own, a function of the cycle or the step.
        scale_mode: What `scale_fn` is called with: "cycle" (default), counted from 1, or
            "iterations", counted from 0.

    Attributes:
        clr_iterations: Steps since the start or the last reset.
        trn_iterations: Batches in all.
        history: For every batch "lr", "iterations" (from 1) and what Keras logged.

    Raises:
        ValueError: An argument is not as described.

    Source: Smith 2017, arXiv 1506.01186, section 3.1; the interface of bckenstler/CLR.

    >>> import keras
    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> clr = CyclicLR(base_lr=0.1, max_lr=0.3, step_size=2, mode="triangular2")
    >>> x, y = np.ones((12, 2)), np.ones((12, 1))
    >>> _ = model.fit(x, y, batch_size=2, callbacks=[clr], verbose=0)
    >>> [round(lr, 3) for lr in clr.history["lr"]], clr.history["iterations"]
    ([0.1, 0.2, 0.3, 0.2, 0.1, 0.15], [1, 2, 3, 4, 5, 6])
    """

    def __init__(
        self,
        base_lr: float = 0.001,
        max_lr: float = 0.006,
        step_size: float = 2000.0,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[Any], Any] | None = None,
        scale_mode: str = "cycle",
    ) -> None:
        super().__init__()
        self.base_lr, self.max_lr, self.step_size = base_lr, max_lr, step_size
        self.mode = check_choice("mode", mode, _MODES)
        self.gamma = gamma
        self.scale_fn, self.scale_mode = scale_fn, scale_mode
        self.clr_iterations = 0
        self.trn_iterations = 0
        self._history = Columns()
        self._schedule = self._policy()
        self._cycle: ScheduleCallback | None = None
        self._batches_per_step = 1
        self._begun_at = (0, 0)  # trn_iterations and clr_iterations, when `_cycle` began
        self._before_epoch = 0  # trn_iterations

    @property
    def history(self) -> dict[str, list[Any]]:
        """Of every batch so far "lr", "iterations" and what Keras logged; new lists each time."""
        return self._history.lists()

    def clr(self) -> float:
        """The rate of the next step."""
        return self._schedule(self.clr_iterations)

    def _reset(
        self,
        new_base_lr: float | None = None,
        new_max_lr: float | None = None,
        new_step_size: float | None = None,
    ) -> None:
        """Begins the first cycle again, with other bounds where given; also during a fit."""
        before = self.base_lr, self.max_lr, self.step_size
        new = new_base_lr, new_max_lr, new_step_size
        given = [old if value is None else value for old, value in zip(before, new, strict=True)]
        self.base_lr, self.max_lr, self.step_size = given
        try:
            self._schedule = self._policy()
        except ValueError:
            self.base_lr, self.max_lr, self.step_size = before
            raise
        running, self._cycle = self._cycle, None
        if running is not None:
            if keras.backend.backend() == "jax":
                self.model.jax_state_sync()
            running.on_train_end()
        self.clr_iterations = 0
        if running is not None:
            self.on_train_begin()

    def on_train_begin(self, logs: Any = None) -> None:
        self._cycle = ScheduleCallback(lr=self._schedule, start_step=self.clr_iterations)
        self._cycle.set_model(self.model)
        self._cycle.on_train_begin()
        accumulation = innermost(self.model.optimizer).gradient_accumulation_steps
        self._batches_per_step = accumulation or 1
        self._begun_at = self.trn_iterations, self.clr_iterations

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._before_epoch = self.trn_iterations
        if self._cycle is not None:
            self._cycle.on_epoch_begin(epoch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # With `steps_per_execution` this is called once for several batches.
        self.trn_iterations = self._before_epoch + batch + 1
        batches, step = self.trn_iterations - self._begun_at[0], self._begun_at[1]
        used = step + (batches - 1) // self._batches_per_step
        self.clr_iterations = step + batches // self._batches_per_step
        row = {"lr": self._schedule(used), "iterations": self.trn_iterations, **(logs or {})}
        self._history.add(**row)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._cycle is None:
            return
        self._cycle.on_epoch_end(epoch, logs)
        # Batches that a LossScaleOptimizer skips were counted, and are no steps.
        skipped = self.clr_iterations - self._cycle.next_step
        self._begun_at = self._begun_at[0], self._begun_at[1] - skipped
        self.clr_iterations -= skipped

    def on_train_end(self, logs: Any = None) -> None:
        if self._cycle is not None:
            self._cycle.on_train_end()
        self._cycle = None

    def _policy(self) -> Schedule:
        if self.scale_fn is not None:
            return scaled_by_function(
                self.base_lr, self.max_lr, self.step_size, self.scale_fn, self.scale_mode
            )
        bounds = self.base_lr, self.max_lr, whole_step_size(self.step_size)
        if self.mode == "exp_range":
            return ExpRange(*bounds, gamma=self.gamma)
        return Triangular(*bounds) if self.mode == "triangular" else Triangular2(*bounds)


_registered = keras.saving.register_keras_serializable(package="cyclerate")


@dataclass(eq=False)
class _AddonsSchedule(KerasSchedule):
    """A schedule that keeps TensorFlow Addons' arguments, as attributes and when saved."""

    initial_learning_rate: float
    maximal_learning_rate: float
    step_size: float

    def __post_init__(self) -> None:
        low = check_rate("initial_learning_rate", self.initial_learning_rate, low_open=False)
        check_rate("maximal_learning_rate", self.maximal_learning_rate, low=low, low_open=False)
        super().__init__(self._policy(self.initial_learning_rate, self.maximal_learning_rate))

    def _policy(self, base_lr: float, max_lr: float) -> Schedule:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments, as JSON can hold them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**config)


@_registered
@dataclass(eq=False)
class CyclicalLearningRate(_AddonsSchedule):
    """A cycle whose amplitude your own function scales, with TensorFlow Addons' arguments.

    `initial + (maximal - initial) * max(0, 1 - x) * scale_fn(cycle or step)`, with `cycle = floor(1
    + step / (2 * step_size))` and `x = |step / step_size - 2 * cycle + 1|`. For an optimizer's
    `learning_rate`, on all backends, compiled into the step.

    It is saved with the model, which failed with the original: `scale_fn` by its import path, so it
    must be a function at the top level of a module that the loading program has imported. A
    `step_size` that is not whole is rounded.

    Args:
        initial_learning_rate: The lower bound.
        maximal_learning_rate: The upper bound where the factor is 1.
        step_size: Half a cycle, in steps.
        scale_fn: The factor, a function of the cycle (counted from 1) or the step (from 0), of
            arithmetic that tensors have.
        scale_mode: "cycle" (default) or "iterations".
        name: Kept, and of no effect.

    Raises:
        ValueError: An argument is not as described. When saved: `scale_fn` has no import path.

    Source: Smith 2017, arXiv 1506.01186, section 3.1; the interface of TensorFlow Addons.

    >>> rate = CyclicalLearningRate(0.1, 0.5, step_size=2, scale_fn=lambda cycle: 1 / cycle)
    >>> [round(float(rate(step)), 3) for step in range(7)]
    [0.1, 0.3, 0.5, 0.3, 0.1, 0.2, 0.3]
    """

    scale_fn: Callable[[Any], Any]
    scale_mode: str = "cycle"
    name: str = "CyclicalLearningRate"

    def _policy(self, base_lr: float, max_lr: float) -> Schedule:
        return scaled_by_function(base_lr, max_lr, self.step_size, self.scale_fn, self.scale_mode)

    def get_config(self) -> dict[str, Any]:
        """The arguments, with `scale_fn` as its import path."""
        return {**super().get_config(), "scale_fn": self.schedule.to_dict()["scale_fn"]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        # Functions are found by name in one place only, which imports nothing for it.
        named: Any = from_dict({**Cyclic(0.0, 1.0, 1).to_dict(), "scale_fn": config["scale_fn"]})
        return cls(**{**config, "scale_fn": named.scale_fn})


@_registered
@dataclass(eq=False)
class TriangularCyclicalLearningRate(_AddonsSchedule):
    """Smith's triangular policy, with TensorFlow Addons' arguments; saved with the model.

    Args:
        initial_learning_rate: The lower bound.
        maximal_learning_rate: The upper bound.
        step_size: Half a cycle, in steps; rounded if it is not whole.
        scale_mode: "cycle" (default) or "iterations", of no effect: the amplitude stays.
        name: Kept, and of no effect.

    Raises:
        ValueError: An argument is not as described.

    Source: Smith 2017, arXiv 1506.01186, section 3.1; the interface of TensorFlow Addons.

    >>> rate = TriangularCyclicalLearningRate(1e-4, 1e-2, step_size=100)
    >>> round(float(rate(50)), 5), round(float(rate(100)), 5)
    (0.00505, 0.01)
    """

    scale_mode: str = "cycle"
    name: str = "TriangularCyclicalLearningRate"

    def _policy(self, base_lr: float, max_lr: float) -> Schedule:
        check_choice("scale_mode", self.scale_mode, tuple(SCALE_MODES))
        return Triangular(base_lr, max_lr, whole_step_size(self.step_size))


@_registered
@dataclass(eq=False)
class Triangular2CyclicalLearningRate(_AddonsSchedule):
    """Smith's triangular2 policy, with TensorFlow Addons' arguments; saved with the model.

    Args:
        initial_learning_rate: The lower bound.
        maximal_learning_rate: The upper bound.
        step_size: Half a cycle, in steps; rounded if it is not whole.
        scale_mode: "cycle": the amplitude halves every cycle. The original took "iterations" too,
            which doubles it at first and halves it every step.
        name: Kept, and of no effect.

    Raises:
        ValueError: An argument is not as described.

    Source: Smith 2017, arXiv 1506.01186, section 3.1; the interface of TensorFlow Addons.

    >>> rate = Triangular2CyclicalLearningRate(0.1, 0.5, step_size=1)
    >>> [round(float(rate(step)), 3) for step in range(4)]
    [0.1, 0.5, 0.1, 0.3]
    """

    scale_mode: str = "cycle"
    name: str = "Triangular2CyclicalLearningRate"

    def _policy(self, base_lr: float, max_lr: float) -> Schedule:
        check_choice("scale_mode", self.scale_mode, ("cycle",))
        return Triangular2(base_lr, max_lr, whole_step_size(self.step_size))


@_registered
@dataclass(eq=False)
class ExponentialCyclicalLearningRate(_AddonsSchedule):
    """Smith's exp_range policy, with TensorFlow Addons' arguments; saved with the model.

    Args:
        initial_learning_rate: The lower bound.
        maximal_learning_rate: The upper bound.
        step_size: Half a cycle, in steps; rounded if it is not whole.
        scale_mode: "iterations" (default): the amplitude shrinks by `gamma` every step; "cycle":
            every cycle, the first included.
        gamma: The factor, above 0 and at most 1. Default 1.
        name: Kept, and of no effect.

    Raises:
        ValueError: An argument is not as described.

    Source: Smith 2017, arXiv 1506.01186, section 3.1; the interface of TensorFlow Addons.

    >>> rate = ExponentialCyclicalLearningRate(0.0, 1.0, step_size=1, gamma=0.5)
    >>> [round(float(rate(step)), 3) for step in range(4)]
    [0.0, 0.5, 0.0, 0.125]
    """

    scale_mode: str = "iterations"
    gamma: float = 1.0
    name: str = "ExponentialCyclicalLearningRate"

    def _policy(self, base_lr: float, max_lr: float) -> Schedule:
        check_choice("scale_mode", self.scale_mode, tuple(SCALE_MODES))
        gamma, steps = self.gamma, whole_step_size(self.step_size)
        if self.scale_mode == "cycle":
            return Cyclic(base_lr, max_lr, steps, scale_fn=lambda cycle: gamma**cycle)
        return ExpRange(base_lr, max_lr, steps, gamma=gamma)
