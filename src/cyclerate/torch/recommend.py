"""What to train by: policy, rates and schedule for a budget, of a PyTorch model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from cyclerate.finder import Recommendation, RecommendationPlan, recommended
from cyclerate.finder._progress import Progress
from cyclerate.finder._recommend import USUAL_POLICIES
from cyclerate.finder._run import given_seed
from cyclerate.range_test.metric import direction
from cyclerate.torch._data import number_of_batches
from cyclerate.torch._objective import Metric
from cyclerate.torch.conducting import conducting
from cyclerate.torch.metrics import VALIDATION, metric_of


def recommend(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[..., Any] | None,
    data: Any,
    *,
    budget_steps: int | None = None,
    budget_minutes: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    policies: Sequence[str] = USUAL_POLICIES,
    start_lr: float = 1e-6,
    end_lr: float = 10.0,
    metric: str | Metric = "loss",
    mode: str = "auto",
    forward: Callable[[Any, Any], Any] | None = None,
    accumulation_steps: int = 1,
    scaler: GradScaler | None = None,
    autocast: bool | torch.dtype | None = None,
    clip_grad_norm: float | None = None,
    validation_data: Any = None,
    snapshot: str = "memory",
    device: torch.device | str | None = None,
    seed: int | None = None,
    verbose: str | int = "auto",
) -> Recommendation:
    """Says how to spend a budget: the policy and its rates, with the races they were chosen by.

    A part of the budget is spent on finding out: 15 %, of less than 800 steps up to 30 %. First a
    probe, as in `range_test`, finds the rate of the first policy; where the budget allows, one race
    of each other policy follows, at the rate that it usually wants beside that. The first policy
    is kept unless another is clearly better. The schedule is for the steps that are left.

    Everything is given back as `range_test` gives it, to the last bit, also after an error.

    Args:
        model: The model, on its device.
        optimizer: The optimizer of its parameters.
        loss_fn: As in `range_test`.
        data: As in `range_test`.
        budget_steps: Optimizer steps of tuning and training together, at least 80.
        budget_minutes: The same as wall time: some steps are timed at a rate that changes nothing.
            What has passed when the tuning is over is taken off, whatever it was spent on.
        epochs: The same as passes over the data; one of the three is given.
        batch_size: Rows of a batch, where `data` is tensors. Default 32.
        policies: What to choose from, the first to be kept where none is clearly better. Default:
            ("one_cycle", "triangular", "constant").
        start_lr: The first rate of the sweep. Default 1e-6.
        end_lr: The last one. Default 10.
        metric: As in `range_test`.
        mode: As in `range_test`.
        forward: As in `range_test`.
        accumulation_steps: Batches whose gradients make one step. Default 1.
        scaler: As in `range_test`.
        autocast: As in `range_test`.
        clip_grad_norm: As in `range_test`.
        validation_data: What the races are scored on. Default: 512 rows of `data`.
        snapshot: As in `range_test`.
        device: As in `range_test`.
        seed: For the order of the data, dropout and the like. Default 0.
        verbose: As in `range_test`.

    Returns:
        The recommendation; `print` it. Its `policy`, `schedule` and rates are None where there is
        no clear answer.

    Raises:
        ValueError: A wrong argument, or a budget under 80 steps.
        CyclerateError: The minutes are too few.
        MissingExtra: `snapshot` is "disk" and safetensors is not installed.

    Source: `docs/recommend.md`.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(64, 4)
    >>> y = x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    >>> model = torch.nn.Linear(4, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> found = recommend(model, optimizer, torch.nn.MSELoss(), (x, y), epochs=100)
    >>> found.policy, found.steps <= 60, found.steps + found.training_steps
    ('one_cycle', True, 200)
    """
    started = time.perf_counter()
    name, measure = metric_of(metric, loss_fn, validated=validation_data is not None)
    name = name.removeprefix(VALIDATION)
    plan = RecommendationPlan(
        budget_steps=budget_steps,
        budget_minutes=budget_minutes,
        epochs=epochs,
        batches_per_epoch=None if epochs is None else number_of_batches(data, batch_size),
        accumulation_steps=accumulation_steps,
        policies=policies,
        start_lr=start_lr,
        end_lr=end_lr,
        metric=name,
        mode=direction(name, mode),
    )
    seed = given_seed(seed)
    lending = conducting(
        model,
        optimizer,
        loss_fn,
        data,
        batch_size=batch_size,
        metric=metric,
        measure=measure,
        forward=forward,
        accumulation_steps=accumulation_steps,
        scaler=scaler,
        autocast=autocast,
        clip_grad_norm=clip_grad_norm,
        validation_data=validation_data,
        validates_each_step=False,
        snapshot=snapshot,
        device=device,
        progress=Progress(verbose, 1, "probe"),
    )
    with lending as conduct:
        return recommended(plan, conduct, seed=seed, since=started)
