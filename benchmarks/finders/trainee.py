"""A task with its seed: a model that trains one step at a time, and can be put back."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim

from benchmarks.finders.adapting import Groups
from benchmarks.finders.data import Data, load
from benchmarks.finders.optimizers import OPTIMIZERS
from benchmarks.finders.task import Before, Task

SAMPLE_ROWS = 1024
"""Rows of the fixed samples on which a training is judged, in evaluation mode."""

Snapshot = tuple[dict[str, Any], dict[str, Any]]

SETTLING_BATCHES = 50
SCORE_ROWS = 512
"""Rows of the sample on which a probe scores its races."""


class Trainee:
    """A model at the start of a task.

    Everything random follows from the seed: the weights, the order of the batches, dropout.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self.task = task
        self.seed = seed
        torch.manual_seed(seed)
        self.data = load(task.source)
        self.regression = self.data.y.is_floating_point()
        self.model = task.model()
        self.groups: Groups = [(list(self.model.parameters()), 1.0)]
        """What is trained, each part with its share of the rate."""
        if task.before:
            self._train_before(task.before)
            self.groups = task.before.turn(self.model)
        self.optimizer = self._new_optimizer()
        self._start = self.snapshot()

    def restore(self) -> None:
        """Puts weights, optimizer and random state back to the start."""
        self.put_back(self._start)
        torch.manual_seed(self.seed)

    def batches(self) -> Iterator[Tensor]:
        """Yields the rows of each batch, epoch after epoch, in the order that the seed gives."""
        return _batches(len(self.data.x), self.task.batch_size, self.seed)

    def step(self, lr: float, rows: Tensor) -> float:
        """Takes one optimizer step and returns the loss of its batch."""
        for group, (_params, share) in zip(self.optimizer.param_groups, self.groups, strict=True):
            group["lr"] = lr * share
        return self.step_as_is(rows)

    def clipped_step(self, lr: float, rows: Tensor, most: float) -> tuple[float, float]:
        """Takes a step with the gradient's norm clipped; returns the loss and the norm before."""
        for group, (_params, share) in zip(self.optimizer.param_groups, self.groups, strict=True):
            group["lr"] = lr * share
        loss = self._backward(self.data, rows)
        trained = [p for params, _share in self.groups for p in params]
        norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None]).item()
        if norm > most:
            nn.utils.clip_grad_norm_(trained, most)
        self.optimizer.step()
        return loss, norm

    def snapshot(self) -> Snapshot:
        """Copies weights, buffers and optimizer state."""
        return copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict()))

    def put_back(self, snapshot: Snapshot) -> None:
        """Puts a copy back; the batches and the random state go on."""
        weights, optimizer = snapshot
        self.model.load_state_dict(weights)
        self.optimizer.load_state_dict(copy.deepcopy(optimizer))

    def step_as_is(self, rows: Tensor) -> float:
        """Takes one optimizer step at whatever rate is set and returns the loss of its batch."""
        return self._step(self.data, rows)

    def train(self, lrs: Iterable[float]) -> bool:
        """Trains at the given rates from the start; False if the loss became non-finite."""
        self.restore()
        self.model.train()
        return all(
            math.isfinite(self.step(lr, rows))
            for lr, rows in zip(lrs, self.batches(), strict=False)
        )

    @torch.no_grad()
    def settle(self) -> None:
        """Shows some batches to layers that keep statistics of what they see, without training.

        An untrained batch norm takes unscaled inputs for scaled ones, and its loss may be millions.
        """
        self.model.train()
        for _, rows in zip(range(SETTLING_BATCHES), self.batches(), strict=False):
            self.model(self.data.x[rows])

    def train_loss(self, rows: int = SAMPLE_ROWS) -> float:
        """Returns the loss on the first rows of the training part, in evaluation mode."""
        return self._evaluate(self.data.x[:rows], self.data.y[:rows])

    def score(self) -> float:
        """Returns the loss on a fixed sample of training rows, other ones than `train_loss` has."""
        rows = torch.arange(len(self.data.x))[-SCORE_ROWS:]
        return self._evaluate(self.data.x[rows], self.data.y[rows])

    def heldout_loss(self) -> float:
        """Returns the loss on the part held out, in evaluation mode."""
        return self._evaluate(self.data.x_heldout[:SAMPLE_ROWS], self.data.y_heldout[:SAMPLE_ROWS])

    def loss_of(self, predicted: Tensor, y: Tensor) -> Tensor:
        """The objective: mean squared error for numbers, cross entropy for classes."""
        if self.regression:
            return nn.functional.mse_loss(predicted, y)
        return nn.functional.cross_entropy(predicted.flatten(0, -2), y.flatten())

    def _step(self, data: Data, rows: Tensor) -> float:
        loss = self._backward(data, rows)
        self.optimizer.step()
        return loss

    def _backward(self, data: Data, rows: Tensor) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(self.model(data.x[rows]), data.y[rows])
        loss.backward()
        return loss.item()

    @torch.no_grad()
    def _evaluate(self, x: Tensor, y: Tensor) -> float:
        self.model.eval()
        value = self.loss_of(self.model(x), y).item()
        self.model.train()
        return value

    def _new_optimizer(self) -> optim.Optimizer:
        groups = [{"params": params} for params, _share in self.groups]
        return OPTIMIZERS[self.task.optimizer](groups, **self.task.options)

    def _train_before(self, before: Before) -> None:
        data = load(before.source) if before.source else self.data
        self.optimizer = self._new_optimizer()
        for group in self.optimizer.param_groups:
            group["lr"] = before.lr
        rows = _batches(len(data.x), self.task.batch_size, self.seed + 1000)
        for _ in range(before.steps):
            self._step(data, next(rows))


def _batches(count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    generator = np.random.default_rng(seed)
    size = min(batch_size, count)
    while True:
        order = torch.from_numpy(generator.permutation(count))
        yield from order[: count - count % size].split(size)
