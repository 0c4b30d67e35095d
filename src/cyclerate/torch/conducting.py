"""A model and its data, ready to make the runs of a range test or of a recommendation."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import Any

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from cyclerate._errors import check_choice
from cyclerate.finder import Procedure
from cyclerate.finder._progress import Progress
from cyclerate.torch._data import batches_of
from cyclerate.torch._objective import Metric, Objective
from cyclerate.torch._step import Training
from cyclerate.torch._trainee import Runner
from cyclerate.torch.keeping import PLACES
from cyclerate.torch.lending import lent


@contextmanager
def conducting(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[..., Any] | None,
    data: Any,
    *,
    batch_size: int | None,
    metric: str | Metric,
    measure: Metric | None,
    forward: Callable[[Any, Any], Any] | None,
    accumulation_steps: int,
    scaler: GradScaler | None,
    autocast: bool | torch.dtype | None,
    clip_grad_norm: float | None,
    validation_data: Any,
    validates_each_step: bool,
    snapshot: str,
    device: torch.device | str | None,
    progress: Progress,
) -> Generator[Callable[[Procedure, int], None]]:
    """Lends model, optimizer and data for a while, and gives them back as they were.

    Args:
        model: The model.
        optimizer: Its optimizer.
        loss_fn: As `range_test` takes it, like all that follows.
        data: The training data.
        batch_size: Rows of a batch.
        metric: What to record, as the user gave it.
        measure: What measures it; None for the loss.
        forward: What makes output and target of a batch.
        accumulation_steps: Batches of a step.
        scaler: For float16.
        autocast: The dtype to compute in.
        clip_grad_norm: What the gradient's norm is cut to.
        validation_data: What to score on.
        validates_each_step: Whether each step is measured on that, too.
        snapshot: Where the copy is kept.
        device: Where batches go.
        progress: Shown after each step, and closed.

    Yields:
        What makes all runs of a procedure, on data in the order of a seed.

    Raises:
        ValueError: A wrong argument.
        MissingExtra: `snapshot` is "disk" and safetensors is not installed.
    """
    check_choice("snapshot", snapshot, PLACES)
    objective = Objective(
        model,
        loss_fn,
        forward=forward,
        metric=measure,
        device=device,
        autocast=_uses(scaler) if autocast is None else autocast,
    )
    batches, begin_validation = batches_of(data, validation_data, batch_size)
    training = Training(
        optimizer,
        objective,
        batches,
        begin_validation if validates_each_step else None,
        accumulation_steps=accumulation_steps,
        scaler=scaler,
        clip_grad_norm=clip_grad_norm,
    )
    read = [data, validation_data]
    lending = lent([model, optimizer, loss_fn, metric, scaler], read, snapshot)
    with closing(progress), lending as state, closing(batches):
        runner = Runner(training, state, batches, begin_validation, data=read, progress=progress)
        yield runner.conduct


def _uses(scaler: Any) -> bool:
    return isinstance(scaler, GradScaler) and scaler.is_enabled()
