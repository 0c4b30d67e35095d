"""A plain training loop along a schedule: what the recipes around one training share."""

from __future__ import annotations

import dataclasses
import functools
from array import array
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cyclerate._errors import bad_argument, check_count, check_flag, check_function
from cyclerate._plain import Columns
from cyclerate._trackers import tell_cycle, tell_steps
from cyclerate.cycles._ends import Explosion
from cyclerate.cycles._rules import batches_per_epoch, opposite_cycle
from cyclerate.finder import RangeTestResult
from cyclerate.finder._progress import StatusLine
from cyclerate.finder._range_test import most_steps_of, rate_of
from cyclerate.finder._recommend import part_of_training, tell_cost
from cyclerate.finder._sweep import direction
from cyclerate.schedules import Schedule
from cyclerate.schedules._base import check_steps
from cyclerate.torch._cycle_callbacks import CycleEarlyStopping, DivergenceGuard
from cyclerate.torch._data import asked_already, batches_of_an_epoch, rows_of_a_step
from cyclerate.torch._depth import GradualUnfreezing
from cyclerate.torch._finder import range_test
from cyclerate.torch._groups import (
    GroupParam,
    copied,
    momentum_in_use,
    momentum_setting,
    rate_setting,
)
from cyclerate.torch._ranks import Ranks, agreed, check_freezing, most
from cyclerate.torch._self_finding import SelfFindingCycle
from cyclerate.torch._step import Metric, Options, Training, metric_of

_LOSSES_AT_A_TIME = 256

OnEpoch = Callable[[int, dict[str, float]], Any]
"""Is told the number of an epoch, from 1, and its row of the history; True ends the training."""


@dataclass(frozen=True)
class FitHistory:
    """What a training did.

    Attributes:
        steps: Of every optimizer step, "learning_rate" (of the group with the highest), "loss" of
            its batches before it, and "momentum" where that was cycled.
        epochs: Of every epoch, the mean "loss" of its steps, and the metric of the validation data
            after it, as "val_loss".
        range_test: How the rate was found; None where it was given, or found on the way.
        finding: What a cycle that finds its own top has found and repaired, as `found` of
            `SelfFindingCycle`; None of another training.
        explosion: What the guard saw; None if nothing happened.
        stopped_cycle: The cycle after which it was stopped early; None if it was not.
        best_cycle: The cycle whose weights the model has, where `patience_cycles` was given.

    >>> history = FitHistory(steps={"loss": [2.0, 1.0]}, epochs={"loss": [1.5]})
    >>> history.epochs["loss"][-1], history.range_test, history.explosion
    (1.5, None, None)
    >>> history
    FitHistory(2 steps, 1 epoch, loss 1.5)
    """

    steps: dict[str, list[float]]
    epochs: dict[str, list[float]]
    range_test: RangeTestResult | None = None
    explosion: Explosion | None = None
    stopped_cycle: int | None = None
    best_cycle: int | None = None
    finding: dict[str, Any] | None = None

    def __repr__(self) -> str:
        """The lengths and the last epoch; the lists themselves would fill the screen."""
        count = len(self.epochs["loss"])
        last = [f"{name} {values[-1]:.4g}" for name, values in self.epochs.items() if values]
        lengths = [f"{len(self.steps['loss'])} steps", f"{count} epoch{'s' * (count != 1)}"]
        if (found := self.range_test) is not None:
            last.append(f"max_lr {found.max_lr or found.fallback_lr:.2g}")
        if self.finding is not None:
            last.append(f"max_lr {self.finding['top']:.2g}")
            last += ["the last good mark in place of a worse end"] * self.finding["given_back"]
        return f"{type(self).__name__}({', '.join([*lengths, *last])})"


@dataclass(frozen=True)
class Watch:
    """What a training is to be watched for, as `fit_cycles` takes it."""

    guard: bool = False
    patience_cycles: int | None = None

    def __post_init__(self) -> None:
        check_flag("guard", self.guard)
        if self.patience_cycles is not None:
            check_count("patience_cycles", self.patience_cycles)


@dataclass
class _Watchers:
    """What looks at the steps; each is there if it was asked for."""

    guard: DivergenceGuard | None = None
    stopping: CycleEarlyStopping | None = None
    unfreezing: GradualUnfreezing | None = None
    finding: SelfFindingCycle | None = None

    def stop_after(self, loss: Tensor, measure: Callable[[], float]) -> bool:
        """Takes a step; returns whether it was the last one."""
        if self.finding is not None:
            self.finding.step(loss)
        if self.guard is not None and self.guard.step(loss):
            return True
        if self.unfreezing is not None:
            self.unfreezing.step()
        return self.stopping is not None and self.stopping.step(measure)


@dataclass
class _Record:
    """What is noted on the way; losses stay on their device for some hundred steps."""

    ranks: Ranks | None
    steps: Columns = field(default_factory=Columns)
    epochs: Columns = field(default_factory=Columns)
    done: int = 0
    _on_device: list[Tensor] = field(default_factory=list[Tensor])
    _read: array[float] = field(default_factory=lambda: array("d"))  # of this epoch

    def take(self, written: dict[str, float], loss: Tensor) -> None:
        self.steps.add(**written)
        self._on_device.append(loss)
        if len(self._on_device) == _LOSSES_AT_A_TIME:
            self._read_losses()

    def end_epoch(self, validation: dict[str, float]) -> dict[str, float]:
        """Notes the epoch, and returns its row."""
        self._read_losses()
        losses: Sequence[float] = self._read
        if self.ranks is not None:
            losses = self.ranks.mean(losses)
        self.steps.extend("loss", losses)
        row = {"loss": sum(losses) / max(len(losses), 1), **validation}
        self.epochs.add(**row)
        self._read = array("d")
        tell_steps("training", self.steps.since(self.done), self.done)
        self.done = len(self.steps)
        last = max(self.done - 1, 0)
        tell_steps("training", {name: [value] for name, value in validation.items()}, last)
        return row

    def _read_losses(self) -> None:
        if self._on_device:
            self._read.extend(torch.stack(self._on_device).tolist())
            self._on_device.clear()


class Fit:
    """A training that a schedule spans from its first step to its last.

    Args:
        model: The model, on its device.
        optimizer: The optimizer of its parameters. Its groups keep the ratios of their rates.
        loss_fn: As `range_test` takes it, like what follows.
        data: The training data. A pass over it is an epoch.
        validation_data: What is measured after every epoch, or None.
        metric: What is measured there.
        steps_per_epoch: Batches of an epoch; needed where the data do not say.
        total_steps: Steps of the optimizer; data that do not say are one epoch then.
        unfreeze_epochs: After how many epochs one more parameter group trains; None: all do.
        on_epoch: Called after every epoch with its number and its row; None for nothing.
        options: How a batch is trained on.

    Raises:
        ValueError: A wrong argument, or the number of batches is not known.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss_fn: Callable[..., Any] | None,
        data: Any,
        *,
        validation_data: Any,
        metric: str | Metric,
        steps_per_epoch: int | None,
        options: Options,
        total_steps: int | None = None,
        unfreeze_epochs: int | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> None:
        if on_epoch is not None:
            check_function("on_epoch", on_epoch, "(epoch, values)")
        self._on_epoch = on_epoch
        self._given = {
            "model": model,
            "optimizer": optimizer,
            "loss_fn": loss_fn,
            "data": data,
            **vars(options),
        }
        self._options, self._line = options, StatusLine(options.verbose)
        validated = validation_data is not None
        self._metric, measure = metric_of(metric, loss_fn, validated=validated)
        self._training = Training(
            model,
            optimizer,
            loss_fn,
            data,
            validation_data=asked_already("validation_data", validation_data),
            options=options,
            measure=measure,
            step_value="loss",
        )
        self._model, self._total_steps = model, total_steps
        self._optimizer = self._training.optimizer
        self._unfreeze_epochs = unfreeze_epochs
        if unfreeze_epochs is not None:
            check_count("unfreeze_epochs", unfreeze_epochs)
            check_freezing("unfreeze_epochs", model)
        self._latest = (-1, 0.0)  # the last value of the metric, and the steps before it
        self.batches_per_epoch = batches_per_epoch(
            steps_per_epoch, data, lambda: most(options.ranks, self._batches_in(data))
        )

    @property
    def measured_name(self) -> str:
        """What is measured after every epoch; "loss", that of the batches, without other data."""
        return self._metric if self._training.begin_validation is not None else "loss"

    def steps(self, epochs: int | None) -> int:
        """Optimizer steps of the training: those of the epochs, or as many as were given.

        Raises:
            ValueError: There is none, or both are given.
        """
        if (epochs is None) == (self._total_steps is None):
            given = (epochs, self._total_steps)
            raise bad_argument("epochs or total_steps", "given, one of them", given)
        if epochs is None:
            return check_steps("total_steps", self._total_steps)
        steps = self._steps_until(check_count("epochs", epochs))
        return check_steps("epochs, counted in optimizer steps", steps)

    def find(
        self, policy: str, method: str, steps: int, options: Mapping[str, Any] | None
    ) -> tuple[float, RangeTestResult, int]:
        """The highest rate for a policy, how it was found, and the steps that are left.

        Of `total_steps`, finding takes its part.

        Without a clear answer, it is the one to expect.
        """
        asked: dict[str, Any] = {"policy": policy, "method": method, **self._given}
        asked["horizon_steps"] = steps
        if self._total_steps is not None:
            asked |= part_of_training(steps, method)
        asked |= options or {}
        beside = self._total_steps is None
        tell_cost(self._options.verbose, steps, most_steps=most_steps_of(asked), beside=beside)
        found = range_test(**asked)
        max_lr = rate_of(found)
        if self._total_steps is not None:
            steps = check_count("total_steps, without the range test's", steps - found.steps)
        return max_lr, found, steps

    def settings(
        self, policy: Schedule, momentum: tuple[float, float] | None
    ) -> dict[str, GroupParam]:
        """What is written into the groups before every step.

        Raises:
            ValueError: `momentum` is not (lowest, highest).
        """
        groups = self._optimizer.param_groups
        scale = "keep" if len(groups) > 1 else None
        found = {"learning_rate": cast(GroupParam, rate_setting(groups, policy, None, scale))}
        mirrored = opposite_cycle(policy, momentum)
        if mirrored is not None and momentum_in_use(groups) is not None:
            setting = momentum_setting(groups, mirrored)
            found |= {} if setting is None else {"momentum": setting}
        return found

    def run(
        self,
        policy: Schedule,
        momentum: tuple[float, float] | None,
        *,
        steps: int,
        watch: Watch,
        found: RangeTestResult | None,
        start_step: int = 0,
    ) -> FitHistory:
        """Trains along a schedule; the model is left in the mode that it came in."""
        settings, groups = self.settings(policy, momentum), self._optimizer.param_groups

        def write(step: int) -> dict[str, float]:
            written = {name: s.write(groups, start_step + step) for name, s in settings.items()}
            return {name: max(map(float, values)) for name, values in written.items()}

        watchers = self._watchers(watch, policy, start_step, steps)
        with self._in_train_mode():
            history = self._train(write, watchers, steps)
        return dataclasses.replace(history, range_test=found)

    def run_finding(
        self,
        momentum: tuple[float, float] | None,
        *,
        steps: int,
        fine_tuned: bool,
        max_lr: float | None = None,
    ) -> FitHistory:
        """Trains by the cycle that finds its own top, or has one that is known."""
        options = self._options
        rows = rows_of_a_step(self._given["data"], options.batch_size, options.accumulation_steps)
        with self._in_train_mode():
            cycle = SelfFindingCycle(
                self._model,
                self._optimizer,
                steps,
                max_lr=max_lr,
                momentum=momentum,
                batch_size=rows,
                fine_tuned=fine_tuned,
                scaler=options.scaler,
                ranks=options.ranks,
            )
            with closing(cycle):
                watchers = _Watchers(finding=cycle, unfreezing=self._unfreezing())
                return self._train(lambda _step: cycle.values, watchers, steps)

    def _train(
        self, write: Callable[[int], dict[str, float]], watchers: _Watchers, steps: int
    ) -> FitHistory:
        record = _Record(self._options.ranks)
        with closing(self._training.batches), closing(self._line):
            try:
                self._loop(write, watchers, record, steps)
            finally:
                if watchers.unfreezing is not None:
                    watchers.unfreezing.thaw_all()
        stopping, finding = watchers.stopping, watchers.finding
        if stopping is not None:
            stopping.restore()
        if finding is not None:
            tell_cycle(finding.found, finding.verdict)
        return FitHistory(
            record.steps.lists(),
            record.epochs.lists(),
            explosion=watchers.guard.explosion if watchers.guard else None,
            stopped_cycle=stopping.stopped_cycle if stopping else None,
            best_cycle=stopping.best_cycle if stopping else None,
            finding=finding.found if finding else None,
        )

    def _loop(
        self,
        write: Callable[[int], dict[str, float]],
        watchers: _Watchers,
        record: _Record,
        steps: int,
    ) -> None:
        step, epoch, over = 0, 0, False
        while step < steps and not over:
            epoch += 1
            while step < min(self._steps_until(epoch), steps) and not over:
                written = dict(write(step))
                loss = self._training.step_as_set().detach()
                record.take(written, loss)
                step += 1
                over = watchers.stop_after(loss, functools.partial(self._measure, step))
                if self._line.due:
                    self._line.show(f"epoch {epoch}, step {step}/{steps}, loss {float(loss):.4g}")
            measured = self._training.begin_validation is not None
            row = record.end_epoch({self._metric: self._measure(step)} if measured else {})
            over = self._told_to_stop(epoch, row) or over

    def _told_to_stop(self, epoch: int, row: dict[str, float]) -> bool:
        """Lets the user look at an epoch; whether that is to be the last one, for any rank."""
        answer = None
        if self._on_epoch is not None:
            modes = [(module, module.training) for module in self._model.modules()]
            answer = self._on_epoch(epoch, dict(row))
            for module, training in modes:
                module.training = training
        # What a logger returns, as `lambda epoch, values: log(values)` passes on, is no answer.
        stops = isinstance(answer, (bool, np.bool_)) and bool(answer)
        return agreed(self._options.ranks, float(stops)) > 0

    def _batches_in(self, data: Any) -> int | None:
        batches = batches_of_an_epoch(data, self._options.batch_size)
        if batches is None and self._total_steps is not None:
            total_steps = check_count("total_steps", self._total_steps)
            return total_steps * self._options.accumulation_steps
        return batches

    def _steps_until(self, epoch: int) -> int:
        return epoch * self.batches_per_epoch // self._options.accumulation_steps

    def _measure(self, steps: int) -> float:
        """The metric of the validation data after so many steps; a cycle may end with an epoch."""
        if self._latest[0] != steps:
            self._latest = steps, float(self._training.evaluated())
        return self._latest[1]

    def _watchers(self, watch: Watch, policy: Schedule, start_step: int, steps: int) -> _Watchers:
        watchers, total_steps = _Watchers(), start_step + steps
        if watch.patience_cycles is not None:
            if self._training.begin_validation is None:
                raise bad_argument("validation_data", "given with patience_cycles", None)
            watchers.stopping = CycleEarlyStopping(
                self._model,
                policy,
                total_steps,
                patience=watch.patience_cycles,
                mode=direction(self._metric, "auto"),
                start_step=start_step,
                ranks="alone",  # what is measured here is what all ranks have
            )
        if watch.guard:
            watchers.guard = DivergenceGuard(
                [self._model, self._optimizer, self._options.scaler],
                policy,
                total_steps,
                batch_size=self._options.batch_size,
                start_step=start_step,
                ranks=self._options.ranks,
            )
        watchers.unfreezing = self._unfreezing()
        return watchers

    def _unfreezing(self) -> GradualUnfreezing | None:
        if self._unfreeze_epochs is None:
            return None
        turn = self._steps_until(self._unfreeze_epochs)
        return GradualUnfreezing(self._optimizer, max(turn, 1))

    @contextmanager
    def _in_train_mode(self) -> Generator[None]:
        """Gives back modes and momentum; the rates stay at the last ones."""
        groups, names = self._optimizer.param_groups, ("betas", "momentum")
        before = [{n: copied(group[n]) for n in names if n in group} for group in groups]
        modes = [(module, module.training) for module in self._model.modules()]
        if not self._model.training:
            self._model.train()
        try:
            with torch.enable_grad():
                yield
        finally:
            for group, values in zip(groups, before, strict=True):
                group.update(values)
            for module, training in modes:
                module.training = training
