"""Everything public that holds no live model goes through pickle; in PyTorch, with its model."""

from __future__ import annotations

import copy
import importlib
import inspect
import math
import pickle
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("lightning")
pytest.importorskip("optax")
pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytest.importorskip("torch")
pytest.importorskip("transformers")

import pandas as pd
import torch

import cyclerate as cr
import cyclerate.keras as ck
import cyclerate.lightning as cl
import cyclerate.optax as co
import cyclerate.sklearn as cs
import cyclerate.torch as ct
import cyclerate.transformers as ctf
from cyclerate import compare, finder, tables
from tests.compare.small import compared
from tests.schedules.policies import EXAMPLES

MODULES = ["cyclerate", "cyclerate.keras", "cyclerate.torch", "cyclerate.optax", "cyclerate.finder"]
MODULES += [f"cyclerate.{name}" for name in ("compare", "tables", "sklearn")]
MODULES += ["cyclerate.lightning", "cyclerate.transformers"]
# The first are contracts, the last holds the user's functions, compiled: it has `state()`.
NOT_MADE_HERE = {cr.Schedule, cr.Tracker, finder.Run, finder.Trainee, finder.FunctionTrainee}
NOT_MADE_HERE |= {co.CycleTraining}
LR = cr.Triangular(0.1, 0.4, 5)


def half(cycle: int) -> float:
    return 0.5**cycle


def swept() -> finder.RangeTest:
    test = finder.RangeTest(finder.Sweep(1e-4, 1.0, steps=30))
    while test.tell(1.0 - test.lr if test.lr < 0.3 else 9.0):
        pass
    return test


def in_torch() -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def fitted(**options: Any) -> ct.FitHistory:
    x = torch.ones(16, 3)
    data = (x, x.sum(1, keepdim=True))
    return ct.fit_one_cycle(*in_torch(), torch.nn.MSELoss(), data, batch_size=8, **options)


def fit_result() -> co.FitResult:
    optax = importlib.import_module("optax")
    data, start = np.zeros((16, 2), np.float32), np.ones(2, np.float32)

    def loss_fn(params: Any, batch: Any) -> Any:
        return ((params - batch) ** 2).mean()

    return co.fit_one_cycle(loss_fn, start, optax.sgd, data, epochs=2, max_lr=0.5, batch_size=8)


def recommendation() -> cr.Recommendation:
    return cr.Recommendation(
        policy="triangular", schedule=LR, max_lr=0.4, base_lr=0.1, interval=(0.2, 0.8), steps=40,
        training_steps=400, evidence=(finder.PolicyRace("triangular", 0.08, 0.5),),
        range_test=swept().result(seconds=1.5), verdict="raced",
    )  # fmt: skip


def table() -> tables.Tabular:
    rows = pd.DataFrame({"hours": [1.0, 7.0, None, 3.0] * 8, "passed": ["no", "yes"] * 16})
    return tables.prepare(rows, "passed", name="exams")


def validated() -> compare.CrossValidation:
    model = in_torch()
    x = np.ones((12, 3), np.float32)
    made = (*model, torch.nn.MSELoss())
    return compare.cross_validate(
        lambda: copy.deepcopy(made), x, x.sum(1, keepdims=True), folds=2, epochs=6, batch_size=2,
        policy=cr.Constant(0.01),
    )  # fmt: skip


def layers() -> ct.GradualUnfreezing:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    return ct.GradualUnfreezing(torch.optim.SGD(ct.layer_groups(model, lr=0.1), lr=0.1), 5)


MADE: dict[type, Callable[[], Any]] = {
    **{type(policy): lambda policy=policy: policy for policy in EXAMPLES},
    cr.Cyclic: lambda: cr.Cyclic(0.1, 0.4, 5, scale_fn=half),
    cr.Sweep: lambda: cr.Sweep(1e-4, 1.0, steps=30),
    cr.RangeTest: swept,
    cr.RangeTestResult: lambda: swept().result(seconds=1.5),
    cr.Recommendation: recommendation,
    cr.HowLong: lambda: cr.HowLong((1, 2, 4), {"loss": (3.0, None, 1.0)}, "loss"),
    cr.Forecast: lambda: cr.Forecast(steps=2000, value=0.5, low=0.4, high=0.6),
    cr.StopReason: lambda: cr.StopReason.DIVERGED,
    cr.LostMemberWarning: lambda: cr.LostMemberWarning("one is lost"),
    finder.RangeTestSettings: lambda: finder.RangeTestSettings(seed=3),
    finder.RecommendationSettings: lambda: finder.RecommendationSettings(budget_steps=100),
    finder.Race: lambda: finder.Race([0.1, 0.2]),
    finder.Probe: finder.Probe,
    finder.PolicyRace: lambda: finder.PolicyRace("constant", 0.1, 0.5),
    compare.Comparison: lambda: compared(seeds=1, epochs=6, policies=["fixed", "triangular"]),
    compare.CrossValidation: validated,
    compare.Difference: lambda: compared(epochs=6, policies=["fixed", "found"]).differences[0],
    tables.Tabular: table,
    tables.Preprocessing: lambda: table().preprocessing,
    tables.DataMistake: lambda: tables.DataMistake("no such column"),
    cs.CyclicClassifier: lambda: cs.CyclicClassifier((3,), max_lr=0.1),
    cs.CyclicRegressor: lambda: cs.CyclicRegressor((3,), max_lr=0.1),
    co.FitResult: fit_result,
    cl.RangeTestCallback: cl.RangeTestCallback,
    cl.SelfFindingCycle: cl.SelfFindingCycle,
    ctf.RangeTestCallback: ctf.RangeTestCallback,
    ctf.SelfFindingCycle: ctf.SelfFindingCycle,
    ct.FitHistory: lambda: fitted(epochs=2, max_lr=0.1),
    ct.ScheduledLR: lambda: ct.ScheduledLR(in_torch()[1], LR),
    ct.SelfFindingCycle: lambda: ct.SelfFindingCycle(*in_torch(), 100),
    ct.CycleEarlyStopping: lambda: ct.CycleEarlyStopping(in_torch()[0], LR, 60),
    ct.DivergenceGuard: lambda: ct.DivergenceGuard([*in_torch()], LR, 60),
    ct.SnapshotEnsemble: lambda: ct.SnapshotEnsemble("members", in_torch()[0], LR, 60),
    ct.WeightAveraging: lambda: ct.WeightAveraging(in_torch()[0], LR, 60),
    ct.GradualUnfreezing: layers,
    ck.ScheduleCallback: lambda: ck.ScheduleCallback(LR),
    ck.SelfFindingCycle: lambda: ck.SelfFindingCycle(100),
    ck.CycleEarlyStopping: ck.CycleEarlyStopping,
    ck.CycleCheckpoint: lambda: ck.CycleCheckpoint("best.keras"),
    ck.DivergenceGuard: ck.DivergenceGuard,
    ck.LayerRates: ck.LayerRates,
    ck.SnapshotEnsemble: lambda: ck.SnapshotEnsemble("members"),
    ck.WeightAveraging: ck.WeightAveraging,
    ck.CyclicLR: ck.CyclicLR,
    ck.LRFinder: lambda: ck.LRFinder(1e-5, 1.0),
    ck.ExponentialLearningRate: lambda: ck.ExponentialLearningRate(1.1),
    ck.OneCycleScheduler: lambda: ck.OneCycleScheduler(20, 0.1),
    ck.CyclicalLearningRate: lambda: ck.CyclicalLearningRate(0.1, 0.4, 5, half),
    ck.TriangularCyclicalLearningRate: lambda: ck.TriangularCyclicalLearningRate(0.1, 0.4, 5),
    ck.Triangular2CyclicalLearningRate: lambda: ck.Triangular2CyclicalLearningRate(0.1, 0.4, 5),
    ck.ExponentialCyclicalLearningRate: lambda: ck.ExponentialCyclicalLearningRate(0.1, 0.4, 5),
    type(ck.as_schedule(LR)): lambda: ck.as_schedule(LR),
}


def public_classes() -> Iterator[type]:
    for module in map(importlib.import_module, MODULES):
        for name, value in vars(module).items():
            ours = inspect.isclass(value) and value.__module__.startswith("cyclerate")
            if ours and not name.startswith("_"):
                yield value


def test_no_public_class_is_forgotten():
    assert set(public_classes()) - NOT_MADE_HERE <= MADE.keys()


def plain(value: Any, depth: int = 8) -> Any:
    """What an object consists of, to be compared by value."""
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if isinstance(value, array):
        value = np.array(value)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {str(key): plain(part, depth) for key, part in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(part, depth) for part in value]
    if isinstance(value, torch.optim.lr_scheduler.LRScheduler):
        return plain([value.state_dict(), value.optimizer.state_dict()])
    if hasattr(value, "__dict__") and not callable(value) and depth:
        return type(value).__name__, plain(vars(value), depth - 1)
    if isinstance(value, float):
        return repr(value)  # NaN is equal to itself here
    return value if isinstance(value, (str, int, type(None))) else callable(value)


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_it_comes_back_as_it_was(kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    made = MADE[kind]()
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is kind
    by_value = kind.__eq__ is not object.__eq__ and kind is not tables.Tabular
    if by_value and not issubclass(kind, Exception):
        assert again == made
    elif kind not in (ct.SelfFindingCycle, ct.DivergenceGuard):  # below
        assert plain(again) == plain(made)


def train(model: Any, optimizer: Any, cycle: Any, steps: int) -> None:
    for number in range(cycle.steps, cycle.steps + steps):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))
        x *= 8 if number == 80 else 1  # a gradient that is clipped
        optimizer.zero_grad()
        loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        loss.backward()
        optimizer.step()
        cycle.step(loss)


@pytest.mark.parametrize("way", [lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy])
def test_a_self_finding_cycle_goes_on_with_its_model(way: Callable[[Any], Any]):
    model, optimizer = in_torch()
    cycle = ct.SelfFindingCycle(model, optimizer, 100)
    train(model, optimizer, cycle, 60)
    parts = (model, optimizer, cycle)
    others = way(parts)
    for these in (parts, others):
        train(these[0], these[1], these[2], 40)
    assert others[2].done
    assert others[2].found == cycle.found
    assert cycle.found["clipped_steps"] > 0
    assert plain(others[0].state_dict()) == plain(model.state_dict())


def test_a_guard_gives_back_the_last_good_weights_of_the_model_that_came_with_it():
    model, optimizer = in_torch()
    guard = ct.DivergenceGuard([model, optimizer], LR, 60)
    with torch.no_grad():
        model.weight.fill_(2.0)
    for _ in range(20):
        guard.step(1.0)
    with torch.no_grad():
        model.weight.fill_(3.0)
    other, _, guarding = pickle.loads(pickle.dumps((model, optimizer, guard)))
    assert other.weight.tolist() == [[3.0] * 3]
    with pytest.warns(UserWarning, match="the end of a cycle"):
        assert guarding.step(math.nan)
    assert other.weight.tolist() == [[2.0] * 3]
    assert model.weight.tolist() == [[3.0] * 3]
