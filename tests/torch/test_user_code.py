"""User code runs under conditions that it was not written for: it is lived with, or named."""

from __future__ import annotations

import dataclasses
import functools
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import cyclerate.torch as ct
from cyclerate._errors import CyclerateError
from cyclerate.torch._data import moved, rows_in
from tests.torch.small import BATCHES, Regression, X, Y, squared_error

PROBE: dict[str, Any] = {"steps": 15, "max_steps": 45, "end_lr": 1.0}


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


@dataclasses.dataclass
class Batch:
    names: list[str]
    x: torch.Tensor
    y: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: torch.Tensor
    y: torch.Tensor


class Named(NamedTuple):
    sizes: list[int]
    x: torch.Tensor
    y: torch.Tensor


NAMES = [str(i) for i in range(5)]
FORMS: dict[str, Any] = {
    "pair": lambda x, y: (x, y),
    "dict": lambda x, y: {"names": NAMES, "x": x, "y": y},
    "dataclass": lambda x, y: Batch(NAMES, x, y),
    "frozen dataclass": Frozen,
    "named tuple": lambda x, y: Named([1, 2], x, y),
    "names first": lambda x, y: (NAMES, [x, y]),
    "a container first": lambda x, y: ([], {}, (), x, y),
}


def parts_of(batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(batch, dict):
        return batch["x"], batch["y"]
    if isinstance(batch, tuple) and not hasattr(batch, "_fields"):
        return tuple(batch[1]) if isinstance(batch[1], list) else batch[-2:]
    named: Any = batch
    return named.x, named.y


@pytest.mark.parametrize("form", FORMS)
def test_batches_of_every_form_have_rows_and_go_to_the_device(form):
    batch = FORMS[form](*BATCHES[0])
    assert rows_in(batch) == len(BATCHES[0][0])
    there = moved(batch, torch.device("meta"))
    assert type(there) is type(batch)
    assert [part.device.type for part in parts_of(there)] == ["meta", "meta"]
    assert [part.device.type for part in parts_of(batch)] == ["cpu", "cpu"]


@pytest.mark.parametrize("form", ["dataclass", "named tuple", "names first"])
def test_the_probe_takes_what_the_sweep_takes(form):
    model, plain = Regression(), Regression()

    def forward(model: nn.Module, batch: Any) -> Any:
        x, y = parts_of(batch)
        return model(x), y

    data = [FORMS[form](x, y) for x, y in BATCHES]
    result = ct.range_test(model, sgd(model), squared_error, data, forward=forward, **PROBE)
    same = ct.range_test(plain, sgd(plain), squared_error, BATCHES, **PROBE)
    assert result.races == same.races


@pytest.mark.parametrize("nothing", [[None] * 3, range(3), ["text"] * 3], ids=str)
def test_data_may_be_nothing(nothing):
    model = Regression()
    forward = lambda model, _: (model.w - 1).square().sum()  # noqa: E731
    result = ct.range_test(model, sgd(model), None, nothing, forward=forward, **PROBE)
    assert len(result.lrs) == 15
    assert rows_in(nothing[0]) == 1


class OnlyTrains(nn.Module):
    """As a detector: losses in train mode, something else in eval mode."""

    def __init__(self, otherwise: Any) -> None:
        super().__init__()
        self.net, self.otherwise = Regression(), otherwise

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        if self.training:
            return {"loss": squared_error(self.net(x), y)}
        return self.otherwise(x)


def needs_gradient(model: nn.Module, batch: Any) -> torch.Tensor:
    x = batch[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return gradient.square().mean() + squared_error(model(batch[0]), batch[1])


def raise_(error: Exception) -> Any:
    raise error


def in_train_mode(otherwise: Any) -> tuple[nn.Module, Any]:
    return OnlyTrains(otherwise), lambda model, batch: model(*batch)["loss"]


ONLY_TRAIN: dict[str, Any] = {
    "a list": lambda: in_train_mode(lambda x: [x]),
    "another dict": lambda: in_train_mode(lambda _: {"scores": 1}),
    "nothing": lambda: in_train_mode(lambda _: None),
    "not written": lambda: in_train_mode(lambda _: raise_(NotImplementedError())),
    "a gradient": lambda: (Regression(), needs_gradient),
}


@pytest.mark.parametrize("way", ["range_test", "recommend", "fit"])
@pytest.mark.parametrize("kind", ONLY_TRAIN)
def test_a_model_that_cannot_be_evaluated_is_named_with_the_ways_out(kind, way):
    model, forward = ONLY_TRAIN[kind]()
    before = [p.detach().clone() for p in model.parameters()]
    options: dict[str, Any] = {"forward": forward}
    calls = {
        "range_test": functools.partial(ct.range_test, **PROBE),
        "recommend": functools.partial(ct.recommend, budget_steps=100, find="probe"),
        "fit": functools.partial(ct.fit_one_cycle, epochs=1, max_lr=0.1, validation_data=BATCHES),
    }
    with pytest.raises(CyclerateError, match=r"eval mode.*score_fn.*method=.range") as caught:
        calls[way](model, sgd(model), None, BATCHES, **options)
    assert len(str(caught.value)) < 300
    assert caught.value.__cause__ is not None
    if way != "fit":
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    result = ct.range_test(
        model, sgd(model), None, BATCHES, forward=forward, method="range", steps=15, end_lr=0.5
    )
    assert len(result.lrs) == 15


def test_the_score_is_that_of_score_fn():
    model = Regression()
    modes = []

    def score_fn(model: nn.Module, batch: Any) -> torch.Tensor:
        modes.append((model.training, torch.is_grad_enabled()))
        return (model(batch[0]) - batch[1]) ** 2  # one per sample

    options: dict[str, Any] = {"forward": lambda m, b: squared_error(m(b[0]), b[1]), **PROBE}
    result = ct.range_test(model, sgd(model), None, BATCHES, score_fn=score_fn, **options)
    assert set(modes) == {(False, False)}
    plain = Regression()
    same = ct.range_test(plain, sgd(plain), None, BATCHES, **options)
    scores = [np.array([score for _, score in found.races], float) for found in (result, same)]
    np.testing.assert_allclose(scores[0], scores[1])


class TestNothingToTrain:
    def test_parameters_that_are_frozen(self):
        model = Regression().requires_grad_(False)
        with pytest.raises(ValueError, match=r"^the loss must be .* requires_grad"):
            ct.range_test(model, sgd(model), squared_error, BATCHES)

    @pytest.mark.parametrize("call", [ct.range_test, functools.partial(ct.fit_one_cycle, epochs=1)])
    def test_parameters_of_another_model(self, call):
        model, other = Regression(), Regression()
        with pytest.raises(ValueError, match=r"^optimizer must be one of parameters that the loss"):
            call(model, sgd(other), squared_error, BATCHES)
        assert not other.w.any()


class TestForwardIsMissing:
    def test_outputs_that_are_no_tensor(self):
        class Dict(Regression):
            def forward(self, x):
                return {"y": super().forward(x)}

        model = Dict()
        with pytest.raises(ValueError, match=r"^forward must be given where .*dict"):
            ct.range_test(model, sgd(model), squared_error, BATCHES)

    def test_batches_with_weights(self):
        model = Regression()
        data = (X, Y, torch.ones(len(X)))
        with pytest.raises(ValueError, match=r"^forward must be given where a batch is not"):
            ct.range_test(model, sgd(model), squared_error, data)

    def test_a_loss_that_takes_what_the_model_gives_is_left_alone(self):
        class Dict(Regression):
            def forward(self, x):
                return {"y": super().forward(x)}

        model = Dict()
        result = ct.range_test(
            model, sgd(model), lambda out, y: squared_error(out["y"], y), BATCHES, **PROBE
        )
        assert result.races


MODULE_OF_THE_FILE = nn.BatchNorm1d(2, dtype=torch.float64)


class Owner:
    def __init__(self) -> None:
        self.norm = nn.BatchNorm1d(2, dtype=torch.float64)

    def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return through(self.norm, output, target)

    __call__ = loss


def through(norm: nn.Module, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    norm(torch.stack([output, target], dim=1))
    return squared_error(output, target)


def by_closure(norm: nn.Module) -> Any:
    return lambda output, target: through(norm, output, target)


def of_the_file(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return through(MODULE_OF_THE_FILE, output, target)


def reached() -> dict[str, tuple[Any, nn.Module]]:
    norm, owner = nn.BatchNorm1d(2, dtype=torch.float64), Owner()
    return {
        "closure": (by_closure(norm), norm),
        "partial": (functools.partial(through, norm), norm),
        "method": (owner.loss, owner.norm),
        "callable object": (owner, owner.norm),
        "global": (of_the_file, MODULE_OF_THE_FILE),
        "function in a function": (by_closure_of(by_closure(norm)), norm),
    }


def by_closure_of(function: Any) -> Any:
    return lambda output, target: 1.0 * function(output, target)


@pytest.mark.parametrize("way", reached())
def test_state_that_only_a_function_reaches_is_given_back(way):
    loss_fn, norm = reached()[way]
    model = Regression()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    ct.range_test(model, sgd(model), loss_fn, BATCHES, **PROBE)
    assert all(torch.equal(norm.state_dict()[name], before[name]) for name in before)
    loss_fn(*BATCHES[0][1:], BATCHES[0][1])
    assert not torch.equal(norm.state_dict()["running_mean"], before["running_mean"])


@pytest.mark.parametrize("hook", ["optimizer", "module"])
def test_what_hooks_change_is_given_back(hook):
    model = Regression()
    optimizer = sgd(model)
    ema = torch.optim.swa_utils.AveragedModel(model)
    update = lambda *_: ema.update_parameters(model)  # noqa: E731
    if hook == "optimizer":
        optimizer.register_step_post_hook(update)
    else:
        model.register_forward_hook(update)
    before = [value.clone() for value in ema.state_dict().values()]
    ct.range_test(model, optimizer, squared_error, BATCHES, **PROBE)
    assert all(torch.equal(a, b) for a, b in zip(ema.state_dict().values(), before, strict=True))


def test_two_threads_are_refused_by_name_and_the_generators_come_back():
    inside, told = threading.Event(), []
    go_on = threading.Event()

    def waiting(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        inside.set()
        go_on.wait(60)
        return squared_error(output, target)

    first, second = Regression(), Regression()
    arguments = (first, sgd(first), waiting, BATCHES)
    thread = threading.Thread(target=lambda: told.append(ct.range_test(*arguments, **PROBE)))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    thread.start()
    assert inside.wait(60)
    with pytest.raises(CyclerateError, match="another thread"):
        ct.range_test(second, sgd(second), squared_error, BATCHES, **PROBE)
    go_on.set()
    thread.join()
    assert torch.equal(torch.get_rng_state(), state)
    assert (
        told[0].races == ct.range_test(second, sgd(second), squared_error, BATCHES, **PROBE).races
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("device", {"device": "foo"}),
        ("device", {"device": "cuda:99"}),
        ("loss_fn", {"loss_fn": torch.nn.MSELoss}),
        ("score_fn", {"score_fn": 3}),
        ("data", {"data": (np.array(["a", "b"]), np.zeros(2))}),
        ("data", {"data": lambda: None}),
        ("the loss", {"loss_fn": lambda out, y: (out - y).sum() * (1 + 1j)}),
    ],
)
def test_wrong_arguments_are_named(name: str, options: dict):
    model = Regression()
    given = {"loss_fn": squared_error, "data": BATCHES, **options}
    with pytest.raises(ValueError, match=f"^{name} must be"):
        ct.range_test(model, sgd(model), **given)


def test_layers_and_states_that_are_none():
    model = Regression()
    wrong: list[Any] = [[1], [[1]]]
    for layers in wrong:
        with pytest.raises(ValueError, match="layers must be modules"):
            ct.layer_groups(model, lr=0.1, layers=layers)


def test_where_nothing_can_be_trained_it_is_said_why():
    model = Regression()
    with torch.inference_mode(), pytest.raises(ValueError, match=r"torch\.inference_mode must be"):
        ct.range_test(model, sgd(model), squared_error, BATCHES, **PROBE)
