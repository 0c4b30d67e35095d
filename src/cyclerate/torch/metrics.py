"""What can be recorded of a batch, beside the loss."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor, nn

from cyclerate._errors import bad_argument
from cyclerate.torch._objective import Metric

VALIDATION = "val_"


def metric_of(metric: Any, loss_fn: Any, *, validated: bool) -> tuple[str, Metric | None]:
    """Returns the name of a metric, and its function of output and target; None for the loss.

    Args:
        metric: "loss", "accuracy" or a function; a name may begin with "val_".
        loss_fn: Knows whether outputs are probabilities; None if there are none.
        validated: Whether there are validation data. The name begins with "val_" then.

    Raises:
        ValueError: It is nothing of these, or what it is computed from is missing.
    """
    if isinstance(metric, str) and metric.startswith(VALIDATION):
        if not validated:
            raise bad_argument("validation_data", f"given for the metric {metric!r}", None)
        metric = metric.removeprefix(VALIDATION)
    prefix = VALIDATION if validated else ""
    if metric == "loss":
        return f"{prefix}loss", None
    if metric != "accuracy" and not callable(metric):
        allowed = "'loss', 'accuracy' or a function of (output, target)"
        raise bad_argument("metric", allowed, metric)
    if loss_fn is None:
        raise bad_argument("metric", "'loss' where forward returns the loss itself", metric)
    if metric == "accuracy":
        threshold = 0.5 if isinstance(loss_fn, nn.BCELoss) else 0.0
        return f"{prefix}accuracy", functools.partial(accuracy, threshold=threshold)
    return prefix + getattr(metric, "__name__", type(metric).__name__), metric


def accuracy(output: Tensor, target: Tensor, threshold: float = 0.0) -> Tensor:
    """The share of targets that the output has right.

    Args:
        output: Scores of classes along dimension 1; or one score for each target, for yes or no.
        target: The number of the class; or 0 or 1.
        threshold: Where a score means yes: 0 for a logit, 0.5 for a probability.

    Raises:
        ValueError: The shapes fit neither.

    >>> import torch
    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).item()
    0.5
    >>> accuracy(torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([1.0, 0.0, 0.0])).item()
    0.6666666865348816
    """
    if output.ndim == target.ndim + 1 and output.shape[1] == 1:
        output = output.squeeze(1)
    if output.shape == target.shape:
        right = (output > threshold) == (target > 0.5)
    elif output.ndim == target.ndim + 1 and output[:, 0].shape == target.shape:
        right = output.argmax(dim=1) == target
    else:
        shapes = f"output {tuple(output.shape)} and target {tuple(target.shape)}"
        raise bad_argument("metric", "a function, where 'accuracy' does not fit the shapes", shapes)
    return right.float().mean()
