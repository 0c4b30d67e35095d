"""The Trainer of Transformers: a range test at its start, or a cycle that finds its own top."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.training_args import ParallelMode

import cyclerate.torch as ct
from cyclerate._errors import (
    bad_argument,
    check_choice,
    check_flag,
    check_function,
)
from cyclerate._files import replacing
from cyclerate._trackers import tell_cycle
from cyclerate.cycles._rules import CycleOptions
from cyclerate.finder import RangeTestResult, RangeTestSettings
from cyclerate.finder._progress import VERBOSE
from cyclerate.finder._sweep import settings_of
from cyclerate.torch._scheduler import set_rate
from cyclerate.torch._state import PLACES

ComputeLoss = Callable[[Any, Any], Any]
"""Of a model and a batch."""


def trainer_of(callback: TrainerCallback) -> Trainer | None:
    """Returns the Trainer that has called a callback.

    A callback is not told its Trainer. It is looked for among those that are being executed.
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer) and callback in caller.callback_handler.callbacks:
            return caller
        frame = frame.f_back
    return None


def loss_of_the_trainer(callback: TrainerCallback) -> ComputeLoss:
    """Returns the `compute_loss` of the Trainer that has called a callback: what it trains on.

    Raises:
        ValueError: There is none.
    """
    trainer = trainer_of(callback)
    if trainer is None:
        allowed = "given where the callback is not called by a Trainer of Transformers"
        raise bad_argument("compute_loss", allowed, None)
    return functools.partial(_loss_of, trainer)


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

    As in `cyclerate.torch.range_test`: start_lr, end_lr, steps, spacing, method, policy, max_steps,
    snapshot, seed, repeats, stop_early, settings, verbose.

    Args:
        horizon_steps: Optimizer steps of the training to come. Default: the Trainer's own.
        compute_loss: `compute_loss(model, batch)` gives the loss. Default: that of the Trainer,
            whose `compute_loss` may be its own.
        score_fn: `score_fn(model, batch)` gives the value to score by, of the model in eval mode.
            Default: the loss.
        apply: Whether to set the rate. Default True; False only measures.

    Attributes:
        result: What was found, a `RangeTestResult`; None before.

    Raises:
        ValueError: A wrong argument; or, when the training begins, one that is spread over devices
            in another way than by DistributedDataParallel, or a model that returns no loss.

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
        for name, function in (("compute_loss", compute_loss), ("score_fn", score_fn)):
            if function is not None:
                check_function(name, function, "(model, batch)")
        self._apply = check_flag("apply", apply)
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
        self._place = check_choice("snapshot", snapshot, PLACES)
        self._verbose = check_choice("verbose", verbose, VERBOSE)
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
        _tell(self, state, _answer(self.result))
        rate = self.result.max_lr
        if rate is None:
            _log.warning("No clear answer, the rate stays as it is. %s", self.result)
        elif self._apply:
            _log.info("Learning rate set to %.3g. %s", rate, self.result)
            schedulers = [s for s in [kwargs["lr_scheduler"]] if s is not None]
            set_rate(optimizer, schedulers, rate)

    def _test(
        self,
        args: TrainingArguments,
        state: TrainerState,
        model: nn.Module,
        optimizer: Any,
        loader: Any,
    ) -> RangeTestResult:
        model = trained_model(self, args, model)
        loss = self._compute_loss or loss_of_the_trainer(self)
        return ct.range_test(
            model,
            optimizer,
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


def trained_model(callback: TrainerCallback, args: TrainingArguments, model: nn.Module) -> Any:
    """Returns what the Trainer trains: of several processes, the model in its wrapper.

    Raises:
        ValueError: It is spread over several devices in another way than by
            DistributedDataParallel.
    """
    if args.parallel_mode is ParallelMode.NOT_PARALLEL:
        return model
    trainer = trainer_of(callback)
    wrapped = None if trainer is None else trainer.model_wrapped
    if args.parallel_mode is ParallelMode.DISTRIBUTED and isinstance(
        wrapped, DistributedDataParallel
    ):
        return wrapped
    kind = args.parallel_mode.value if wrapped is None else type(wrapped).__name__
    allowed = "on one device, or in processes of one each, by DistributedDataParallel"
    raise bad_argument("the training", allowed, kind)


def _answer(result: RangeTestResult) -> dict[str, float]:
    answer = {"range_test_max_lr": result.max_lr, "range_test_base_lr": result.base_lr}
    found = {name: rate for name, rate in answer.items() if rate is not None}
    return {**found, "range_test_steps": result.steps}


def _tell(callback: TrainerCallback, state: TrainerState, values: dict[str, float]) -> None:
    """Logs as the Trainer does, into its history and what it reports to."""
    trainer = trainer_of(callback)
    if trainer is None:
        state.log_history.append({**values, "step": state.global_step})
        return
    wanted = trainer.control.should_log
    trainer.log(values)
    trainer.control.should_log = wanted  # that log was not the one of the step


_CYCLE_FILE = "cyclerate_cycle.pt"


class SelfFindingCycle(TrainerCallback):
    """One cycle of the rate for a whole training, whose way up is the range test.

    `cyclerate.torch.SelfFindingCycle`, called after every optimizer step of the Trainer: nothing is
    trained beside the training, the gradients are clipped, a loss that explodes is repaired. It
    takes the place of the Trainer's scheduler and of `learning_rate`; what the Trainer logs as its
    rate is the cycle's. A checkpoint gets it, with its mark, as `cyclerate_cycle.pt`, and a
    training that goes on from there goes on exactly.

    The training ends with the cycle. The log history gets `cycle_max_lr` at its end.

    Args:
        total_steps: All the optimizer steps there are, those of the way up included. Default: those
            of the Trainer.
        max_lr: The highest rate, where it is known, as in `cyclerate.torch.SelfFindingCycle`.
        momentum: (lowest, highest), against the rate; None leaves it alone. Default (0.85, 0.95).
        batch_size: Rows of a step, for the rate to expect. Default: the Trainer's, times the
            accumulated batches.
        fine_tuned: Whether the weights were trained before: lower rates are expected then. Default
            True, as it is with most trainings of this Trainer.

    Attributes:
        cycle: The `cyclerate.torch.SelfFindingCycle`, from the start of the training on: its
            `found` and `verdict` say what happened.

    Raises:
        ValueError: A wrong argument; or, when the training begins, one that is spread over devices
            in another way than by DistributedDataParallel, a scheduler of one's own or one that
            goes by a metric, or a checkpoint without its cycle.

    Source: `docs/budget.md`.

    >>> SelfFindingCycle(fine_tuned=False).cycle is None
    True
    """

    def __init__(
        self,
        total_steps: int | None = None,
        *,
        max_lr: float | None = None,
        momentum: tuple[float, float] | None = (0.85, 0.95),
        batch_size: int | None = None,
        fine_tuned: bool = True,
    ) -> None:
        self._asked = CycleOptions(total_steps, max_lr, momentum, batch_size, fine_tuned)
        self._losses: list[Any] = []
        self._trainer: Trainer | None = None
        self.cycle: ct.SelfFindingCycle | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Begins the cycle, or goes on with the one of the checkpoint."""
        trainer = trainer_of(self)
        if trainer is None:
            raise bad_argument("callbacks", "given to a Trainer of Transformers", self)
        if isinstance(kwargs["lr_scheduler"], ReduceLROnPlateau):
            raise bad_argument("lr_scheduler_type", "one that goes by steps alone", "by a metric")
        if not getattr(trainer, "_created_lr_scheduler", True):
            given = type(kwargs["lr_scheduler"]).__name__
            raise bad_argument("optimizers", "(optimizer, None): the cycle sets the rate", given)
        self._let_go()
        optimizer, rows = kwargs["optimizer"], self._asked.batch_size
        if rows is None:
            rows = args.train_batch_size * args.gradient_accumulation_steps
        self.cycle = ct.SelfFindingCycle(
            trained_model(self, args, kwargs["model"]),
            optimizer,
            self._asked.total_steps or state.max_steps,
            max_lr=self._asked.max_lr,
            momentum=self._asked.momentum,
            batch_size=rows,
            fine_tuned=self._asked.fine_tuned,
            scaler=getattr(optimizer, "scaler", None),
        )
        self.cycle.watched = False  # the Trainer's own scheduler goes on, and is written over
        if state.global_step:
            path = _checkpoint(args, state) / _CYCLE_FILE
            if not path.exists():
                self._let_go()
                allowed = f"in the checkpoint, as {path}"
                raise bad_argument("the cycle of a training that goes on", allowed, None)
            self.cycle.load_state_dict(torch.load(path, weights_only=True))
        self._listen(trainer)
        self._tell_rate(kwargs["lr_scheduler"])

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Tells the cycle the loss of the step: the Trainer has weighed that of each batch."""
        cycle, losses = self.cycle, self._losses
        if cycle is None or cycle.done or not losses:
            return
        loss = sum(losses[1:], start=losses[0])
        losses.clear()
        cycle.step(loss)
        self._tell_rate(kwargs["lr_scheduler"])
        if cycle.done:
            control.should_training_stop = True
            _tell(self, state, {"cycle_max_lr": cycle.found["top"]})
            tell_cycle(cycle.found, cycle.verdict)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Writes the cycle into the checkpoint."""
        if self.cycle is None:
            return
        cycle = self.cycle.state_dict()  # on all ranks, which have the same
        if args.should_save:
            with replacing(_checkpoint(args, state) / _CYCLE_FILE) as temporary:
                torch.save(cycle, temporary)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Lets go of the mark, and clips no more."""
        self._let_go()

    def _listen(self, trainer: Trainer) -> None:
        """Has the Trainer note the loss of each batch, which it tells no callback."""
        step = trainer.training_step

        @functools.wraps(step)
        def noted(*inputs: Any, **named: Any) -> Any:
            try:
                loss = step(*inputs, **named)
            except BaseException:  # the Trainer tells no callback of that, either
                self._let_go()
                raise
            self._losses.append(loss)
            return loss

        self._trainer = trainer
        vars(trainer)["training_step"] = noted

    def _let_go(self) -> None:
        if self._trainer is not None:
            del vars(self._trainer)["training_step"]
            self._trainer = None
        self._losses.clear()
        if self.cycle is not None:
            self.cycle.close()

    def _tell_rate(self, scheduler: Any) -> None:
        """Has the scheduler say, when it is asked for the log, what the optimizer will use."""
        if self.cycle is not None and scheduler is not None:
            rates = [float(group["lr"]) for group in scheduler.optimizer.param_groups]
            scheduler._last_lr = rates  # noqa: SLF001 - its step writes it, and this one is not used


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
