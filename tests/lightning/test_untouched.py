"""A range test leaves the training as it was, to the last bit, however it ends."""

from __future__ import annotations

import pytest
import torch

import cyclerate as cr
from cyclerate.lightning import RangeTestCallback
from tests.lightning.digits import (
    BATCHES,
    ByHand,
    Digits,
    Picture,
    loader,
    picture,
    scheduled,
    seeded,
    trainer,
)
from tests.torch.workshop import same

QUICK = {"method": "range", "steps": 20, "start_lr": 1e-4, "end_lr": 1.0, "apply": False}


class Scheduled(Digits):
    scheduler = scheduled


SETUPS = {
    "plain": (Digits, {}, {}),
    "scheduled": (Scheduled, {}, {}),
    "accumulated and clipped": (
        Digits,
        {},
        {"accumulate_grad_batches": 2, "gradient_clip_val": 0.5},
    ),
    "clipped by value": (
        Digits,
        {},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    ),
    "bf16": (Digits, {}, {"precision": "bf16-mixed"}),
    "float64": (Digits, {}, {"precision": "64-true"}),
    "few batches": (Digits, {}, {"limit_train_batches": 4}),
    "by hand": (ByHand, {"optimizer": 0}, {}),
}


def run(setup, *tests, data=None):
    """A training of three epochs; the pictures that it took."""
    make, _, options = SETUPS[setup]
    album = Picture()
    module = seeded(make)
    teacher = trainer(*tests, album, max_epochs=3, **options)
    teacher.fit(module, loader() if data is None else data)
    return album, module, teacher


def differences(a, b, but=()):
    return [name for name in a if name not in but and not same(a[name], b[name])]


@pytest.mark.parametrize("setup", SETUPS)
def test_training_goes_on_as_if_there_had_been_no_test(setup):
    test = RangeTestCallback(at_epoch=(0, 2), **SETUPS[setup][1], **QUICK)
    tried, module, teacher = run(setup, test)
    twin, expected, plain = run(setup)
    assert [*test.results] == [0, 2]
    assert all(len(result.lrs) == 20 for result in test.results.values())
    assert same(tried.batches, twin.batches)
    for moments in ("begun", "ended"):
        for a, b in zip(getattr(tried, moments), getattr(twin, moments), strict=True):
            assert differences(a, b, but=("callbacks",)) == []
    assert (module.calls, teacher.global_step) == (expected.calls, plain.global_step)
    assert differences(picture(teacher, module), picture(plain, expected), but=("callbacks",)) == []


@pytest.mark.parametrize("setup", ["scheduled", "accumulated and clipped", "bf16"])
def test_so_it_does_after_a_probe(setup):
    def data():
        return loader(generator=torch.Generator().manual_seed(5))

    probe = {**QUICK, "method": "probe", "max_steps": 50}
    test = RangeTestCallback(at_epoch=(0, 2), **probe)
    tried, module, teacher = run(setup, test, data=data())
    twin, expected, plain = run(setup, data=data())
    assert all(result.steps > 20 for result in test.results.values())
    assert same(tried.batches, twin.batches)
    assert differences(picture(teacher, module), picture(plain, expected), but=("callbacks",)) == []


class Before(Picture):
    """Takes its picture before the range test that stands behind it in the list."""


class Trouble(Exception):
    pass


def raise_(error):
    raise error


@pytest.mark.parametrize("setup", ["scheduled", "by hand", "accumulated and clipped"])
@pytest.mark.parametrize(
    "error", [Trouble("in the step"), KeyboardInterrupt()], ids=["error", "^C"]
)
@pytest.mark.parametrize("epoch", [0, 1])
def test_everything_comes_back_after_an_error(setup, epoch, error):
    make, choice, options = SETUPS[setup]
    before = Before()
    module = seeded(make)
    after = []

    class Last(Picture):
        def on_exception(self, trainer, pl_module, exception):
            after.append((exception, picture(trainer, pl_module)))

    test = RangeTestCallback(at_epoch=epoch, **choice, **QUICK)
    teacher = trainer(before, test, Last(), max_epochs=2, **options)
    module.at_call = {epoch * BATCHES + 11: lambda: raise_(error)}
    with pytest.raises((Trouble, KeyboardInterrupt, SystemExit)):
        teacher.fit(module, loader())
    [(seen, left)] = after
    assert seen is error
    assert differences(before.begun[-1], left) == []
    assert "log" not in vars(module)
    assert test.result is None


def test_it_had_changed_things():
    seen = []
    module = seeded(Digits)
    before = Before()
    test = RangeTestCallback(**QUICK)
    teacher = trainer(before, test, max_steps=3)
    module.at_call = {12: lambda: seen.append(picture(teacher, module))}
    teacher.fit(module, loader())
    changed = differences(before.begun[0], seen[0])
    assert {"weights", "attributes", "optimizers", "torch", "names"} <= {*changed}
    assert {"callbacks", "hooks"} <= {*changed}


def test_nothing_is_left_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    test = RangeTestCallback(**QUICK)
    trainer(test, default_root_dir=tmp_path).fit(Digits(), loader())
    assert len(test.result.lrs) == 20
    assert [*tmp_path.rglob("*")] == []


def test_two_tests_of_one_epoch_agree():
    first, second = RangeTestCallback(**QUICK), RangeTestCallback(optimizer=0, **QUICK)
    trainer(first, second).fit(seeded(Digits), loader())
    assert first.result.losses.tolist() == second.result.losses.tolist()
    assert first.result.stop_reason is cr.StopReason.END_OF_RANGE
