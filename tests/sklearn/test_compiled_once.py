"""Networks of one shape share their compiled step, whatever rate and length a training has."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
from cyclerate.keras import ScheduleCallback
from cyclerate.keras._internals import LATEST_FUNCTION
from cyclerate.sklearn._networks import (
    Settings,
    Shape,
    Table,
    WholeBatches,
    ends_of_cycles,
    fit_networks,
    initial_weights,
    lent_network,
    outputs_of,
    weights_of,
)

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)
ONE = np.ones(64, np.float32)


TABLE = Table(X, Y, ONE)


def settings(optimizer: str, max_lr: float, epochs: int, **options: Any) -> Settings:
    shape = Shape((3, 5, 1), "mean_squared_error", optimizer, None)
    told: dict[str, Any] = {"networks": 1, "held_out": 0.0, "seed": 0, "verbose": 0, **options}
    return Settings(shape, batch_size=16, epochs=epochs, max_lr=max_lr, **told)


@pytest.mark.keras_backend
@pytest.mark.parametrize(("max_lr", "epochs"), [(0.1, 15), (0.02, 30)])
@pytest.mark.parametrize("optimizer", ["momentum", "adam", "sgd"])
def test_it_is_trained_by_the_cycles_of_coslog(optimizer: str, max_lr: float, epochs: int):
    asked = settings(optimizer, max_lr, epochs)
    fitted = fit_networks(TABLE, asked)
    with lent_network(asked.shape, initial_weights(asked.shape.widths, seed=0)) as network:
        cycles = cr.CosLog(max_lr, 4 * epochs)
        momentum = None if optimizer == "sgd" else cycles.mirrored(0.85, 0.95)
        before, rows = 0, WholeBatches(X, Y, ONE, batch_size=16, seed=0)
        logged: dict[str, list[float]] = {}
        for end in ends_of_cycles(epochs):
            plain = network.model.fit(
                rows,
                epochs=end - before,
                callbacks=[ScheduleCallback(cycles, momentum, start_step=4 * before)],
                shuffle=False,
                verbose=0,
            )
            for name, values in plain.history.items():
                logged.setdefault(name, []).extend(values)
            before = end
        expected = weights_of(network.model)
    for name, values in logged.items():
        assert fitted.history[name] == pytest.approx(values, rel=1e-3, abs=1e-6)
    for found, wanted in zip(fitted.members[0], expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_cycle_that_is_no_better_ends_the_training_and_the_best_is_kept():
    random = np.random.default_rng(1)
    x = random.normal(size=(240, 8)).astype(np.float32)
    noise = Table(x, random.normal(size=(240, 1)).astype(np.float32), np.ones(240, np.float32))
    shape = Shape((8, 64, 1), "mean_squared_error", "adam", None)
    asked = Settings(shape, 16, 60, 0.02, networks=2, held_out=0.2, seed=0, verbose=0)
    fitted = fit_networks(noise, asked)
    told = fitted.history["held_out_loss"]
    assert told[-1] >= told[-2]
    assert told[:-1] == sorted(told[:-1], reverse=True)
    ends = ends_of_cycles(60)
    assert len(fitted.history["loss"]) == ends[len(told) - 1]
    assert fitted.epochs in ends[:3]
    train, test = noise.parts(0.2, seed=0)
    assert (len(train.x), len(test.x)) == (192, 48)
    assert not set(map(tuple, train.x)) & set(map(tuple, test.x))
    outputs = outputs_of(fitted.members[0], test.x.astype(np.float64))
    assert float(((outputs - test.y) ** 2).mean()) == pytest.approx(told[-2])
    assert not np.array_equal(fitted.members[0][0], fitted.members[1][0])


def test_each_class_has_its_share_of_the_rows_that_are_held_out():
    labels = np.arange(1000) % 10 == 0
    table = Table(np.zeros((1000, 1), np.float32), labels, np.ones(1000, np.float32), labels)
    _, test = table.parts(0.1, seed=3)
    assert test.y.sum() == 10
    few = Table(table.x[:100], labels[:100], table.weights[:100], labels[:100])
    assert len(few.parts(0.1, seed=3)[1].x) == 0


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="compiles nothing")
def test_another_rate_and_length_are_not_traced_again():
    compiled = []
    for max_lr, epochs in [(0.1, 2), (0.02, 2), (0.1, 5)]:
        asked = settings("momentum", max_lr, epochs)
        fit_networks(TABLE, asked)
        with lent_network(asked.shape, initial_weights(asked.shape.widths, seed=0)) as network:
            compiled.append(vars(network.model)[LATEST_FUNCTION][1])
    assert compiled[0] is compiled[1] is compiled[2]
