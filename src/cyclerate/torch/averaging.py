"""Averages of weights at the ends of cycles (SWA), over PyTorch's own averaged model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from cyclerate._errors import CyclerateError, bad_argument
from cyclerate.schedules import Schedule
from cyclerate.torch.cycle_counter import CycleCounter


class WeightAveraging:
    """Averages the weights at the end of every cycle (SWA).

    Call `step()` after every `optimizer.step()`. The mean is in `model`, an
    `torch.optim.swa_utils.AveragedModel`; the model in training goes on with its own weights. For a
    mean at the end of every epoch, or an exponential one (EMA, `get_ema_multi_avg_fn`), PyTorch's
    `AveragedModel` alone does it all.

    Args:
        model: The model in training.
        schedule: The schedule of the rate.
        total_steps: Optimizer steps of the whole training, counted from step 0 of the schedule; its
            last step ends a cycle too.
        start_cycle: The first cycle that counts, from 1. Default 1.
        start_step: The step to begin with. Default 0.
        device: Where the mean is kept. Default: with the model.

    Attributes:
        model: The averaged model.
        count: How many were averaged.

    Raises:
        ValueError: `schedule` is none, or a number is not what it must be.

    Source: Izmailov et al. 2018, arXiv 1803.05407, algorithm 1.

    >>> import torch
    >>> import cyclerate as cr
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> lr = cr.WarmRestarts(max_lr=0.1, cycle_steps=2)
    >>> mean = WeightAveraging(model, lr, total_steps=6)
    >>> for value in (1.0, 2.0, 3.0, 4.0, 5.0, 9.0):
    ...     _ = torch.nn.init.constant_(model.weight, value)  # in place of a training step
    ...     mean.step()
    >>> mean.assign_to(model)
    >>> mean.count, model.weight.item()
    (3, 5.0)
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        total_steps: int,
        *,
        start_cycle: int = 1,
        start_step: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise bad_argument("model", "a torch.nn.Module", model)
        self._trained = model
        self._counter = CycleCounter(schedule, total_steps, start_step, start_cycle)
        self.model = AveragedModel(model, None if device is None else torch.device(device))

    @property
    def count(self) -> int:
        """How many were averaged."""
        return int(self.model.n_averaged)

    def step(self) -> None:
        """Goes on by one step, and adds the weights if a cycle ended with it."""
        if self._counter.step() is not None:
            self.model.update_parameters(self._trained)

    def assign_to(
        self, model: nn.Module, batch_norm_data: Iterable[Any] | Literal[False] | None = None
    ) -> None:
        """Gives a model of the same layers the mean, and the statistics that belong to it.

        Args:
            model: The model; the one in training, or another.
            batch_norm_data: Batches as in training, for one pass that makes the statistics of batch
                normalisation anew (`torch.optim.swa_utils.update_bn`). Needed where the model has
                any; False leaves the statistics of the model in training.

        Raises:
            CyclerateError: Nothing has been averaged.
            ValueError: Batch normalisation without data.
        """
        if not self.count:
            raise CyclerateError("no weights have been averaged: no cycle that counts has ended.")
        if batch_norm_data is None and _has_batch_norm(model):
            allowed = "data, or False, for a model with batch normalisation"
            raise bad_argument("batch_norm_data", allowed, None)
        with torch.no_grad():
            for own, mean in zip(model.parameters(), self.model.parameters(), strict=True):
                own.copy_(mean)
            for own, last in zip(model.buffers(), self._trained.buffers(), strict=True):
                own.copy_(last)
        if batch_norm_data is not None and batch_norm_data is not False:
            device = next(model.parameters()).device
            update_bn(batch_norm_data, model, device=device)


def _has_batch_norm(model: nn.Module) -> bool:
    kind = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - as update_bn itself asks
    return any(isinstance(m, kind) and m.track_running_stats for m in model.modules())
