"""as_schedule: the values inside the compiled step, and after saving and loading."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from tests.keras.toys import (
    BACKEND,
    ONES,
    ZEROS,
    Weights,
    fit_steps,
    mean_of_output,
    one_weight,
    value,
)

TRIANGLE = cr.Triangular(base_lr=0.1, max_lr=0.5, step_size=3)


def used_rates(model, steps: int) -> np.ndarray:
    """What was subtracted from the weight at each step, the gradient being 1."""
    before = float(value(model.trainable_variables[0])[0, 0])
    weights = Weights()
    fit_steps(model, steps, weights)
    return -np.diff([before, *weights.seen])


def test_a_fit_uses_the_schedule_step_by_step():
    model = one_weight(keras.optimizers.SGD(ck.as_schedule(TRIANGLE)), mean_of_output)
    np.testing.assert_allclose(used_rates(model, 8), TRIANGLE(range(8)), rtol=1e-5)


def test_it_goes_on_where_it_stood_after_saving_and_loading(tmp_path: Path):
    model = one_weight(keras.optimizers.SGD(ck.as_schedule(TRIANGLE)), "mse")
    fit_steps(model, 4)
    model.save(tmp_path / "half.keras")
    weights, again = Weights(), Weights()
    fit_steps(model, 4, weights)
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    fit_steps(loaded, 4, again)
    assert again.seen == weights.seen
    assert loaded.optimizer.get_config()["learning_rate"]["config"] == TRIANGLE.to_dict()


@pytest.mark.parametrize(
    "schedule",
    [
        cr.OneCycle(max_lr=0.1, total_steps=9),
        cr.Sequence([cr.Linear(0.0, 1.0, 3), cr.Cosine(1.0, 0.0, 4)], [3]),
        TRIANGLE.mirrored(0.85, 0.95),
    ],
    ids=lambda s: type(s).__name__,
)
def test_serialized_by_keras_it_comes_back_equal(schedule: cr.Schedule):
    config = keras.saving.serialize_keras_object(ck.as_schedule(schedule))
    assert config["registered_name"] == "cyclerate>Schedule"
    back = keras.saving.deserialize_keras_object(config)
    assert back.schedule == schedule
    assert back.get_config() == schedule.to_dict()


def test_the_optimizer_shows_the_rate_of_the_moment():
    model = one_weight(keras.optimizers.Adam(ck.as_schedule(TRIANGLE)))
    fit_steps(model, 2)
    assert float(model.optimizer.learning_rate) == pytest.approx(TRIANGLE(2))


def test_it_runs_in_the_step_of_a_loss_scale_optimizer():
    inner = keras.optimizers.SGD(ck.as_schedule(TRIANGLE))
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0)
    np.testing.assert_allclose(
        used_rates(one_weight(optimizer, mean_of_output), 5), TRIANGLE(range(5)), rtol=1e-5
    )


@pytest.mark.parametrize("step", [2, np.int64(2), [1, 2], np.arange(3)], ids=str)
def test_called_by_hand_it_gives_a_tensor_as_those_of_keras_do(step: Any):
    ours, theirs = ck.as_schedule(TRIANGLE)(step), keras.optimizers.schedules.CosineDecay(0.1, 9)(2)
    assert (type(ours), ours.dtype) == (type(theirs), theirs.dtype)
    np.testing.assert_allclose(value(ours), TRIANGLE(step), rtol=1e-6)
    if BACKEND != "jax":
        assert np.all(ours.numpy() == value(ours))


def test_it_is_copied_and_pickled():
    rate = ck.as_schedule(TRIANGLE)
    for again in (copy.deepcopy(rate), pickle.loads(pickle.dumps(rate))):
        assert (type(again), again.schedule) == (type(rate), TRIANGLE)


LOADING = """
import sys, keras
try:
    keras.saving.load_model(sys.argv[1])
except TypeError as error:
    print(error)
import cyclerate.keras
print(keras.saving.load_model(sys.argv[1]).optimizer.get_config()["learning_rate"]["config"])
"""


@pytest.mark.skipif(BACKEND != "jax", reason="the same code of Keras")
def test_a_program_that_has_not_imported_it_is_told_what_to_import(tmp_path: Path):
    one_weight(keras.optimizers.SGD(ck.as_schedule(TRIANGLE)), "mse").save(tmp_path / "m.keras")
    command = [sys.executable, "-c", LOADING, tmp_path / "m.keras"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Could not locate class 'KerasSchedule'" in said
    assert "'module': 'cyclerate.keras'," in said
    assert said.splitlines()[-1] == str(TRIANGLE.to_dict())


def test_its_text_names_the_schedule():
    assert repr(ck.as_schedule(cr.Constant(0.5))) == "as_schedule(Constant(value=0.5))"


@pytest.mark.parametrize("wrong", [0.1, None, "Triangular", lambda step: 0.1])
def test_anything_but_a_schedule_is_refused(wrong: object):
    with pytest.raises(ValueError, match="schedule must be a schedule of cyclerate"):
        ck.as_schedule(wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.skipif(BACKEND == "torch", reason="not supported by Keras there")
def test_several_steps_per_execution_use_a_rate_each():
    optimizer = keras.optimizers.SGD(ck.as_schedule(TRIANGLE))
    model = one_weight(optimizer, mean_of_output, steps_per_execution=3)
    x = np.concatenate([ONES] * 6)
    model.fit(x, np.concatenate([ZEROS] * 6), batch_size=4, verbose=0)
    spent = 1.0 - float(value(model.trainable_variables[0])[0, 0])
    assert spent == pytest.approx(TRIANGLE(range(6)).sum(), rel=1e-5)
