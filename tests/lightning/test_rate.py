"""The found rate goes where the training takes its rate from."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch.optim import lr_scheduler

import cyclerate as cr
from cyclerate.lightning import RangeTestCallback
from tests.lightning.digits import BATCHES, ByHand, Digits, loader, scheduled, seeded, trainer

QUICK = {"method": "range", "steps": 45, "start_lr": 1e-3, "end_lr": 10.0}


def fitted(module, test, **options):
    teacher = trainer(test, **{"max_steps": 1, **options})
    teacher.fit(module, loader())
    return teacher


def rates(teacher, name="lr", number=0):
    return [group[name] for group in teacher.optimizers[number].param_groups]


def test_the_rate_is_one_that_trains():
    module, test = seeded(Digits), RangeTestCallback(**QUICK)
    teacher = fitted(module, test)
    assert 0.02 < test.result.max_lr < 2.0
    assert module.lr == test.result.max_lr
    assert rates(teacher) == [module.lr, pytest.approx(0.1 * module.lr)]


def test_it_may_only_measure():
    module, test = seeded(Digits), RangeTestCallback(apply=False, **QUICK)
    teacher = fitted(module, test)
    assert test.result.max_lr is not None
    assert module.lr == 0.02
    assert rates(teacher) == [0.02, 0.002]


def one_cycle(module, optimizer):
    return lr_scheduler.OneCycleLR(optimizer, [module.lr, 0.1 * module.lr], total_steps=20)


def cyclic(module, optimizer):
    return lr_scheduler.CyclicLR(optimizer, module.lr / 4, module.lr, cycle_momentum=False)


def warmup(module, optimizer):
    return lr_scheduler.LambdaLR(optimizer, lambda step: step / 10)


def sequential(module, optimizer):
    parts = [
        lr_scheduler.ConstantLR(optimizer, 0.5, 3),
        lr_scheduler.ExponentialLR(optimizer, 0.9),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, [3])


SCHEDULERS = {
    "none": None,
    "ScheduledLR": scheduled,
    "OneCycleLR": one_cycle,
    "CyclicLR": cyclic,
    "LambdaLR": warmup,
    "SequentialLR": sequential,
}


class Rates(pl.Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.seen.append(rates(trainer))


def rates_of(scheduler, lr, *tests, attribute=True):
    """The rates of two epochs."""

    class Module(Digits):
        pass

    Module.scheduler = scheduler
    if not attribute:
        Module.configure_optimizers = lambda self: unnoted(self, lr)
    module, seen = seeded(lambda: Module(lr)), Rates()
    trainer(*tests, seen, max_epochs=2).fit(module, loader())
    return torch.tensor(seen.seen, dtype=torch.float64)


def unnoted(module, lr):
    """The optimizers of a module that has no note of its rate."""
    note, module.lr = module.lr, lr
    configured = Digits.configure_optimizers(module)
    module.lr = note
    return configured


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("attribute", [True, False], ids=["attribute", "no attribute"])
def test_training_has_the_rates_of_one_that_knew_it_from_the_beginning(name, attribute):
    test = RangeTestCallback(attribute="auto" if attribute else None, **QUICK)
    found = rates_of(SCHEDULERS[name], 0.02, test, attribute=attribute)
    expected = rates_of(SCHEDULERS[name], test.result.max_lr)
    assert len(found) == 2 * BATCHES
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_later_the_schedule_goes_on_with_the_other_rate(name):
    test = RangeTestCallback(at_epoch=1, **QUICK)
    found = rates_of(SCHEDULERS[name], 0.02, test)
    before, after = rates_of(SCHEDULERS[name], 0.02), rates_of(SCHEDULERS[name], test.result.max_lr)
    assert test.result.max_lr != 0.02
    torch.testing.assert_close(found[:BATCHES], before[:BATCHES], rtol=1e-12, atol=0.0)
    torch.testing.assert_close(found[BATCHES:], after[BATCHES:], rtol=1e-12, atol=0.0)


def test_an_attribute_that_nothing_reads_is_no_hindrance():
    class Deaf(Digits):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.3, momentum=0.9)

    module, test = seeded(Deaf), RangeTestCallback(**QUICK)
    teacher = fitted(module, test)
    assert rates(teacher) == [test.result.max_lr]
    assert module.lr == test.result.max_lr


class Saved(Digits):
    def __init__(self, learning_rate=0.02):
        super().__init__()
        del self.lr
        self.save_hyperparameters()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams["learning_rate"], momentum=0.9)


def test_the_attribute_may_be_a_hyperparameter():
    module, test = seeded(Saved), RangeTestCallback(**QUICK)
    teacher = fitted(module, test)
    assert module.hparams["learning_rate"] == test.result.max_lr
    assert rates(teacher) == [test.result.max_lr]


def test_the_attribute_may_have_any_name_that_there_is():
    module: Any = seeded(Digits)
    module.pace = 0.5
    test = RangeTestCallback(attribute="pace", **QUICK)
    fitted(module, test)
    assert (module.pace, module.lr) == (test.result.max_lr, 0.02)
    with pytest.raises(ValueError, match=r"attribute must be .*Received: 'speed'"):
        fitted(seeded(Digits), RangeTestCallback(attribute="speed", **QUICK))


@pytest.mark.parametrize("number", [0, 1])
def test_one_of_several_optimizers(number):
    module = seeded(ByHand)
    test = RangeTestCallback(optimizer=number, attribute=None, **QUICK)
    teacher = fitted(module, test)
    expected: list[float | None] = [0.02, 0.001]
    expected[number] = test.result.max_lr
    assert [rates(teacher, "initial_lr", i) for i in (0, 1)] == [[rate] for rate in expected]


@pytest.mark.parametrize("number", [None, 2])
def test_several_optimizers_must_be_chosen_from(number):
    module = seeded(ByHand)
    with pytest.raises(ValueError, match=r"optimizer must be a number below 2.*Received: "):
        fitted(module, RangeTestCallback(optimizer=number, **QUICK))
    assert module.calls == 0


def test_without_a_clear_answer_the_rate_stays(caplog):
    module = seeded(Digits)
    test = RangeTestCallback(method="range", steps=20, start_lr=1e-9, end_lr=1e-8)
    teacher = fitted(module, test)
    assert test.result.max_lr is None
    assert (module.lr, rates(teacher)[0]) == (0.02, 0.02)
    assert "No clear answer, the rate stays as it is" in caplog.text


class SaveAfter(pl.Callback):
    """Saves the training when an epoch has ended."""

    def __init__(self, epoch, path):
        self.epoch, self.path = epoch, path

    def on_train_epoch_end(self, trainer, module):
        if trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("attribute", ["auto", None])
def test_after_a_checkpoint_the_found_rates_are_set_again(tmp_path, attribute):
    class Module(Digits):
        scheduler = scheduled

    def run(*others, **options):
        module, seen = seeded(Module), Rates()
        test = RangeTestCallback(at_epoch=(0, 1), attribute=attribute, **QUICK)
        teacher = trainer(test, seen, *others, max_epochs=4)
        teacher.fit(module, loader(), **options)
        return test.results, module.lr, seen.seen

    path = tmp_path / "third.ckpt"
    results, lr, seen = run(SaveAfter(2, path))
    assert [*results] == [0, 1]
    later = run(ckpt_path=path, weights_only=True)
    assert later == (results, lr, seen[3 * BATCHES :])
    assert isinstance(results[1], cr.RangeTestResult)
