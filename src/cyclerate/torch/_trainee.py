"""A PyTorch model as the finder trains it: steps at given rates, each run from the same start."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from cyclerate._errors import check_choice
from cyclerate._plain import versions
from cyclerate._randomness import (
    all_of,
    lending,
    remember_global_randomness,
    remember_order,
    seed_global_randomness,
)
from cyclerate.finder import Run, Trainee
from cyclerate.finder._prior import Prior
from cyclerate.finder._run import SCORE_ROWS, described, fingerprint
from cyclerate.torch._data import rows_of_a_step
from cyclerate.torch._groups import prior_of
from cyclerate.torch._ranks import most
from cyclerate.torch._state import PLACES, Snapshot
from cyclerate.torch._step import Metric, Options, Training

STEPS_AT_A_TIME = {"cpu": 1}
"""So many losses are read together, else 5: reading waits for all the work of an accelerator."""


def provenance_of(data: Any, device: torch.device) -> dict[str, Any]:
    """Returns where a result of these data comes from."""
    rows = isinstance(data, tuple) and all(isinstance(part, (Tensor, np.ndarray)) for part in data)
    return {
        "backend": "torch",
        "device": str(device),
        "data": fingerprint(data, _values_of) if rows else described(data),
        "versions": versions("torch"),
    }


class TorchTrainee(Trainee):
    """A model with its optimizer and data, lent to the finder.

    Args:
        model: The model.
        optimizer: Its optimizer.
        loss_fn: As `range_test` takes it, like all that follows.
        data: The training data.
        validation_data: What to score on; None for rows of the training data.
        options: How a batch is trained on.
        metric: What to record, as the user gave it.
        measure: What measures it; None for the loss.
        validates_each_step: Whether each step is measured on the validation data, too.
        snapshot: Where the copy is kept: "memory", "cpu" or "disk".

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
        validation_data: Any,
        options: Options,
        metric: str | Metric,
        measure: Metric | None,
        validates_each_step: bool,
        snapshot: str,
    ) -> None:
        self._place = check_choice("snapshot", snapshot, PLACES)
        validates_each_step = validates_each_step and validation_data is not None
        self._training = Training(
            model,
            optimizer,
            loss_fn,
            data,
            validation_data=validation_data,
            options=options,
            measure=measure,
            step_value="validation" if validates_each_step else "measure",
        )
        functions = [loss_fn, metric, options.forward, options.score_fn]
        self._optimizer = self._training.optimizer
        self._roots = [model, self._optimizer, options.scaler, *functions]
        self._data = [data, validation_data]
        self._rows = rows_of_a_step(data, options.batch_size, options.accumulation_steps)
        self._sample: list[Any] = []
        self._seed: int | None = None
        self._untouched = True

    @contextmanager
    def lent(self) -> Generator[None]:
        """Restores whatever training in the block changes, also after Ctrl-C.

        Raises:
            CyclerateError: Another thread tests.
            MissingExtra: The copy goes to disk and safetensors is not installed.
        """
        with lending() as stack:
            stack.callback(self._training.batches.close)
            random_states = [remember_global_randomness(), *map(remember_order, self._data)]
            self._snapshot = Snapshot(self._roots, self._place, stack, callables=True)
            stack.callback(all_of([self._snapshot.put_back, *random_states]))
            if self._training.ranks is not None:
                stack.callback(self._training.ranks.reshard)
            yield

    def restore(self, seed: int) -> None:
        if not self._untouched:
            self._snapshot.put_back()
        if seed != self._seed:
            self._seed, self._sample = seed, []
            self._put_order_back = all_of(map(remember_order, self._data))
            self._training.batches.begin_repeat(seed)
        else:
            self._put_order_back()
            self._training.batches.rewind()
        self._untouched = False
        self._snapshot.set_gradients_aside()
        seed_global_randomness(seed)

    def prior(self, total_steps: int, *, fine_tuned: bool = False) -> Prior:
        ranks = self._training.ranks
        rows = self._rows if ranks is None else most(ranks, self._rows)
        return prior_of(self._optimizer, rows, total_steps, fine_tuned=fine_tuned)

    def provenance(self) -> dict[str, Any]:
        return provenance_of(self._data[0], self._training.device)

    def train(self, run: Run) -> None:
        training, device = self._training, self._training.device
        if not training.model.training:
            training.model.train()
        at_a_time = STEPS_AT_A_TIME.get(device.type, 5)
        with torch.enable_grad():
            while not run.done:
                coming = run.lrs_from(run.index, at_a_time)
                values = torch.stack([training.step(lr).to(device) for lr in coming])
                told = values.tolist()
                for value in told if training.ranks is None else training.ranks.mean(told):
                    if not run.done:
                        run.tell(value)

    def score(self, seed: int) -> float:
        seed_global_randomness(seed)
        if self._training.begin_validation is None and not self._sample:
            self._sample = self._training.batches.sample(SCORE_ROWS, seed)
        return self._training.evaluated(self._sample or None).item()

    def clock(self) -> float:
        ranks = self._training.ranks
        return time.perf_counter() if ranks is None else ranks.clock()


def _values_of(rows: Tensor | NDArray[Any]) -> Any:
    return torch.as_tensor(rows).detach().cpu().to_dense().double().numpy()
