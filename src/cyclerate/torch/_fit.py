"""Recipes: one cycle, whole cycles, or cycles that double the training, to say how long to go."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from cyclerate._errors import bad_argument, require
from cyclerate._files import replacing
from cyclerate._randomness import lending, remember_global_randomness, seed_global_randomness
from cyclerate.cycles._how_long import HowLong, at_the_end, in_doublings
from cyclerate.cycles._rules import FIRST_STEP, CycleOptions, cycle_policy, plan_cycles, way_to_find
from cyclerate.finder._prior import Prior
from cyclerate.finder._recommend import tell_cost
from cyclerate.schedules import OneCycle
from cyclerate.torch._data import rows_of_a_step
from cyclerate.torch._ensemble import checked_model
from cyclerate.torch._groups import prior_of
from cyclerate.torch._loop import Fit, FitHistory, OnEpoch, Watch
from cyclerate.torch._step import Metric, Options, checked_optimizer, together
from cyclerate.torch._trainee import provenance_of


@together
def fit_one_cycle(  # noqa: PLR0917 - in the order of the one for Keras
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[..., Any] | None,
    data: Any,
    epochs: int | None = None,
    max_lr: float | None = None,
    *,
    total_steps: int | None = None,
    find: str = "auto",
    steps_per_epoch: int | None = None,
    validation_data: Any = None,
    metric: str | Metric = "loss",
    momentum: tuple[float, float] | None = (0.85, 0.95),
    up_frac: float = 0.3,
    start_div: float = 25.0,
    end_div: float = 1e4,
    shape: str = "cosine",
    three_phase: bool = False,
    guard: bool = False,
    unfreeze_epochs: int | None = None,
    on_epoch: OnEpoch | None = None,
    fine_tuned: bool = False,
    range_test_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> FitHistory:
    """Trains a model in one cycle of the rate, for all of its epochs or steps.

    With `max_lr`, it is the 1cycle policy. Without, the cycle finds its own top on its way up, as a
    `SelfFindingCycle`: nothing is trained beside the training, a loss that explodes is repaired,
    and there is always an answer. With `find="probe"` or "sweep", a range test on the same data
    finds `max_lr` first, gives everything back as it was, and the 1cycle policy follows. The loop
    is the plain one: rate and momentum of the step, the gradient of a batch, a step of the
    optimizer.

    Afterwards the modes and the momentum are as before, the rates the last ones.

    Args:
        model: The model, on its device. If it is in eval mode as a whole, it is trained in train
            mode; parts that are in eval mode, as frozen statistics are, stay so.
        optimizer: The optimizer of its parameters. Groups keep the ratios of their rates;
            `max_lr` is that of the highest one.
        loss_fn: `loss_fn(output, target)`; None if `forward` returns the loss.
        data: A DataLoader, an iterable of batches, a function that returns one, or a tuple of
            tensors, whose rows come shuffled in whole batches. A pass over it is an epoch.
        epochs: How many epochs the cycle spans; or give `total_steps`.
        max_lr: The peak of the rate. Default: found.
        total_steps: How many optimizer steps there are, those for finding `max_lr` included.
        find: "warmup", on the way up of the cycle; "probe" or "sweep", by a range test before it,
            beside the epochs or as a part of `total_steps`, and the 1cycle policy then. Default
            "auto": "warmup", or "probe" where something is given that only the policy has.
        steps_per_epoch: Batches of an epoch; needed with `epochs` where `data` does not say.
        validation_data: As `data`: measured in eval mode after every epoch. The range test does not
            look at it.
        metric: What is measured there: "loss" (default), "accuracy", or a function of output and
            target.
        momentum: (lowest, highest), in the opposite cycle; left alone if None, or if the optimizer
            has no momentum. Default (0.85, 0.95).
        up_frac: As in `OneCycle`.
        start_div: As in `OneCycle`.
        end_div: As in `OneCycle`.
        shape: As in `OneCycle`.
        three_phase: As in `OneCycle`.
        guard: Whether a `DivergenceGuard` watches the loss; a cycle that finds its own top repairs
            itself. Default False.
        unfreeze_epochs: After how many epochs one more parameter group trains, the last one first
            (`GradualUnfreezing`). Default: all train at once.
        on_epoch: `on_epoch(epoch, values)` is called after every epoch, with its number from 1 and
            its row of `FitHistory.epochs`: for trackers, checkpoints, pruning. The training ends if
            it returns True, of several ranks on any; what it raises goes through. Default: none.
        fine_tuned: Whether the weights were trained before: "warmup" expects lower rates then.
            Default False.
        range_test_options: Options of `range_test` by name, as `{"end_lr": 1.0, "repeats": 3}`.
        **options: `batch_size`, `forward`, `accumulation_steps`, `scaler`, `autocast`,
            `clip_grad_norm`, `device`, `score_fn`, `verbose` and `ranks`, as in `range_test`.

    Returns:
        The rates, momenta and losses of all steps, the means of the epochs, and the range test, or
        what the cycle found and repaired.

    Raises:
        ValueError: A wrong argument; the number of batches is not known.

    Source: Smith and Topin 2018, arXiv 1708.07120; Smith 2018, arXiv 1803.09820.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(64, 4)
    >>> y = x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    >>> model = torch.nn.Linear(4, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> history = fit_one_cycle(
    ...     model, optimizer, torch.nn.MSELoss(), (x, y), epochs=20, max_lr=0.1, batch_size=16
    ... )
    >>> len(history.steps["learning_rate"]), max(history.steps["learning_rate"])
    (80, 0.1)
    >>> history.epochs["loss"][-1] < 0.01 * history.epochs["loss"][0]
    True
    >>> model = torch.nn.Linear(4, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> found = fit_one_cycle(
    ...     model, optimizer, torch.nn.MSELoss(), (x, y), total_steps=400, batch_size=16
    ... )
    >>> len(found.steps["learning_rate"]), found.finding["source"]
    (400, 'sweep and prior')
    """
    only_of_the_policy = {
        "up_frac": (up_frac, 0.3),
        "start_div": (start_div, 25.0),
        "end_div": (end_div, 1e4),
        "shape": (shape, "cosine"),
        "three_phase": (three_phase, False),
        "guard": (guard, False),
        "range_test_options": (range_test_options, None),
    }
    way, watch = way_to_find(find, max_lr, only_of_the_policy), Watch(guard)
    fit = Fit(
        model,
        optimizer,
        loss_fn,
        data,
        validation_data=validation_data,
        metric=metric,
        steps_per_epoch=steps_per_epoch,
        options=Options(**options),
        total_steps=total_steps,
        unfreeze_epochs=unfreeze_epochs,
        on_epoch=on_epoch,
    )
    steps = fit.steps(epochs)
    if way == "warmup":
        tell_cost(options.get("verbose", "auto"), steps)
        return fit.run_finding(momentum, steps=steps, fine_tuned=fine_tuned)
    policy = OneCycle(
        1.0 if max_lr is None else max_lr, steps, up_frac, start_div, end_div, shape, three_phase
    )
    fit.settings(policy, momentum)  # refuses before anything is tried
    found = None
    if max_lr is None:
        method = "range" if way == "sweep" else way
        max_lr, found, steps = fit.find("one_cycle", method, steps, range_test_options)
        policy = dataclasses.replace(policy, max_lr=max_lr, total_steps=steps)
    return fit.run(
        policy,
        momentum,
        steps=steps,
        watch=watch,
        found=found,
    )


@together
def fit_cycles(  # noqa: PLR0917 - in the order of the one for Keras
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[..., Any] | None,
    data: Any,
    cycles: int | None = None,
    max_lr: float | None = None,
    *,
    step_size_epochs: int | None = None,
    base_lr: float | None = None,
    policy: str = "triangular",
    epochs: int | None = None,
    gamma: float | None = None,
    steps_per_epoch: int | None = None,
    validation_data: Any = None,
    metric: str | Metric = "loss",
    momentum: tuple[float, float] | None = None,
    patience_cycles: int | None = None,
    guard: bool = False,
    unfreeze_epochs: int | None = None,
    on_epoch: OnEpoch | None = None,
    range_test_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> FitHistory:
    """Trains a model in cycles by Smith's rules; it stops at a cycle's end.

    Half a cycle is 2 to 10 epochs, and there are at least 3 cycles. The schedule is begun at its
    step 1: so the last step of every cycle, and of the training, is made at `base_lr` exactly.

    Args:
        model: As in `fit_one_cycle`.
        optimizer: As in `fit_one_cycle`.
        loss_fn: As in `fit_one_cycle`.
        data: As in `fit_one_cycle`.
        cycles: How many. Default 3, or what fits `epochs`.
        max_lr: The highest rate. Default: found by `range_test`, for a training of this length.
        step_size_epochs: Half a cycle in epochs, 2 to 10. Default 2; with `epochs`, the longest
            that fits.
        base_lr: The lowest rate. Default: a quarter of `max_lr`.
        policy: "triangular" (default), "triangular2" or "exp_range".
        epochs: The most epochs: the training ends with the last whole cycle in them. Default: what
            the cycles take.
        gamma: As in `ExpRange`, for "exp_range" only.
        steps_per_epoch: As in `fit_one_cycle`.
        validation_data: As in `fit_one_cycle`.
        metric: As in `fit_one_cycle`.
        momentum: (lowest, highest), in the opposite cycle. Default: left alone, as Smith did here.
        patience_cycles: How many cycles in a row may bring nothing better on the validation data;
            judged at the ends of cycles, and the best of these is given back. Default: no limit.
        guard: As in `fit_one_cycle`.
        unfreeze_epochs: As in `fit_one_cycle`.
        on_epoch: As in `fit_one_cycle`.
        range_test_options: As in `fit_one_cycle`.
        **options: As in `fit_one_cycle`.

    Returns:
        As `fit_one_cycle`.

    Raises:
        ValueError: A wrong argument, or one outside the rules; the number of batches is not known,
            or does not go into steps where gradients accumulate.

    Source: Smith 2017, arXiv 1506.01186, sections 3.2 (length) and 3.3 (rates).

    >>> import torch
    >>> x, y = torch.ones(32, 2), torch.ones(32, 1)
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> history = fit_cycles(
    ...     model, optimizer, torch.nn.MSELoss(), (x, y), max_lr=0.04, batch_size=8
    ... )
    >>> rates = history.steps["learning_rate"]
    >>> len(rates), max(rates), rates[15], rates[-1]
    (48, 0.04, 0.01, 0.01)
    """
    plan, watch = plan_cycles(cycles, step_size_epochs, epochs), Watch(guard, patience_cycles)
    settings = Options(**options)
    fit = Fit(
        model,
        optimizer,
        loss_fn,
        data,
        validation_data=validation_data,
        metric=metric,
        steps_per_epoch=steps_per_epoch,
        options=settings,
        unfreeze_epochs=unfreeze_epochs,
        on_epoch=on_epoch,
    )
    step_size = plan.step_size(fit.batches_per_epoch, settings.accumulation_steps)
    schedule = cycle_policy(policy, base_lr, max_lr, step_size, gamma)
    steps = fit.steps(plan.epochs)
    fit.settings(schedule, momentum)  # refuses before anything is tried
    found = None
    if max_lr is None:
        max_lr, found, _ = fit.find("triangular", "probe", steps, range_test_options)
        schedule = cycle_policy(policy, base_lr, max_lr, step_size, gamma)
    return fit.run(
        schedule,
        momentum,
        steps=steps,
        watch=watch,
        found=found,
        start_step=FIRST_STEP,
    )


@together
def how_long(  # noqa: PLR0917 - in the order of the one for Keras
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[..., Any] | None,
    data: Any,
    epochs: int | None = None,
    max_lr: float | None = None,
    *,
    total_steps: int | None = None,
    points: int = 5,
    steps_per_epoch: int | None = None,
    validation_data: Any = None,
    metric: str | Metric = "loss",
    momentum: tuple[float, float] | None = (0.85, 0.95),
    fine_tuned: bool = False,
    folder: str | os.PathLike[str] | None = None,
    seed: int = 0,
    **options: Any,
) -> HowLong:
    """Trains a model once, and says how good it is after how long, and would be after longer.

    The training consists of cycles that each double the steps so far, `total / 2 ** (points - i)`
    after the i-th. Each ends at a rate of zero, about as good as a training of its own that is as
    long: that gives the curve, and `HowLong.forecast` what two and four times the steps would
    bring. The first cycle finds its rate on its own way up (`SelfFindingCycle`), the later ones
    have the lower rates that longer trainings have; all clip the gradients, and repair a loss that
    explodes. The model has the weights of the last point afterwards.

    With a folder, the model of every point is kept there (an ensemble: `SnapshotEnsemble.load`),
    and the same call on a model and an optimizer made in the same way goes on where an interrupted
    one has ended a cycle: with the same bits, if the order of the data follows from the seed alone.

    Args:
        model: As in `fit_one_cycle`, like all that is not named here.
        optimizer: As in `fit_one_cycle`.
        loss_fn: As in `fit_one_cycle`.
        data: As in `fit_one_cycle`.
        epochs: The length of the whole training; or give `total_steps`.
        max_lr: The peak of each cycle. Default: found.
        total_steps: The length in optimizer steps, at least `2 ** points`.
        points: How many cycles, up to 12. Default 5: a sixteenth of the training, an eighth, ...
        steps_per_epoch: As in `fit_one_cycle`.
        validation_data: What the curve is about, measured at each point. Default: the mean loss of
            the last tenth of a cycle's batches.
        metric: What is measured there. Default "loss".
        momentum: As in `fit_one_cycle`.
        fine_tuned: As in `fit_one_cycle`.
        folder: Where the points are kept. Default: nowhere.
        seed: Of all that is random in the training; the global generators are given back.
        **options: As in `fit_one_cycle`.

    Returns:
        The points, with their times and rates.

    Raises:
        ValueError: A wrong argument; the folder holds another run, and what differs is named.

    Source: Portes et al. 2022, arXiv 2206.00832.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(64, 4)
    >>> y = x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    >>> model = torch.nn.Linear(4, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> told = how_long(
    ...     model, optimizer, torch.nn.MSELoss(), (x, y), total_steps=400, batch_size=16
    ... )
    >>> told.steps, told.values["loss"][0] > told.values["loss"][-1]
    ((25, 50, 100, 200, 400), True)
    """
    settings = Options(**options)
    if folder is not None and settings.ranks is not None:
        raise bad_argument("folder", "None where several processes train together", folder)
    asked = CycleOptions(None, max_lr, momentum, None, fine_tuned)
    given: dict[str, Any] = {
        "validation_data": validation_data,
        "metric": metric,
        "steps_per_epoch": steps_per_epoch,
        "options": settings,
    }
    learner = _Learner(model, checked_optimizer(optimizer), loss_fn, data, given, asked)
    fit = learner.fit(total_steps)
    told = {"batch_size": settings.batch_size, "data": learner.provenance()["data"]}
    return in_doublings(
        learner,
        fit.steps(epochs),
        points,
        metric=fit.measured_name,
        options=asked,
        seed=seed,
        settings=told,
        folder=folder,
    )


@dataclasses.dataclass
class _Learner:
    """A training in cycles that are each a fit of their own."""

    model: nn.Module
    optimizer: Optimizer
    loss_fn: Callable[..., Any] | None
    data: Any
    given: dict[str, Any]
    asked: CycleOptions
    suffix = ".safetensors"

    def fit(self, total_steps: int | None) -> Fit:
        """A fit of so many steps, which has not begun."""
        return Fit(
            self.model,
            self.optimizer,
            self.loss_fn,
            self.data,
            total_steps=total_steps,
            **self.given,
        )

    def train(self, steps: int, max_lr: float | None, seed: int) -> tuple[float, dict[str, float]]:
        with lending() as stack:
            stack.callback(remember_global_randomness())
            seed_global_randomness(seed)
            fit = self.fit(steps)
            history = fit.run_finding(
                self.asked.momentum, steps=steps, fine_tuned=self.asked.fine_tuned, max_lr=max_lr
            )
        measured = {"loss": at_the_end(history.steps["loss"])}
        if fit.measured_name != "loss":
            measured[fit.measured_name] = history.epochs[fit.measured_name][-1]
        return (history.finding or {})["top"], measured

    def prior(self, total_steps: int) -> Prior:
        options: Options = self.given["options"]
        rows = rows_of_a_step(self.data, options.batch_size, options.accumulation_steps)
        return prior_of(self.optimizer, rows, total_steps, fine_tuned=self.asked.fine_tuned)

    def provenance(self) -> dict[str, Any]:
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        return provenance_of(self.data, device)

    def save_model(self, path: Path) -> None:
        require("safetensors.torch", "torch").save_model(checked_model(self.model), path)

    def save(self, path: Path) -> None:
        states = [part.state_dict() for part in self._parts()]
        for group in states[1]["param_groups"]:  # numbers of NumPy are not read back
            group.update({k: v.item() for k, v in group.items() if isinstance(v, np.generic)})
        with replacing(path) as temporary:
            torch.save(states, temporary)

    def load(self, path: Path) -> None:
        states = torch.load(path, map_location="cpu", weights_only=True)
        for part, state in zip(self._parts(), states, strict=True):
            part.load_state_dict(state)

    def _parts(self) -> list[Any]:
        parts = (self.model, self.optimizer, self.given["options"].scaler)
        return [part for part in parts if part is not None]
