"""TensorFlow Addons' schedules: their formula, and saved with the model."""

from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
import pytest

import cyclerate.keras as ck
from tests.keras.toys import fit_steps, one_weight, value


def halving(x):
    return 1 / 2.0 ** (x - 1)


def published(step: int, scale, mode: str = "cycle") -> float:
    """The rate as the package's reference gives it, for bounds 0.1 and 0.5 and step size 3."""
    cycle = math.floor(1 + step / 6)
    x = abs(step / 3 - 2 * cycle + 1)
    return 0.1 + 0.4 * max(0.0, 1 - x) * scale(cycle if mode == "cycle" else step)


CASES = {
    "triangular": (ck.TriangularCyclicalLearningRate(0.1, 0.5, 3), lambda x: 1.0, "cycle"),
    "triangular2": (ck.Triangular2CyclicalLearningRate(0.1, 0.5, 3), halving, "cycle"),
    "exponential": (
        ck.ExponentialCyclicalLearningRate(0.1, 0.5, 3, gamma=0.9),
        lambda x: 0.9**x,
        "iterations",
    ),
    "exponential by cycle": (
        ck.ExponentialCyclicalLearningRate(0.1, 0.5, 3, scale_mode="cycle", gamma=0.9),
        lambda x: 0.9**x,
        "cycle",
    ),
    "own, by cycle": (
        ck.CyclicalLearningRate(0.1, 0.5, step_size=3, scale_fn=halving),
        halving,
        "cycle",
    ),
    "own, by iteration": (
        ck.CyclicalLearningRate(0.1, 0.5, 3, lambda x: 1 / (5 ** (x * 0.0001)), "iterations"),
        lambda x: 1 / (5 ** (x * 0.0001)),
        "iterations",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fit_uses_the_published_formula(case):
    schedule, scale, mode = CASES[case]
    expected = [published(step, scale, mode) for step in range(14)]
    np.testing.assert_allclose([float(schedule(n)) for n in range(14)], expected, rtol=1e-6)
    model = one_weight(keras.optimizers.SGD(schedule), "mse")
    fit_steps(model, 14)
    by_hand = math.prod(1 - 2 * rate for rate in expected)
    assert float(value(model.trainable_variables[0])[0, 0]) == pytest.approx(by_hand, rel=1e-3)


@pytest.mark.parametrize("case", ["triangular", "triangular2", "exponential", "own, by cycle"])
def test_it_is_saved_with_the_model(case, tmp_path: Path):
    schedule = CASES[case][0]
    model = one_weight(keras.optimizers.SGD(schedule), "mse")
    fit_steps(model, 4)
    model.save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    revived = loaded.optimizer._learning_rate
    assert type(revived) is type(schedule)
    assert revived.get_config() == schedule.get_config()
    assert [float(revived(n)) for n in range(20)] == [float(schedule(n)) for n in range(20)]
    fit_steps(model, 4)
    fit_steps(loaded, 4)
    np.testing.assert_array_equal(
        value(loaded.trainable_variables[0]), value(model.trainable_variables[0])
    )


def test_the_arguments_are_attributes():
    schedule = ck.ExponentialCyclicalLearningRate(1e-4, 1e-2, 2000, gamma=0.996)
    assert schedule.get_config() == {
        "initial_learning_rate": 1e-4,
        "maximal_learning_rate": 1e-2,
        "step_size": 2000,
        "scale_mode": "iterations",
        "gamma": 0.996,
        "name": "ExponentialCyclicalLearningRate",
    }
    assert (schedule.initial_learning_rate, schedule.gamma) == (1e-4, 0.996)


def test_a_function_without_a_name_cannot_be_saved():
    schedule = ck.CyclicalLearningRate(0.1, 0.5, 3, scale_fn=lambda cycle: 1 / cycle)
    with pytest.raises(ValueError, match="scale_fn"):
        schedule.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ck.Triangular2CyclicalLearningRate(0.1, 0.5, 3, "iterations"), "scale_mode"),
        (lambda: ck.TriangularCyclicalLearningRate(0.5, 0.1, 3), "maximal_learning_rate must be"),
        (lambda: ck.ExponentialCyclicalLearningRate(0.1, 0.5, -3), "step_size"),
        (
            lambda: ck.CyclicalLearningRate(0.1, 0.5, 3, scale_fn="triangular"),  # pyright: ignore[reportArgumentType]
            "scale_fn",
        ),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_article_s_optimizer_with_only_the_import_changed():
    """Three dense layers on rows with a yes or no, the optimizer made with a cyclical rate."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(120, 6)).astype("float32")
    y = (x[:, 0] > 0).astype("float32")
    batch_size = 12
    clr = ck.TriangularCyclicalLearningRate(
        initial_learning_rate=1e-2,
        maximal_learning_rate=0.5,
        step_size=2 * (len(x) // batch_size),
        scale_mode="cycle",
        name="MyCyclicScheduler",
    )
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(4, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    optimizer = keras.optimizers.SGD(learning_rate=clr)
    model.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=batch_size, epochs=12, verbose=0)
    assert history.history["accuracy"][-1] > 0.9
