"""Two that set one rate: a warning names it, once, and the rates used are those recorded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import cyclerate as cr
import cyclerate.keras as ck
import cyclerate.lightning as cl
import cyclerate.torch as ct
import cyclerate.transformers as ctr
from cyclerate.keras._step import RateWatch
from tests.keras.toys import ONES, ZEROS, one_weight
from tests.lightning.digits import BATCHES, Digits, loader, seeded, trainer as lightning_trainer
from tests.torch.small import optimizer_of, rates_of, train_one_step
from tests.transformers.tiny import bert, trainer as transformers_trainer

STEPS = 40
CYCLE = cr.OneCycle(max_lr=0.02, total_steps=STEPS)
Told = tuple[list[float], list[float]]
"""The rates that were used, and those that the adapter says so of."""


def plateau(optimizer: Any) -> Callable[[], object]:
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    return lambda: scheduler.step(1.0)


def exponential(optimizer: Any) -> Callable[[], object]:
    return lr_scheduler.ExponentialLR(optimizer, 0.9).step


def by_hand(optimizer: Any) -> Callable[[], object]:
    def set_rate() -> None:
        optimizer.param_groups[0]["lr"] = 0.3

    return set_rate


def none(_optimizer: Any) -> Callable[[], object]:
    return lambda: None


OTHERS = {"plateau": plateau, "exponential": exponential, "by hand": by_hand, "none": none}


def told_of(caught: list[warnings.WarningMessage]) -> list[str]:
    """Those of the warnings that name another one who sets the rate."""
    return [text for w in caught if "sets the learning rate" in (text := str(w.message))]


def in_a_loop(optimizer: Any, other: Callable[[], object]) -> Told:
    scheduler, used = ct.ScheduledLR(optimizer, CYCLE, layer_decay=0.5), []
    for _ in range(STEPS):
        used.append(rates_of(optimizer)[-1])
        train_one_step(optimizer)
        other()
        scheduler.step()
    return used, [CYCLE(step) for step in range(STEPS)]


def in_a_finding_loop(optimizer: Any, other: Callable[[], object]) -> Told:
    model = torch.nn.ParameterList([p for g in optimizer.param_groups for p in g["params"]])
    cycle, used, told = ct.SelfFindingCycle(model, optimizer, STEPS, momentum=None), [], []
    while not cycle.done:
        used.append(rates_of(optimizer)[-1])
        told.append(cycle.values["learning_rate"])
        train_one_step(optimizer)
        other()
        cycle.step(1.0)
    return used, told


def by_recipe(max_lr: float | None) -> Callable[[Any, Callable[[], object]], Told]:
    def train(optimizer: Any, other: Callable[[], object]) -> Told:
        first, last = (group["params"][0] for group in optimizer.param_groups)
        model, used = torch.nn.ParameterList([first, last]), []
        optimizer.register_step_pre_hook(lambda *_: used.append(rates_of(optimizer)[-1]))
        optimizer.register_step_post_hook(lambda *_: other())
        history = ct.fit_one_cycle(
            model,
            optimizer,
            None,
            [torch.ones(2)] * STEPS,
            epochs=1,
            max_lr=max_lr,
            forward=lambda m, x: ((m[0] + m[1] - x) ** 2).sum(),
            verbose=0,
        )
        return used, history.steps["learning_rate"]

    return train


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(
    "train", [in_a_loop, in_a_finding_loop, by_recipe(0.02), by_recipe(None)], ids=str
)
def test_another_scheduler_of_pytorch(train: Any, other: str):
    optimizer = optimizer_of(groups=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        used, told = train(optimizer, OTHERS[other](optimizer))
    assert len(told_of(caught)) == (other != "none")
    np.testing.assert_allclose(used, told, rtol=1e-15)


def test_a_chained_scheduler_of_two_that_set_the_rate():
    optimizer = optimizer_of()
    parts = [ct.ScheduledLR(optimizer, CYCLE), lr_scheduler.ExponentialLR(optimizer, 0.5)]
    chained = lr_scheduler.ChainedScheduler(parts)
    train_one_step(optimizer)
    chained.step()
    assert rates_of(optimizer) == [CYCLE(1) / 2]
    with pytest.warns(UserWarning, match=rf"to {CYCLE(1) / 2:.6g} after {CYCLE(1):.6g}, as Red"):
        chained.step()
    chained.step()  # warnings are errors: it says so once


@pytest.mark.parametrize("options", [{"momentum": 0.5}, {"betas": (0.5, 0.9)}], ids=str)
@pytest.mark.parametrize("tensor", [True, False])
def test_momentum_and_tensors_have_one_owner_too(options: dict, tensor: bool):
    kind = torch.optim.Adam if "betas" in options else torch.optim.SGD
    optimizer = optimizer_of(kind, **options)
    if tensor:
        optimizer.param_groups[0]["lr"] = torch.tensor(0.1)
    scheduler = ct.ScheduledLR(optimizer, CYCLE, CYCLE.mirrored(0.8, 0.9))
    for _ in range(3):
        train_one_step(optimizer)
        scheduler.step()
    lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=STEPS)
    train_one_step(optimizer)
    with pytest.warns(UserWarning, match="this optimizer") as caught:
        scheduler.step()
    named = "first beta" if "betas" in options else "momentum"
    texts = sorted(str(warning.message) for warning in caught)
    assert [text.partition(" of this")[0] for text in texts] == [
        f"Something else sets the {name}" for name in sorted(["learning rate", named])
    ]
    assert rates_of(optimizer) == pytest.approx([CYCLE(4)])


KERAS = {
    "plateau": lambda: keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=1e9),
    "scheduler": lambda: keras.callbacks.LearningRateScheduler(lambda epoch: 0.3),
}


def callback(model: Any, epochs: int, others: list[Any]) -> Any:
    return fitted(model, epochs, [ck.ScheduleCallback(CYCLE), *others])


def finding(model: Any, epochs: int, others: list[Any]) -> Any:
    return fitted(model, epochs, [*others, ck.SelfFindingCycle()])


def recipe(model: Any, epochs: int, others: list[Any]) -> Any:
    batches = STEPS // epochs
    x, y = np.concatenate([ONES] * batches), np.concatenate([ZEROS] * batches)
    return ck.fit_one_cycle(model, x, y, epochs, batch_size=4, callbacks=others, verbose=0)


def fitted(model: Any, epochs: int, callbacks: list[Any]) -> Any:
    x, y = (np.concatenate([part] * (STEPS // epochs)) for part in (ONES, ZEROS))
    return model.fit(x, y, batch_size=4, epochs=epochs, callbacks=callbacks, verbose=0)


def keras_losses(rates: list[float]) -> list[float]:
    """Of w = 1, whose loss is w**2, at the rates that were recorded."""
    weights = [1.0]
    for rate in rates:
        weights.append(weights[-1] * (1 - 2 * rate))
    return [weight**2 for weight in weights[:-1]]


@pytest.mark.keras_backend
@pytest.mark.parametrize(
    ("other", "epochs"), [("plateau", 4), ("scheduler", 4), ("scheduler", 1), ("none", 4)]
)
@pytest.mark.parametrize("train", [callback, finding, recipe])
def test_another_callback_of_keras(train: Any, other: str, epochs: int):
    others = [] if other == "none" else [KERAS[other]()]
    model = one_weight(keras.optimizers.SGD())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = train(model, epochs, others)
    assert len(told_of(caught)) == (other != "none")
    if train is callback:
        assert history.steps["learning_rate"] == [CYCLE(step) for step in range(STEPS)]
        mean = np.mean(np.split(np.array(keras_losses(history.steps["learning_rate"])), epochs), 1)
        np.testing.assert_allclose(history.history["loss"], mean, rtol=1e-4)


@pytest.mark.keras_backend
def test_a_schedule_that_takes_the_place_of_the_rate_is_told_as_well():
    optimizer, watch = keras.optimizers.SGD(0.1), RateWatch()
    watch.leave(optimizer)
    optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    with pytest.warns(UserWarning, match="Another callback sets the learning rate"):
        watch.look(optimizer)


class Both(Digits):
    """Two schedulers of one optimizer."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        schedulers = [lr_scheduler.ExponentialLR(optimizer, 0.9), ct.ScheduledLR(optimizer, CYCLE)]
        return [optimizer], [{"scheduler": s, "interval": "step"} for s in schedulers]


class Alone(Digits):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Rates(pl.Callback):
    """Notes the rate of every step, and sets another one after it if it is to."""

    def __init__(self, *, sets: bool) -> None:
        self.used: list[float] = []
        self.sets = sets

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.used.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.sets:
            trainer.optimizers[0].param_groups[0]["lr"] = 0.3


def test_another_scheduler_of_lightning():
    rates = Rates(sets=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lightning_trainer(rates, max_epochs=2).fit(seeded(Both), loader())
    assert len(told_of(caught)) == 1
    assert rates.used == [CYCLE(step) for step in range(2 * BATCHES)]


def test_another_callback_of_lightning():
    used, texts = {}, []
    for sets in (False, True):
        rates, cycle = Rates(sets=sets), cl.SelfFindingCycle(total_steps=8)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lightning_trainer(rates, cycle, max_epochs=2).fit(seeded(Alone), loader())
        used[sets] = rates.used
        texts += [text.partition(" after")[0] for text in told_of(caught)]
    assert texts == ["Something else sets the learning rate of this optimizer, to 0.3"]
    assert used[True] == used[False]


def test_a_scheduler_given_to_the_trainer_of_transformers_is_refused(tmp_path: Any):
    model = bert()
    optimizer = torch.optim.AdamW(model.parameters())
    own = lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    given: Any = (optimizer, own)
    made = transformers_trainer(tmp_path, ctr.SelfFindingCycle(), model=model, optimizers=given)
    with pytest.raises(ValueError, match=r"optimizers must be \(optimizer, None\).*LambdaLR"):
        made.train()
    alone: Any = (optimizer, None)
    made = transformers_trainer(tmp_path, ctr.SelfFindingCycle(), model=model, optimizers=alone)
    made.train()
