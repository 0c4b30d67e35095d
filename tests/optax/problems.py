"""Small problems whose training is known by value: linear regression, in JAX and in NumPy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

ROWS, FEATURES, BATCH = 48, 4, 16

_random = np.random.default_rng(7)
X = _random.normal(size=(ROWS, FEATURES)).astype(np.float32)
Y = (X @ np.array([1.0, -2.0, 0.5, 3.0]) + 0.1 * _random.normal(size=ROWS)).astype(np.float32)
BATCHES = [(X[i : i + BATCH], Y[i : i + BATCH]) for i in range(0, ROWS, BATCH)]
PARAMS = {"w": np.zeros(FEATURES, np.float32), "b": np.zeros((), np.float32)}


def loss_fn(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def sgd_losses(lrs, batches, momentum=0.0):
    """The loss before each update of plain gradient descent with momentum, computed by NumPy."""
    w, b = np.zeros(FEATURES), 0.0
    velocity_w, velocity_b = np.zeros(FEATURES), 0.0
    losses = []
    for i, lr in enumerate(lrs):
        x, y = (np.asarray(part, np.float64) for part in batches[i % len(batches)])
        error = x @ w + b - y
        losses.append(np.mean(error**2))
        velocity_w = momentum * velocity_w + 2 * x.T @ error / len(y)
        velocity_b = momentum * velocity_b + 2 * error.mean()
        w, b = w - lr * velocity_w, b - lr * velocity_b
    return np.array(losses)
