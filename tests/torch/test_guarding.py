"""DivergenceGuard and CycleEarlyStopping in a loop written by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import cyclerate as cr
import cyclerate.torch as ct
from tests.torch.small import BATCHES, Regression, squared_error, train_one_step

SCHEDULE = cr.Triangular(0.01, 0.03, step_size=4)


def loop(steps: int, watch) -> tuple[Regression, torch.optim.Optimizer, list]:
    """Trains; `watch(model, optimizer)` gives what is called after each step, and may end it."""
    model = Regression()
    optimizer = torch.optim.Adam(model.parameters())
    after_step = watch(model, optimizer)
    states = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = squared_error(model(BATCHES[0][0]), BATCHES[0][1])
        loss.backward()
        optimizer.step()
        states.append(copy.deepcopy((model.state_dict(), optimizer.state_dict())))
        if after_step(step, loss):
            break
    return model, optimizer, states


def test_nan_gives_back_weights_and_optimizer_of_the_last_good_cycle():
    guards = []

    def watch(model, optimizer):
        guards.append(ct.DivergenceGuard([model, optimizer], SCHEDULE, 100))
        return lambda step, loss: guards[0].step(math.nan if step == 27 else loss)

    with pytest.warns(UserWarning, match="became nan at step 27.*there were after step 16"):
        model, optimizer, states = loop(100, watch)
    assert len(states) == 28
    # The cycle that ended with step 24 was only three steps before: not sure to be good.
    assert guards[0].restored_step == 16
    weights, optimizer_state = states[16]
    assert torch.equal(model.w, weights["w"])
    assert torch.equal(optimizer.state[model.w]["exp_avg"], optimizer_state["state"][0]["exp_avg"])
    assert optimizer.state[model.w]["step"] == 17


def test_at_the_start_there_was_no_optimizer_state():
    def watch(model, optimizer):
        guard = ct.DivergenceGuard([model, optimizer], SCHEDULE, 100)
        return lambda step, loss: guard.step(math.inf)

    with pytest.warns(UserWarning, match="training began with"):
        model, optimizer, _ = loop(100, watch)
    assert not model.w.any()
    assert optimizer.state_dict()["state"] == {}
    train_one_step(optimizer)  # and it can go on


def test_the_value_at_the_peak_is_not_asked_for():
    asked, stoppings = [], []

    def watch(model, optimizer):
        stoppings.append(ct.CycleEarlyStopping(model, SCHEDULE, 100, patience=2))

        def after_step(step, _loss):
            def measure():
                asked.append(step)
                return 1.0 + len(asked)

            return stoppings[0].step(measure)

        return after_step

    model, _, states = loop(100, watch)
    assert asked == [8, 16, 24]
    assert len(states) == 25
    stoppings[0].restore()
    assert torch.equal(model.w, states[8][0]["w"])
    assert (stoppings[0].best, stoppings[0].best_cycle, stoppings[0].stopped_cycle) == (2.0, 1, 3)


def test_a_training_that_goes_on_has_its_whole_length():
    # Of 30 steps in all the first 10 are made: cycles end at 16, at 24, and with the last step.
    stopping = ct.CycleEarlyStopping(Regression(), SCHEDULE, 30, patience=5, start_step=10)
    asked = []
    for step in range(10, 50):
        stopping.step(lambda step=step: asked.append(step) or 1.0)
    assert asked == [16, 24, 29]

    model = Regression()
    guard = ct.DivergenceGuard([model], SCHEDULE, 30, start_step=10)
    for step in range(10, 26):
        torch.nn.init.constant_(model.w, step)
        assert not guard.step(1.0 / step)
    with pytest.warns(UserWarning, match="became nan at step 26.*there were after step 16"):
        assert guard.step(math.nan)
    assert model.w.unique().item() == 16


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("model", (None, SCHEDULE, 100), {}),
        ("schedule", (Regression(), cr.Constant(0.1), 100), {}),
        ("total_steps", (Regression(), SCHEDULE, 0), {}),
        ("patience", (Regression(), SCHEDULE, 100), {"patience": 0}),
        ("mode", (Regression(), SCHEDULE, 100), {"mode": "auto"}),
    ],
)
def test_wrong_arguments_are_named(name: str, arguments: tuple, options: dict):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        ct.CycleEarlyStopping(*arguments, **options)
