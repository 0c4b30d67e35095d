"""What stands in for Keras's train function, and what the host sets in it from step to step.

In a range test each step has the rate of the moment, and each loss is its batch's. In a cycle that
finds its own top, the rate, the momentum and the norm at which the gradient is clipped change
without a new trace: a schedule is computed inside of the compiled step, but what depends on the
losses so far cannot be. On JAX they go into the step beside the batch, on TensorFlow they are a
variable, and PyTorch reads them as they are. The norm of the gradient comes out with the logs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from cyclerate._errors import bad_argument
from cyclerate.keras._data import A_BATCH, Data
from cyclerate.keras._internals import (
    RATE,
    TracedNumber,
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


_NORM = "cyclerate_gradient_norm"


class Steering:
    """The rate, the momentum and the clipping of the next step, and the norm of the latest.

    Args:
        clips: Whether gradients are clipped, and their norm is known.
        compiled: Whether the step takes tensors, not numbers.

    Attributes:
        lr, momentum, clip_norm: For the next step.
        in_use: Whether the model's steps have asked for them.
        more: Whether the epoch has another batch, which may be read while the step is taken.
        before_the_first: Called once with what the train function of the first step takes.
    """

    def __init__(self, *, clips: bool, compiled: bool) -> None:
        self.lr, self.momentum, self.clip_norm = 0.0, 0.0, math.inf
        self.in_use = self.more = False
        self.before_the_first: Callable[..., object] | None = None
        self._clips, self._compiled = clips, compiled
        self._in_step: Any = None  # the three values, while a step is taken or traced
        self._norm: Any = None

    @property
    def norm(self) -> float | None:
        """The norm of the latest gradient before it was clipped; None if it is not known."""
        return None if self._norm is None else float(self._norm)

    def step(self, function: TrainFunction, arguments: tuple[Any, ...]) -> Any:
        """Takes a step by a train function that was made of `steered`."""
        if self.before_the_first is not None:
            begin, self.before_the_first = self.before_the_first, None
            begin(*arguments)
        return self._step(function, arguments)

    def steered(self, train_step: TrainFunction) -> TrainFunction:
        """Returns the model's `train_step` as one that takes these values."""
        return train_step

    def value(self, attribute: str) -> Any:
        """The rate or the momentum, while a step is taken or traced."""
        self.in_use = True
        number = self._in_step[0 if attribute == RATE else 1]
        return TracedNumber(number) if self._compiled and attribute != RATE else number

    def clipped(self, grads: list[Any]) -> list[Any]:
        """Returns the gradients with their common norm at most `clip_norm`, and notes the norm."""
        if not self._clips:
            return grads
        there = [ops.cast(grad, "float32") for grad in grads if grad is not None]
        norm = self._norm = ops.sqrt(sum(ops.sum(ops.square(grad)) for grad in there))
        limit = self._in_step[2]
        # A norm of NaN is not above it: such a gradient stays as it is, and is seen in the loss.
        share = ops.where(norm > limit, limit / norm, 1.0)
        return [None if grad is None else grad * ops.cast(share, grad.dtype) for grad in grads]

    def _values(self) -> Any:
        return np.array([self.lr, self.momentum, self.clip_norm], "float32")

    def _step(self, function: TrainFunction, arguments: tuple[Any, ...]) -> Any:
        numbers = self.lr, self.momentum, self.clip_norm
        self._in_step = ops.convert_to_tensor(self._values()) if self._compiled else numbers
        return function(*arguments)

    def _with_norm(self, logs: dict[str, Any]) -> dict[str, Any]:
        norm, self._norm = self._norm, None
        return dict(logs) if norm is None else {**logs, _NORM: norm}


class _JaxSteering(Steering):
    """The same on JAX, where the device takes a step while Python goes on.

    The host waits for each loss, and nothing would be left to do meanwhile: so the next batch is
    read before it waits, as a plain fit reads it.
    """

    _ahead: tuple[Any, Any, Exception | None] | None = None  # of which iterator; the batch or error

    def steered(self, train_step: TrainFunction) -> TrainFunction:
        def steered(state: Any, data: Any) -> Any:
            batch, self._in_step = data
            logs, state = train_step(state, batch)
            return self._with_norm(logs), state

        return steered

    def _step(self, function: TrainFunction, arguments: tuple[Any, ...]) -> Any:
        state, iterator = arguments
        logs, state = function(state, iter([(self._batch(iterator), self._values())]))
        self._norm = logs.pop(_NORM, None)
        if self.more:
            try:
                self._ahead = iterator, next(iterator), None
            except Exception as error:  # noqa: BLE001 - raised where the batch is asked for
                self._ahead = iterator, None, error
        return logs, state

    def _batch(self, iterator: Any) -> Any:
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] is not iterator:
            return next(iterator)
        if ahead[2] is not None:
            raise ahead[2]
        return ahead[1]


class _TensorFlowSteering(Steering):
    def __init__(self, *, clips: bool, compiled: bool) -> None:
        super().__init__(clips=clips, compiled=compiled)
        self._variable = keras.Variable(np.zeros(3), dtype="float32", trainable=False)

    def steered(self, train_step: TrainFunction) -> TrainFunction:
        def steered(data: Any) -> Any:
            self._in_step = ops.convert_to_tensor(self._variable)
            return self._with_norm(train_step(data))

        return steered

    def _step(self, function: TrainFunction, arguments: tuple[Any, ...]) -> Any:
        self._variable.value.assign(self._values(), read_value=False)
        logs = dict(function(*arguments))
        self._norm = logs.pop(_NORM, None)
        return logs


def steering_of(model: Any) -> Steering:
    """The kind that the backend needs."""
    optimizer = model.optimizer
    # Where gradients accumulate or may overflow, only the optimizer knows those of an update.
    skips = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    backend = keras.backend.backend()
    kind = {"jax": _JaxSteering, "tensorflow": _TensorFlowSteering}.get(backend, Steering)
    return kind(
        clips=not skips and (optimizer.gradient_accumulation_steps or 1) == 1,
        compiled=backend != "torch" or bool(model.jit_compile),
    )


@dataclass(frozen=True)
class Steered:
    """One attribute of the optimizer that has its value from a `Steering`."""

    attribute: str
    steering: Steering

    def value(self, iterations: Any, *, plain: bool) -> Any:
        """The value to put in place, as of a `Plan`."""
        return self.steering.value(self.attribute)


class RateWatch:
    """Notices, once, where another callback sets the rate beside one that owns it."""

    def __init__(self) -> None:
        self._left: float | None = None
        self._step = 0
        self._told = False

    def leave(self, optimizer: Any) -> None:
        """Notes the rate as it is left, where it is a number, and after which step."""
        self._left, self._step = _number(rate_of(optimizer)), int(optimizer.iterations)

    def begin_epoch(self, optimizer: Any) -> None:
        """Forgets what was left where another callback has loaded a state since, and its rate."""
        if int(optimizer.iterations) != self._step:
            self._left = None

    def look(self, optimizer: Any) -> None:
        """Warns if the rate is not as it was left."""
        left = self._left
        if self._told or left is None or _number(rate_of(optimizer)) == left:
            return
        self._told = True
        warnings.warn(
            "Another callback sets the learning rate, as ReduceLROnPlateau and "
            "LearningRateScheduler do, without effect: the schedule's is used. Leave one out.",
            stacklevel=3,
        )


def _number(rate: Any) -> float | None:
    """The rate that an optimizer holds; None if it is a schedule."""
    return float(rate) if isinstance(rate, keras.Variable) else None
