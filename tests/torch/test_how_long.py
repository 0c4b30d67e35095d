"""The whole curve from one training: points, rates, files, and what is given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import cyclerate as cr
import cyclerate.torch as ct

_generator = torch.Generator().manual_seed(3)
X = torch.randn(240, 6, generator=_generator)
Y = (X @ torch.randn(6, 3, generator=_generator)).argmax(1)
TRAIN, HELD = (X[:160], Y[:160]), (X[160:], Y[160:])


def new() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 3))
    groups = [{"params": model[0].parameters(), "lr": 1e-3}, {"params": model[3].parameters()}]
    return model, torch.optim.Adam(groups, lr=1e-2)


def run(model: nn.Module, optimizer: torch.optim.Optimizer, **options: Any) -> cr.HowLong:
    told = {"total_steps": 320, "validation_data": HELD, "metric": "accuracy", "batch_size": 16}
    return ct.how_long(model, optimizer, cross_entropy, TRAIN, **{**told, **options})


def accuracy(model: nn.Module) -> float:
    model.eval()
    with torch.no_grad():
        found = (model(HELD[0]).argmax(1) == HELD[1]).float().mean().item()
    model.train()
    return found


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    moments = [v for state in optimizer.state.values() for v in state.values()]
    return [*model.state_dict().values(), *moments]


def test_each_point_is_what_the_model_is_worth_there(tmp_path: Path):
    model, optimizer = new()
    told = run(model, optimizer, folder=tmp_path)
    assert told.steps == (20, 40, 80, 160, 320)
    assert told.metric == "val_accuracy"
    assert set(told.values) == {"loss", "val_accuracy"}
    assert told.values["val_accuracy"][-1] == pytest.approx(accuracy(model))
    assert told.values["val_accuracy"][-1] > 0.9
    other, _ = new()
    ensemble = ct.SnapshotEnsemble.load(tmp_path, other, outputs="logits")
    for (member, outputs), value in zip(
        ensemble.predictions(HELD[0]), told.values["val_accuracy"], strict=True
    ):
        right = (outputs.argmax(1) == HELD[1]).double().mean().item()
        assert right == pytest.approx(value), member.step
    assert cr.HowLong.load(tmp_path / "how_long.json") == told


def test_rates_of_groups_keep_their_ratio_and_the_later_tops_are_those_to_expect():
    model, optimizer = new()
    tops = run(model, optimizer).max_lrs
    assert optimizer.param_groups[1]["lr"] == pytest.approx(10 * optimizer.param_groups[0]["lr"])
    assert tops[1] / tops[0] == pytest.approx(2**-0.37)  # of Adam, twice as long
    assert run(*new(), max_lr=0.02).max_lrs == (0.02,) * 5


def test_generators_and_modes_are_given_back():
    model, optimizer = new()
    model.eval()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(model, optimizer)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training


def test_the_seed_decides_all():
    curves = [run(*new(), seed=seed) for seed in (0, 0, 1)]
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


class Stop(Exception):
    """What ends a training in its middle."""


@pytest.mark.parametrize("at", [10, 150, 310])
def test_an_interrupted_training_goes_on_bit_for_bit(at: int, tmp_path: Path):
    whole, own = new(), new()
    told = run(*whole)
    taken = 0

    def count(*_: Any) -> None:
        nonlocal taken
        taken += 1
        if taken == at:
            raise Stop

    own[1].register_step_post_hook(count)
    with pytest.raises(Stop):
        run(*own, folder=tmp_path)
    resumed = new()
    assert run(*resumed, folder=tmp_path) == told
    pairs = zip(state_of(*resumed), state_of(*whole), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"batch_size": 32}, "batch_size must be 16"),
        ({"total_steps": 640}, "total_steps must be 320"),
        ({"max_lr": 0.1}, "max_lr must be None"),
        ({"seed": 2}, "seed must be 0"),
        ({"metric": "loss"}, "metric must be 'val_accuracy'"),
        ({"validation_data": None, "metric": "loss"}, "metric must be 'val_accuracy'"),
    ],
)
def test_another_run_is_refused(changed: dict[str, Any], named: str, tmp_path: Path):
    run(*new(), folder=tmp_path)
    model, optimizer = new()
    before = [tensor.clone() for tensor in model.state_dict().values()]
    with pytest.raises(ValueError, match=named):
        run(model, optimizer, folder=tmp_path, **changed)
    assert all(map(torch.equal, model.state_dict().values(), before))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"total_steps": 31}, "total_steps"),
        ({"epochs": 2}, "epochs or total_steps"),
        ({"points": 0}, "points"),
        ({"max_lr": -1.0}, "max_lr"),
        ({"momentum": 3}, "momentum"),
        ({"seed": -1}, "seed"),
        ({"fine_tuned": 3}, "fine_tuned"),
        ({"folder": 3}, "folder"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_trained(options: dict[str, Any], named: str):
    model, optimizer = new()
    before = [tensor.clone() for tensor in model.state_dict().values()]
    with pytest.raises(ValueError, match=named):
        run(model, optimizer, **options)
    assert all(map(torch.equal, model.state_dict().values(), before))


def test_without_other_data_the_curve_is_that_of_the_losses():
    told = run(*new(), validation_data=None, metric="loss", points=3)
    assert (told.metric, told.steps, list(told.values)) == ("loss", (80, 160, 320), ["loss"])
    assert told.values["loss"][2] < told.values["loss"][0]


def test_validation_data_that_come_later_are_another_run(tmp_path: Path):
    arrays = tuple(part.numpy() for part in TRAIN)
    told = {"total_steps": 80, "points": 3, "folder": tmp_path, "batch_size": np.int64(16)}
    kept = ct.how_long(*new(), cross_entropy, arrays, **told)
    assert kept.provenance["data"].startswith("(160, 6), (160,): ")
    with pytest.raises(ValueError, match="data must be"):
        ct.how_long(*new(), cross_entropy, tuple(1 - part for part in arrays), **told)
    assert ct.how_long(*new(), cross_entropy, arrays, **told) == kept
    with pytest.raises(ValueError, match="metric must be 'loss'"):
        ct.how_long(*new(), cross_entropy, arrays, validation_data=HELD, **told)


def test_numbers_of_numpy_go_into_a_folder_and_out_again(tmp_path: Path):
    def numpys() -> tuple[nn.Module, torch.optim.Optimizer]:
        model, _ = new()
        options: dict[str, Any] = {"lr": np.float64(0.1), "weight_decay": np.float64(1e-4)}
        return model, torch.optim.SGD(model.parameters(), **options)

    told = run(*numpys(), total_steps=np.int64(80), points=3.0, folder=tmp_path)
    again = numpys()
    assert run(*again, total_steps=80, points=3, folder=tmp_path) == told
    assert again[1].param_groups[0]["weight_decay"] == 1e-4
