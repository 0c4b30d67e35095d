"""The range test of a Lightning module, when its training begins."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities.parsing import (
    lightning_getattr,
    lightning_hasattr,
    lightning_setattr,
)
from torch import nn
from torch.optim import Optimizer

import cyclerate.torch as ct
from cyclerate._errors import (
    bad_argument,
    check_choice,
    check_count,
    check_flag,
    check_function,
)
from cyclerate._trackers import tracking
from cyclerate.finder import RangeTestResult, RangeTestSettings
from cyclerate.finder._progress import VERBOSE
from cyclerate.finder._sweep import settings_of
from cyclerate.lightning._steps import (
    Steered,
    gradients_clipped,
    lent_batches,
    quiet,
    training_step,
    value_of,
    without_gradient,
)
from cyclerate.torch._scheduler import rate_of, set_rate
from cyclerate.torch._state import PLACES

_USUAL = ("lr", "learning_rate")


def attribute_of(module: pl.LightningModule, attribute: str | None) -> str | None:
    """Returns the name under which the module, its `hparams` or the datamodule keeps the rate.

    Args:
        module: The module.
        attribute: The name; "auto" for `lr` or `learning_rate`, if there is one; None for none.

    Raises:
        ValueError: There is nothing of that name.
    """
    if attribute == "auto":
        return next((name for name in _USUAL if lightning_hasattr(module, name)), None)
    if attribute is not None and not lightning_hasattr(module, attribute):
        allowed = '"auto", None, or a name that the module, its hparams or the datamodule has'
        raise bad_argument("attribute", allowed, attribute)
    return attribute


def apply_rate(
    trainer: pl.Trainer, index: int, rate: float, attribute: str | None, *, anew: bool
) -> None:
    """Sets the rate of an optimizer, of its schedulers, and the module's own note of it.

    Args:
        trainer: The Trainer.
        index: The number of the optimizer.
        rate: The rate.
        attribute: The name of the module's note of it; None for none.
        anew: Have the module configure its optimizers again, if it has a note: they are as they
            would have been, had the rate been known from the beginning.
    """
    module, before = trainer.lightning_module, _rate_of(trainer, index)
    if attribute is not None:
        given = lightning_getattr(module, attribute)
        lightning_setattr(module, attribute, rate)
        if anew:
            trainer.strategy.setup_optimizers(trainer)
            if given == rate or _rate_of(trainer, index) != before:
                return
    set_rate(trainer.optimizers[index], schedulers_of(trainer, index), rate)


def schedulers_of(trainer: pl.Trainer, index: int) -> list[Any]:
    """The schedulers of an optimizer."""
    optimizer = trainer.optimizers[index]
    schedulers: list[Any] = [config.scheduler for config in trainer.lr_scheduler_configs]
    return [scheduler for scheduler in schedulers if scheduler.optimizer is optimizer]


def _rate_of(trainer: pl.Trainer, index: int) -> float:
    return rate_of(trainer.optimizers[index], schedulers_of(trainer, index))


_log = logging.getLogger(__name__)


class RangeTestCallback(pl.Callback):
    """Finds the learning rate when an epoch begins, sets it, and leaves all else as it was.

    It makes steps of the module's own `training_step` under the Trainer's precision, accumulation
    and clipping, and gives everything back, also after an exception or Ctrl-C: weights, optimizer,
    random states, the order of the data, and the Trainer's progress, metrics and loggers. Its steps
    are not those of the Trainer: `max_steps` and `max_epochs` do not limit them, callbacks are not
    called, nothing that `self.log` is given arrives anywhere, schedulers are not stepped.

    Where the rate goes: into the module's attribute; before the first step, `configure_optimizers`
    is then called again, so that a scheduler is made with the found rate, too. Without an
    attribute, or later in a training, all rates of the optimizer and of its schedulers are
    multiplied by one factor, such that the highest is the found one. After a checkpoint is loaded
    the rates that were found before it are set again. Without a clear answer the rate stays.

    Each logger gets the curve, `range_test/lr` and `range_test/loss` by step, and what was found,
    `range_test/max_lr` and `range_test/base_lr`.

    As in `cyclerate.torch.range_test`: start_lr, end_lr, steps, spacing, policy, max_steps, mode,
    snapshot, seed, repeats, stop_early, settings, verbose.

    Args:
        method: "probe" (default), a sweep and short races after it; or "range", the sweep alone,
            which is what manual optimization can do.
        horizon_steps: Optimizer steps of the training to come. Default: what the Trainer estimates.
        metric: What to record: "loss" (default), or another name in the dict that `training_step`
            returns.
        score_fn: `score_fn(module, batch)` gives the value to score by, of the module in eval mode.
            Default: `training_step` does.
        optimizer: The number of the optimizer, where there are several.
        attribute: Where the module, its `hparams` or the datamodule keeps the rate. Default "auto":
            `lr` or `learning_rate`, if there is one; None for none.
        at_epoch: The epoch, or epochs, to begin with a test. Default 0.
        apply: Whether to set the rate. Default True; False only measures.

    Attributes:
        result: What the last test found, a `RangeTestResult`; None before.
        results: What the tests found, by epoch.

    Raises:
        ValueError: A wrong argument; or, when the test begins, an optimizer, attribute, metric or
            strategy that is not there or cannot be used.

    Source: Smith 2017, arXiv 1506.01186, section 3.3.

    >>> callback = RangeTestCallback(steps=60, at_epoch=(0, 10))
    >>> trainer = pl.Trainer(callbacks=[callback], logger=False, enable_checkpointing=False)
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
        metric: str = "loss",
        mode: str = "auto",
        score_fn: Callable[[Any, Any], Any] | None = None,
        optimizer: int | None = None,
        attribute: str | None = "auto",
        at_epoch: int | Iterable[int] = 0,
        apply: bool = True,
        snapshot: str = "memory",
        seed: int | None = None,
        repeats: int = 1,
        stop_early: bool = True,
        settings: RangeTestSettings | None = None,
        verbose: str | int = "auto",
    ) -> None:
        if not isinstance(metric, str):
            raise bad_argument("metric", "a name in what training_step returns", metric)
        if attribute is not None and not isinstance(attribute, str):
            raise bad_argument("attribute", '"auto", a name or None', attribute)
        epochs = at_epoch if isinstance(at_epoch, Iterable) else (at_epoch,)
        self._epochs = frozenset(check_count("at_epoch", epoch, low=0) for epoch in epochs)
        self._number = None if optimizer is None else check_count("optimizer", optimizer, low=0)
        self._apply = check_flag("apply", apply)
        if score_fn is not None:
            check_function("score_fn", score_fn, "(module, batch)")
        self._attribute, self._score_fn = attribute, score_fn
        self._settings = settings_of(
            RangeTestSettings,
            settings,
            {"start_lr": start_lr, "end_lr": end_lr, "steps": steps, "spacing": spacing},
            method=method,
            policy=policy,
            horizon_steps=horizon_steps,
            max_steps=max_steps,
            metric=metric,
            mode=mode,
            stop_early=stop_early,
            seed=seed,
            repeats=repeats,
        )
        self._place = check_choice("snapshot", snapshot, PLACES)
        self._verbose = check_choice("verbose", verbose, VERBOSE)
        self._applied: list[dict[str, Any]] = []
        self._loaded = False
        self.results: dict[int, RangeTestResult] = {}
        self.result: RangeTestResult | None = None

    @property
    def state_key(self) -> str:
        """Tells the states of several such callbacks apart."""
        return self._generate_state_key(at_epoch=sorted(self._epochs), optimizer=self._number)

    def state_dict(self) -> dict[str, Any]:
        """What was found and set, as values that `torch.load(weights_only=True)` takes."""
        results = {epoch: result.to_dict() for epoch, result in self.results.items()}
        return {"applied": [*self._applied], "results": results}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what was found before; it is set when the training goes on."""
        results = state_dict["results"].items()
        self.results = {epoch: RangeTestResult.from_dict(result) for epoch, result in results}
        self.result = [*self.results.values()][-1] if self.results else None
        self._applied, self._loaded = [*state_dict["applied"]], True

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Checks what can be checked now; after a checkpoint, sets again what was found."""
        optimizer = number_of(trainer, self._number)
        attribute = attribute_of(pl_module, self._attribute)
        if not self._loaded:
            self._applied.clear()
        for found in self._applied:
            apply_rate(trainer, optimizer, found["rate"], attribute, anew=found["anew"])
        self._loaded = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs the test where the epoch is one of those asked for."""
        # PyTorch Lightning declares what it gives: a bool, or a number of batches.
        if trainer.current_epoch not in self._epochs or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        number = number_of(trainer, self._number)
        self.result = self._test(trainer, trainer.optimizers[number])
        self.results[trainer.current_epoch] = self.result
        _log_result(trainer, self.result)
        rate = self.result.max_lr
        if rate is None:
            _log.warning("No clear answer, the rate stays as it is. %s", self.result)
        elif self._apply:
            _log.info("Learning rate set to %.3g. %s", rate, self.result)
            anew = trainer.global_step == 0
            apply_rate(trainer, number, rate, attribute_of(pl_module, self._attribute), anew=anew)
            self._applied.append({"rate": rate, "anew": anew})

    def _test(self, trainer: pl.Trainer, optimizer: Optimizer) -> RangeTestResult:
        automatic, method = trainer.lightning_module.automatic_optimization, self._settings.method
        if not automatic and method != "range":  # its step cannot evaluate without training
            raise bad_argument("method", '"range" where optimization is manual', method)
        run, module, score = training_step(trainer), trainer.lightning_module, self._score_fn
        with (
            quiet(trainer, trainer.lightning_module),
            gradients_clipped(trainer, optimizer) if automatic else nullcontext(),
            lent_batches(trainer) as passes,
            tracking(),  # the loggers of the Trainer are told, below
        ):
            return ct.range_test(
                cast(nn.Module, trainer.strategy.model),
                optimizer if automatic else Steered(optimizer, trainer),
                lambda outputs, _: value_of(outputs, "loss"),
                passes,
                forward=_paired(run if automatic else without_gradient(run)),
                metric=_metric(self._settings.metric),
                score_fn=None if score is None else lambda _, prepared: score(module, prepared[0]),
                accumulation_steps=trainer.accumulate_grad_batches,
                scaler=getattr(trainer.precision_plugin, "scaler", None) if automatic else None,
                autocast=False,
                device=trainer.strategy.root_device,
                settings=replace(self._settings, horizon_steps=self._horizon_of(trainer)),
                snapshot=self._place,
                verbose=self._verbose,
            )

    def _horizon_of(self, trainer: pl.Trainer) -> int | None:
        if self._settings.horizon_steps is not None:
            return self._settings.horizon_steps
        coming = trainer.estimated_stepping_batches - trainer.global_step
        return int(coming) if 1 <= coming < math.inf else None


def number_of(trainer: pl.Trainer, number: int | None) -> int:
    """The number of the optimizer to test.

    Raises:
        ValueError: There is no such one, or there are several to choose from; or the strategy is
            one whose training cannot be undone here.
    """
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        allowed = "one device or DDP, of a Trainer of lightning.pytorch"
        raise bad_argument("strategy", allowed, trainer.strategy)
    count = len(trainer.optimizers)
    if number is None and count == 1:
        return 0
    if number is None or number >= count:
        raise bad_argument("optimizer", f"a number below {count}, of the one to test", number)
    return number


def _paired(run: Any) -> Any:
    def forward(model: Any, prepared: Any) -> Any:
        outputs = run(model, prepared)
        return None if outputs is None else (outputs, None)

    return forward


def _metric(name: str) -> Any:
    if name == "loss":
        return name

    def measure(outputs: Any, _: Any) -> Any:
        return value_of(outputs, name)

    measure.__name__ = name
    return measure


def _log_result(trainer: pl.Trainer, result: RangeTestResult) -> None:
    """Gives each logger the curve and the answer."""
    curve = [*zip(result.lrs.tolist(), result.losses.tolist(), strict=True)]
    answer = {"range_test/max_lr": result.max_lr, "range_test/base_lr": result.base_lr}
    found = {name: rate for name, rate in answer.items() if rate is not None}
    for logger in trainer.loggers:
        for step, (lr, value) in enumerate(curve):
            metrics = {"range_test/lr": lr, f"range_test/{result.metric}": value}
            logger.log_metrics(metrics, step=step)
        if found:
            logger.log_metrics(found, step=len(curve) - 1)
        logger.save()
