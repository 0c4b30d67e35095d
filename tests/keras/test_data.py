"""How arrays are handed to Keras."""

from __future__ import annotations

import keras
import numpy as np
from numpy.testing import assert_array_equal

from cyclerate.compare._keras_learner import KerasLearner
from cyclerate.keras._data import in_a_pipeline
from cyclerate.keras._internals import data_adapter
from cyclerate.schedules import Constant

X = np.arange(20, dtype=np.float32).reshape(10, 2) / 20
Y = X.sum(axis=1, keepdims=True)


def test_arrays_come_in_the_batches_that_they_had():
    given = in_a_pipeline({"x": X, "y": Y, "batch_size": 4})
    batches = list(data_adapter(**given).get_numpy_iterator())
    assert [len(x) for x, _ in batches] == [4, 4, 2]
    for part, whole in enumerate((X, Y)):
        assert_array_equal(np.concatenate([batch[part] for batch in batches]), whole)


def test_no_pass_waits_for_what_tunes_the_pipeline():
    data = {"x": X, "y": Y, "batch_size": 4}
    given = in_a_pipeline(data)
    if keras.backend.backend() == "tensorflow":
        assert given["x"].options().autotune.enabled is False
        assert given["x"].cardinality().numpy() == 3
    else:
        assert given is data


def test_a_learner_trains_as_a_plain_fit_does():
    def made(seed: int) -> keras.Model:
        kernel = keras.initializers.GlorotUniform(seed=seed)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, None, True, kernel)])
        model.compile(keras.optimizers.SGD(0.1), loss="mse", metrics=["mae"])
        return model

    plain, learner = made(3), KerasLearner(made, 4)
    history = plain.fit(X, Y, batch_size=4, shuffle=False, verbose=0).history
    learner.begin(3, Constant(0.1), X, Y)
    assert learner.fit(X, Y) == history["loss"][0]
    for ours, theirs in zip(learner.model.get_weights(), plain.get_weights(), strict=True):
        assert_array_equal(ours, theirs)
    judged = plain.evaluate(X, Y, batch_size=10, verbose=0, return_dict=True)
    assert learner.evaluate(X, Y) == judged
