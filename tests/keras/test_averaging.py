"""The mean of the weights, and statistics of batch normalisation that belong to it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from cyclerate._errors import CyclerateError
from tests.keras.toys import fit_steps, one_weight, simulate, value

pytestmark = pytest.mark.keras_backend

CYCLES = cr.WarmRestarts(max_lr=0.1, cycle_steps=3, min_lr=0.01)


def weight(model: Any) -> float:
    return float(value(model.trainable_variables[0]).ravel()[0])


def descent(lr: cr.Schedule, steps: int) -> list[float]:
    return simulate(lambda w, g, step: w - lr(step) * g, steps)


def test_the_model_gets_the_mean_of_the_cycles_ends():
    model = one_weight(keras.optimizers.SGD(ck.as_schedule(CYCLES)))
    mean = ck.WeightAveraging(CYCLES, start_cycle=2)
    fit_steps(model, 12, mean, epochs=3)
    by_hand = np.mean([descent(CYCLES, 12)[step] for step in (5, 8, 11)])
    assert mean.count == 3
    assert weight(model) == pytest.approx(by_hand, rel=1e-5)


def test_epochs_at_a_constant_rate_are_averaged_and_kept_aside():
    model = one_weight(keras.optimizers.SGD(0.1))
    mean = ck.WeightAveraging(start_epoch=1, assign=False)
    fit_steps(model, 8, mean, epochs=4)
    weights = descent(cr.Constant(0.1), 8)
    assert weight(model) == pytest.approx(weights[7], rel=1e-5)
    mean.assign_to(model)
    assert weight(model) == pytest.approx(np.mean([weights[i] for i in (3, 5, 7)]), rel=1e-5)


def normalised(**options: Any) -> Any:
    layers = [
        keras.Input((1,)),
        keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"),
        keras.layers.BatchNormalization(**options),
        keras.layers.Dropout(0.5, seed=0),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


def test_statistics_are_those_of_the_mean_weights_over_the_data():
    x = np.array([[1.0], [5.0], [2.0], [8.0], [3.0]], "float32")
    model = normalised()
    data = ck.WeightAveraging(batch_norm_data=x, batch_size=2)
    model.fit(x, x, batch_size=4, epochs=3, callbacks=[data], verbose=0)
    w = weight(model)
    batches = [w * x[0:2], w * x[2:4], w * x[4:5]]
    mean = np.average([b.mean() for b in batches], weights=[2, 2, 1])
    variance = np.average([b.var() for b in batches], weights=[2, 2, 1])
    normalisation = model.layers[1]
    assert value(normalisation.moving_mean).item() == pytest.approx(mean, rel=1e-5)
    assert value(normalisation.moving_variance).item() == pytest.approx(variance, rel=1e-5)
    assert normalisation.momentum == 0.99


def test_nothing_else_is_changed_for_the_statistics():
    model = normalised()
    x = np.arange(8.0)[:, None]
    seed = [v for v in model.non_trainable_variables if "seed" in v.path]
    assert len(seed) == 1
    before = value(seed[0]), [value(v) for v in model.trainable_variables]
    ck.update_batch_norm(model, x)
    assert value(model.layers[1].moving_mean).item() == pytest.approx(3.5)
    np.testing.assert_equal((value(seed[0]), [value(v) for v in model.trainable_variables]), before)
    model.layers[1].trainable = False
    ck.update_batch_norm(model, x + 1)
    assert value(model.layers[1].moving_mean).item() == pytest.approx(3.5)


def test_batch_normalisation_without_data_is_refused():
    x = np.ones((4, 1))
    with pytest.raises(ValueError, match="batch_norm_data must be data, or False"):
        normalised().fit(x, x, callbacks=[ck.WeightAveraging()], verbose=0)
    model = normalised()
    model.fit(x, x, callbacks=[ck.WeightAveraging(batch_norm_data=False)], verbose=0)
    assert value(model.layers[1].moving_mean).item() == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"start_cycle": 2}, "start_cycle"), ({"schedule": CYCLES, "start_epoch": 1}, "start_epoch")],
)
def test_arguments_that_do_not_go_together(arguments: dict[str, Any], name: str):
    with pytest.raises(ValueError, match=name):
        ck.WeightAveraging(**arguments)


def test_nothing_averaged_is_said():
    with pytest.raises(CyclerateError, match="no weights"):
        ck.WeightAveraging().assign_to(one_weight("sgd"))
