"""What is done at the ends of cycles: early stopping, a guard to go back to, averages."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from cyclerate._errors import CyclerateError, bad_argument, check_count
from cyclerate.cycles._ends import CycleEnds, CycleJudge, Explosion, Guard, LastGood
from cyclerate.schedules import Schedule
from cyclerate.torch._data import check_device, moved
from cyclerate.torch._ranks import agreed, ranks_of
from cyclerate.torch._state import Snapshot


class CycleEnd(NamedTuple):
    """The step that ended a cycle, the number of that cycle from 1, and the step's rate."""

    step: int
    cycle: int
    lr: float


class CycleCounter:
    """The place of a training in the cycles of its rate.

    Args:
        schedule: Of the rate.
        total_steps: Optimizer steps of the whole training, counted from step 0 of the schedule.
        start_step: The step to begin with.
        start_cycle: The first cycle that counts. Default None: the first one that ends after
            `start_step`; a training that begins at a lowest step ends no cycle there.
    """

    def __init__(
        self,
        schedule: Schedule,
        total_steps: int,
        start_step: int,
        start_cycle: int | None = None,
    ) -> None:
        self._schedule = schedule
        self.next_step = check_count("start_step", start_step, low=0)
        self._first = 1 if start_cycle is None else check_count("start_cycle", start_cycle)
        self._begun = self.next_step if start_cycle is None else -1
        self._ends = CycleEnds(schedule, total_steps)

    def __bool__(self) -> bool:
        """Whether there is an end to come."""
        if self._first == 1:
            return self._ends.any_after(self._begun)
        return any(map(self._cycle_at, self._ends))

    def step(self) -> CycleEnd | None:
        """Goes on by the step just taken; tells of the cycle that it ended, if any."""
        step = self.next_step
        self.next_step += 1
        cycle = self._cycle_at(step)
        return None if cycle is None else CycleEnd(step, cycle, self._schedule(step))

    def _cycle_at(self, step: int) -> int | None:
        cycle = self._ends.cycle_at(step) if step > self._begun else None
        return None if cycle is None or cycle < self._first else cycle


class CycleEarlyStopping:
    """Says when the last cycles brought nothing better, and gives the best cycle's weights back.

    It is asked after every optimizer step, and measures only where a cycle ends, at the lowest
    rate: within a cycle a high rate makes a model worse before it makes it better. NaN is never the
    best.

    Args:
        model: The model.
        schedule: Of the rate.
        total_steps: Optimizer steps of the whole training, counted from step 0 of the schedule.
        patience: How many cycles in a row may bring nothing better. Default 1.
        mode: "min" (default) or "max", whichever is better.
        min_delta: By how much better a value must be to count. Default 0.
        start_step: The step to begin with, to go on where an earlier training stopped. Default 0.
        ranks: As in `range_test`: several decide by the mean of their values.

    Attributes:
        stopped_cycle: The cycle after which it said to stop; None if it did not.

    Raises:
        ValueError: A wrong argument, or no cycle that ends in this training.

    Source: that a training is at its best at a cycle's end, Smith 2017, arXiv 1506.01186, section
    3.2.

    >>> import torch
    >>> import cyclerate as cr
    >>> model = torch.nn.Linear(1, 1)
    >>> lr = cr.Triangular(0.1, 0.4, step_size=10)
    >>> stopping = CycleEarlyStopping(model, lr, total_steps=100)
    >>> losses = iter([0.5, 0.3, 0.4])  # what the validation at the ends of cycles would give
    >>> for step in range(100):  # optimizer.step() before it
    ...     if stopping.step(lambda: next(losses)):
    ...         break
    >>> stopping.restore()
    >>> step, stopping.best, stopping.best_cycle, stopping.stopped_cycle
    (60, 0.3, 2, 3)
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        total_steps: int,
        *,
        patience: int = 1,
        mode: str = "min",
        min_delta: float = 0.0,
        start_step: int = 0,
        ranks: Any = "auto",
    ) -> None:
        if not isinstance(model, nn.Module):
            raise bad_argument("model", "a torch.nn.Module", model)
        self._model = model
        self._judge = CycleJudge(mode, patience, min_delta)
        self._counter = CycleCounter(schedule, total_steps, start_step)
        if not self._counter:
            allowed = "one with a cycle that ends in this training"
            raise bad_argument("schedule", allowed, schedule)
        self._ranks = ranks_of([model], ranks)
        self._best: dict[str, Tensor] | None = None
        self.stopped_cycle: int | None = None

    @property
    def best(self) -> float | None:
        """The best value; None before there is one."""
        return self._judge.best

    @property
    def best_cycle(self) -> int | None:
        """Its cycle, counted from 1 in this training."""
        return self._judge.best_cycle

    def step(self, measure: Callable[[], float]) -> bool:
        """Counts an optimizer step; returns whether to stop.

        Args:
            measure: Gives the value to judge, as the loss on validation data; called only if a
                cycle has ended with this step.
        """
        if self._counter.step() is None:
            return False
        if self._judge.is_best(agreed(self._ranks, float(measure()))):
            state = self._model.state_dict()
            tensors = {n: v for n, v in state.items() if isinstance(v, Tensor)}
            self._best = {n: v.detach().clone() for n, v in tensors.items()}
        if self._judge.done:
            self.stopped_cycle = self._judge.cycles
        return self._judge.done

    def restore(self) -> None:
        """Gives the model the weights and buffers of the best cycle's end, if there is one."""
        if self._best is None:
            return
        with torch.no_grad():
            for name, value in self._model.state_dict().items():
                if name in self._best:
                    value.copy_(self._best[name])


class DivergenceGuard:
    """Says on which step training has exploded, and goes back to the last good end of a cycle.

    It is told the loss after every optimizer step. NaN and infinity count at once; a finite loss
    has exploded when the median of the last five is worse than the start by as much as training had
    gained, and by far more than the noise: a loss may have any sign. The model, the optimizer and
    whatever else it was given are then as they were at the end of the last good cycle, or at the
    start, and a warning says what to lower and by how much.

    It costs one copy of weights and optimizer state (two for five steps), and on an accelerator the
    host waits for each loss.

    Args:
        states: What to give back: the model, the optimizer, and a gradient scaler if there is one.
        schedule: Of the rate.
        total_steps: Optimizer steps of the whole training, counted from step 0 of the schedule.
        batch_size: Rows of a batch, for the advice. Default: not known.
        start_step: The step to begin with, to go on where an earlier training stopped. Default 0.
        ranks: As in `range_test`: several decide by the mean of their losses.

    Attributes:
        explosion: What happened: `step`, `loss`, `lr`, the `max_lr` to try, `advice`; None while
            nothing did.
        restored_step: The step after which everything was as it is now; None for the start.

    Raises:
        ValueError: A wrong argument.

    >>> import torch, warnings
    >>> import cyclerate as cr
    >>> model = torch.nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> lr = cr.Triangular(0.1, 0.9, step_size=10)
    >>> guard = DivergenceGuard([model, optimizer], lr, total_steps=100)
    >>> with warnings.catch_warnings(action="ignore"):
    ...     for step, loss in enumerate([1.0, 0.9, float("nan"), 0.8]):  # after optimizer.step()
    ...         if guard.step(loss):
    ...             break
    >>> step, round(guard.explosion.lr, 9), round(guard.explosion.max_lr, 9)
    (2, 0.18, 0.06)
    """

    def __init__(
        self,
        states: Iterable[Any],
        schedule: Schedule,
        total_steps: int,
        *,
        batch_size: int | None = None,
        start_step: int = 0,
        ranks: Any = "auto",
    ) -> None:
        if not isinstance(states, Iterable) or isinstance(states, nn.Module):
            raise bad_argument("states", "the model, the optimizer and so on, in a list", states)
        self._guard = Guard(schedule, batch_size)
        self._counter = CycleCounter(schedule, total_steps, start_step)
        self._states = list(states)
        self._ranks = ranks_of(self._states, ranks)
        self._last_good = LastGood(self._keep)
        self.explosion: Explosion | None = None
        self.restored_step: int | None = None

    def step(self, loss: float | Tensor) -> bool:
        """Takes the loss of the step that was just made; returns whether training has exploded."""
        step, end = self._counter.next_step, self._counter.step()
        value = float(loss.detach() if isinstance(loss, Tensor) else loss)
        value = agreed(self._ranks, value)
        self.explosion = self._guard.take(step, value)
        if self.explosion is None:
            self._last_good.step_was_fine(step)
            if end is not None:
                self._last_good.cycle_is_over(step)
            return False
        self._last_good.put_back()
        self.restored_step = self._last_good.after
        kept = "training began with"
        if self.restored_step is not None:
            kept = f"there were after step {self.restored_step}, the end of a cycle"
        advice = self.explosion.advice
        warnings.warn(f"{advice} Back are the weights that {kept}.", stacklevel=2)
        return True

    def _keep(self) -> Callable[[], None]:
        return Snapshot(self._states, "memory", ExitStack()).put_back


class WeightAveraging:
    """Averages the weights at the end of every cycle (SWA).

    Call `step()` after every `optimizer.step()`. The mean is in `model`, an
    `torch.optim.swa_utils.AveragedModel`; the model in training goes on with its own weights. For a
    mean at the end of every epoch, or an exponential one (EMA, `get_ema_multi_avg_fn`), PyTorch's
    `AveragedModel` alone does it all.

    Args:
        model: The model in training.
        schedule: The schedule of the rate.
        total_steps: Optimizer steps of the whole training, counted from step 0 of the schedule; its
            last step ends a cycle too.
        start_cycle: The first cycle that counts, from 1. Default 1.
        start_step: The step to begin with. Default 0.
        device: Where the mean is kept. Default: with the model.

    Attributes:
        model: The averaged model.
        count: How many were averaged.

    Raises:
        ValueError: `schedule` is none, or a number is not what it must be.

    Source: Izmailov et al. 2018, arXiv 1803.05407, algorithm 1.

    >>> import torch
    >>> import cyclerate as cr
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> lr = cr.WarmRestarts(max_lr=0.1, cycle_steps=2)
    >>> mean = WeightAveraging(model, lr, total_steps=6)
    >>> for value in (1.0, 2.0, 3.0, 4.0, 5.0, 9.0):
    ...     _ = torch.nn.init.constant_(model.weight, value)  # in place of a training step
    ...     mean.step()
    >>> mean.assign_to(model)
    >>> mean.count, model.weight.item()
    (3, 5.0)
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        total_steps: int,
        *,
        start_cycle: int = 1,
        start_step: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise bad_argument("model", "a torch.nn.Module", model)
        self._trained = model
        self._counter = CycleCounter(schedule, total_steps, start_step, start_cycle)
        self.model = AveragedModel(model, None if device is None else check_device(device))

    @property
    def count(self) -> int:
        """The number of averaged models."""
        return int(self.model.n_averaged)

    def step(self) -> None:
        """Goes on by one step, and adds the weights if a cycle ended with it."""
        if self._counter.step() is not None:
            self.model.update_parameters(self._trained)

    def assign_to(
        self,
        model: nn.Module,
        batch_norm_data: Iterable[Any] | Literal[False] | None = None,
        forward: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        """Gives a model of the same layers the mean, and the statistics that belong to it.

        Args:
            model: The model; the one in training, or another.
            batch_norm_data: Batches as in training, for one pass that makes the statistics of batch
                normalisation again (`torch.optim.swa_utils.update_bn`). Needed where the model has
                any; False leaves the statistics of the model in training.
            forward: `forward(model, batch)` runs the model. Default: on the batch, or on its first
                part.

        Raises:
            CyclerateError: Nothing has been averaged.
            ValueError: Batch normalisation without data.
        """
        if not self.count:
            raise CyclerateError("no weights have been averaged: no cycle that counts has ended.")
        if batch_norm_data is None and _has_batch_norm(model):
            allowed = "data, or False, for a model with batch normalisation"
            raise bad_argument("batch_norm_data", allowed, None)
        with torch.no_grad():
            for own, mean in zip(model.parameters(), self.model.parameters(), strict=True):
                own.copy_(mean)
            for own, last in zip(model.buffers(), self._trained.buffers(), strict=True):
                own.copy_(last)
        if batch_norm_data is not None and batch_norm_data is not False:
            device = next(model.parameters()).device
            if forward is None:
                update_bn(batch_norm_data, model, device=device)
            else:
                batches = ([moved(batch, device)] for batch in batch_norm_data)
                update_bn(batches, _Through(model, forward))


class _Through(nn.Module):
    """A model that is run by a function."""

    def __init__(self, model: nn.Module, run: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.model, self.run, self.training = model, run, model.training

    def forward(self, batch: Any) -> Any:
        return self.run(self.model, batch)


def _has_batch_norm(model: nn.Module) -> bool:
    kind = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - as update_bn itself asks
    return any(isinstance(m, kind) and m.track_running_stats for m in model.modules())
