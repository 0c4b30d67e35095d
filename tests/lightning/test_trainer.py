"""The test has steps, batches and a log of its own, whatever the Trainer is told."""

from __future__ import annotations

import itertools
import math
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import CombinedLoader
from torch import nn

import cyclerate as cr
import cyclerate.torch as ct
from cyclerate.lightning import RangeTestCallback
from tests.lightning.digits import BATCHES, ByHand, Digits, loader, seeded, trainer

QUICK = {"method": "range", "steps": 40, "start_lr": 1e-4, "end_lr": 10.0}


def found_by(module=None, data=None, test=None, **options):
    test = test or RangeTestCallback(**QUICK)
    trainer(test, **{"max_steps": 1, **options}).fit(
        seeded(Digits) if module is None else module, loader() if data is None else data
    )
    return test.result


class Plain(Digits):
    """No dropout, no batch norm: what a step does is easily done again."""

    def __init__(self, lr=0.02):
        super().__init__(lr)
        self.net = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


BY_PYTORCH = {
    "plain": ({}, {}),
    "accumulated": ({"accumulate_grad_batches": 3}, {"accumulation_steps": 3}),
    "clipped": ({"gradient_clip_val": 0.2}, {"clip_grad_norm": 0.2}),
    "bf16": ({"precision": "bf16-mixed"}, {"autocast": torch.bfloat16}),
}


@pytest.mark.parametrize("name", BY_PYTORCH)
def test_a_step_is_that_of_the_trainer(name):
    options, same = BY_PYTORCH[name]
    found = found_by(seeded(Plain), loader(shuffle=False), **options)
    module = seeded(Plain)
    expected = ct.range_test(
        module.net,
        torch.optim.SGD(module.parameters(), lr=0.02),
        nn.functional.cross_entropy,
        loader(shuffle=False),
        **same,
        **QUICK,
    )
    assert len(found.losses) > 20
    assert found.losses.tolist() == expected.losses.tolist()
    assert found.lrs.tolist() == expected.lrs.tolist()


class Counted:
    """Passes that are not asked for more than they have, as those of a Trainer are not."""

    def __init__(self, loader):
        self.loader = loader
        iter(loader)  # nor is the first of them: the Trainer has begun one

    def __iter__(self):
        return itertools.islice(self.loader, len(self.loader))


@pytest.mark.parametrize("generator", [None, 7], ids=["global generator", "own generator"])
def test_a_probe_is_that_of_pytorch(generator):
    def data():
        made = generator and torch.Generator().manual_seed(generator)
        return loader(generator=made)

    probe = {"steps": 30, "start_lr": 1e-3, "end_lr": 10.0, "max_steps": 70}
    test = RangeTestCallback(policy="constant", horizon_steps=90, apply=False, **probe)
    found, module = found_by(seeded(Plain), data(), test), seeded(Plain)
    expected = ct.range_test(
        module.net,
        torch.optim.SGD(module.parameters(), lr=0.02),
        nn.functional.cross_entropy,
        Counted(data()),
        policy="constant",
        horizon_steps=90,
        **probe,
    )
    assert (found.method, found.max_lr) == ("probe", expected.max_lr)
    assert 0.001 < found.max_lr < 10.0
    assert found.losses.tolist() == expected.losses.tolist()


def test_manual_optimization_is_not_probed():
    with pytest.raises(ValueError, match=r"method must be \"range\" where .*Received: 'probe'"):
        found_by(seeded(ByHand), test=RangeTestCallback(optimizer=0))


def test_a_hook_that_clips_is_called():
    class Clipping(Plain):
        clipped = 0

        def configure_gradient_clipping(self, optimizer, **options):
            type(self).clipped += 1
            self.clip_gradients(optimizer, 1e-7, "value")

    found_by(seeded(Clipping), test=RangeTestCallback(apply=False, **QUICK))
    assert Clipping.clipped == 40 + 1
    found = found_by(seeded(Clipping), loader(shuffle=False), limit_train_batches=1)
    assert found.losses.tolist() == pytest.approx([found.losses[0]] * 40, abs=1e-3)


def test_manual_optimization_makes_its_own_steps_at_the_rates():
    class Alone(Plain, ByHand):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.lr)

        def lr_schedulers(self):
            return []

    module = seeded(Alone)
    assert not module.automatic_optimization
    found = found_by(module, loader(shuffle=False))
    expected = found_by(seeded(Plain), loader(shuffle=False))
    assert found.losses.tolist() == expected.losses.tolist()


@pytest.mark.parametrize(
    "limits", [{"max_steps": 2}, {"max_epochs": 1}, {"limit_train_batches": 2}]
)
def test_the_length_of_the_training_does_not_limit_it(limits):
    test = RangeTestCallback(stop_early=False, **QUICK)
    assert len(found_by(test=test, **{"max_steps": -1, "max_epochs": 1, **limits}).lrs) == 40


def test_after_some_epochs_the_curve_is_whole():
    tests = RangeTestCallback(at_epoch=(0, 3), stop_early=False, apply=False, **QUICK)
    found_by(test=tests, max_steps=-1, max_epochs=4)
    early, late = tests.results[0], tests.results[3]
    assert (len(early.lrs), len(late.lrs)) == (40, 40)
    assert tests.result is late
    assert late.losses[0] < 0.7 * early.losses[0]


def test_a_module_that_returns_a_dict_may_be_measured_by_another_value():
    module = seeded(Digits)
    module.returned = "dict"
    by_loss = found_by(module)
    module = seeded(Digits)
    module.returned = "dict"
    by_accuracy = found_by(module, test=RangeTestCallback(metric="accuracy", **QUICK))
    assert by_loss.losses.tolist() == found_by().losses.tolist()
    assert (by_accuracy.metric, by_accuracy.mode) == ("accuracy", "max")
    assert 0.5 < by_accuracy.losses.max() <= 1.0


@pytest.mark.parametrize("limit", [1.0, 3])
def test_data_may_be_several_loaders(limit):
    rows = set()

    class Both(Plain):
        def training_step(self, batch, batch_idx):
            (a, y), (b, _) = batch["a"], batch["b"]
            rows.add((len(a), len(b), batch_idx))
            return nn.functional.cross_entropy(self.net(a) + self.net(b[: len(a)]), y)

    data = {"a": loader(batch_size=32), "b": loader(batch_size=48)}
    found_by(
        seeded(Both), CombinedLoader(data, "min_size"), max_epochs=1, limit_train_batches=limit
    )
    assert rows == {(32, 48, number) for number in range(4 if limit == 1.0 else 3)}


def test_hooks_of_batches_are_called():
    class Hooked(Plain):
        def on_before_batch_transfer(self, batch, dataloader_idx):
            return {"x": batch[0], "y": batch[1]}

        def on_after_batch_transfer(self, batch, dataloader_idx):
            return batch["x"] / 2, batch["y"]

        def training_step(self, batch):
            return nn.functional.cross_entropy(self.net(2 * batch[0]), batch[1])

    expected = found_by(seeded(Plain), loader(shuffle=False))
    found = found_by(seeded(Hooked), loader(shuffle=False))
    assert found.losses.tolist() == expected.losses.tolist()


class Kept(Logger):
    """Keeps what it is told."""

    name: Any = "kept"
    version: Any = 0

    def __init__(self):
        super().__init__()
        self.metrics = []

    def log_metrics(self, metrics, step=None):
        self.metrics.append((step, dict(metrics)))

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def test_loggers_get_the_curve_and_the_answer_and_nothing_of_the_steps():
    logs, module = Kept(), seeded(Digits)
    test = RangeTestCallback(**QUICK)
    found_by(module, test=test, logger=logs, max_steps=2)
    ours = [entry for entry in logs.metrics if any("range_test" in name for name in entry[1])]
    curve = [*zip(test.result.lrs.tolist(), test.result.losses.tolist(), strict=True)]
    expected = [
        (step, {"range_test/lr": lr, "range_test/loss": loss})
        for step, (lr, loss) in enumerate(curve)
    ]
    answer = {"range_test/max_lr": module.lr, "range_test/base_lr": test.result.base_lr}
    assert ours[:-1] == expected
    assert ours[-1] == (len(curve) - 1, answer)
    by_hand = [metrics for _, metrics in logs.metrics if "by_hand" in metrics]
    logged = [metrics for _, metrics in logs.metrics if "train_loss_step" in metrics]
    assert (len(by_hand), len(logged)) == (2, 2)


def test_metrics_that_keep_a_state_are_as_they_were():
    from torchmetrics.classification import MulticlassAccuracy

    class Measured(Digits):
        def __init__(self):
            super().__init__()
            self.accuracy = MulticlassAccuracy(10)

        def training_step(self, batch, batch_idx):
            self.accuracy.update(self.net(batch[0]), batch[1])
            self.log("accuracy_so_far", self.accuracy, on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

    class Count(pl.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            rows.append(int(module.accuracy.tp.sum() + module.accuracy.fn.sum()))

    rows: list[int] = []
    module, test = seeded(Measured), RangeTestCallback(**QUICK)
    trainer(test, Count(), max_epochs=1).fit(module, loader())
    assert rows == [32 * number for number in range(1, BATCHES + 1)]


def test_the_length_of_the_training_is_told(monkeypatch):
    told = []
    real = ct.range_test

    def spy(*args, **options):
        told.append(options["settings"].horizon_steps)
        return real(*args, **options)

    monkeypatch.setattr(ct, "range_test", spy)
    found_by(max_steps=-1, max_epochs=5, test=RangeTestCallback(at_epoch=(0, 3), **QUICK))
    found_by(max_steps=4)
    found_by(max_steps=3, test=RangeTestCallback(horizon_steps=123, **QUICK))
    assert told == [5 * BATCHES, 2 * BATCHES, 4, 123]


def test_a_development_run_has_no_test():
    module = seeded(Digits)
    assert found_by(module, fast_dev_run=True) is None
    assert module.calls == 1


def returning(value):
    class Wrong(Plain):
        def training_step(self, batch, batch_idx):
            return value

    return Wrong


def taking_the_iterator():
    class Wrong(Plain):
        def training_step(self, dataloader_iter):
            return None

    return Wrong


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda: returning(None), {}, "training_step must be one that returns the loss.*None"),
        (lambda: returning({"cost": 1}), {}, "training_step must be one that returns the loss"),
        pytest.param(
            taking_the_iterator,
            {},
            "training_step must be one that takes a batch",
            marks=pytest.mark.filterwarnings("ignore:.*`dataloader_iter`"),
        ),
        (lambda: Plain, {"metric": "accuracy"}, "metric must be a name in what .*'loss'"),
    ],
)
def test_what_cannot_be_tested_is_refused(make, options, message):
    module = seeded(make())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        found_by(module, test=RangeTestCallback(**options, **QUICK))
    assert all(torch.equal(module.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("options", [QUICK, {"steps": 15, "max_steps": 45, "end_lr": 1.0}])
def test_batches_that_the_step_skips_are_skipped(options):
    class Skipping(Plain):
        def training_step(self, batch, batch_idx):
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

    result = found_by(seeded(Skipping), test=RangeTestCallback(apply=False, **options))
    assert len(result.lrs) >= 10


def test_races_are_scored_by_score_fn():
    scored = []

    def score_fn(module, batch):
        scored.append(module.training)
        return torch.tensor(1.0)

    test = RangeTestCallback(apply=False, score_fn=score_fn, steps=15, max_steps=45, end_lr=1.0)
    result = found_by(seeded(Plain), test=test)
    assert {score for _, score in result.races} <= {1.0, None}
    assert scored
    assert not any(scored)


def test_lbfgs_is_refused():
    class Closure(Plain):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters())

    with pytest.raises(ValueError, match=r"optimizer must be .*no closure"):
        found_by(seeded(Closure))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"steps": 0}, "steps"),
        ({"start_lr": -1.0}, "start_lr"),
        ({"at_epoch": -1}, "at_epoch"),
        ({"at_epoch": (0, 1.5)}, "at_epoch"),
        ({"optimizer": -1}, "optimizer"),
        ({"attribute": 3}, "attribute"),
        ({"apply": "yes"}, "apply"),
        ({"method": "guess"}, "method"),
        ({"policy": "none"}, "policy"),
        ({"max_steps": 5}, "max_steps"),
        ({"horizon_steps": 0}, "horizon_steps"),
        ({"metric": len}, "metric"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options, name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        RangeTestCallback(**options)


def test_nan_ends_the_test_and_not_the_training():
    class Breaking(Plain):
        def training_step(self, batch, batch_idx):
            self.calls += 1
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            return loss * math.nan if self.calls == 20 else loss

    module = seeded(Breaking)
    assert found_by(module).stop_reason is cr.StopReason.NON_FINITE
    assert all(value.isfinite().all() for value in module.state_dict().values())
