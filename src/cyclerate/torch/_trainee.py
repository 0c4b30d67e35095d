"""The runs of a range test: steps at given rates, each run from the same start."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from cyclerate._errors import check_choice
from cyclerate._randomness import all_of, remember_global_randomness, seed_global_randomness
from cyclerate.finder import Procedure, Race, RangeTest, conduct
from cyclerate.finder._passes import Passes
from cyclerate.finder._progress import Progress
from cyclerate.finder._run import SCORE_ROWS, sample_seed
from cyclerate.torch._data import BeginPass, batches_of, remember_order
from cyclerate.torch._objective import Metric, Objective, evaluated
from cyclerate.torch._state import PLACES, Snapshot
from cyclerate.torch._step import Training

_STEPS_AT_A_TIME = 5


class Runner:
    """Makes the runs of procedures; the caller gives everything back.

    Args:
        training: Makes the steps.
        snapshot: What it changes, as it is at the start of every run.
        batches: What the training takes its batches from.
        begin_validation: Begins a pass over what runs are scored on. None: rows of the batches.
        data: What decides on the order of both.
        progress: Shown after each step.
    """

    def __init__(
        self,
        training: Training,
        snapshot: Snapshot,
        batches: Passes,
        begin_validation: BeginPass | None,
        *,
        data: Iterable[Any],
        progress: Progress,
    ) -> None:
        self._training, self._snapshot, self._batches = training, snapshot, batches
        self._begin_validation, self._data = begin_validation, list(data)
        self._progress = progress
        self._objective = training.objective
        self._untouched = True

    def conduct(self, procedure: Procedure, seed: int) -> None:
        """Makes all runs of a procedure, on the same batches: those of a seed."""
        put_data_back = all_of(map(remember_order, self._data))
        self._batches.begin_repeat()
        first, sample = True, None

        def restore() -> None:
            nonlocal first
            if not self._untouched:
                self._snapshot.put_back()
            if not first:
                put_data_back()
                self._batches.rewind()
            first = self._untouched = False
            self._snapshot.set_gradients_aside()
            seed_global_randomness(seed)

        def score() -> float:
            nonlocal sample
            seed_global_randomness(sample_seed(seed))
            if self._begin_validation is None:
                sample = sample or self._batches.sample(SCORE_ROWS)
                value = evaluated(self._objective, sample)
            else:
                value = evaluated(self._objective, self._begin_validation())
            return self._read(value.reshape(1))[0]

        conduct(procedure, restore=restore, train=self._train, score=score)

    def _train(self, run: RangeTest | Race) -> None:
        """Makes the steps of a run.

        Steps that were made before the run was told that it should have stopped do not count.
        """
        model, device = self._objective.model, self._objective.device
        if not model.training:
            model.train()
        at_a_time = steps_at_a_time(device)
        lrs = run.lrs
        with torch.enable_grad():
            while not run.done:
                coming = lrs[run.index : run.index + at_a_time]
                values = torch.stack([self._training.step(lr).to(device) for lr in coming])
                for value in self._read(values):
                    if not run.done:
                        run.tell(value)
                        self._progress.show(run, value)

    def _read(self, values: Tensor) -> list[float]:
        """The numbers. Ranks that train together take their mean, to decide the same."""
        if isinstance(self._objective.model, DistributedDataParallel):
            distributed.all_reduce(values)
            values /= distributed.get_world_size()
        return values.tolist()


def steps_at_a_time(device: torch.device) -> int:
    """How many losses are read together: reading waits for all the work of an accelerator."""
    return 1 if device.type == "cpu" else _STEPS_AT_A_TIME


@contextmanager
def lent(roots: Iterable[Any], data: Iterable[Any], place: str) -> Generator[Snapshot]:
    """Undoes whatever training in the block does, also after an exception and after Ctrl-C.

    Args:
        roots: Modules, optimizer, scaler: what training changes.
        data: What the batches come from.
        place: Where the copies are kept: "memory", "cpu" or "disk".

    Yields:
        The snapshot, to begin the block's work again with.
    """
    with ExitStack() as stack:
        random_states = [remember_global_randomness(), *map(remember_order, data)]
        snapshot = Snapshot(roots, place, stack)
        stack.callback(all_of([snapshot.put_back, *random_states]))
        yield snapshot


@contextmanager
def conducting(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[..., Any] | None,
    data: Any,
    *,
    batch_size: int | None,
    metric: str | Metric,
    measure: Metric | None,
    forward: Callable[[Any, Any], Any] | None,
    accumulation_steps: int,
    scaler: GradScaler | None,
    autocast: bool | torch.dtype | None,
    clip_grad_norm: float | None,
    validation_data: Any,
    validates_each_step: bool,
    snapshot: str,
    device: torch.device | str | None,
    progress: Progress,
) -> Generator[Callable[[Procedure, int], None]]:
    """Lends model, optimizer and data for a while, and gives them back as they were.

    Args:
        model: The model.
        optimizer: Its optimizer.
        loss_fn: As `range_test` takes it, like all that follows.
        data: The training data.
        batch_size: Rows of a batch.
        metric: What to record, as the user gave it.
        measure: What measures it; None for the loss.
        forward: What makes output and target of a batch.
        accumulation_steps: Batches of a step.
        scaler: For float16.
        autocast: The dtype to compute in.
        clip_grad_norm: What the gradient's norm is cut to.
        validation_data: What to score on.
        validates_each_step: Whether each step is measured on that, too.
        snapshot: Where the copy is kept.
        device: Where batches go.
        progress: Shown after each step, and closed.

    Yields:
        What makes all runs of a procedure, on data in the order of a seed.

    Raises:
        ValueError: A wrong argument.
        MissingExtra: `snapshot` is "disk" and safetensors is not installed.
    """
    check_choice("snapshot", snapshot, PLACES)
    objective = Objective(
        model,
        loss_fn,
        forward=forward,
        metric=measure,
        device=device,
        autocast=_uses(scaler) if autocast is None else autocast,
    )
    batches, begin_validation = batches_of(data, validation_data, batch_size)
    training = Training(
        optimizer,
        objective,
        batches,
        begin_validation if validates_each_step else None,
        accumulation_steps=accumulation_steps,
        scaler=scaler,
        clip_grad_norm=clip_grad_norm,
    )
    read = [data, validation_data]
    lending = lent([model, optimizer, loss_fn, metric, scaler], read, snapshot)
    with closing(progress), lending as state, closing(batches):
        runner = Runner(training, state, batches, begin_validation, data=read, progress=progress)
        yield runner.conduct


def _uses(scaler: Any) -> bool:
    return isinstance(scaler, GradScaler) and scaler.is_enabled()
