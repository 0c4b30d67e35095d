"""The range test of a model in the Trainer of Transformers, when its training begins."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.training_args import ParallelMode

import cyclerate.torch as ct
from cyclerate._errors import bad_argument, check_choice
from cyclerate.finder import RangeTestResult, RangeTestSettings
from cyclerate.finder._sweep import settings_of
from cyclerate.torch._scheduler import set_rate

ComputeLoss = Callable[[Any, Any], Any]
"""Of a model and a batch."""


def loss_of_the_trainer(callback: TrainerCallback) -> ComputeLoss:
    """Returns the `compute_loss` of the Trainer that has called a callback: what it trains on.

    A callback is not told its Trainer. It is looked for among those that are being executed.

    Raises:
        ValueError: There is none.
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer) and callback in caller.callback_handler.callbacks:
            return functools.partial(_loss_of, caller)
        frame = frame.f_back
    allowed = "given where the callback is not called by a Trainer of Transformers"
    raise bad_argument("compute_loss", allowed, None)


def _loss_of(trainer: Trainer, model: Any, batch: Any) -> Any:
    allowed = "given for a model that returns no loss"
    try:
        loss = trainer.compute_loss(model, dict(batch))  # it takes the labels out
    except ValueError as error:
        if "did not return a loss" in str(error):
            raise bad_argument("compute_loss", allowed, None) from error
        raise
    if loss is None:
        raise bad_argument("compute_loss", allowed, None)
    return loss


_log = logging.getLogger(__name__)


class RangeTestCallback(TrainerCallback):
    """Finds the learning rate when a training begins, sets it, and leaves all else as it was.

    It makes steps on the Trainer's own batches, with its precision, accumulation, clipping and
    label smoothing, and gives everything back, also after an exception or Ctrl-C: weights,
    optimizer, scaler, random states, the order of the data. The Trainer's limit of
    steps does not hold, schedulers are not stepped, nothing is logged but the answer.

    All rates of the optimizer and of its scheduler are multiplied by one factor then, such that the
    highest is the found one: the rate that the scheduler starts from or, for a `ScheduledLR`, its
    highest. `learning_rate` of the arguments must be above 0, and does not matter otherwise.
    Without a clear answer the rate stays. A training that goes on from a checkpoint has its rate
    from there, and is not tested.

    The answer is an entry of the Trainer's log history: `range_test_max_lr`, `range_test_base_lr`,
    `range_test_steps`.

    Args:
        start_lr, end_lr, steps, spacing, method, policy, max_steps, snapshot, seed, repeats,
            stop_early, settings, verbose: As in `cyclerate.torch.range_test`.
        horizon_steps: Optimizer steps of the training to come. Default: the Trainer's own.
        compute_loss: `compute_loss(model, batch)` gives the loss. Default: that of the Trainer,
            whose `compute_loss` may be its own.
        score_fn: `score_fn(model, batch)` gives the value to score by, of the model in eval mode.
            Default: the loss.
        apply: Whether to set the rate. Default True; False only measures.

    Attributes:
        result: What was found, a `RangeTestResult`; None before.

    Raises:
        ValueError: A wrong argument; or, when the training begins, one that is spread over several
            devices, or a model that returns no loss.

    Source: Smith 2017, arXiv 1506.01186, section 3.3.

    >>> callback = RangeTestCallback(steps=60)
    >>> callback.result is None
    True
    """

    def __init__(
        self,
        *,
        start_lr: float = 1e-7,
        end_lr: float = 10.0,
        steps: int = 100,
        spacing: str = "exponential",
        method: str = "probe",
        policy: str = "one_cycle",
        horizon_steps: int | None = None,
        max_steps: int | None = None,
        compute_loss: ComputeLoss | None = None,
        score_fn: ComputeLoss | None = None,
        apply: bool = True,
        snapshot: str = "memory",
        seed: int | None = None,
        repeats: int = 1,
        stop_early: bool = True,
        settings: RangeTestSettings | None = None,
        verbose: str | int = "auto",
    ) -> None:
        if compute_loss is not None and not callable(compute_loss):
            raise bad_argument("compute_loss", "a function of (model, batch)", compute_loss)
        self._apply = check_choice("apply", apply, (True, False))
        if score_fn is not None and not callable(score_fn):
            raise bad_argument("score_fn", "a function of (model, batch)", score_fn)
        self._compute_loss, self._score_fn = compute_loss, score_fn
        self._settings = settings_of(
            RangeTestSettings,
            settings,
            {"start_lr": start_lr, "end_lr": end_lr, "steps": steps, "spacing": spacing},
            method=method,
            policy=policy,
            horizon_steps=horizon_steps,
            max_steps=max_steps,
            stop_early=stop_early,
            seed=seed,
            repeats=repeats,
        )
        self._place, self._verbose = snapshot, verbose
        self.result: RangeTestResult | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Runs the test."""
        if state.global_step:
            return
        optimizer = kwargs["optimizer"]
        self.result = self._test(
            args, state, kwargs["model"], optimizer, kwargs["train_dataloader"]
        )
        _log_result(state, self.result)
        rate = self.result.max_lr
        if rate is None:
            _log.warning("No clear answer, the rate stays as it is. %s", self.result)
        elif self._apply:
            _log.info("Learning rate set to %.3g. %s", rate, self.result)
            schedulers = [s for s in [kwargs["lr_scheduler"]] if s is not None]
            set_rate(_unwrapped(optimizer), schedulers, rate)

    def _test(
        self,
        args: TrainingArguments,
        state: TrainerState,
        model: nn.Module,
        optimizer: Any,
        loader: Any,
    ) -> RangeTestResult:
        if args.parallel_mode is not ParallelMode.NOT_PARALLEL:
            allowed = "on one device (use cyclerate.torch.range_test before a parallel one)"
            raise bad_argument("the training", allowed, args.parallel_mode.value)
        loss = self._compute_loss or loss_of_the_trainer(self)
        return ct.range_test(
            model,
            _unwrapped(optimizer),
            None,
            # Accelerate's own loader keeps account of the steps of the training.
            getattr(loader, "base_dataloader", loader),
            forward=loss,
            score_fn=self._score_fn,
            accumulation_steps=args.gradient_accumulation_steps,
            # The Trainer's model has its own autocast, which Accelerate gave it.
            scaler=getattr(optimizer, "scaler", None),
            autocast=False,
            clip_grad_norm=args.max_grad_norm or None,
            device=args.device,
            settings=replace(
                self._settings, horizon_steps=self._settings.horizon_steps or state.max_steps
            ),
            snapshot=self._place,
            verbose=self._verbose,
        )


def _unwrapped(optimizer: Any) -> Any:
    """The optimizer of PyTorch, out of the wrapper of Accelerate."""
    return getattr(optimizer, "optimizer", optimizer)


def _log_result(state: TrainerState, result: RangeTestResult) -> None:
    answer = {"range_test_max_lr": result.max_lr, "range_test_base_lr": result.base_lr}
    found = {name: rate for name, rate in answer.items() if rate is not None}
    steps = {"range_test_steps": result.steps, "step": state.global_step}
    state.log_history.append({**found, **steps})
