"""Many copies of one model, each with its own rate, trained side by side on the same batches.

A tiny model spends its time between the operations, not in them; twenty-three at once cost little
more than one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from benchmarks.finders.optimizers import OPTIMIZERS
from benchmarks.finders.trainee import Trainee

CLIP_FACTOR, CLIP_WINDOW, CLIP_LEAST = 3.0, 50, 10
"""A gradient is clipped at this multiple of the median of its last norms, once there are enough."""


class Stack:
    """Copies of a trainee at its start.

    The optimizer takes every step at a rate of 1; each copy then goes its own rate's share of the
    way. That is the same step, because no optimizer here uses its rate for anything but the length
    of the step (decoupled weight decay included).
    """

    def __init__(self, trainee: Trainee, copies: int) -> None:
        trainee.restore()
        self.trainee = trainee
        self.copies = copies
        named = dict(trainee.model.named_parameters())
        self._params = {
            name: self._repeat(p).requires_grad_(p.requires_grad) for name, p in named.items()
        }
        shares = {id(p): share for params, share in trainee.groups for p in params}
        self._trained = [
            (p, shares[id(named[name])]) for name, p in self._params.items() if p.requires_grad
        ]
        self._buffers = {name: self._repeat(b) for name, b in trainee.model.named_buffers()}
        task = trainee.task
        self._optimizer = OPTIMIZERS[task.optimizer]([p for p, _ in self._trained], **task.options)
        for group in self._optimizer.param_groups:
            group["lr"] = 1.0
        self._norms: deque[NDArray[np.float64]] = deque(maxlen=CLIP_WINDOW)
        self._loss = torch.vmap(self._loss_of_one, (0, 0, None, None), randomness="different")

    def train(
        self, lrs: Sequence[Sequence[float] | NDArray[np.float64]], *, clip: bool = False
    ) -> None:
        """Trains copy by copy at its rates: one sequence per copy, of as many rates as steps."""
        self.trainee.model.train()
        columns = torch.tensor(np.stack(lrs, axis=1), dtype=torch.float32)
        for column, rows in zip(columns, self.trainee.batches(), strict=False):
            self._step(column, rows, clip=clip)

    def losses(self) -> list[tuple[float, float]]:
        """Returns the training and held-out loss of every copy, in evaluation mode."""
        return [(one.train_loss(), one.heldout_loss()) for one in self._ones()]

    def scores(self) -> list[float]:
        """Returns what a probe would be told of every copy."""
        return [one.score() for one in self._ones()]

    def _ones(self) -> Iterator[Trainee]:
        """Yields the trainee in the state of each copy, one after the other."""
        state = {**self._params, **self._buffers}
        for i in range(self.copies):
            self.trainee.model.load_state_dict({name: v[i] for name, v in state.items()})
            yield self.trainee
        self.trainee.restore()

    def _step(self, lrs: Tensor, rows: Tensor, *, clip: bool) -> None:
        data = self.trainee.data
        self._optimizer.zero_grad(set_to_none=True)
        self._loss(self._params, self._buffers, data.x[rows], data.y[rows]).sum().backward()
        if clip:
            self._clip()
        before = [p.detach().clone() for p, _share in self._trained]
        self._optimizer.step()
        with torch.no_grad():
            for (p, share), old in zip(self._trained, before, strict=True):
                p.copy_(torch.lerp(old, p, share * lrs.view(-1, *[1] * (p.dim() - 1))))

    @torch.no_grad()
    def _clip(self) -> None:
        """Clips the gradient of every copy at a multiple of the median of its own last norms."""
        grads = [p.grad for p, _share in self._trained if p.grad is not None]
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in grads]).norm(dim=0)
        if len(self._norms) >= CLIP_LEAST:
            limit = CLIP_FACTOR * torch.from_numpy(np.nanmedian(self._norms, axis=0)).float()
            share = torch.nan_to_num(limit / norms, nan=1.0).clamp(max=1.0)
            for g in grads:
                g.mul_(share.view(-1, *[1] * (g.dim() - 1)))
        self._norms.append(norms.double().numpy())

    def _loss_of_one(
        self, params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor
    ) -> Tensor:
        model = self.trainee.model
        return self.trainee.loss_of(functional_call(model, (params, buffers), (x,)), y)

    def _repeat(self, value: Tensor) -> Tensor:
        return value.detach().expand(self.copies, *value.shape).clone()
