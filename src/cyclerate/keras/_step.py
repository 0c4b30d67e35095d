"""A train function for a range test: each step at the rate of the moment, each loss its batch's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from cyclerate._errors import bad_argument
from cyclerate.keras._data import A_BATCH, Data
from cyclerate.keras._internals import (
    TrainFunction,
    build_from_batch,
    innermost,
    is_built,
    rate_of,
    raw_iterations,
    untraced_function,
)

STEPS_WITH_ITS_OPTIMIZER = (
    "one whose train_step steps with model.optimizer: the rate of that one changes nothing here"
)


class StepFunction:
    """Stands in for `model.train_function` during all runs of a range test.

    The rate, a variable, is set before each step. If the model has a compiled function, that is
    used; otherwise one is made, and kept for all runs. Metrics are reset at each step, since Keras
    logs running means. `lr` is the rate of the next step.
    """

    def __init__(self, model: Any) -> None:
        self.lr = 0.0
        self.model, self._optimizer = model, innermost(model.optimizer)
        self._rate = rate_of(self._optimizer)
        known: TrainFunction | None = model.train_function
        whole_steps = model.steps_per_execution == 1
        if not whole_steps:
            # One step at a time: a rate and a loss for each.
            model.steps_per_execution = 1
            model.test_function = None
        self._inner = known if known is not None and whole_steps else untraced_function(model)

    def __call__(self, *arguments: Any) -> Any:
        """Runs a step; what it takes and gives is the backend's own."""
        self.model.reset_metrics()
        self._rate.assign(self.lr)
        return self._inner(*arguments)

    def batches_counted(self) -> int:
        """The optimizer's own count; a step that a LossScaleOptimizer skips is not in it."""
        return int(raw_iterations(self._optimizer))


class TensorFlowStepFunction(StepFunction):
    """The same on TensorFlow, where assigning through Keras would cost as much as a small step."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        model.reset_metrics()
        variables = [v.value for metric in model.metrics for v in metric.variables]
        self._at_rest = [(variable, variable.read_value()) for variable in variables]

    def __call__(self, *arguments: Any) -> Any:
        for variable, value in self._at_rest:
            variable.assign(value, read_value=False)
        self._rate.value.assign(self.lr, read_value=False)
        return self._inner(*arguments)


class JaxStepFunction(StepFunction):
    """The same on JAX, where the state goes in and comes out, and variables are empty meanwhile."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        places = list(map(id, model.optimizer.variables))
        self._rate_at = places.index(id(self._rate))
        self._iterations_at = places.index(id(raw_iterations(self._optimizer)))
        self._optimizer_state: list[Any] = []
        self._at_rest: list[Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        import jax.numpy as jnp

        (trainable, non_trainable, optimizer, metrics), iterator = arguments
        if self._at_rest is None:
            # A fit resets the metrics before its first step: these are their values at rest.
            self._at_rest = list(map(np.array, metrics))
        optimizer = list(optimizer)
        optimizer[self._rate_at] = jnp.asarray(self.lr, dtype=optimizer[self._rate_at].dtype)
        state = (trainable, non_trainable, optimizer, list(map(jnp.asarray, self._at_rest)))
        logs, state = self._inner(state, iterator)
        self._optimizer_state = state[2]
        return logs, state

    def batches_counted(self) -> int:
        return int(self._optimizer_state[self._iterations_at])


_KINDS = {"jax": JaxStepFunction, "tensorflow": TensorFlowStepFunction}


def step_function(model: Any) -> StepFunction:
    """The kind that the backend needs."""
    return _KINDS.get(keras.backend.backend(), StepFunction)(model)


MOST_SKIPPED_BATCHES = 50
"""So many batches in a row without an update: a LossScaleOptimizer sees only infinite gradients."""


class Updates:
    """Turns the losses of batches into the losses of updates.

    With `gradient_accumulation_steps` = k, an update has the mean loss of its batches. A batch that
    a LossScaleOptimizer skips, because its gradient overflowed, has led to no update.

    Args:
        model: The model in its fit.
        count: Gives the optimizer's own count of batches.

    Attributes:
        each_batch_is_one: Whether every batch leads to an update.
    """

    def __init__(self, model: Any, count: Callable[[], int]) -> None:
        optimizer = innermost(model.optimizer)
        self._count = count
        self._batches_per_update = optimizer.gradient_accumulation_steps or 1
        self._skips = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        self._counted = int(raw_iterations(optimizer))
        self._losses: list[float] = []
        self._skipped_in_a_row = 0
        self.each_batch_is_one = self._batches_per_update == 1 and not self._skips

    def loss_after(self, batch_loss: float) -> float | None:
        """The loss of the update that this batch completed, or None if it completed none."""
        counted = self._count() if self._skips else self._counted + 1
        if counted == self._counted:
            self._skipped_in_a_row += 1
            return math.nan if self._skipped_in_a_row > MOST_SKIPPED_BATCHES else None
        self._counted, self._skipped_in_a_row = counted, 0
        self._losses.append(batch_loss)
        if counted % self._batches_per_update:
            return None
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        return mean


class _Ready(Exception):
    """Ends a fit on purpose."""


def build(model: Any, data: Data) -> None:
    """Builds the model, its metrics and its optimizer as far as they are not built.

    On JAX and PyTorch a fit builds before its first step, and draws from the random generators for
    it. So a fit is begun with the data as they were given, and ended before that step: weights and
    generators are then as a fit would have them. On TensorFlow the first step itself builds, and
    draws nothing that is not drawn again.
    """
    if is_built(model):
        return
    plain = model.train_function
    arguments, callbacks = data.as_given, [_StopBeforeTheFirstStep()]
    if keras.backend.backend() == "tensorflow":
        arguments, callbacks = data.lend(), []
        model.train_function = _builder(model)
    try:
        with quiet_about_the_end_of_data():
            model.fit(**arguments, verbose=0, callbacks=callbacks)
    except _Ready:
        return
    finally:
        model.train_function = plain
    raise bad_argument("x", A_BATCH, "none")


def build_from_iterator(model: Any, iterator: Any) -> None:
    """Builds the same in a fit on TensorFlow, from the shapes of the batches that it will give."""
    if not is_built(model):
        spec = keras.tree.map_structure(_none_if_missing, iterator.element_spec)
        build_from_batch(model, spec)


@contextmanager
def quiet_about_the_end_of_data() -> Generator[None]:
    """Keras warns where a pass over data of unknown length ends; here it just begins another."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        yield


class _StopBeforeTheFirstStep(keras.callbacks.Callback):
    def on_train_begin(self, logs: Any = None) -> None:
        raise _Ready


def _builder(model: Any) -> TrainFunction:
    def build_only(iterator: Any) -> None:
        build_from_batch(model, keras.tree.map_structure(_none_if_missing, next(iter(iterator))))
        raise _Ready

    return build_only


def _none_if_missing(part: Any) -> Any:
    """A generator's batch without sample weights holds an empty Optional on TensorFlow."""
    return part if hasattr(part, "shape") else None
