"""The cycle that finds its own top, in the Trainer: the loop written out, resumed bit for bit."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import AdamW
from transformers import TrainerCallback

import cyclerate.torch as ct
from cyclerate.transformers import SelfFindingCycle
from tests.transformers.tiny import BATCH, bert, trainer

STEPS = 200  # 30 of them are the way up


class Watched(TrainerCallback):
    """Notes the rate and the momentum of every step, and the rates that are logged."""

    def __init__(self) -> None:
        self.rates: list[tuple[float, float]] = []
        self.logged: list[float] = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        group = optimizer.param_groups[0]
        self.rates.append((group["lr"], group["betas"][0]))

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "learning_rate" in logs:
            self.logged.append(logs["learning_rate"])


def in_order(folder: Path, *callbacks: TrainerCallback, model: Any = None, **options: Any) -> Any:
    """A Trainer of a model without dropout, whose batches come in the order of the rows."""
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    told = {"max_steps": STEPS, "train_sampling_strategy": "sequential", "max_grad_norm": 0.0}
    model = bert(**quiet) if model is None else model
    return trainer(folder, *callbacks, model=model, **{**told, **options})


def by_hand(folder: Path, accumulated: int = 1) -> tuple[list[tuple[float, float]], Any, dict]:
    made = in_order(folder)
    model, optimizer = made.model, made.create_optimizer()
    cycle = ct.SelfFindingCycle(
        model, optimizer, STEPS, batch_size=BATCH * accumulated, fine_tuned=True
    )
    batches, rates, at = list(made.get_train_dataloader()), [], 0
    model.train()
    while not cycle.done:
        optimizer.zero_grad()
        losses: Any = 0.0
        for _ in range(accumulated):
            loss = model(**batches[at % len(batches)]).loss / accumulated
            loss.backward()
            losses, at = losses + loss.detach(), at + 1
        rates.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
        optimizer.step()
        cycle.step(losses)
    return rates, model, cycle.found


def assert_same_weights(one: Any, other: Any) -> None:
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_it_is_the_loop_written_out(accumulated: int, tmp_path: Path):
    rates, expected, found = by_hand(tmp_path, accumulated)
    cycle, watched = SelfFindingCycle(), Watched()
    made = in_order(tmp_path, cycle, watched, gradient_accumulation_steps=accumulated)
    made.train()
    assert found["source"] == "sweep and prior"
    assert watched.logged == [rate for rate, _ in watched.rates]
    (told,) = [entry for entry in made.state.log_history if "cycle_max_lr" in entry]
    assert (told["cycle_max_lr"], told["step"]) == (cycle.cycle.found["top"], STEPS)
    if accumulated > 1:  # the Trainer divides sums by the rows of the step, which rounds elsewhere
        assert np.allclose(watched.rates, rates, rtol=1e-3)
        return
    assert watched.rates == rates
    assert cycle.cycle.found == found
    assert_same_weights(made.model, expected)
    assert "training_step" not in vars(made)


@pytest.mark.parametrize("stopped", [12, 90])
def test_a_training_that_goes_on_from_a_checkpoint_is_the_same(stopped: int, tmp_path: Path):
    rates, expected, _ = by_hand(tmp_path)
    watched = Watched()

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_save = control.should_training_stop = state.global_step == stopped

    in_order(tmp_path, SelfFindingCycle(), watched, Stop(), save_strategy="steps").train()
    assert len(watched.rates) == stopped
    made = in_order(tmp_path, SelfFindingCycle(), watched)
    made.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{stopped}"))
    assert watched.rates == rates
    assert_same_weights(made.model, expected)


def test_a_training_that_ends_above_its_start_ends_as_its_last_mark(tmp_path: Path):
    cycle, kept, drift = SelfFindingCycle(), [], itertools.count()

    class Marks(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if cycle.cycle._cycle.keep:
                kept.append(copy.deepcopy(model))

    made = in_order(tmp_path, cycle, Marks(), max_steps=100)
    kept.append(copy.deepcopy(made.model))
    plain = made.model.forward

    @functools.wraps(plain)
    def drifting(**batch: Any) -> Any:
        output = plain(**batch)
        output.loss = output.loss + 0.1 * next(drift)
        return output

    made.model.forward = drifting
    made.train()
    assert cycle.cycle.found["given_back"]
    assert "the last good state was put in its place" in cycle.cycle.verdict
    assert_same_weights(made.model, kept[-1])


def test_a_checkpoint_without_its_cycle_is_refused(tmp_path: Path):
    in_order(tmp_path, max_steps=2, save_strategy="steps", save_steps=2).train()
    made = in_order(tmp_path, SelfFindingCycle())
    with pytest.raises(ValueError, match="the cycle of a training that goes on must be in the ch"):
        made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_the_training_ends_with_the_cycle_and_a_known_rate_is_its_top(tmp_path: Path):
    watched = Watched()
    made = in_order(tmp_path, SelfFindingCycle(20, max_lr=0.01), watched)
    made.train()
    assert made.state.global_step == 20
    assert max(rate for rate, _ in watched.rates) == 0.01


def test_after_an_exception_the_trainer_and_its_optimizer_are_their_own_again(tmp_path: Path):
    class Trouble(Exception):
        pass

    watched = Watched()
    made = in_order(tmp_path, SelfFindingCycle(), watched)
    usual = made.compute_loss

    def broken(*inputs: Any, **named: Any) -> Any:
        if len(watched.rates) == 3:
            raise Trouble
        return usual(*inputs, **named)

    made.compute_loss = broken
    with pytest.raises(Trouble):
        made.train()
    assert "training_step" not in vars(made)
    assert not made.optimizer.optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"total_steps": 0}, "total_steps"),
        ({"batch_size": math.inf}, "batch_size"),
        ({"fine_tuned": "yes"}, "fine_tuned"),
        ({"max_lr": 0}, "max_lr"),
        ({"momentum": 0.9}, "momentum"),
    ],
)
def test_wrong_arguments_are_named(options: dict, name: str):
    with pytest.raises(ValueError, match=f"{name} must be"):
        SelfFindingCycle(**options)


def test_a_scheduler_that_goes_by_a_metric_is_refused(tmp_path: Path):
    model = bert()
    optimizer = AdamW(model.parameters())
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    made = trainer(tmp_path, SelfFindingCycle(), model=model, optimizers=(optimizer, plateau))
    with pytest.raises(ValueError, match="lr_scheduler_type must be one that goes by steps"):
        made.train()
