"""The range test of a PyTorch model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from cyclerate import finder
from cyclerate._errors import bad_argument
from cyclerate.finder import (
    RangeTestResult,
    RangeTestSettings,
    Recommendation,
    RecommendationSettings,
)
from cyclerate.finder._recommend import USUAL_POLICIES
from cyclerate.finder._sweep import settings_of
from cyclerate.torch._data import number_of_batches
from cyclerate.torch._ranks import most
from cyclerate.torch._step import VALIDATION, Metric, Options, metric_of, together
from cyclerate.torch._trainee import TorchTrainee


@together
def range_test(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[..., Any] | None,
    data: Any,
    *,
    batch_size: int | None = None,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    steps: int = 100,
    spacing: str = "exponential",
    method: str = "probe",
    policy: str = "one_cycle",
    horizon_steps: int | None = None,
    max_steps: int | None = None,
    metric: str | Metric = "loss",
    mode: str = "auto",
    forward: Callable[[Any, Any], Any] | None = None,
    accumulation_steps: int = 1,
    scaler: GradScaler | None = None,
    autocast: bool | torch.dtype | None = None,
    clip_grad_norm: float | None = None,
    validation_data: Any = None,
    score_fn: Callable[[Any, Any], Any] | None = None,
    snapshot: str = "memory",
    device: torch.device | str | None = None,
    seed: int | None = None,
    repeats: int = 1,
    stop_early: bool = True,
    settings: RangeTestSettings | None = None,
    verbose: str | int = "auto",
    ranks: Any = "auto",
) -> RangeTestResult:
    """Finds the learning rate by short trainings, and gives everything back as it was.

    A sweep finds the region: step i is a step of the optimizer at the rate `start_lr * (end_lr /
    start_lr) ** (i / (steps - 1))`. What is recorded for it is the loss of its own batches, taken
    before it, as everywhere in the field. Then short races inside that region, each the policy in
    miniature, from the same weights and on the same batches; each is scored in eval mode on a
    sample that is the same for all. `method="range"` is the sweep alone. With several parameter
    groups, a rate is that of the group with the highest one; the others keep their ratios to it.

    Given back, to the last bit, also after an exception and after Ctrl-C: parameters, buffers,
    gradients, `requires_grad`, the train or eval mode, attributes and hooks of every module, the
    optimizer's state and rates (a new optimizer is new again), the scaler, the random generators of
    Python, NumPy and PyTorch, and the order of the data. Schedulers are not stepped. Memory: one
    copy of the weights and of the optimizer's state, the gradients that there were, and the sample.

    Args:
        model: The model, on its device. If it is in eval mode as a whole, it is tested in train
            mode; parts that are in eval mode, as frozen statistics are, stay so.
        optimizer: The optimizer of its parameters.
        loss_fn: `loss_fn(output, target)` gives the loss, a single number or one per sample. None
            if `forward` returns the loss.
        data: A DataLoader, or another iterable of batches; a function of no arguments that returns
            one; or a tuple of tensors of equal length, such as (x, y), drawn in random order. It
            begins again when it runs out. An iterator is refused: it would be used up.
        batch_size: Rows of a batch, where `data` is tensors. Default 32.
        start_lr: The first rate. Default 1e-7.
        end_lr: The last rate. Default 10.
        steps: How many rates, one optimizer step each. Default 100.
        spacing: "exponential" (default) or "linear".
        method: "probe" (default), the sweep and the races; "range", the sweep alone, quicker and
            less certain.
        policy: What the rate is for: "one_cycle" (default), "constant" or "triangular". Of use to
            the races only, as are the next two.
        horizon_steps: Optimizer steps of the training to come: a long one wants a lower rate than a
            short one. Default: taken to be 1,000.
        max_steps: Most optimizer steps in all, the sweep included. Default: 400, or 300 more than
            the sweep, whichever is more.
        metric: What to record: "loss", "accuracy", or a function of the output and the target.
        mode: "min" or "max", whichever is better. Default "auto": by the metric's name.
        forward: `forward(model, batch)` returns `(output, target)`, or the loss if `loss_fn` is
            None; or None for a batch to skip. Default: a batch is `(*inputs, target)`, and the
            output is `model(*inputs)`.
        accumulation_steps: Batches whose gradients make one step. Default 1.
        scaler: A GradScaler, for float16. Steps that it skips are made again.
        autocast: The dtype to compute in; True for the device's usual one, False for none. Default:
            True if there is a scaler.
        clip_grad_norm: What the norm of the gradient is cut to. Default: no limit.
        validation_data: As `data`: what the races are scored on. Default: 512 rows of `data`. A
            sweep alone is measured on all of it after every step, in eval mode, under a name that
            begins with "val_", so let it be small there.
        score_fn: `score_fn(model, batch)` gives the value to score by, a number or one per sample,
            of a model in eval mode: for one that gives something else there, or whose `forward`
            changes the batch. Default: as in training.
        snapshot: Where the copy is kept: "memory" (default), on the device; "cpu"; or "disk", in a
            temporary folder (needs safetensors).
        device: Where batches go. Default: where the model's first parameter is.
        seed: For the order of the data, dropout and the like. Default 0. The same seed gives the
            same answer.
        repeats: How often to do it all; the answer is the middle of theirs. Each draws from tensors
            in another order, or goes on where the one before left an iterable. Default 1.
        stop_early: Whether to stop when the loss diverges. NaN always stops the sweep.
        settings: All of the sweep, the races, the metric, the repeats and the seed as one value, in
            place of the single arguments. Default: what these say.
        verbose: "auto" shows progress on a terminal after 2 seconds, 1 always, 0 never.
        ranks: Which processes train the model together, and have one answer: "auto" (default),
            those of its DistributedDataParallel or `fully_shard`; a process group; "alone", none.

    Returns:
        The curve, `base_lr`, `max_lr` and an interval for it, or None where there is no clear
        answer; `print` it for the verdict.

    Raises:
        ValueError: A wrong argument, an optimizer whose `step` needs a closure, data without a
            batch.
        CyclerateError: The model cannot be evaluated in eval mode, a range test runs in another
            thread, or another rank has failed.
        MissingExtra: `snapshot` is "disk" and safetensors is not installed.

    Source: the sweep, Smith 2017, arXiv 1506.01186, section 3.3; the races, `docs/finders.md`.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(64, 4)
    >>> y = x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    >>> model = torch.nn.Linear(4, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> result = range_test(
    ...     model, optimizer, torch.nn.MSELoss(), (x, y), batch_size=16, horizon_steps=200
    ... )
    >>> 0.01 < result.max_lr < 1.0, result.steps <= 400, optimizer.param_groups[0]["lr"]
    (True, True, 0.1)
    """
    settings, asked, measure = _settings(
        RangeTestSettings,
        settings,
        metric,
        loss_fn,
        {"start_lr": start_lr, "end_lr": end_lr, "steps": steps, "spacing": spacing},
        validated=validation_data is not None,
        method=method,
        policy=policy,
        horizon_steps=horizon_steps,
        max_steps=max_steps,
        mode=mode,
        stop_early=stop_early,
        seed=seed,
        repeats=repeats,
    )
    options = Options(
        batch_size, forward, accumulation_steps, scaler, autocast, clip_grad_norm, device, score_fn
    )
    trainee = TorchTrainee(
        model,
        optimizer,
        loss_fn,
        data,
        validation_data=validation_data,
        options=replace(options, ranks=ranks),
        metric=asked,
        measure=measure,
        validates_each_step=settings.method == "range",
        snapshot=snapshot,
    )
    return finder.range_test(trainee, settings, verbose=verbose)


@together
def recommend(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[..., Any] | None,
    data: Any,
    *,
    budget_steps: int | None = None,
    budget_minutes: float | None = None,
    epochs: int | None = None,
    find: str = "auto",
    fine_tuned: bool = False,
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
    score_fn: Callable[[Any, Any], Any] | None = None,
    snapshot: str = "memory",
    device: torch.device | str | None = None,
    seed: int | None = None,
    settings: RecommendationSettings | None = None,
    verbose: str | int = "auto",
    ranks: Any = "auto",
) -> Recommendation:
    """Says how to spend a budget: the policy and its rates, with the races they were chosen by.

    A budget under 5,000 steps is left to the training: the recommendation is the rate to expect,
    for a cycle that finds its own top (`find="warmup"`). Of a larger one 15 % are spent on finding
    out. First a probe, as in `range_test`, finds the rate of the first policy; where the budget
    allows, one race of each other policy follows, at the rate that it usually wants beside that.
    The first policy is kept unless another is clearly better. The schedule is for the steps left.

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
        find: "warmup", nothing is tried; "probe", a part is spent, of a small budget up to 30 %.
            Default "auto": by the budget.
        fine_tuned: Whether the weights were trained before: lower rates are expected then. Default
            False.
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
        score_fn: As in `range_test`.
        snapshot: As in `range_test`.
        device: As in `range_test`.
        seed: For the order of the data, dropout and the like. Default 0.
        settings: The budget, the policies, the range, the metric and the seed as one value, in
            place of the single arguments. Default: what these say.
        verbose: As in `range_test`.
        ranks: As in `range_test`.

    Returns:
        The recommendation; `print` it. Without a clear answer its rate is the one to expect.

    Raises:
        ValueError: A wrong argument, or a budget under 80 steps.
        CyclerateError: The minutes are too few; or as in `range_test`.
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
    started = time.perf_counter() if ranks is None else ranks.clock()
    settings, asked, measure = _settings(
        RecommendationSettings,
        settings,
        metric,
        loss_fn,
        {"start_lr": start_lr, "end_lr": end_lr},
        validated=validation_data is not None,
        budget_steps=budget_steps,
        budget_minutes=budget_minutes,
        epochs=epochs,
        find=find,
        fine_tuned=fine_tuned,
        policies=policies,
        mode=mode,
        seed=seed,
    )
    if settings.epochs is not None:
        batches = most(ranks, number_of_batches(data, batch_size))
        settings = settings.in_steps(batches, accumulation_steps)
    options = Options(
        batch_size, forward, accumulation_steps, scaler, autocast, clip_grad_norm, device, score_fn
    )
    trainee = TorchTrainee(
        model,
        optimizer,
        loss_fn,
        data,
        validation_data=validation_data,
        options=replace(options, ranks=ranks),
        metric=asked,
        measure=measure,
        validates_each_step=False,
        snapshot=snapshot,
    )
    return finder.recommend(trainee, settings, verbose=verbose, since=started)


Settings = TypeVar("Settings", RangeTestSettings, RecommendationSettings)


def _settings(
    kind: type[Settings],
    settings: Settings | None,
    metric: str | Metric,
    loss_fn: Any,
    sweep: Mapping[str, Any],
    *,
    validated: bool,
    **keywords: Any,
) -> tuple[Settings, str | Metric, Metric | None]:
    """Returns the settings of a call, its metric as it was given, and what measures it.

    Settings that are given may name a metric, and a function beside them may be it.
    """
    if settings is not None and not isinstance(settings, kind):
        raise bad_argument("settings", f"{kind.__name__} or None", settings)
    asked = metric if settings is None or callable(metric) else settings.metric
    name, measure = metric_of(asked, loss_fn, validated=validated)
    told = name if settings is None else "loss" if callable(metric) else metric
    settings = settings_of(kind, settings, sweep, metric=told, **keywords)
    if not isinstance(settings, RangeTestSettings) or settings.method != "range":
        name = name.removeprefix(VALIDATION)  # what is scored, not each step
    return replace(settings, metric=name), asked, measure
