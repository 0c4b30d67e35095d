"""LayerRates: a fraction of the rate, whatever the optimizer; frozen layers do not move at all."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from tests.keras.toys import BACKEND, ONES, value

HALVES = {"low": 0.25, "middle": 0.5, "top": 1.0}


def three_layers(optimizer: Any) -> Any:
    layers = [
        keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name=name)
        for name in HALVES
    ]
    model = keras.Sequential([keras.Input((1,)), *layers])
    # The gradient is 1 for each weight, as long as all are 1.
    model.compile(optimizer, lambda _, y: keras.ops.mean(y, axis=-1))
    return model


def moves(model: Any) -> dict[str, float]:
    """How far the weights are from where they began."""
    return {layer.name: 1.0 - float(value(layer.kernel)[0, 0]) for layer in model.layers}


def train(model: Any, epochs: int, *callbacks: Any, batches: int = 1) -> Any:
    x = np.concatenate([ONES] * batches)
    return model.fit(x, x, batch_size=4, epochs=epochs, callbacks=list(callbacks), verbose=0)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        lambda: keras.optimizers.Adam(0.1),
        lambda: keras.optimizers.AdamW(ck.as_schedule(cr.Constant(0.1)), weight_decay=0.01),
    ],
    ids=["SGD", "Adam", "AdamW with as_schedule"],
)
def test_a_layer_moves_by_its_part_of_the_step(optimizer: Any):
    model = three_layers(optimizer())
    train(model, 1, ck.LayerRates(decay=0.5))
    moved = moves(model)
    assert moved["top"] == pytest.approx(0.1, rel=0.02)  # the whole step, with its weight decay
    assert moved == pytest.approx({n: HALVES[n] * moved["top"] for n in HALVES}, rel=1e-5)


def test_frozen_layers_do_not_move_and_thaw_one_by_one_beside_a_schedule():
    model = three_layers(keras.optimizers.Adam())
    seen: list[dict[str, float]] = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(moves(model))
    )
    rates = ck.LayerRates(decay=0.5, unfreeze_epochs=1)
    cycle = ck.ScheduleCallback(lr=cr.Constant(0.1))
    train(model, 3, rates, cycle, note, batches=2)
    assert [(rate.layers, rate.first_step) for rate in rates.rates] == [
        (("low",), 4),
        (("middle",), 2),
        (("top",), 0),
    ]
    assert [moved["low"] for moved in seen[:2]] == [0.0, 0.0]
    assert seen[0]["middle"] == 0.0 < seen[1]["middle"]
    assert seen[0]["top"] > 0
    assert 0 < seen[2]["low"] < seen[2]["middle"] < seen[2]["top"]
    assert len(cycle.history["learning_rate"]) == 6
    assert "apply" not in vars(model.optimizer)
    assert all(layer.trainable for layer in model.layers)


def test_after_the_fit_the_optimizer_is_as_before():
    model = three_layers(keras.optimizers.SGD(0.01))
    train(model, 1, ck.LayerRates(decay=0.5))
    after = moves(model)
    train(model, 1)
    low, top = (moves(model)[name] - after[name] for name in ("low", "top"))
    assert low == pytest.approx(top, rel=0.05)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="the same code; it takes ten times as long")
def test_the_range_test_of_a_recipe_has_the_rates_of_the_layers():
    # Only the low layer learns: with a factor of 1/100 the rate found is far higher.
    found = []
    for decay in (1.0, 0.01):
        low = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        top = keras.layers.Dense(1, use_bias=False, trainable=True, kernel_initializer="zeros")
        inputs = keras.Input((1,))
        model = keras.Model(inputs, low(inputs) + 1e-6 * top(inputs))
        model.compile(keras.optimizers.SGD(), "mse")
        options = {"steps": 60, "method": "range", "end_lr": 1e3}
        history = ck.fit_one_cycle(
            model,
            np.concatenate([ONES] * 8),
            np.concatenate([0 * ONES] * 8),
            epochs=1,
            batch_size=4,
            callbacks=[ck.LayerRates(decay, groups=[low, top])],
            verbose=0,
            range_test_options=options,
        )
        found.append(history.range_test.max_lr)
        assert "apply" not in vars(model.optimizer)
    assert found[1] == pytest.approx(100 * found[0], rel=0.2)


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("decay", {"decay": 0.0}),
            ("unfreeze_epochs", {"unfreeze_epochs": 0}),
            ("groups", {"groups": ["low", "top"]}),
            ("groups", {"groups": [["low", "middle"], "middle", "top"]}),
            ("groups", {"groups": [3]}),
        ],
    )
    def test_wrong_arguments(self, name: str, options: dict):
        model = three_layers(keras.optimizers.SGD())
        with pytest.raises(ValueError, match=f"^{name} must be"):
            train(model, 1, ck.LayerRates(**options))
        assert moves(model) == dict.fromkeys(HALVES, 0.0)

    def test_a_moving_average_of_the_weights(self):
        with pytest.raises(ValueError, match="without use_ema"):
            train(three_layers(keras.optimizers.SGD(use_ema=True)), 1, ck.LayerRates())
