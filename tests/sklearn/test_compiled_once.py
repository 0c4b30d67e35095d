"""Networks of one shape share their compiled step, whatever rate and length a training has."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
from cyclerate.compare._networks import losses_of_rows
from cyclerate.keras import ScheduleCallback
from cyclerate.keras._internals import LATEST_FUNCTION
from cyclerate.sklearn._fit import (
    Settings,
    Table,
    WholeBatches,
    ends_of_cycles,
    fit_networks,
)
from cyclerate.sklearn._inputs import Group
from cyclerate.sklearn._networks import (
    EachLoss,
    Shape,
    initial_weights,
    lent_network,
    outputs_of,
    side_by_side,
    weights_of,
)

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)
ONE = np.ones(64, np.float32)


TABLE = Table(X, Y, ONE)


def plain(columns: int, *widths: int, networks: int = 1, optimizer: str = "adam") -> Shape:
    group = Group("as it is", columns, 1)
    return Shape((group,), widths, networks, "mean_squared_error", optimizer, None)


def settings(optimizer: str, max_lr: float, epochs: int, **options: Any) -> Settings:
    shape = plain(3, 5, 1, networks=options.pop("networks", 1), optimizer=optimizer)
    told: dict[str, Any] = {"held_out": 0.0, "seed": 0, "verbose": 0, **options}
    return Settings(shape, batch_size=16, epochs=epochs, max_lr=max_lr, **told)


@pytest.mark.keras_backend
@pytest.mark.parametrize(("max_lr", "epochs"), [(0.1, 15), (0.02, 30)])
@pytest.mark.parametrize("optimizer", ["momentum", "adam", "sgd"])
def test_it_is_trained_by_the_cycles_of_coslog(optimizer: str, max_lr: float, epochs: int):
    asked = settings(optimizer, max_lr, epochs)
    fitted = fit_networks(TABLE, asked)
    start = side_by_side([initial_weights(asked.shape.layers, seed=0)])
    with lent_network(asked.shape, start, ()) as network:
        cycles = cr.CosLog(max_lr, 4 * epochs)
        momentum = None if optimizer == "sgd" else cycles.mirrored(0.85, 0.95)
        before, rows = 0, WholeBatches(X, Y, ONE[:, None], batch_size=16, seed=0)
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
    for found, wanted in zip(fitted.weights, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_cycle_that_is_no_better_ends_the_training_and_the_best_is_kept():
    random = np.random.default_rng(1)
    x = random.normal(size=(240, 8)).astype(np.float32)
    noise = Table(x, random.normal(size=(240, 1)).astype(np.float32), np.ones(240, np.float32))
    asked = Settings(plain(8, 64, 1, networks=2), 16, 60, 0.02, held_out=0.2, seed=0, verbose=0)
    fitted = fit_networks(noise, asked)
    told = fitted.history["held_out_loss"]
    assert told[-1] >= told[-2]
    assert told[:-1] == sorted(told[:-1], reverse=True)
    ends = ends_of_cycles(60)
    assert len(fitted.history["loss"]) == ends[len(told) - 1]
    assert fitted.epochs == ends[len(told) - 2]
    seeds = [0, int(np.random.default_rng(0).integers(2**31 - 1, size=1)[0])]
    held_out = [noise.held_out(0.2, seed) for seed in seeds]
    assert [len(rows) for rows in held_out] == [48, 48]
    assert not np.array_equal(held_out[0], held_out[1])
    outputs = outputs_of(noise.x, fitted.weights, (), asked.shape)
    losses = [((z - noise.y)[rows] ** 2).mean() for z, rows in zip(outputs, held_out, strict=True)]
    assert float(np.mean(losses)) == pytest.approx(told[-2])
    seen = noise.seen_by(held_out)
    assert seen[held_out[1]].tolist() != seen[held_out[0]].tolist()
    assert (seen[held_out[0], 0] == 0).all()
    assert seen.mean(axis=0) == pytest.approx([1.0, 1.0])


@pytest.mark.keras_backend
def test_networks_side_by_side_are_trained_as_each_alone():
    both = settings("sgd", 0.05, 15, networks=2)
    seeds = [0, int(np.random.default_rng(0).integers(2**31 - 1, size=1)[0])]
    together = outputs_of(X, fit_networks(TABLE, both).weights, (), both.shape)
    alone = settings("sgd", 0.05, 15)
    for seed, outputs in zip(seeds, together, strict=True):
        start = side_by_side([initial_weights(alone.shape.layers, seed)])
        with lent_network(alone.shape, start, ()) as network:
            before, rows = 0, WholeBatches(X, Y, ONE[:, None], batch_size=16, seed=0)
            for end in ends_of_cycles(15):
                steps = 4 * (end - before)
                network.cycle.begin(cr.CosLog(0.05, steps, cycles=1), 4 * before)
                callback = ScheduleCallback(network.cycle, start_step=4 * before)
                network.model.fit(
                    rows, epochs=end - before, callbacks=[callback], shuffle=False, verbose=0
                )
                before = end
            expected = outputs_of(X, weights_of(network.model), (), alone.shape)[0]
        np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.keras_backend
@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        ("mean_squared_error", np.array([[1.0], [-2.0]])),
        ("binary_crossentropy", np.array([[1.0], [0.0]])),
        ("sparse_categorical_crossentropy", np.array([2, 0])),
    ],
)
def test_the_loss_of_a_row_is_that_by_which_it_is_judged(loss: str, targets: np.ndarray):
    z = np.random.default_rng(0).normal(size=(2, 3, 1 if targets.ndim == 2 else 4))
    expected = np.mean([losses_of_rows(loss, z[:, i], targets) for i in range(3)])
    found = EachLoss(loss, 3)(targets.astype("float32"), z.astype("float32"))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_each_class_has_its_share_of_the_rows_that_are_held_out():
    labels = np.arange(1000) % 10 == 0
    table = Table(np.zeros((1000, 1), np.float32), labels, np.ones(1000, np.float32), (), labels)
    assert labels[table.held_out(0.1, seed=3)].sum() == 10
    few = Table(table.x[:100], labels[:100], table.weights[:100], (), labels[:100])
    assert len(few.held_out(0.1, seed=3)) == 0


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="compiles nothing")
def test_another_rate_and_length_are_not_traced_again():
    compiled = []
    for max_lr, epochs in [(0.1, 2), (0.02, 2), (0.1, 5)]:
        asked = settings("momentum", max_lr, epochs)
        fit_networks(TABLE, asked)
        start = side_by_side([initial_weights(asked.shape.layers, seed=0)])
        with lent_network(asked.shape, start, ()) as network:
            compiled.append(vars(network.model)[LATEST_FUNCTION][1])
    assert compiled[0] is compiled[1] is compiled[2]
