"""The sweep and the races of a PyTorch model, by value."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cyclerate.torch as ct
from cyclerate.torch._trainee import STEPS_AT_A_TIME
from tests.adapters.descent import SHORT, probe_by_hand
from tests.torch.small import BATCHES, Regression, X, Y, squared_error

# Steep in one direction and flat in others: no short training comes to the end of it.
STEEPNESS = torch.tensor([1.0, 0.3, 0.1, 0.03], dtype=torch.float64)
HARD = [(x * STEEPNESS, y) for x, y in BATCHES]


def probe(data=HARD, loss_fn=squared_error, *, model=None, optimizer=None, **options):
    model = Regression() if model is None else model
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=1.0)
    return ct.range_test(model, optimizer, loss_fn, data, **{**SHORT, **options})


def assert_same_answer(result, expected):
    assert_allclose(result.losses, expected.losses, rtol=1e-6)
    assert (result.steps, result.stop_reason) == (expected.steps, expected.stop_reason)
    assert len(result.races) == len(expected.races) > 1
    for (lr, score), (expected_lr, expected_score) in zip(
        result.races, expected.races, strict=True
    ):
        assert lr == pytest.approx(expected_lr)
        assert score == (expected_score and pytest.approx(expected_score, rel=1e-4))
    assert result.max_lr == pytest.approx(expected.max_lr, rel=1e-4)
    assert result.verdict == expected.verdict


@pytest.mark.parametrize("policy", ["one_cycle", "constant", "triangular"])
def test_it_is_the_probe_of_the_same_training_in_numpy(policy):
    result = probe(policy=policy)
    assert_same_answer(result, probe_by_hand(HARD, policy=policy))
    assert (result.method, result.metric, result.mode) == ("probe", "loss", "min")
    assert 0.01 < result.max_lr < 1.0
    assert result.seconds > 0


def test_it_is_the_default():
    model = Regression()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    assert ct.range_test(model, optimizer, squared_error, HARD, **SHORT).method == "probe"


def test_repeats_go_on_in_the_data_each_with_all_its_runs_at_one_place():
    result = probe(repeats=2)
    first = probe_by_hand(HARD)
    longest = max(len(first.lrs), 30)  # the sweep, or a race of a third of 130 - 40 steps
    assert longest % len(HARD) != 0
    second = probe_by_hand(HARD, longest % len(HARD))
    assert_same_answer(result.runs[0], first)
    assert_same_answer(result.runs[1], second)
    assert result.steps == first.steps + second.steps
    assert result.max_lr == pytest.approx(np.sqrt(first.max_lr * second.max_lr), rel=1e-4)
    assert "2 of 2 probes, a seed each, had an answer" in result.verdict
    assert len(result.races) == len(first.races) + len(second.races)


def test_data_that_are_skipped_to_come_to_the_place_may_take_several_passes():
    one_pass = DataLoader(TensorDataset(X, Y), 40)  # two batches, of 40 rows and of 8
    result = probe(one_pass, repeats=2)
    again = probe(one_pass, repeats=2)
    assert_array_equal(result.runs[1].losses, again.runs[1].losses)
    assert result.races == again.races


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        DataLoader(TensorDataset(X, Y), 16, shuffle=True),
        DataLoader(
            TensorDataset(X, Y), 16, shuffle=True, generator=torch.Generator().manual_seed(3)
        ),
    ],
    ids=["tensors", "loader", "loader with a generator"],
)
def test_all_runs_see_the_same_batches_and_begin_with_the_same_loss(data):
    seen, runs = [], []

    class Watching(torch.optim.SGD):
        def step(self, closure=None):
            if not self.state:
                runs.append([])
            runs[-1].append(seen[-1])
            return super().step(closure)

    def loss_fn(output, target):
        loss = squared_error(output, target)
        seen.append((target.tolist(), loss.item()))
        return loss

    model = Regression()
    optimizer = Watching(model.parameters(), lr=1.0, momentum=0.5)
    options = {"batch_size": 16} if isinstance(data, tuple) else {}
    result = probe(data, loss_fn, model=model, optimizer=optimizer, **options)
    assert len(runs) >= 3
    assert sum(map(len, runs)) == result.steps <= 130
    longest = [rows for rows, _ in max(runs, key=len)]
    assert len({tuple(rows) for rows in longest}) > 3
    for run in runs:
        assert [rows for rows, _ in run] == longest[: len(run)]
        assert run[0][1] == runs[0][0][1]


class Layers(nn.Module):
    """Notes in which mode it is run, on what."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1)
        )
        self.frozen = nn.BatchNorm1d(1).eval()
        self.calls = []

    def forward(self, x):
        mean = self.layers[1].get_buffer("running_mean")
        before = mean.clone()
        output = self.frozen(self.layers(x)).squeeze(1)
        kept = torch.equal(before, mean)
        modes = (self.layers[3].training, self.frozen.training)
        CALLS.append((modes, torch.is_grad_enabled(), kept, x.clone()))
        return output


CALLS = []
MANY_X = torch.randn(2000, 4, generator=torch.Generator().manual_seed(5))
MANY_Y = MANY_X.sum(1)
TRAINS, SCORES = ((True, False), True, False), ((False, False), False, True)


def scored(data, **options):
    """The rows of each score of a probe."""
    CALLS.clear()
    probe(data, model=Layers(), **options)
    scores = [[]]
    for *how, x in CALLS:
        assert tuple(how) in {TRAINS, SCORES}
        if tuple(how) == SCORES:
            scores[-1].append(x)
        elif scores[-1]:
            scores.append([])
    return [torch.cat(rows) for rows in scores if rows]


def test_scores_are_in_evaluation_mode_on_one_sample_of_512_rows():
    scores = scored((MANY_X, MANY_Y), batch_size=32)
    assert len(scores) >= 3
    assert scores[0].shape == (512, 4)
    assert len(torch.unique(scores[0], dim=0)) == 512
    assert all(torch.equal(score, scores[0]) for score in scores)
    trained = torch.cat([x for *how, x in CALLS if tuple(how) == TRAINS][:16])
    assert not torch.equal(trained, scores[0])  # it is drawn by a seed of its own
    again = scored((MANY_X, MANY_Y), batch_size=32)
    other = scored((MANY_X, MANY_Y), batch_size=32, seed=1)
    assert torch.equal(again[0], scores[0])
    assert not torch.equal(other[0], scores[0])


def test_of_a_loader_it_is_as_many_batches_as_have_512_rows_or_all_there_are():
    loader = DataLoader(TensorDataset(MANY_X, MANY_Y), 100, shuffle=True)
    assert {len(score) for score in scored(loader)} == {600}
    few = DataLoader(TensorDataset(MANY_X[:150], MANY_Y[:150]), 100)
    assert {len(score) for score in scored(few)} == {150}


def test_validation_data_are_what_is_scored_and_the_steps_are_told_their_own_loss():
    held_out = (MANY_X[:70], MANY_Y[:70])
    for score in scored((MANY_X, MANY_Y), validation_data=held_out):
        assert torch.equal(score, MANY_X[:70])
    result = probe((X, Y), validation_data=BATCHES, metric="loss")
    plain = probe((X, Y), method="range", max_steps=None)
    assert_array_equal(result.losses, plain.losses)
    assert (result.metric, result.mode) == ("loss", "min")


def test_an_accuracy_is_raced_to_be_raised():
    torch.manual_seed(1)
    labels = (MANY_X[:, 0] > 0).long() + (MANY_X[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    options = {"metric": "val_accuracy", "validation_data": (MANY_X[:300], labels[:300])}
    result = probe((MANY_X, labels), nn.CrossEntropyLoss(), model=model, **options)
    assert (result.metric, result.mode) == ("accuracy", "max")
    scores = [score for _, score in result.races if score is not None]
    assert 0.7 < max(scores) <= 1.0
    assert result.max_lr is not None


@pytest.mark.parametrize("at_a_time", [2, 7])
def test_reading_losses_seldom_changes_nothing(at_a_time, monkeypatch):
    expected = probe()
    monkeypatch.setitem(STEPS_AT_A_TIME, "cpu", at_a_time)
    result = probe()
    assert result.races == expected.races
    assert (result.max_lr, result.steps) == (expected.max_lr, expected.steps)


def test_steps_that_the_scaler_skips_are_made_again_in_every_run():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    batches = [(x.float(), y.float()) for x, y in BATCHES]
    result = probe(batches, model=Regression().float(), scaler=scaler, autocast=False)
    assert len(result.lrs) <= 40
    assert result.steps <= 130
    assert 0.01 < result.max_lr < 1.0
    assert scaler.get_scale() == 2.0**127


def test_progress_tells_of_sweep_and_races(monkeypatch, capsys):
    monkeypatch.setattr("cyclerate.finder._progress._EVERY_SECONDS", 0.0)
    probe(verbose=1)
    lines = capsys.readouterr().err.split("\r")
    assert any(line.startswith("probe: sweep step 1/40, rate 0.0001, loss ") for line in lines)
    assert any(line.startswith("probe: race 1 at ") for line in lines)
    assert any(re.match(r"probe: race \d at 0\.\d+, step (\d+)/\1, loss ", line) for line in lines)
    assert any(line.startswith("probe: race 3 at ") for line in lines)
    assert max(map(len, lines)) < 80
    probe(repeats=2, verbose=1)
    assert "probe 2 of 2: race 1 at" in capsys.readouterr().err


class TestNoClearAnswer:
    def test_labels_that_nothing_is_to_be_learned_from(self):
        torch.manual_seed(0)
        labels = torch.randint(0, 4, (8000,), generator=torch.Generator().manual_seed(2))
        x = torch.randn(8000, 4, generator=torch.Generator().manual_seed(3))
        model: Any = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
        with torch.no_grad():
            model[2].weight.zero_()
            model[2].bias.zero_()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        result = ct.range_test(model, optimizer, nn.CrossEntropyLoss(), (x, labels))
        assert (result.max_lr, result.base_lr, result.interval) == (None, None, None)
        assert result.verdict.startswith("No clear answer: none of ")
        assert "short trainings improved the loss" in result.verdict

    def test_a_model_whose_weights_are_frozen(self):
        model = Regression()
        model.w.requires_grad_(False)
        rest = nn.Parameter(torch.zeros((), dtype=torch.float64))
        optimizer = torch.optim.SGD([model.w], lr=0.1)

        def forward(model, batch):
            return model(batch[0]) + rest, batch[1]

        result = probe((X, Y), model=model, optimizer=optimizer, forward=forward)
        assert result.max_lr is None
        assert result.verdict.startswith("No clear answer: none of ")
        assert {score for _, score in result.races} <= {None, result.races[0][1]}

    def test_an_optimizer_that_does_not_use_its_rate(self):
        class Free(torch.optim.SGD):
            def step(self, closure=None):
                for group in self.param_groups:
                    for weight in group["params"]:
                        weight.data -= 0.02 * weight.grad

        model = Regression()
        result = probe(model=model, optimizer=Free(model.parameters(), lr=1.0))
        assert result.max_lr is None
        assert "short trainings took the same course, whatever their rate" in result.verdict
        scores = {score for _, score in result.races}
        assert len(scores) == 1
        assert len(result.races) > 1
