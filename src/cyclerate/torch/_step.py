"""The steps of a sweep: what a training loop does, at a rate that is told for each step."""

from __future__ import annotations

import inspect
import math

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from cyclerate._errors import bad_argument, check_count, check_number
from cyclerate.finder._passes import Passes
from cyclerate.torch._data import BeginPass
from cyclerate.torch._groups import current_ratios, updated
from cyclerate.torch._objective import Objective, evaluated

MOST_SKIPPED_STEPS = 50
"""So many steps in a row that a GradScaler skips: it sees infinite gradients only."""


class Training:
    """A model, its optimizer and its data, ready to take steps.

    Args:
        optimizer: The optimizer. Its groups keep the ratios of their rates.
        objective: Gives the loss of a batch.
        batches: The training data.
        begin_validation: Begins a pass over what the value is measured on. None: on the batch.
        accumulation_steps: Batches of a step.
        scaler: For mixed precision; None for none.
        clip_grad_norm: The norm that the gradient is clipped to; None for no limit.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        objective: Objective,
        batches: Passes,
        begin_validation: BeginPass | None,
        *,
        accumulation_steps: int,
        scaler: GradScaler | None,
        clip_grad_norm: float | None,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise bad_argument("optimizer", "one torch.optim.Optimizer", optimizer)
        if _needs_closure(optimizer):
            allowed = "one whose step needs no closure, as LBFGS does: it has no step per batch"
            raise bad_argument("optimizer", allowed, optimizer)
        if scaler is not None and not isinstance(scaler, GradScaler):
            raise bad_argument("scaler", "a torch.amp.GradScaler", scaler)
        if clip_grad_norm is not None:
            check_number("clip_grad_norm", clip_grad_norm, low=0, low_open=True)
        self.objective = objective
        self._optimizer = optimizer
        self._ratios = current_ratios(optimizer.param_groups)
        self._batches = batches
        self._accumulation_steps = check_count("accumulation_steps", accumulation_steps)
        self._scaler, self._clip_grad_norm = scaler, clip_grad_norm
        self._begin_validation = begin_validation

    def step(self, rate: float) -> Tensor:
        """Takes a step at this rate of the highest group; the others keep their ratios to it."""
        for group, ratio in zip(self._optimizer.param_groups, self._ratios, strict=True):
            group["lr"] = updated(group["lr"], rate * ratio)
        return self.step_as_set()

    def step_as_set(self) -> Tensor:
        """Takes an optimizer step at the rates that the groups have, and returns its value.

        It is the value of the step's own batches, taken before it; or that of the validation, taken
        after it. It is on the device: nothing waits for it. A step that the scaler skips is taken
        again on the next batches: the scaler has lowered its scale meanwhile.
        """
        for _ in range(MOST_SKIPPED_STEPS):
            value = self._accumulate()
            if self._update():
                validation = self._begin_validation
                return value if validation is None else evaluated(self.objective, validation())
            if not value.isfinite():
                break
        return torch.tensor(math.nan)

    def _accumulate(self) -> Tensor:
        """Computes the gradient, and returns the mean value of its batches."""
        self._optimizer.zero_grad(set_to_none=True)
        values: list[Tensor] = []
        for _ in range(self._accumulation_steps):
            loss, value = self.objective(next(self._batches))
            if self._accumulation_steps > 1:
                loss = loss / self._accumulation_steps
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()
            values.append(value)
        return values[0] if len(values) == 1 else torch.stack(values).mean()

    def _update(self) -> bool:
        """Changes the weights; returns whether that has happened, or the scaler has skipped it."""
        if self._scaler is None:
            self._clip()
            self._optimizer.step()
            return True
        if self._clip_grad_norm is not None:
            self._scaler.unscale_(self._optimizer)
            self._clip()
        scale = self._scaler.get_scale()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return self._scaler.get_scale() >= scale

    def _clip(self) -> None:
        if self._clip_grad_norm is not None:
            groups = self._optimizer.param_groups
            clip_grad_norm_([p for group in groups for p in group["params"]], self._clip_grad_norm)


def _needs_closure(optimizer: Optimizer) -> bool:
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty
