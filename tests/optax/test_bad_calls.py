"""Whatever cannot be used as an argument is refused by an error that names it."""

from __future__ import annotations

import inspect

import numpy as np
import optax
import pytest

import cyclerate.optax as co
from tests.optax.problems import BATCHES, PARAMS, loss_fn

SCHEDULED = {"method": "range", "steps": 10, "end_lr": 0.1}
FUNCTIONS = {
    co.range_test: SCHEDULED,
    co.fit_one_cycle: {"total_steps": 12},
    co.CycleTraining: {"total_steps": 12},
}
VALUES = ["text", -1, float("nan"), np.array(["a"]), object(), len]
# What is checked here; what the settings check, tests/finder has.
OURS = ["params", "make_optimizer", "batch_size", "model_state", "rng", "opt_state"]
OURS += ["accumulation_steps", "momentum", "max_lr", "total_steps", "epochs", "find", "data"]


def cases():
    for function, options in FUNCTIONS.items():
        for name in inspect.signature(function).parameters:
            for value in VALUES if name in OURS else ():
                if callable(value) and name in ("make_optimizer", "data"):
                    continue  # a function of the user's own
                label = f"{function.__name__}-{name}-{type(value).__name__}"
                yield pytest.param(function, options, name, value, id=label)


@pytest.mark.parametrize(("function", "options", "name", "value"), list(cases()))
def test_an_argument_that_cannot_be_used_is_named(function, options, name, value):
    given = {"loss_fn": loss_fn, "params": PARAMS, "make_optimizer": optax.sgd, **options}
    if function is not co.CycleTraining:
        given |= {"data": BATCHES}
    given[name] = value
    if name == "epochs":
        given.pop("total_steps")
    if name == "model_state" and isinstance(value, (int, float)):
        if function is co.CycleTraining:
            pytest.skip("seen with the first batch")
        given["loss_fn"] = lambda params, batch, state: loss_fn(params, batch)
        name = "the output of loss_fn"
    if name == "params" and isinstance(value, (int, float)):
        pytest.skip("a number is a parameter, too")
    with pytest.raises(ValueError, match=f"^{name}.* must be .*Received: ") as raised:
        function(**given)
    assert len(str(raised.value)) < 400
