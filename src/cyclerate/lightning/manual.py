"""Manual optimization: the training step makes the steps of the optimizers itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch.optim import Optimizer

from cyclerate.lightning._steps import Outputs, Prepared


class Steered(Optimizer):
    """Stands for an optimizer whose steps are made elsewhere: only its rates are set.

    Args:
        optimizer: The optimizer.
        trainer: All its optimizers, its schedulers and its scaler change with a training step; a
            snapshot of this object has all of them.
    """

    def __init__(self, optimizer: Optimizer, trainer: pl.Trainer) -> None:
        super().__init__([torch.zeros(())], {})
        self.param_groups = optimizer.param_groups
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.lent = [*trainer.optimizers, scaler, *(vars(s) for s in _with_parts(schedulers))]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing: the training step has done it."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing: the training step does it."""


def without_gradient(
    run: Callable[[Any, Prepared], Outputs],
) -> Callable[[Any, Prepared], dict[str, Any]]:
    """The training step with a loss whose gradient goes nowhere: it has been made use of."""

    def forward(model: Any, prepared: Prepared) -> dict[str, Any]:
        outputs = run(model, prepared)
        return {**outputs, "loss": outputs["loss"].detach().clone().requires_grad_()}

    return forward


def _with_parts(schedulers: list[Any]) -> Iterator[Any]:
    for scheduler in schedulers:
        yield scheduler
        yield from _with_parts([*getattr(scheduler, "_schedulers", ())])
