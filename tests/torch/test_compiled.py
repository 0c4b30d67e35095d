"""A compiled training step is compiled once, whatever the scheduler writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cyclerate as cr
import cyclerate.torch as ct

# PyTorch's compiler, on its first use, trips over a deprecation of its own.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
)

POLICY = cr.OneCycle(max_lr=0.1, total_steps=50)
X = torch.linspace(-1, 1, 32).reshape(8, 4)
STEPS = 8


class Counting:
    """A backend that counts the graphs that it is asked to compile, and runs them as they are."""

    def __init__(self, backend="eager"):
        self.graphs = 0
        self._compile = torch._dynamo.lookup_backend(backend)

    def __call__(self, graph, inputs):
        self.graphs += 1
        return self._compile(graph, inputs)


@pytest.fixture(autouse=True)
def _forget_what_was_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def sgd(weights):
    return torch.optim.SGD(weights, lr=torch.tensor(0.1))


def adam(weights):
    betas = (torch.tensor(0.9), torch.tensor(0.999))
    return torch.optim.Adam(weights, lr=torch.tensor(0.1), betas=betas, foreach=False)


def train(model, optimizer, step):
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(X).pow(2).sum().backward()
        step()


def both(make_optimizer, compiled, backend="eager", **schedules):
    """Trains two equal models, one with a compiled step; returns them and the backend."""
    counting = Counting(backend)
    models = []
    for compiler in (None, torch.compile(backend=counting)):
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        optimizer = make_optimizer(model.parameters())
        scheduler = ct.ScheduledLR(optimizer, POLICY, **schedules)

        def step(optimizer=optimizer, scheduler=scheduler):
            optimizer.step()
            scheduler.step()

        if compiler is not None and compiled == "both":
            step = compiler(step)
        elif compiler is not None:
            optimizer.step = compiler(optimizer.step)
        train(model, optimizer, step)
        assert optimizer.param_groups[0]["lr"].item() == torch.tensor(POLICY(STEPS)).item()
        assert scheduler.last_epoch == STEPS
        models.append(model)
    return *models, counting


CASES = {
    "sgd": (sgd, "both", {}),
    "adam, aot": (adam, "both", {"backend": "aot_eager"}),
    "adam, the optimizer alone": (adam, "optimizer", {}),
    "adam, first beta too": (adam, "both", {"momentum": POLICY.mirrored(0.85, 0.95)}),
}


@pytest.mark.parametrize(("make", "compiled", "options"), CASES.values(), ids=CASES)
def test_the_step_is_compiled_once_and_trains_as_an_uncompiled_one(make, compiled, options):
    plain, fast, counting = both(make, compiled, **options)
    assert counting.graphs == 1
    torch.testing.assert_close(fast.weight, plain.weight, rtol=1e-5, atol=1e-7)


def test_a_step_that_reads_a_changing_number_is_what_the_counting_finds():
    counting = Counting()
    numbers = {"n": 0}

    @torch.compile(backend=counting, dynamic=False)
    def step(x):
        return x * numbers["n"]

    for n in range(4):
        numbers["n"] = n + 2
        assert step(torch.ones(1)).item() == n + 2
    assert counting.graphs == 4


def test_a_cycle_that_finds_its_own_top_is_not_traced_with_the_optimizer():
    counting, models = Counting(), []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(4, 2)
        optimizer = sgd(model.parameters())
        cycle = ct.SelfFindingCycle(model, optimizer, total_steps=40)
        step = torch.compile(optimizer.step, backend=counting) if compiled else optimizer.step
        for _ in range(40):
            optimizer.zero_grad()
            loss = model(X).pow(2).sum()
            loss.backward()
            step()
            cycle.step(loss)
        models.append(model)
    assert counting.graphs == 1
    torch.testing.assert_close(models[1].weight, models[0].weight, rtol=1e-4, atol=1e-6)


def test_the_low_points_of_a_compiled_model_are_members_of_the_model_itself(tmp_path: Path):
    plain = nn.Linear(4, 1)
    model: Any = torch.compile(plain, backend=Counting())
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    data = (X, X.sum(1, keepdim=True))
    options: dict[str, Any] = {"total_steps": 20, "points": 2, "batch_size": 4}
    told = ct.how_long(model, optimizer, nn.MSELoss(), data, folder=tmp_path, **options)
    assert told.steps == (10, 20)
    other: Any = torch.compile(nn.Linear(4, 1), backend=Counting())
    for one in (nn.Linear(4, 1), other):
        ensemble = ct.SnapshotEnsemble.load(tmp_path, one, outputs="values")
        *_, (_, outputs) = ensemble.predictions(X)
        assert torch.equal(outputs, plain(X).double())
