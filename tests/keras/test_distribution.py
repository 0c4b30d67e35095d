"""Models that are spread over devices: keras.distribution on JAX, tf.distribute refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from tests.keras.toys import BACKEND
from tests.source import ROOT

pytestmark = pytest.mark.keras_backend

SPREAD = """
    import sys
    import keras, numpy as np
    import cyclerate as cr, cyclerate.keras as ck

    def new():
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(8, "relu", name="dense"), keras.layers.Dense(1, name="last")]
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
        return model

    x = np.random.default_rng(0).normal(size=(128, 4)).astype("float32")
    data = (x, x.sum(1, keepdims=True))

    def told():
        model = new()
        before = model.get_weights()
        found = ck.range_test(model, *data, batch_size=16, verbose=0)
        assert all(map(np.array_equal, model.get_weights(), before))
        cycle = ck.fit_one_cycle(model, *data, total_steps=80, batch_size=16, verbose=0)
        rates = cr.OneCycle(0.01, 16)
        model = new()
        callbacks = [ck.ScheduleCallback(rates, rates.mirrored(0.85, 0.95))]
        fit = model.fit(*data, batch_size=16, epochs=2, callbacks=callbacks, verbose=0)
        assert fit.steps["learning_rate"] == rates(range(16)).tolist()
        return [found.max_lr, cycle.finding["top"], fit.history["loss"][-1]], model

    alone, _ = told()
    devices = keras.distribution.list_devices()
    assert len(devices) == 2
    if sys.argv[1] == "data":
        spread = keras.distribution.DataParallel(devices=devices)
    else:
        mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "model"), devices)
        layout = keras.distribution.LayoutMap(mesh)
        layout["dense/kernel"] = (None, "model")
        spread = keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
    keras.distribution.set_distribution(spread)
    together, model = told()
    assert len(model.trainable_variables[0].value.sharding.device_set) == 2
    assert np.allclose(together, alone, rtol=1e-3), (together, alone)
"""


@pytest.mark.skipif(BACKEND != "jax", reason="keras.distribution is JAX's")
@pytest.mark.parametrize("kind", ["data", "model"])
def test_a_model_spread_by_keras_is_found_and_trained_as_one_on_a_single_device(kind: str):
    two = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SPREAD), kind],
        env={**os.environ, **two},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is TensorFlow's")
def test_a_model_of_several_replicas_is_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    import keras
    import numpy as np

    import cyclerate as cr
    import cyclerate.keras as ck

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    class MirroredStrategy:
        num_replicas_in_sync = 2

    monkeypatch.setattr(type(model), "distribute_strategy", MirroredStrategy())
    x = np.ones((8, 2))
    message = "model must be made outside of a tf.distribute strategy"
    for call in (ck.range_test, ck.fit_one_cycle, ck.recommend, ck.how_long):
        with pytest.raises(ValueError, match=message):
            call(model, x, x[:, :1])
    callback = ck.ScheduleCallback(cr.Constant(0.1))
    callback.set_model(model)
    with pytest.raises(ValueError, match=message):
        callback.on_train_begin()
