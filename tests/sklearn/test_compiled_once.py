"""Networks of one shape share their compiled step, whatever rate and length a training has."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from cyclerate.keras import fit_one_cycle
from cyclerate.keras._internals import LATEST_FUNCTION
from cyclerate.sklearn._networks import (
    Settings,
    Shape,
    WholeBatches,
    fit_network,
    initial_weights,
    lent_network,
    weights_of,
)

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)
ONE = np.ones(64, np.float32)


def settings(optimizer: str, max_lr: float, epochs: int) -> Settings:
    shape = Shape((3, 5, 1), "mean_squared_error", optimizer, None)
    return Settings(shape, batch_size=16, epochs=epochs, max_lr=max_lr, seed=0, verbose=0)


@pytest.mark.keras_backend
@pytest.mark.parametrize(("max_lr", "epochs"), [(0.1, 5), (0.02, 1), (0.05, 12)])
@pytest.mark.parametrize("optimizer", ["momentum", "adam", "sgd"])
def test_it_is_trained_by_the_cycle_that_it_was_given(optimizer: str, max_lr: float, epochs: int):
    asked = settings(optimizer, max_lr, epochs)
    fitted = fit_network(X, Y, ONE, asked)
    with lent_network(asked.shape, initial_weights(asked.shape.widths, seed=0)) as network:
        rows = WholeBatches(X, Y, ONE, batch_size=16, seed=0)
        plain = fit_one_cycle(
            network.model, rows, epochs=epochs, max_lr=max_lr, shuffle=False, verbose=0
        )
        expected = weights_of(network.model)
    assert fitted.history.keys() == plain.history.keys()
    for name, values in plain.history.items():
        assert fitted.history[name] == pytest.approx(values, rel=1e-4)
    for found, wanted in zip(fitted.weights, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="compiles nothing")
def test_another_rate_and_length_are_not_traced_again():
    compiled = []
    for max_lr, epochs in [(0.1, 2), (0.02, 2), (0.1, 5)]:
        asked = settings("momentum", max_lr, epochs)
        fit_network(X, Y, ONE, asked)
        with lent_network(asked.shape, initial_weights(asked.shape.widths, seed=0)) as network:
            compiled.append(vars(network.model)[LATEST_FUNCTION][1])
    assert compiled[0] is compiled[1] is compiled[2]
