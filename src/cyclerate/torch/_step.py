"""A training step: the loss of a batch, its gradient, the step of the optimizer."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.amp import GradScaler
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from cyclerate._errors import (
    CyclerateError,
    bad_argument,
    check_count,
    check_function,
    check_number,
)
from cyclerate.torch._data import batches_of, check_device, moved, rows_in
from cyclerate.torch._groups import current_ratios, updated
from cyclerate.torch._ranks import AUTO, Ranks, agreed, ranks_of

Metric = Callable[[Tensor, Tensor], Any]

MOST_SKIPPED_STEPS = 50
"""So many steps in a row that a GradScaler skips: it sees infinite gradients only."""


@dataclass(frozen=True)
class Options:
    """How a batch is trained on; `range_test` and the recipes take them under the same names."""

    batch_size: int | None = None
    forward: Callable[[Any, Any], Any] | None = None
    accumulation_steps: int = 1
    scaler: GradScaler | None = None
    autocast: bool | torch.dtype | None = None
    clip_grad_norm: float | None = None
    device: torch.device | str | None = None
    score_fn: Callable[[Any, Any], Any] | None = None
    verbose: str | int = "auto"
    ranks: Ranks | None = None


P = ParamSpec("P")
R = TypeVar("R")


def together(function: Callable[P, R]) -> Callable[P, R]:
    """Has a function of a model, the first argument, run as one on all ranks that train the model.

    It is given them as `ranks`, in place of what the caller said: None where there is one alone.
    """

    @functools.wraps(function)
    def run(*args: Any, ranks: Any = AUTO, **named: Any) -> Any:
        call: Any = function
        if ranks is AUTO and not (distributed.is_available() and distributed.is_initialized()):
            return call(*args, ranks=None, **named)
        found = ranks_of([args[0] if args else named.get("model")], ranks)
        with nullcontext() if found is None or found is ranks else found:
            return call(*args, ranks=found, **named)

    return run


class Training:
    """A model, its optimizer and its data, ready to take steps.

    Args:
        model: The model.
        optimizer: The optimizer. Its groups keep the ratios of their rates.
        loss_fn: As `range_test` takes it, like the data.
        data: The training data.
        validation_data: What `begin_validation` passes over; None for nothing.
        options: How a batch is trained on.
        measure: What to record, of the output and the target. None: the loss.
        step_value: What a step returns: "measure" or "loss", of its own batches before it; or
            "validation", the measure of all validation data after it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss_fn: Callable[..., Any] | None,
        data: Any,
        *,
        validation_data: Any,
        options: Options,
        measure: Metric | None = None,
        step_value: str = "measure",
    ) -> None:
        forward, scaler = options.forward, options.scaler
        if torch.is_inference_mode_enabled():
            raise bad_argument("torch.inference_mode", "off: nothing is trained in it", "on")
        if not isinstance(model, nn.Module):
            raise bad_argument("model", "a torch.nn.Module", model)
        _check_functions(loss_fn, forward, options.score_fn)
        listed = isinstance(validation_data, (list, range, set, frozenset))
        if forward is None and listed and validation_data:
            _pair_in(next(iter(validation_data)))  # not after the first epoch of a training
        wrapped, optimizer = optimizer, checked_optimizer(optimizer)
        if scaler is None and getattr(wrapped, "scaler", None) is not None:
            raise bad_argument("scaler", "accelerator.scaler, as the optimizer needs it", None)
        if scaler is not None and not isinstance(scaler, GradScaler):
            raise bad_argument("scaler", "a torch.amp.GradScaler", scaler)
        if options.clip_grad_norm is not None:
            check_number("clip_grad_norm", options.clip_grad_norm, low=0, low_open=True)
        autocast = options.autocast
        if autocast is None:
            autocast = scaler is not None and scaler.is_enabled()
        if not isinstance(autocast, (bool, torch.dtype)):
            raise bad_argument("autocast", "a dtype, True or False", autocast)
        self.model, self._measure, self._step_value = model, measure, step_value
        first = next(itertools.chain(model.parameters(), model.buffers()), torch.empty(0))
        self.device = first.device if options.device is None else check_device(options.device)
        self.batches, self.begin_validation = batches_of(data, validation_data, options.batch_size)
        self.optimizer, self._loss_fn, self._forward = optimizer, loss_fn, forward
        self._score_fn, self._trains = options.score_fn, False
        self._ratios = current_ratios(optimizer.param_groups)
        accumulated = options.accumulation_steps
        self._accumulation_steps = check_count("accumulation_steps", accumulated, below=2**31)
        self._scaler, self._clip_grad_norm = scaler, options.clip_grad_norm
        self._autocast, self.ranks = autocast, options.ranks
        if scaler is not None and self.ranks is not None and self.ranks.sharded:
            allowed = "None with fully_shard: a rank sees the infinities of its own shards alone"
            raise bad_argument("scaler", allowed, scaler)

    def step(self, rate: float) -> Tensor:
        """Takes a step at this rate of the highest group; the others keep their ratios to it."""
        for group, ratio in zip(self.optimizer.param_groups, self._ratios, strict=True):
            group["lr"] = updated(group["lr"], rate * ratio)
        return self.step_as_set()

    def step_as_set(self) -> Tensor:
        """Takes an optimizer step at the rates that the groups have, and returns its value.

        It is on the device: nothing waits for it. A step that the scaler skips is taken again on
        the next batches: the scaler has lowered its scale meanwhile.
        """
        for _ in range(MOST_SKIPPED_STEPS):
            value = self._accumulate()
            if self._update():
                return self.evaluated() if self._step_value == "validation" else value
            if not math.isfinite(agreed(self.ranks, value.item())):
                break
        return torch.tensor(math.nan, device=self.device)

    def evaluated(self, batches: Iterable[Any] | None = None) -> Tensor:
        """Returns the mean of the value over the rows of some batches, of the validation's if None.

        It is on the device: nothing waits for it; of several ranks, over the rows of all. The modes
        of all modules are given back.
        """
        if batches is None:
            batches = () if self.begin_validation is None else self.begin_validation()
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        total, rows = torch.zeros((), device=self.device), 0
        ranks = self.ranks
        counted = zip(batches, itertools.repeat(True)) if ranks is None else ranks.in_step(batches)
        with torch.no_grad():
            for batch, new in counted:
                value, count = self._score(batch), rows_in(batch)
                if value is not None and new:
                    total, rows = total + count * value, rows + count
        for module, training in modes:
            module.training = training
        if ranks is not None:
            ranks.reshard()
            mean, rows = ranks.mean([total.item(), rows])
            total = torch.tensor(mean, device=self.device)
        if not rows:
            raise bad_argument("validation_data", "at least one batch", "none")
        return total / rows

    def _accumulate(self) -> Tensor:
        """Computes the gradient, and returns the mean value of its batches."""
        measure = self._measure if self._step_value == "measure" else None
        self.optimizer.zero_grad(set_to_none=True)
        values: list[Tensor] = []
        for _ in range(self._accumulation_steps):
            loss, value = self._next_outcome(measure)
            if self._accumulation_steps > 1:
                loss = loss / self._accumulation_steps
            if self.ranks is not None:
                self.ranks.ready()  # or those that are would wait for the others' gradient
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()
            values.append(value)
        if not self._trains:
            self._check_gradients()
        return values[0] if len(values) == 1 else torch.stack(values).mean()

    def _check_gradients(self) -> None:
        """Refuses, after the first gradient, an optimizer that it has nothing to do with."""
        own = set(map(id, self.model.parameters()))
        for group in self.optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is not None or id(weight) in own:
                    self._trains = True
                    return
        allowed = "one of parameters that the loss depends on, as those of this model"
        raise bad_argument("optimizer", allowed, self.optimizer)

    def _next_outcome(self, measure: Metric | None) -> tuple[Tensor, Tensor]:
        """That of the next batch that is not skipped: a `forward` says None for one that is."""
        for number in range(MOST_SKIPPED_STEPS):
            batch = next(self.batches)
            if number == 0 and self.ranks is not None:
                self.ranks.ready()  # the model itself may wait for all: buffers, parameters
            outcome = self._outcome(batch, measure)
            if outcome is not None:
                break
        else:
            allowed = (
                f"a function that does not return None for {MOST_SKIPPED_STEPS} batches on end"
            )
            raise bad_argument("forward", allowed, None)
        if not outcome[0].requires_grad:
            allowed = "one that depends on parameters with requires_grad: there is nothing to train"
            raise bad_argument("the loss", allowed, outcome[0])
        return outcome

    def _score(self, batch: Any) -> Tensor | None:
        """The value of a batch in eval mode; None if it is one to skip.

        Raises:
            CyclerateError: The model cannot do that, although it may train well.
        """
        try:
            if self._score_fn is None:
                outcome = self._outcome(batch, self._measure)
                return None if outcome is None else outcome[1]
            with self._precision():
                return _mean("the score", self._score_fn(self.model, moved(batch, self.device)))
        except (TypeError, AttributeError, LookupError, RuntimeError, AssertionError) as error:
            if type(error).__module__ != "builtins" or "out of memory" in str(error):
                raise
            raise CyclerateError(
                "evaluating the model (eval mode, no gradients) failed with "
                f"{type(error).__name__}: {str(error)[:80]}. Try model(input) on a batch; if it "
                'can only train, give score_fn=... (of model and batch), or use method="range", no '
                "validation data"
            ) from error

    def _outcome(self, batch: Any, measure: Metric | None) -> tuple[Tensor, Tensor] | None:
        """Runs the model; returns the loss, with its graph, and the value to record, without."""
        loss_fn = self._loss_fn
        with self._precision():
            given = self._run(moved(batch, self.device))
            if given is None:
                return None
            loss = _mean("the loss", given if loss_fn is None else self._called(loss_fn, *given))
        if measure is None:
            return loss, loss.detach()
        with torch.no_grad():
            return loss, _mean("the metric", measure(*given))

    def _run(self, batch: Any) -> Any:
        if self._forward is None:
            inputs, target = _pair_in(batch)
            return self._called(self.model, *inputs), target
        given = self._forward(self.model, batch)
        if given is None:
            return None
        if self._loss_fn is not None and not (isinstance(given, tuple) and len(given) == 2):
            allowed = "a function that returns (output, target); or the loss, with loss_fn=None"
            raise bad_argument("forward", allowed, given)
        return given

    def _called(self, function: Callable[..., Any], *inputs: Any) -> Any:
        """The function's output; one that cannot take a batch as it is by default is explained."""
        try:
            return function(*inputs)
        except (TypeError, AttributeError) as error:
            usual = all(isinstance(value, Tensor) for value in inputs)
            one = function is not self.model or len(inputs) == 1
            if self._forward is not None or (usual and one):
                raise
            kinds = ", ".join(type(value).__name__ for value in inputs)
            allowed = "given where a batch is not (*inputs, target) or an output is no tensor"
            raise bad_argument("forward", allowed, f"None, and ({kinds}): {error}") from error

    def _precision(self) -> AbstractContextManager[Any]:
        if self._autocast is False:
            return nullcontext()
        dtype = None if self._autocast is True else self._autocast
        return torch.autocast(self.device.type, dtype)

    def _update(self) -> bool:
        """Changes the weights; returns whether that has happened, or the scaler has skipped it."""
        scaler = self._scaler
        if self._clip_grad_norm is not None:
            if scaler is not None:
                scaler.unscale_(self.optimizer)
            weights = [p for group in self.optimizer.param_groups for p in group["params"]]
            clip_grad_norm_(weights, self._clip_grad_norm)
        if scaler is None:
            self.optimizer.step()
            return True
        scale = scaler.get_scale()
        scaler.step(self.optimizer)
        scaler.update()
        return scaler.get_scale() >= scale


def _pair_in(batch: Any) -> tuple[list[Any], Any]:
    """The inputs and the target of a batch that `forward` does not take apart."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        allowed = "given for data whose batches are not (input, target)"
        raise bad_argument("forward", allowed, f"None, and a {type(batch).__name__}")
    *inputs, target = batch
    return inputs, target


def _check_functions(loss_fn: Any, forward: Any, score_fn: Any) -> None:
    if isinstance(loss_fn, type) and issubclass(loss_fn, nn.Module):
        raise bad_argument("loss_fn", f"made of its class, {loss_fn.__name__}()", loss_fn)
    if loss_fn is not None or forward is None:
        instead = ", or None if forward returns the loss"
        check_function("loss_fn", loss_fn, "(output, target)", instead=instead)
    for name, function in (("forward", forward), ("score_fn", score_fn)):
        if function is not None:
            check_function(name, function, "(model, batch)")


def checked_optimizer(optimizer: Any) -> Optimizer:
    """Returns the optimizer that takes the steps: that in the wrapper of Accelerate, which is none.

    Raises:
        ValueError: It is no optimizer, or one that has no step per batch.
    """
    if type(optimizer).__module__.startswith("accelerate."):
        optimizer = optimizer.optimizer
    if not isinstance(optimizer, Optimizer):
        raise bad_argument("optimizer", "one torch.optim.Optimizer", optimizer)
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        allowed = "one whose step needs no closure, as LBFGS does: it has no step per batch"
        raise bad_argument("optimizer", allowed, optimizer)
    return optimizer


def _mean(name: str, value: Any) -> Tensor:
    """One number: losses and metrics may come one for each sample."""
    if isinstance(value, (bool, int, float)):
        return torch.tensor(float(value))
    if not isinstance(value, Tensor) or not value.numel() or value.is_complex():
        raise bad_argument(name, "a tensor of one or more real numbers", value)
    if not value.is_floating_point():
        value = value.float()
    return value if value.ndim == 0 else value.mean()


VALIDATION = "val_"
_OF_LABELS = (functional.binary_cross_entropy, functional.binary_cross_entropy_with_logits)


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
    if isinstance(metric, str) and metric == "loss":
        return f"{prefix}loss", None
    if not isinstance(metric, str) or metric != "accuracy":
        check_function("metric", metric, "(output, target)", instead=", 'loss' or 'accuracy'")
    if loss_fn is None:
        raise bad_argument("metric", "'loss' where forward returns the loss itself", metric)
    if isinstance(metric, str):
        threshold = 0.5 if isinstance(loss_fn, nn.BCELoss) else 0.0
        classes = None
        if isinstance(loss_fn, nn.CrossEntropyLoss) or loss_fn is functional.cross_entropy:
            classes = True
        elif isinstance(loss_fn, (nn.BCELoss, nn.BCEWithLogitsLoss)) or loss_fn in _OF_LABELS:
            classes = False
        kind = functools.partial(accuracy, threshold=threshold, classes=classes)
        return f"{prefix}accuracy", kind
    return prefix + getattr(metric, "__name__", type(metric).__name__), metric


def accuracy(
    output: Tensor, target: Tensor, threshold: float = 0.0, *, classes: bool | None = None
) -> Tensor:
    """The share of targets that the output has right.

    Args:
        output: Scores of classes along dimension 1; or one score for each target, for yes or no.
        target: The number of the class; or 0 or 1.
        threshold: Where a score means yes: 0 for a logit, 0.5 for a probability.
        classes: Whether a target of the output's shape gives the share of each class: the largest
            count. Default None: where those of every row add up to 1.

    >>> import torch
    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).item()
    0.5
    >>> accuracy(torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([1.0, 0.0, 0.0])).item()
    0.6666666865348816
    """
    if output.ndim == target.ndim + 1 and output.shape[1] == 1:
        output = output.squeeze(1)
    if output.shape == target.shape and target.ndim > 1 and target.shape[1] > 1:
        shares = classes
        if shares is None:
            shares = bool(((target.sum(1) - 1).abs() < 1e-3).all() and (target >= 0).all())
        several = (output > threshold) == (target > 0.5)
        right = output.argmax(1) == target.argmax(1) if shares else several
    elif output.shape == target.shape:
        right = (output > threshold) == (target > 0.5)
    elif output.ndim == target.ndim + 1 and output[:, 0].shape == target.shape:
        right = output.argmax(dim=1) == target
    else:
        shapes = f"output {tuple(output.shape)} and target {tuple(target.shape)}"
        raise bad_argument("metric", "a function, where 'accuracy' does not fit the shapes", shapes)
    return right.float().mean()
