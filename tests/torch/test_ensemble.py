"""A member holds the weights of exactly the step with the cycle's lowest rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cyclerate as cr
import cyclerate.torch as ct

CYCLES = cr.WarmRestarts(max_lr=0.1, cycle_steps=3, min_lr=0.01)


class OneWeight(nn.Module):
    """y = w x + b, w = 1; the bias is a buffer, and w is tied to another name."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.same = self.w
        self.register_buffer("b", torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return self.w * x + self.b


def train(model, folder, steps, **options):
    """Plain descent on w**2; the buffer counts the steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    start = options.get("start_step", 0)
    scheduler = ct.ScheduledLR(optimizer, CYCLES, last_epoch=start - 1)
    saving = ct.SnapshotEnsemble(folder, model, CYCLES, **{"total_steps": steps, **options})
    for _ in range(start, steps):
        optimizer.zero_grad()
        (model.w**2).backward()
        optimizer.step()
        model.b += 1
        saving.step()
        scheduler.step()
    return saving


def by_hand(steps):
    weights = [1.0]
    for step in range(steps):
        weights.append(weights[-1] * (1 - 2 * CYCLES(step)))
    return np.array(weights[1:])


def test_members_are_the_weights_of_the_last_step_of_each_cycle(tmp_path):
    model = OneWeight()
    saving = train(model, tmp_path, 9)
    assert [(m.step, m.cycle, m.lr) for m in saving.members] == [
        (2, 1, CYCLES(2)),
        (5, 2, CYCLES(5)),
        (8, 3, CYCLES(8)),
    ]
    saved = [load_file(tmp_path / member.file) for member in saving.members]
    assert [len(values) for values in saved] == [2, 2, 2]  # the tied weight once, and the buffer
    weights = [next(v for k, v in values.items() if k != "b").item() for values in saved]
    assert weights == pytest.approx(by_hand(9)[[2, 5, 8]], rel=1e-12)
    assert [values["b"].item() for values in saved] == [3, 6, 9]


def test_a_prediction_is_the_mean_and_the_model_stays_as_it_was(tmp_path):
    model: Any = OneWeight()
    train(model, tmp_path, 9)
    model.train()
    with torch.no_grad():
        model.w.fill_(7.0)
    (model.w * 2).backward()
    gradient = model.w.grad
    ensemble = ct.SnapshotEnsemble.load(tmp_path, model, outputs="values", last=2)
    x = torch.tensor([1.0, -2.0, 4.0], dtype=torch.float64)
    lines = list(zip(by_hand(9)[[5, 8]], [6, 9], strict=True))
    mean = np.mean([w * x.numpy() + b for w, b in lines], axis=0)
    for data in (x, x.numpy(), DataLoader(TensorDataset(x, x), 2), [x[:1], x[1:]]):
        np.testing.assert_allclose(ensemble.predict(data, batch_size=2).numpy(), mean, rtol=1e-12)
    assert model.training
    assert (model.w.item(), model.b.item()) == (7.0, 9.0)
    assert model.same is model.w
    assert model.w.grad is gradient


def test_the_model_is_given_back_after_an_error_too(tmp_path):
    model = OneWeight()
    train(model, tmp_path, 3)

    def broken(lent, _batch):
        assert not lent.training
        assert lent.w.item() == pytest.approx(by_hand(3)[2])
        raise KeyboardInterrupt

    with torch.no_grad():
        model.w.fill_(7.0)
    ensemble = ct.SnapshotEnsemble.load(tmp_path, model, outputs="values", forward=broken)
    with pytest.raises(KeyboardInterrupt):
        ensemble.predict(torch.ones(1))
    assert model.training
    assert model.w.item() == 7.0


def test_logits_are_averaged_as_probabilities_and_a_lost_member_is_named(tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(2, 3)
    saving = ct.SnapshotEnsemble(tmp_path, model, CYCLES, total_steps=6)
    x, each = torch.randn(5, 2), []
    for step in range(6):
        nn.init.normal_(model.weight)
        if saving.step(metric=step / 10) is not None:
            each.append(torch.softmax(model(x).detach().double(), dim=1).numpy())
    assert [member.metric for member in saving.members] == [0.2, 0.5]
    ensemble = ct.SnapshotEnsemble.load(tmp_path, model, outputs="logits")
    np.testing.assert_allclose(ensemble.predict(x).numpy(), (each[0] + each[1]) / 2, rtol=1e-5)
    with pytest.raises(ValueError, match='outputs must be "logits" or "values"'):
        ct.SnapshotEnsemble.load(tmp_path, model).predict(100 * x)
    (tmp_path / saving.members[1].file).unlink()
    with pytest.warns(cr.LostMemberWarning, match=r"step-00000005.safetensors \(cycle 2\)"):
        np.testing.assert_allclose(ensemble.predict(x).numpy(), each[0], rtol=1e-5)
    assert list(ensemble.lost) == ["step-00000005.safetensors"]
    assert len(ensemble) == 1


def test_a_training_that_goes_on_gives_the_members_of_one_that_did_not_stop(tmp_path):
    whole, first = OneWeight(), OneWeight()
    saved = train(whole, tmp_path / "whole", 9)
    train(first, tmp_path / "parts", 5, total_steps=9)
    resumed = train(first, tmp_path / "parts", 9, start_step=5, resume=True)
    assert resumed.members == saved.members  # with their checksums


def test_data_in_another_order_at_every_pass_are_refused(tmp_path):
    model = OneWeight()
    train(model, tmp_path, 3)
    ensemble = ct.SnapshotEnsemble.load(tmp_path, model, outputs="values")
    x = torch.ones(4)
    with pytest.raises(ValueError, match=r"data must be .* in the same order.*that shuffles"):
        ensemble.predict(DataLoader(TensorDataset(x), shuffle=True))
    for data, name in ((iter([x]), "data"), (3, "data"), ([], "data must be at least one batch")):
        with pytest.raises(ValueError, match=name):
            ensemble.predict(data)
    with pytest.raises(ValueError, match=r"model must be a torch\.nn\.Module"):
        ct.SnapshotEnsemble.load(tmp_path, "model")  # pyright: ignore[reportArgumentType]
