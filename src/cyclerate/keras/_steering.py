"""Values of a step that the host chooses from step to step, without a new trace.

A schedule is computed inside of the compiled step. What depends on the losses so far cannot be: a
rate and a momentum that are found meanwhile, the norm at which the gradient is clipped. On JAX they
go into the step beside the batch, on TensorFlow they are a variable, and PyTorch reads them as they
are. The norm of the gradient comes out with the logs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from cyclerate.keras._internals import RATE, TracedNumber, TrainFunction

_NORM = "cyclerate_gradient_norm"


class Steering:
    """The rate, the momentum and the clipping of the next step, and the norm of the latest.

    Args:
        clips: Whether gradients are clipped, and their norm is known.
        compiled: Whether the step takes tensors, not numbers.

    Attributes:
        lr, momentum, clip_norm: For the next step.
        in_use: Whether the model's steps have asked for them.
        before_the_first: Called once with what the train function of the first step takes.
    """

    def __init__(self, *, clips: bool, compiled: bool) -> None:
        self.lr, self.momentum, self.clip_norm = 0.0, 0.0, math.inf
        self.in_use = False
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
    def steered(self, train_step: TrainFunction) -> TrainFunction:
        def steered(state: Any, data: Any) -> Any:
            batch, self._in_step = data
            logs, state = train_step(state, batch)
            return self._with_norm(logs), state

        return steered

    def _step(self, function: TrainFunction, arguments: tuple[Any, ...]) -> Any:
        state, iterator = arguments
        logs, state = function(state, iter([(next(iterator), self._values())]))
        self._norm = logs.pop(_NORM, None)
        return logs, state


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
