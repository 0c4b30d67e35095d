"""The metric of a model as it would be used: in evaluation mode, without a gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from cyclerate._errors import bad_argument
from cyclerate.torch._data import rows_in
from cyclerate.torch._objective import Objective


def evaluated(objective: Objective, batches: Iterable[Any]) -> Tensor:
    """Returns the mean of the metric over the rows of some batches.

    It is on the device: nothing waits for it. The modes of all modules are given back.

    Raises:
        ValueError: There is no batch; only validation data may turn out to be empty here.
    """
    model = objective.model
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    total, rows = torch.zeros((), device=objective.device), 0
    with torch.no_grad():
        for batch in batches:
            count = rows_in(batch)
            total, rows = total + count * objective(batch).value, rows + count
    for module, training in modes:
        module.training = training
    if not rows:
        raise bad_argument("validation_data", "at least one batch", "none")
    return total / rows
