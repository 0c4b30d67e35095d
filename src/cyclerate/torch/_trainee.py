"""A PyTorch model as the finder trains it: steps at given rates, each run from the same start."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from cyclerate._errors import check_choice
from cyclerate._randomness import all_of, remember_global_randomness, seed_global_randomness
from cyclerate.finder import Run, Trainee
from cyclerate.finder._run import SCORE_ROWS
from cyclerate.torch._data import batches_of, remember_order
from cyclerate.torch._objective import Metric, Objective, evaluated
from cyclerate.torch._state import PLACES, Snapshot
from cyclerate.torch._step import Training

_STEPS_AT_A_TIME = 5


class TorchTrainee(Trainee):
    """A model with its optimizer and data, lent to the finder.

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
        clip_grad_norm: What the gradient's norm is clipped to.
        validation_data: What to score on; None for rows of the training data.
        validates_each_step: Whether each step is measured on that, too.
        snapshot: Where the copy is kept: "memory", "cpu" or "disk".
        device: Where batches go.

    Raises:
        ValueError: A wrong argument.
    """

    def __init__(
        self,
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
    ) -> None:
        self._place = check_choice("snapshot", snapshot, PLACES)
        self._objective = Objective(
            model,
            loss_fn,
            forward=forward,
            metric=measure,
            device=device,
            autocast=_uses(scaler) if autocast is None else autocast,
        )
        self._batches, self._begin_validation = batches_of(data, validation_data, batch_size)
        self._training = Training(
            optimizer,
            self._objective,
            self._batches,
            self._begin_validation if validates_each_step else None,
            accumulation_steps=accumulation_steps,
            scaler=scaler,
            clip_grad_norm=clip_grad_norm,
        )
        self._roots = [model, optimizer, loss_fn, metric, scaler]
        self._data = [data, validation_data]
        self._sample: list[Any] = []
        self._seed: int | None = None
        self._untouched = True

    @contextmanager
    def lent(self) -> Generator[None]:
        """Restores whatever training in the block changes, also after Ctrl-C.

        Raises:
            MissingExtra: The copy goes to disk and safetensors is not installed.
        """
        with ExitStack() as stack:
            stack.callback(self._batches.close)
            random_states = [remember_global_randomness(), *map(remember_order, self._data)]
            self._snapshot = Snapshot(self._roots, self._place, stack)
            stack.callback(all_of([self._snapshot.put_back, *random_states]))
            yield

    def restore(self, seed: int) -> None:
        if not self._untouched:
            self._snapshot.put_back()
        if seed != self._seed:
            self._seed, self._sample = seed, []
            self._put_order_back = all_of(map(remember_order, self._data))
            self._batches.begin_repeat()
        else:
            self._put_order_back()
            self._batches.rewind()
        self._untouched = False
        self._snapshot.set_gradients_aside()
        seed_global_randomness(seed)

    def train(self, run: Run) -> None:
        model, device = self._objective.model, self._objective.device
        if not model.training:
            model.train()
        at_a_time = steps_at_a_time(device)
        with torch.enable_grad():
            while not run.done:
                coming = run.lrs[run.index : run.index + at_a_time]
                values = torch.stack([self._training.step(lr).to(device) for lr in coming])
                for value in self._read(values):
                    if not run.done:
                        run.tell(value)

    def score(self, seed: int) -> float:
        seed_global_randomness(seed)
        if self._begin_validation is None:
            self._sample = self._sample or self._batches.sample(SCORE_ROWS)
            value = evaluated(self._objective, self._sample)
        else:
            value = evaluated(self._objective, self._begin_validation())
        return self._read(value.reshape(1))[0]

    def _read(self, values: Tensor) -> list[float]:
        """The numbers. Ranks that train together take their mean, to decide the same."""
        if isinstance(self._objective.model, DistributedDataParallel):
            distributed.all_reduce(values)
            values /= distributed.get_world_size()
        return values.tolist()


def steps_at_a_time(device: torch.device) -> int:
    """How many losses are read together: reading waits for all the work of an accelerator."""
    return 1 if device.type == "cpu" else _STEPS_AT_A_TIME


def _uses(scaler: Any) -> bool:
    return isinstance(scaler, GradScaler) and scaler.is_enabled()
