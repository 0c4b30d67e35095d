"""The training step of a Lightning module, as a range test of PyTorch takes it."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from cyclerate._errors import bad_argument
from cyclerate._randomness import PutBack, all_of, remember_order
from cyclerate.torch._step import MOST_SKIPPED_STEPS

Outputs = Mapping[str, Any]


class Prepared(NamedTuple):
    """A batch where the model is, and its number in the pass."""

    batch: Any
    number: int


class Passes:
    """The Trainer's passes over its training data: with its samplers, limits and hooks of batches.

    The loaders are attributes, so that their generators and orders can be found and put back.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self._trainer = trainer
        combined: Any = trainer.fit_loop._combined_loader  # noqa: SLF001 - it knows the mode
        self._combined = combined
        self.loaders: list[Any] = [*combined.flattened]
        vars(self).update({f"loader_{i}": loader for i, loader in enumerate(self.loaders)})

    def __iter__(self) -> Iterator[Prepared]:
        trainer, module = self._trainer, self._trainer.lightning_module
        count = trainer.num_training_batches
        limit = int(count) if count < math.inf else None
        # A copy: the Trainer's own is in the midst of a pass.
        for batch, number, _ in itertools.islice(copy.copy(self._combined), limit):
            converted = trainer.precision_plugin.convert_input(batch)
            taken = module.on_before_batch_transfer(converted, 0)
            yield Prepared(trainer.strategy.batch_to_device(taken, dataloader_idx=0), number)


@contextmanager
def lent_batches(trainer: pl.Trainer) -> Generator[Passes]:
    """Lends the Trainer's training data, and gives back what decides on their order.

    A pass that the Trainer has begun goes on as if nothing had been.
    """
    passes = Passes(trainer)
    put_back = all_of([remember_order(loader) for loader in passes.loaders])
    try:
        for loader in passes.loaders:
            if isinstance(loader, DataLoader):  # workers that persist are the Trainer's, at work
                vars(loader)["_iterator"] = None
        yield passes
    finally:
        put_back()


def training_step(trainer: pl.Trainer) -> Callable[[Any, Prepared], Outputs | None]:
    """Runs the module's `training_step` as the Trainer does, under its precision.

    It may return None, for a batch to skip.
    """
    step = trainer.lightning_module.training_step
    if is_param_in_hook_signature(step, "dataloader_iter", explicit=True):
        raise bad_argument("training_step", "one that takes a batch", "one with dataloader_iter")
    numbered = is_param_in_hook_signature(step, "batch_idx", min_args=2)

    skipped = 0

    def run(_model: Any, prepared: Prepared) -> Outputs | None:
        nonlocal skipped
        given = trainer.strategy.training_step(*(prepared if numbered else prepared[:1]))
        skipped = skipped + 1 if given is None else 0
        return None if 0 < skipped < MOST_SKIPPED_STEPS else outputs_of(given)

    return run


def outputs_of(given: Any) -> Outputs:
    """Returns the outputs of a training step by name."""
    outputs: Any = given if isinstance(given, Mapping) else {"loss": given}
    if not isinstance(outputs.get("loss"), Tensor):
        allowed = "one that returns the loss, or a dict with it under 'loss'"
        raise bad_argument("training_step", allowed, f"one that returned {given!r}")
    return outputs


def value_of(outputs: Outputs, name: str) -> Any:
    """The loss, or another value, of what a training step returned."""
    if name not in outputs:
        allowed = f"a name in what training_step returns ({', '.join(map(repr, outputs))})"
        raise bad_argument("metric", allowed, name)
    value = outputs[name]
    return value.detach() if isinstance(value, Tensor) and name != "loss" else value


@contextmanager
def gradients_clipped(trainer: pl.Trainer, optimizer: Optimizer) -> Generator[None]:
    """Clips the gradients before each step by the module's `configure_gradient_clipping`."""
    module = trainer.lightning_module

    def clip(*_: Any) -> None:
        module.configure_gradient_clipping(
            optimizer,
            gradient_clip_val=trainer.gradient_clip_val,
            gradient_clip_algorithm=trainer.gradient_clip_algorithm,
        )

    handle = optimizer.register_step_pre_hook(clip)
    try:
        yield
    finally:
        handle.remove()


class Steered(Optimizer):
    """Stands for an optimizer whose steps are taken elsewhere: only its rates are set.

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
    run: Callable[[Any, Prepared], Outputs | None],
) -> Callable[[Any, Prepared], dict[str, Any] | None]:
    """The training step with a loss whose gradient goes nowhere: it has been made use of."""

    def forward(model: Any, prepared: Prepared) -> dict[str, Any] | None:
        outputs = run(model, prepared)
        if outputs is None:
            return None
        return {**outputs, "loss": outputs["loss"].detach().clone().requires_grad_()}

    return forward


def _with_parts(schedulers: list[Any]) -> Iterator[Any]:
    for scheduler in schedulers:
        yield scheduler
        yield from _with_parts([*getattr(scheduler, "_schedulers", ())])


@contextmanager
def quiet(trainer: pl.Trainer, module: pl.LightningModule) -> Generator[None]:
    """Drops what the model logs, calls no callbacks, and forgets a wish to stop."""
    callbacks, loggers, should_stop = trainer.callbacks, trainer.loggers, trainer.should_stop  # type: ignore[attr-defined]
    unmuted = [_mute(part) for part in module.modules() if isinstance(part, pl.LightningModule)]

    def put_back() -> None:
        trainer.callbacks = callbacks  # type: ignore[attr-defined]
        trainer.loggers = loggers
        trainer.should_stop = should_stop

    try:
        trainer.callbacks = []  # type: ignore[attr-defined]
        trainer.loggers = [DummyLogger() for _ in loggers]
        yield
    finally:
        all_of([*unmuted, put_back])()


def _mute(module: pl.LightningModule) -> PutBack:
    attributes: dict[str, Any] = vars(module)
    before = {name: attributes[name] for name in ("log", "log_dict") if name in attributes}
    attributes.update(log=_nothing, log_dict=_nothing)

    def unmute() -> None:
        for name in ("log", "log_dict"):
            attributes.pop(name, None)
        attributes.update(before)

    return unmute


def _nothing(*_args: Any, **_named: Any) -> None:
    """Takes what `LightningModule.log` takes."""
