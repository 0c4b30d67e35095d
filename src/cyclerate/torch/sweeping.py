"""One sweep: steps at the rates of a range test, which is told what they gave."""

from __future__ import annotations

import time

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from cyclerate.range_test import RangeTest, RangeTestResult
from cyclerate.range_test.progress import Progress
from cyclerate.torch.training import Training

_STEPS_AT_A_TIME = 5


def sweep(test: RangeTest, training: Training, progress: Progress) -> RangeTestResult:
    """Drives `test` to its end.

    Steps that were made before the test was told that it should have stopped do not count.
    """
    started = time.perf_counter()
    model = training.objective.model
    if not model.training:
        model.train()
    device = training.objective.device
    at_a_time = steps_at_a_time(device)
    lrs = test.sweep.lrs().tolist()
    with torch.enable_grad():
        while not test.done:
            coming = lrs[test.index : test.index + at_a_time]
            values = torch.stack([training.step(lr).to(device) for lr in coming])
            for value in _read(values, together=isinstance(model, DistributedDataParallel)):
                if not test.done:
                    test.tell(value)
                    progress.show(test, value)
    return test.result(seconds=time.perf_counter() - started)


def steps_at_a_time(device: torch.device) -> int:
    """How many losses are read together: reading waits for all the work of an accelerator."""
    return 1 if device.type == "cpu" else _STEPS_AT_A_TIME


def _read(values: Tensor, *, together: bool) -> list[float]:
    """The numbers. Ranks that train together take their mean, to stop at the same step."""
    if together:
        distributed.all_reduce(values)
        values /= distributed.get_world_size()
    return values.tolist()
