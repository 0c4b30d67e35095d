"""A Trainer by a cycle that finds its own top, against the loop written out."""

from __future__ import annotations

import math

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

import cyclerate.torch as ct
from cyclerate.lightning import SelfFindingCycle
from tests.lightning.digits import (
    BATCH,
    BATCHES,
    ByHand,
    Digits,
    loader,
    scheduled,
    seeded,
    trainer,
)


class Plain(Digits):
    """No dropout, and SGD with momentum: what a step does is easily done again."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.02, momentum=0.9)


class Scheduled(Digits):
    scheduler = scheduled


class Watched(pl.Callback):
    """Notes the rate and momentum of every step."""

    def __init__(self) -> None:
        self.rates: list[tuple[float, float]] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        group = optimizer.param_groups[0]
        self.rates.append((group["lr"], group["momentum"]))


EPOCHS = 60
STEPS = EPOCHS * BATCHES


SPIKE_STEP, SPIKE = 200, 1000.0


class Spiky(Plain):
    """One of its losses, on the way down, has a gradient that is clipped."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * (SPIKE if self.trainer.global_step == SPIKE_STEP else 1.0)


def by_hand(
    steps: int, accumulated: int = 1, make: type[Plain] = Plain
) -> tuple[list[tuple[float, float]], Plain, dict]:
    module = seeded(make)
    optimizer = module.configure_optimizers()
    cycle = ct.SelfFindingCycle(module, optimizer, steps, batch_size=BATCH * accumulated)
    batches, rates = list(loader(shuffle=False)), []
    for step in range(steps):
        optimizer.zero_grad()
        losses = torch.zeros(())
        for i in range(accumulated):
            x, y = batches[(step * accumulated + i) % len(batches)]
            loss = nn.functional.cross_entropy(module.net(x), y) / accumulated
            spiky = make is Spiky and step == SPIKE_STEP
            loss = loss * (SPIKE if spiky else 1.0)
            loss.backward()
            losses += loss.detach()
        rates.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        cycle.step(losses)
    return rates, module, cycle.found


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in module.parameters()]


@pytest.mark.parametrize(("make", "accumulated"), [(Plain, 1), (Plain, 2), (Spiky, 1)])
def test_it_is_the_loop_written_out(make: type[Plain], accumulated: int):
    steps = STEPS // accumulated
    rates, expected, found = by_hand(steps, accumulated, make)
    module, cycle, watched = seeded(make), SelfFindingCycle(), Watched()
    fit = trainer(cycle, watched, max_epochs=EPOCHS, accumulate_grad_batches=accumulated)
    fit.fit(module, loader(shuffle=False))
    assert watched.rates == rates
    assert cycle.cycle is not None
    assert cycle.cycle.found == found
    assert found["source"] == "sweep and prior"
    for weight, other in zip(weights(module), weights(expected), strict=True):
        torch.testing.assert_close(weight, other, rtol=0, atol=0)


@pytest.mark.parametrize("stopped_epoch", [3, 20])
def test_a_training_that_goes_on_from_a_checkpoint_is_the_same(stopped_epoch: int, tmp_path):
    rates, expected, _ = by_hand(STEPS)
    path, watched = tmp_path / "half.ckpt", Watched()

    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == stopped_epoch - 1:
                trainer.save_checkpoint(path)
                trainer.should_stop = True

    fit = trainer(SelfFindingCycle(), watched, Stop(), max_epochs=EPOCHS)
    fit.fit(seeded(Plain), loader(shuffle=False))
    assert len(watched.rates) == stopped_epoch * BATCHES
    module, cycle = Plain(), SelfFindingCycle()
    fit = trainer(cycle, watched, max_epochs=EPOCHS)
    fit.fit(module, loader(shuffle=False), ckpt_path=path, weights_only=True)
    assert watched.rates == rates
    for weight, other in zip(weights(module), weights(expected), strict=True):
        torch.testing.assert_close(weight, other, rtol=0, atol=0)


class Told(SelfFindingCycle):
    """Notes the losses that the cycle is told."""

    def on_train_start(self, trainer, pl_module):
        super().on_train_start(trainer, pl_module)
        assert self.cycle is not None
        self.told: list[float] = []
        step = self.cycle.step

        def noted(loss: float | torch.Tensor) -> None:
            self.told.append(float(loss))
            step(loss)

        self.cycle.step = noted


class SkipsAndOnes(Plain):
    """Its loss is 1 whatever happens, and each third batch is skipped."""

    skips = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if self.skips and batch_idx % 3 == 1 else 0.0 * loss + 1.0


@pytest.mark.filterwarnings("ignore:.*returned `None`")
@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("accumulated", [1, 2, 4, 5])
def test_the_loss_of_a_step_is_the_mean_of_its_own_batches(accumulated: int, skips: bool):
    module, cycle = seeded(SkipsAndOnes), Told()
    module.skips = skips
    fit = trainer(cycle, max_epochs=4, accumulate_grad_batches=accumulated)
    fit.fit(module, loader(shuffle=False))
    steps = 4 * -(-BATCHES // accumulated)
    assert cycle.told == pytest.approx([1.0] * steps)
    assert fit.global_step == steps
    assert cycle.cycle.done


class Drifting(Plain):
    """Its loss rises with every step, whatever the weights are."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + 0.1 * self.calls


def test_a_training_that_ends_above_its_start_ends_as_its_last_mark():
    cycle, kept = SelfFindingCycle(fine_tuned=True), []

    class Marks(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            if cycle.cycle._cycle.keep:
                kept.append(weights(pl_module))

    module = seeded(Drifting)
    kept.append(weights(module))
    trainer(cycle, Marks(), max_epochs=20).fit(module, loader(shuffle=False))
    assert cycle.cycle.found["given_back"]
    assert "the last good state was put in its place" in cycle.cycle.verdict
    for weight, other in zip(weights(module), kept[-1], strict=True):
        torch.testing.assert_close(weight, other, rtol=0, atol=0)


def test_the_fit_ends_with_the_cycle():
    cycle = SelfFindingCycle(total_steps=20)
    fit = trainer(cycle, max_epochs=EPOCHS)
    fit.fit(seeded(Plain), loader())
    assert fit.global_step == 20
    assert cycle.cycle is not None
    assert cycle.cycle.done


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Scheduled, {}, "configure_optimizers must be an optimizer alone"),
        (ByHand, {}, "automatic_optimization must be True"),
        (Plain, {"max_epochs": -1}, "total_steps must be given"),
    ],
)
def test_what_it_cannot_do_is_refused_before_a_step(make, options, message):
    module = seeded(make)
    before = weights(module)
    with pytest.raises(ValueError, match=message):
        trainer(SelfFindingCycle(), **options).fit(module, loader())
    for weight, other in zip(weights(module), before, strict=True):
        torch.testing.assert_close(weight, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"total_steps": 0}, "total_steps"),
        ({"batch_size": math.inf}, "batch_size"),
        ({"fine_tuned": "yes"}, "fine_tuned"),
        ({"optimizer": -1}, "optimizer"),
    ],
)
def test_wrong_arguments_are_named(options: dict, name: str):
    with pytest.raises(ValueError, match=f"{name} must be"):
        SelfFindingCycle(**options)
