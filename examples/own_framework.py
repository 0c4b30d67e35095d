"""A framework of one's own, here forty lines of NumPy, and the adapter that lends it to the finder.

pip install cyclerate
python examples/own_framework.py
"""

from __future__ import annotations

import copy
from contextlib import contextmanager

import numpy as np

import cyclerate as cr
from cyclerate.finder import RangeTestSettings, Trainee, range_test


class Network:
    """The framework: two layers with dropout between them, trained with momentum."""

    def __init__(self, inputs: int, hidden: int, outputs: int, seed: int):
        self.random = np.random.default_rng(seed)  # of the weights, then of the dropout
        shapes = [(inputs, hidden), (hidden, outputs)]
        self.weights = [self.random.normal(size=s) * (2 / s[0]) ** 0.5 for s in shapes]
        self.velocities = [np.zeros_like(w) for w in self.weights]

    def forward(self, x, keep=1.0):
        first, second = self.weights
        kept = self.random.random((len(x), len(second))) < keep if keep < 1.0 else 1.0
        hidden = np.maximum(x @ first, 0.0) * kept / keep
        scores = hidden @ second
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, scores / scores.sum(axis=1, keepdims=True)

    def loss(self, x, y):
        """The cross entropy, without dropout."""
        _, shares = self.forward(x)
        return -np.log(shares[np.arange(len(y)), y] + 1e-12).mean()

    def step(self, x, y, lr, momentum=0.9):
        """Takes a training step; returns the loss of its batch."""
        hidden, shares = self.forward(x, keep=0.8)
        loss = -np.log(shares[np.arange(len(y)), y] + 1e-12).mean()
        error = (shares - np.eye(shares.shape[1])[y]) / len(y)
        back = (error @ self.weights[1].T) * (hidden > 0) / 0.8
        gradients = [x.T @ back, hidden.T @ error]
        for i, gradient in enumerate(gradients):
            self.velocities[i] = momentum * self.velocities[i] + gradient
            self.weights[i] = self.weights[i] - lr * self.velocities[i]
        return loss


class NetworkTrainee(Trainee):
    """The adapter: a `Network` and its data, lent to the finder."""

    def __init__(self, network, x, y, batch_size=32):
        self.network, self.x, self.y = network, x, y
        self.batch_size = min(batch_size, len(x))

    @contextmanager
    def lent(self):
        """All that a run changes is copied before the first one, and put back after the last."""
        self.start = copy.deepcopy(vars(self.network))
        try:
            yield
        finally:
            self.put_back()

    def put_back(self):
        self.network.__dict__.update(copy.deepcopy(self.start))

    def restore(self, seed):
        """Every run begins with the same weights, dropout and batches; the seed says which."""
        self.put_back()
        self.order = np.random.default_rng(seed)
        self.rows = np.arange(0)

    def step(self, lr):
        """One step at a rate, on the next batch; the data are gone through again and again."""
        if len(self.rows) < self.batch_size:
            self.rows = np.append(self.rows, self.order.permutation(len(self.x)))
        rows, self.rows = np.split(self.rows, [self.batch_size])
        return self.network.step(self.x[rows], self.y[rows], lr)

    def score(self, seed):
        """The loss on a fixed sample, without dropout."""
        rows = np.random.default_rng(seed).permutation(len(self.x))[:512]
        return self.network.loss(self.x[rows], self.y[rows])


def main():
    random = np.random.default_rng(0)
    points = random.normal(size=(1200, 8))
    classes = np.abs(points @ random.normal(size=(8, 3))).argmax(axis=1)
    x, y = points[:1000], classes[:1000]
    network = Network(8, 32, 3, seed=0)

    steps = 600
    result = range_test(NetworkTrainee(network, x, y), RangeTestSettings(horizon_steps=steps))
    print(result)

    cycle = cr.OneCycle(result.max_lr, total_steps=steps)
    momentum = cycle.mirrored(low=0.85, high=0.95)
    for step in range(steps):
        rows = random.integers(len(x), size=32)
        network.step(x[rows], y[rows], cycle(step), momentum(step))
    _, shares = network.forward(points[1000:])
    accuracy = (shares.argmax(axis=1) == classes[1000:]).mean()
    print(f"accuracy on the 200 points held out: {accuracy:.3f}")
    assert accuracy > 0.8


if __name__ == "__main__":
    main()
