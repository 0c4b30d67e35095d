"""The outcome of a batch: the loss to minimise, and the value to record."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cyclerate._errors import bad_argument
from cyclerate.torch._data import moved, rows_in

Metric = Callable[[Tensor, Tensor], Any]


class Outcome(NamedTuple):
    """The loss, with its graph, and the value to record, without."""

    loss: Tensor
    value: Tensor


class Objective:
    """Runs a model on a batch.

    Args:
        model: The model.
        loss_fn: `loss_fn(output, target)`; None if `forward` returns the loss itself.
        forward: `forward(model, batch)` returns `(output, target)`, or the loss. None: a batch is
            `(*inputs, target)`, and the output is `model(*inputs)`.
        metric: What to record, of the output and the target. None: the loss.
        device: Where batches go. None: where the model is.
        autocast: The dtype to compute in; True for the usual one, False for none.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Callable[..., Any] | None,
        *,
        forward: Callable[[Any, Any], Any] | None,
        metric: Metric | None,
        device: torch.device | str | None,
        autocast: torch.dtype | bool,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise bad_argument("model", "a torch.nn.Module", model)
        if not callable(loss_fn) and not (loss_fn is None and forward is not None):
            allowed = "a function of (output, target), or None if forward returns the loss"
            raise bad_argument("loss_fn", allowed, loss_fn)
        if forward is not None and not callable(forward):
            raise bad_argument("forward", "a function of (model, batch)", forward)
        if not isinstance(autocast, (bool, torch.dtype)):
            raise bad_argument("autocast", "a dtype, True or False", autocast)
        self.model = model
        self.device = _device_of(model) if device is None else torch.device(device)
        self._loss_fn, self._forward, self._metric = loss_fn, forward, metric
        self._autocast = autocast

    def __call__(self, batch: Any) -> Outcome:
        """Computes what a batch gives."""
        with self._precision():
            given = self._run(moved(batch, self.device))
            loss = _mean("the loss", given if self._loss_fn is None else self._loss_fn(*given))
        if self._metric is None:
            return Outcome(loss, loss.detach())
        with torch.no_grad():
            return Outcome(loss, _mean("the metric", self._metric(*given)))

    def _run(self, batch: Any) -> Any:
        if self._forward is None:
            if not isinstance(batch, (tuple, list)) or len(batch) < 2:
                allowed = "given for batches that are not (input, target)"
                raise bad_argument("forward", allowed, f"None, and a {type(batch).__name__}")
            *inputs, target = batch
            return self.model(*inputs), target
        given = self._forward(self.model, batch)
        if self._loss_fn is not None and not (isinstance(given, tuple) and len(given) == 2):
            allowed = "a function that returns (output, target); or the loss, with loss_fn=None"
            raise bad_argument("forward", allowed, given)
        return given

    def _precision(self) -> AbstractContextManager[Any]:
        if self._autocast is False:
            return nullcontext()
        dtype = None if self._autocast is True else self._autocast
        return torch.autocast(self.device.type, dtype)


def _device_of(model: nn.Module) -> torch.device:
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _mean(name: str, value: Any) -> Tensor:
    """One number: losses and metrics may come one for each sample."""
    if isinstance(value, (bool, int, float)):
        return torch.tensor(float(value))
    if not isinstance(value, Tensor) or not value.numel():
        raise bad_argument(name, "a tensor of one or more numbers", value)
    if not value.is_floating_point():
        value = value.float()
    return value if value.ndim == 0 else value.mean()


VALIDATION = "val_"


def metric_of(metric: Any, loss_fn: Any, *, validated: bool) -> tuple[str, Metric | None]:
    """Returns the name of a metric, and its function of output and target; None for the loss.

    Args:
        metric: "loss", "accuracy" or a function; a name may begin with "val_".
        loss_fn: Knows whether outputs are probabilities; None if there are none.
        validated: Whether there are validation data. The name begins with "val_" then.
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


def evaluated(objective: Objective, batches: Iterable[Any]) -> Tensor:
    """Returns the mean of the metric over the rows of some batches.

    It is on the device: nothing waits for it. The modes of all modules are given back.
    """
    model = objective.model
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    total, rows = torch.zeros((), device=objective.device), 0
    with torch.no_grad():
        for batch in batches:
            count = rows_in(batch)
            total, rows = total + count * objective(batch).value, rows + count
    for module, training in modes:
        module.training = training
    if not rows:
        raise bad_argument("validation_data", "at least one batch", "none")
    return total / rows
