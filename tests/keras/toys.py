"""Models so small that a test can say what each of their weights must become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import tests.keras.quick  # noqa: F401 - settings, made before anything is compiled

BACKEND = keras.backend.backend()

compiled_by_tracing = pytest.mark.skipif(BACKEND == "torch", reason="PyTorch traces nothing here")


def value(variable: Any) -> np.ndarray:
    """A copy of a variable's value."""
    return np.array(keras.ops.convert_to_numpy(variable))


def mean_of_output(_y: Any, y_pred: Any) -> Any:
    """A loss whose gradient for the weight of `one_weight` is 1 on inputs of 1."""
    return keras.ops.mean(y_pred, axis=-1)


def one_weight(optimizer: Any, loss: Any = "mse", *, built: bool = True, **options: Any) -> Any:
    """y = w x, w = 1."""
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    layers = [keras.Input((1,)), layer] if built else [layer]
    model = keras.Sequential(layers)
    model.compile(optimizer, loss, **options)
    return model


ONES = np.ones((4, 1), "float32")
ZEROS = np.zeros((4, 1), "float32")


def fit_steps(model: Any, steps: int, *callbacks: Any, epochs: int = 1) -> Any:
    """That many updates in all, of batches under which the gradient of (w x)**2 is 2 w."""
    x, y = (np.concatenate([part] * (steps // epochs)) for part in (ONES, ZEROS))
    return model.fit(x, y, batch_size=4, epochs=epochs, callbacks=list(callbacks), verbose=0)


class Weights(keras.callbacks.Callback):
    """The first weight after every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append(float(value(self.model.trainable_variables[0]).ravel()[0]))


Update = Callable[[float, float, int], float]
"""(weight, gradient, step) -> new weight."""


def simulate(update: Update, steps: int) -> list[float]:
    """The weights that `update` makes of w = 1 under the loss w**2."""
    weight, weights = 1.0, []
    for step in range(steps):
        weight = update(weight, 2.0 * weight, step)
        weights.append(weight)
    return weights


class SGDByHand:
    """Keras's SGD with scheduled rate, momentum and weight decay, in plain Python."""

    def __init__(
        self,
        lr: cr.Schedule,
        momentum: cr.Schedule,
        decay: cr.Schedule | None = None,
        nesterov: bool = False,
    ) -> None:
        self.lr, self.momentum, self.decay, self.nesterov = lr, momentum, decay, nesterov
        self.velocity = 0.0

    def __call__(self, weight: float, gradient: float, step: int) -> float:
        lr, momentum = self.lr(step), self.momentum(step)
        if self.decay is not None:
            weight -= weight * self.decay(step) * lr
        self.velocity = momentum * self.velocity - lr * gradient
        if self.nesterov:
            return weight + momentum * self.velocity - lr * gradient
        return weight + self.velocity


class AdamByHand:
    """Keras's Adam with scheduled rate and beta_1; beta_2 = 0.9 keeps float32 close."""

    def __init__(self, lr: cr.Schedule, beta_1: cr.Schedule) -> None:
        self.lr, self.beta_1 = lr, beta_1
        self.m = self.v = 0.0

    def __call__(self, weight: float, gradient: float, step: int) -> float:
        b1, b2 = self.beta_1(step), 0.9
        self.m += (gradient - self.m) * (1 - b1)
        self.v += (gradient**2 - self.v) * (1 - b2)
        alpha = self.lr(step) * np.sqrt(1 - b2 ** (step + 1)) / (1 - b1 ** (step + 1))
        return weight - self.m * alpha / (np.sqrt(self.v) + 1e-7)


class RMSpropByHand:
    """Keras's RMSprop with scheduled rate and momentum, rho = 0.9."""

    def __init__(self, lr: cr.Schedule, momentum: cr.Schedule) -> None:
        self.lr, self.momentum = lr, momentum
        self.average = self.velocity = 0.0

    def __call__(self, weight: float, gradient: float, step: int) -> float:
        self.average += (gradient**2 - self.average) * 0.1
        increment = self.lr(step) * gradient / np.sqrt(self.average + 1e-7)
        self.velocity = self.momentum(step) * self.velocity + increment
        return weight - self.velocity
