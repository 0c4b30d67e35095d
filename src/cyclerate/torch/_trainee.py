"""The runs of a range test: steps at given rates, each run from the same start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from cyclerate._randomness import all_of, seed_global_randomness
from cyclerate.finder import Procedure, Race, RangeTest, conduct
from cyclerate.finder._passes import Passes
from cyclerate.finder._progress import Progress
from cyclerate.finder._run import SCORE_ROWS, sample_seed
from cyclerate.torch._data import BeginPass
from cyclerate.torch._state import Snapshot
from cyclerate.torch._step import Training
from cyclerate.torch.data_order import remember_order
from cyclerate.torch.evaluating import evaluated

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
