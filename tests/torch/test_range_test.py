"""The curve of a range test, by value, whatever the data, the loss and the loop are."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import cyclerate as cr
import cyclerate.torch as ct
from cyclerate.torch._trainee import STEPS_AT_A_TIME
from tests.torch.small import BATCH, BATCHES, ROWS, Regression, X, Y, sgd_losses, squared_error

CALM = {"method": "range", "start_lr": 1e-3, "end_lr": 0.1, "steps": 20, "stop_early": False}
LRS = cr.Sweep(1e-3, 0.1, 20).lrs()


def sweep(data=BATCHES, loss_fn=squared_error, *, model=None, momentum=0.0, **options):
    model = Regression() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=momentum)
    return ct.range_test(model, optimizer, loss_fn, data, **{**CALM, **options})


def test_losses_are_those_of_each_steps_own_batch_before_it():
    result = sweep()
    assert_array_equal(result.lrs, LRS)
    assert_allclose(result.losses, sgd_losses(LRS, BATCHES), rtol=1e-6)
    assert (result.method, result.metric, result.mode, result.steps) == ("range", "loss", "min", 20)
    assert result.stop_reason is cr.StopReason.END_OF_RANGE
    assert result.seconds > 0


def test_spacing_and_momentum_of_the_optimizer():
    result = sweep(momentum=0.9, spacing="linear")
    lrs = cr.Sweep(1e-3, 0.1, 20, "linear").lrs()
    assert_array_equal(result.lrs, lrs)
    assert_allclose(result.losses, sgd_losses(lrs, BATCHES, momentum=0.9), rtol=1e-6)


def test_a_sweep_that_diverges_stops_and_answers():
    result = sweep(end_lr=10.0, steps=100, stop_early=True)
    assert result.stop_reason is cr.StopReason.DIVERGED
    assert result.steps == len(result.lrs) < 100
    assert_allclose(result.losses, sgd_losses(result.lrs, BATCHES), rtol=1e-6)
    assert 0.01 < result.max_lr < 1.0


class Batches:
    def __iter__(self):
        return iter(BATCHES)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(BATCHES)


DATA = {
    "list": BATCHES,
    "iterable": Batches(),
    "function": lambda: iter(BATCHES),
    "function of a list": lambda: BATCHES,
    "generator function": lambda: (batch for batch in BATCHES),
    "loader": DataLoader(TensorDataset(X, Y), BATCH),
    "loader of a stream": DataLoader(Stream(), batch_size=None),
}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_data_come_in_any_form_and_begin_again(data):
    assert_allclose(sweep(data).losses, sgd_losses(LRS, BATCHES), rtol=1e-6)


def test_tensors_come_in_random_order_in_whole_batches_and_arrays_do_too():
    seen = []

    def loss_fn(output, target):
        seen.append(target.tolist())
        return squared_error(output, target)

    sweep((X[:40], Y[:40]), loss_fn, batch_size=16)
    assert [len(rows) for rows in seen] == [16] * 20
    for first, second in zip(seen[::2], seen[1::2], strict=True):  # two batches are a pass
        assert len({*first, *second}) == 32
        assert {*first, *second} <= {*Y[:40].tolist()}
    assert len({tuple(rows) for rows in seen}) == 20
    orders, seen[:] = list(seen), []
    sweep((X[:40].numpy(), Y[:40].numpy()), loss_fn, batch_size=16)
    assert seen == orders


def test_the_same_seed_gives_the_same_curve_and_another_one_another():
    torch.manual_seed(11)
    random.seed(11)
    first = sweep((X, Y), batch_size=16)
    torch.randn(3)
    random.random()
    assert_array_equal(sweep((X, Y), batch_size=16, seed=0).losses, first.losses)
    assert not np.array_equal(sweep((X, Y), batch_size=16, seed=1).losses, first.losses)


def test_the_order_of_rows_is_the_tests_own_whatever_else_is_drawn_meanwhile():
    def loss_fn(output, target):
        torch.rand(5)  # as another thread does that makes its layers
        return squared_error(output, target)

    alone = sweep((X, Y), batch_size=16)
    assert_array_equal(sweep((X, Y), loss_fn, batch_size=16).losses, alone.losses)


def test_fewer_rows_than_a_batch_are_one_batch():
    one = [(X[:5], Y[:5])]
    assert_allclose(sweep((X[:5], Y[:5])).losses, sgd_losses(LRS, one), rtol=1e-6)


def test_batches_of_several_inputs_go_to_the_model_one_by_one():
    class Sum(Regression):
        def forward(self, left, right):
            return super().forward(torch.cat([left, right], dim=1))

    batches = [(x[:, :1], x[:, 1:], y) for x, y in BATCHES]
    assert_allclose(sweep(batches, model=Sum()).losses, sgd_losses(LRS, BATCHES), rtol=1e-6)


def test_dicts_go_through_forward():
    batches = [{"inputs": {"x": x}, "label": y} for x, y in BATCHES]

    def forward(model, batch):
        return model(batch["inputs"]["x"]), batch["label"]

    assert_allclose(sweep(batches, forward=forward).losses, sgd_losses(LRS, BATCHES), rtol=1e-6)


def test_forward_may_return_the_loss():
    def forward(model, batch):
        x, y = batch
        return squared_error(model(x), y)

    result = sweep(loss_fn=None, forward=forward)
    assert_allclose(result.losses, sgd_losses(LRS, BATCHES), rtol=1e-6)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (1, -1)])
def test_losses_per_sample_are_averaged(shape):
    def loss_fn(output, target):
        return ((output - target) ** 2).reshape(shape)

    assert_allclose(sweep(loss_fn=loss_fn).losses, sgd_losses(LRS, BATCHES), rtol=1e-6)


def test_accumulated_batches_are_one_step_at_one_rate():
    result = sweep(accumulation_steps=3)
    assert result.steps == 20
    assert_allclose(result.losses, sgd_losses(LRS, BATCHES, accumulated=3), rtol=1e-6)
    uneven = sweep(accumulation_steps=2)
    assert_allclose(uneven.losses, sgd_losses(LRS, BATCHES, accumulated=2), rtol=1e-6)


def test_gradients_are_clipped():
    result = sweep(clip_grad_norm=0.5)
    assert_allclose(result.losses, sgd_losses(LRS, BATCHES, largest_norm=0.5), rtol=1e-6)


def test_a_criterion_that_is_negative_sweeps_to_the_end_of_its_descent():
    def loss_fn(output, target):
        return squared_error(output, target) - 1000.0

    result = sweep(loss_fn=loss_fn, end_lr=10.0, steps=100, stop_early=True)
    assert result.stop_reason is cr.StopReason.DIVERGED
    plain = sweep(end_lr=10.0, steps=100, stop_early=True)
    assert result.max_lr == pytest.approx(plain.max_lr, rel=0.05)


def test_a_loss_that_is_not_finite_ends_the_sweep_and_is_left_out():
    calls = []

    def loss_fn(output, target):
        calls.append(1)
        return squared_error(output, target) * (math.nan if len(calls) == 13 else 1.0)

    result = sweep(loss_fn=loss_fn)
    assert result.stop_reason is cr.StopReason.NON_FINITE
    assert len(result.losses) == 13
    assert np.isnan(result.losses).tolist() == [False] * 12 + [True]


def test_groups_keep_the_ratios_of_their_rates():
    model = Regression()
    optimizer = torch.optim.SGD(
        [{"params": [model.w], "lr": 0.02}, {"params": [model.b], "lr": torch.tensor(0.1)}]
    )
    rates = []

    def forward(model, batch):
        rates.append([float(group["lr"]) for group in optimizer.param_groups])
        return model(batch[0]), batch[1]

    ct.range_test(model, optimizer, squared_error, BATCHES, forward=forward, **CALM)
    assert_allclose(rates, [[0.2 * lr, lr] for lr in LRS], rtol=1e-6)
    assert optimizer.param_groups[0]["lr"] == 0.02
    assert optimizer.param_groups[1]["lr"].item() == torch.tensor(0.1).item()


def test_ratios_of_groups_whose_rates_are_all_zero_are_those_they_began_with():
    model = Regression()
    groups = [{"params": [model.w], "lr": 0.1}, {"params": [model.b], "lr": 0.2}]
    optimizer = torch.optim.SGD(groups)
    ct.ScheduledLR(optimizer, cr.Linear(0.0, 1.0, 10), group_scale="keep")
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]
    rates = set()

    def forward(model, batch):
        rates.add(tuple(group["lr"] for group in optimizer.param_groups))
        return model(batch[0]), batch[1]

    ct.range_test(model, optimizer, squared_error, BATCHES, forward=forward, **CALM)
    assert (0.5 * LRS[0], LRS[0]) in rates
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0]


def test_repeats_go_on_in_the_data_and_are_combined():
    result = sweep(repeats=3)
    assert len(result.runs) == 3
    assert result.steps == 60
    for run in range(3):
        shifted = BATCHES[20 * run % 3 :] + BATCHES[: 20 * run % 3]
        assert_allclose(result.runs[run].losses, sgd_losses(LRS, shifted), rtol=1e-6)


@pytest.mark.parametrize("at_a_time", [2, 5, 7])
@pytest.mark.parametrize("options", [{}, {"end_lr": 10.0, "steps": 100, "stop_early": True}])
def test_reading_losses_seldom_changes_nothing(at_a_time, options, monkeypatch):
    expected = sweep(**options)
    monkeypatch.setitem(STEPS_AT_A_TIME, "cpu", at_a_time)
    result = sweep(**options)
    assert_array_equal(result.losses, expected.losses)
    assert (result.max_lr, result.stop_reason) == (expected.max_lr, expected.stop_reason)


def classifier():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 3))


CLASSES = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
LABELLED = [(X[i : i + 16].float(), CLASSES[i : i + 16]) for i in range(0, ROWS, 16)]


def test_accuracy_is_recorded_to_be_raised():
    outputs = []

    def forward(model, batch):
        outputs.append((model(batch[0]), batch[1]))
        return outputs[-1]

    result = sweep(
        LABELLED, nn.CrossEntropyLoss(), model=classifier(), metric="accuracy", forward=forward
    )
    right = [(output.argmax(1) == target).float().mean().item() for output, target in outputs]
    assert result.losses.tolist() == right
    assert (result.metric, result.mode) == ("accuracy", "max")


def test_a_metric_of_ones_own_has_its_name_and_needs_its_direction():
    def spread(output, target):
        return output.std()

    result = sweep(metric=spread, mode="max")
    assert (result.metric, result.mode) == ("spread", "max")
    assert result.losses[0] == 0.0
    with pytest.raises(ValueError, match=r"mode must be .*'spread'"):
        sweep(metric=spread)


def test_a_validation_metric_is_measured_on_all_the_data_after_each_step_in_eval_mode():
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    twin = classifier()
    twin_optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    x, y = X.float()[:40], CLASSES[:40]
    result = ct.range_test(
        model, optimizer, nn.CrossEntropyLoss(), LABELLED, validation_data=(x, y), seed=5, **CALM
    )
    torch.manual_seed(5)
    expected = []
    for i, lr in enumerate(LRS):
        twin_optimizer.param_groups[0]["lr"] = lr
        rows, classes = LABELLED[i % 3]
        twin_optimizer.zero_grad()
        nn.functional.cross_entropy(twin.train()(rows), classes).backward()
        twin_optimizer.step()
        with torch.no_grad():
            expected.append(nn.functional.cross_entropy(twin.eval()(x), y).item())
    assert_allclose(result.losses, expected, rtol=1e-5)
    assert result.metric == "val_loss"


def test_validation_accuracy_is_weighted_by_rows():
    loader = DataLoader(TensorDataset(X.float(), CLASSES), batch_size=40)  # 40 and 8
    result = sweep(
        LABELLED,
        nn.CrossEntropyLoss(),
        model=classifier(),
        metric="val_accuracy",
        validation_data=loader,
    )
    assert (result.metric, result.mode) == ("val_accuracy", "max")
    rights = result.losses * ROWS
    assert_allclose(rights, np.round(rights), atol=1e-4)


def test_parts_in_eval_mode_stay_so_and_a_model_in_eval_mode_is_trained():
    frozen, moving = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    model = nn.Sequential(frozen, moving, nn.Linear(4, 3))
    modes = set()

    def forward(model, batch):
        modes.add((model.training, frozen.training, moving.training))
        return model(batch[0]), batch[1]

    frozen.eval()
    sweep(LABELLED, nn.CrossEntropyLoss(), model=model, forward=forward)
    assert modes == {(True, False, True)}
    assert (model.training, frozen.training, moving.training) == (True, False, True)
    modes.clear()
    model.eval()
    sweep(LABELLED, nn.CrossEntropyLoss(), model=model, forward=forward)
    assert modes == {(True, True, True)}
    assert (model.training, frozen.training, moving.training) == (False, False, False)


def test_it_runs_inside_no_grad():
    with torch.no_grad():
        result = sweep()
    assert_allclose(result.losses, sgd_losses(LRS, BATCHES), rtol=1e-6)


def test_tensors_in_any_container_go_to_the_device():
    seen = []

    def forward(model, batch):
        (x,), more = batch
        seen.extend([x.device.type, more["y"].device.type, more["name"]])
        raise KeyError("seen enough")

    batches = [((X,), {"y": Y, "name": "a"})]
    with pytest.raises(KeyError, match="seen enough"):
        sweep(batches, forward=forward, device="meta")
    assert seen == ["meta", "meta", "a"]


@pytest.mark.parametrize(
    ("autocast", "scaler", "expected"),
    [
        (None, None, torch.float32),
        (torch.bfloat16, None, torch.bfloat16),
        (True, None, torch.bfloat16),
        (None, torch.amp.GradScaler("cpu"), torch.bfloat16),
        (False, torch.amp.GradScaler("cpu"), torch.float32),
        (None, torch.amp.GradScaler("cpu", enabled=False), torch.float32),
    ],
)
def test_autocast_is_on_where_it_is_asked_for_or_there_is_a_scaler(autocast, scaler, expected):
    seen = set()

    def loss_fn(output, target):
        seen.add(output.dtype)
        return nn.functional.cross_entropy(output, target)

    result = sweep(LABELLED, loss_fn, model=classifier(), autocast=autocast, scaler=scaler)
    assert seen == {expected}
    assert np.isfinite(result.losses).all()


def test_steps_that_the_scaler_skips_do_not_advance_the_rate():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    x, y = BATCHES[0]
    calls = []

    def loss_fn(output, target):
        calls.append(1)
        return squared_error(output, target)

    model = Regression().float()
    result = sweep([(x.float(), y.float())], loss_fn, model=model, scaler=scaler, autocast=False)
    assert len(calls) > 20  # as many more as the scaler took to come down to what float32 can hold
    assert_array_equal(result.lrs, LRS)
    assert_allclose(result.losses, sgd_losses(LRS, BATCHES[:1]), rtol=1e-4)
    assert result.steps == 20
    assert scaler.get_scale() == 2.0**127


def test_gradients_are_clipped_at_their_own_scale():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    result = sweep(scaler=scaler, autocast=False, clip_grad_norm=0.5)
    assert_allclose(result.losses, sgd_losses(LRS, BATCHES, largest_norm=0.5), rtol=1e-4)


def test_a_scaler_that_skips_every_step_ends_the_sweep():
    def loss_fn(output, target):
        return squared_error(output, target) + (output * 0.0).sqrt().sum()

    result = sweep(loss_fn=loss_fn, scaler=torch.amp.GradScaler("cpu"), autocast=False)
    assert result.stop_reason is cr.StopReason.NON_FINITE
    assert len(result.losses) == 1


def test_a_compiled_model_is_tested_as_any_other():
    torch._dynamo.reset()
    model = Regression()
    compiled: Any = torch.compile(model, backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    result = ct.range_test(compiled, optimizer, squared_error, BATCHES, **CALM)
    assert_allclose(result.losses, sgd_losses(LRS, BATCHES), rtol=1e-6)
    assert model.w.tolist() == [0.0] * 4
    torch._dynamo.reset()


def test_progress_is_shown_on_request(capsys):
    sweep(verbose=1)
    assert "range test: step 1/20, rate 0.001, loss" in capsys.readouterr().err
    sweep(verbose=0)
    assert capsys.readouterr().err == ""


class Sharp(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)


REFUSED = {
    "model": ({"model": "net"}, r"model must be a torch.nn.Module"),
    "optimizer": ({"optimizer": "sgd"}, r"optimizer must be one torch.optim.Optimizer"),
    "two optimizers": ({"optimizer": []}, r"optimizer must be one torch.optim.Optimizer"),
    "LBFGS": ({"optimizer": torch.optim.LBFGS}, r"optimizer must be one whose step needs no closu"),
    "own closure": ({"optimizer": Sharp}, r"optimizer must be one whose step needs no closure"),
    "loss_fn": ({"loss_fn": "mse"}, r"loss_fn must be a function of \(output, target\)"),
    "no loss at all": ({"loss_fn": None}, r"loss_fn must be a function"),
    "forward": ({"forward": 3}, r"forward must be a function of \(model, batch\)"),
    "iterator": ({"data": iter(BATCHES)}, r"data must be a DataLoader, .* used up\)"),
    "dataset": ({"data": TensorDataset(X, Y)}, r"data must be .*goes into a DataLoader"),
    "one tensor": ({"data": X}, r"data must be a DataLoader, .*a single Tensor"),
    "number": ({"data": 3}, r"data must be a DataLoader"),
    "uneven": ({"data": (X, Y[:3])}, r"data must be .*equal length. Received: \[\(48, 4\), \(3,"),
    "no rows": ({"data": (X[:0], Y[:0])}, r"data must be a DataLoader"),
    "no batches": ({"data": []}, r"data must be at least one batch. Received: 'none'"),
    "function of nothing": (
        {"data": lambda: None},
        r"data must be .*a function that returned None",
    ),
    "batch_size": ({"batch_size": 0, "data": (X, Y)}, r"batch_size must be a whole number >= 1"),
    "batch_size of batches": ({"batch_size": 8}, r"batch_size must be None where the data come"),
    "batch": (
        {"data": [X]},
        r"forward must be given for data whose batches are not \(input, target\)",
    ),
    "steps": ({"steps": 3}, r"steps must be a whole number >= 10"),
    "end_lr": ({"end_lr": 1e-9}, r"end_lr must be a finite number > "),
    "spacing": ({"spacing": "log"}, r"spacing must be one of"),
    "method": ({"method": "races"}, r"method must be one of 'probe', 'range'"),
    "policy": ({"policy": "sawtooth"}, r"policy must be one of 'one_cycle', 'constant', 'triang"),
    "max_steps": (
        {"method": "probe", "max_steps": 49},
        r"max_steps must be at least 50 with this sweep\. Received: 49",
    ),
    "metric": (
        {"metric": "auc"},
        r"metric must be a function of \(output, target\), 'loss' or 'accuracy'",
    ),
    "metric of a loss": (
        {"metric": "accuracy", "loss_fn": None, "forward": lambda model, batch: None},
        r"metric must be 'loss' where forward returns the loss",
    ),
    "val_loss": (
        {"metric": "val_loss"},
        r"validation_data must be given for the metric 'val_loss'",
    ),
    "validation_data": ({"validation_data": 3}, r"validation_data must be a DataLoader"),
    "no validation": ({"validation_data": []}, r"validation_data must be at least one batch"),
    "mode": ({"mode": "up"}, r"mode must be one of 'auto', 'min', 'max'"),
    "accumulation": ({"accumulation_steps": 0}, r"accumulation_steps must be a whole number >= 1"),
    "scaler": ({"scaler": "yes"}, r"scaler must be a torch.amp.GradScaler"),
    "autocast": ({"autocast": "half"}, r"autocast must be a dtype, True or False"),
    "clip_grad_norm": ({"clip_grad_norm": 0.0}, r"clip_grad_norm must be a finite number > 0"),
    "snapshot": ({"snapshot": "moon"}, r"snapshot must be one of 'memory', 'cpu', 'disk'"),
    "seed": ({"seed": -1}, r"seed must be a whole number >= 0"),
    "repeats": ({"repeats": 0}, r"repeats must be a whole number >= 1"),
    "horizon_steps": ({"horizon_steps": 0}, r"horizon_steps must be a whole number >= 1"),
    "stop_early": ({"stop_early": "no"}, r"stop_early must be one of True, False"),
    "verbose": ({"verbose": 2}, r"verbose must be one of 'auto', 0, 1"),
    "a loss that is none": ({"loss_fn": lambda output, target: None}, r"the loss must be a tensor"),
    "forward without target": (
        {"forward": lambda model, batch: model(batch[0])},
        r"forward must be a function that returns \(output, target\)",
    ),
    "shapes": (
        {"metric": "accuracy", "data": [(X, Y[:, None])]},
        r"metric must be a function, where 'accuracy' does not fit",
    ),
}


@pytest.mark.parametrize(("changed", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_arguments_are_named_and_nothing_changes(changed, message):
    model = Regression()
    arguments = {"model": model, "loss_fn": squared_error, "data": BATCHES, **CALM, **changed}
    optimizer = arguments.pop("optimizer", torch.optim.SGD)
    if isinstance(optimizer, type):
        optimizer = optimizer(model.parameters(), lr=1.0)
    with pytest.raises(ValueError, match=message):
        ct.range_test(optimizer=optimizer, **arguments)
    assert model.w.tolist() == [0.0] * 4
    assert model.w.grad is None
