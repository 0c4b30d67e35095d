"""The optimizers of the tasks. The rate is set at every step; what stands here is only a start."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import optim
from torch.nn import Parameter


class Lion(optim.Optimizer):
    """Steps of one size along the sign of a mixed gradient (Chen et al. 2023, arXiv 2302.06675)."""

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            near, far = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(torch.lerp(p.grad, mean, near).sign_(), alpha=-group["lr"])
                mean.lerp_(p.grad, 1 - far)
        return loss


OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": partial(optim.SGD, lr=1e-3, fused=True),
    "momentum": partial(optim.SGD, lr=1e-3, fused=True, momentum=0.9),
    "nesterov": partial(optim.SGD, lr=1e-3, fused=True, momentum=0.9, nesterov=True),
    "adam": partial(optim.Adam, lr=1e-3, fused=True),
    "adamw": partial(optim.AdamW, lr=1e-3, fused=True),
    "rmsprop": partial(optim.RMSprop, lr=1e-3),
    "adagrad": partial(optim.Adagrad, lr=1e-3, fused=True),
    "lion": partial(Lion, lr=1e-3),
}
