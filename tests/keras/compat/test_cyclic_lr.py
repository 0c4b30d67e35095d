"""CyclicLR: the updates follow bckenstler/CLR's formula, and its attributes are there."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

import cyclerate.keras as ck
from tests.keras.toys import Weights, compiled_by_tracing, fit_steps, mean_of_output, one_weight

BOUNDS = {"base_lr": 0.1, "max_lr": 0.5, "step_size": 3}
SCALES = {
    "triangular": lambda cycle, step: 1.0,
    "triangular2": lambda cycle, step: 1 / 2.0 ** (cycle - 1),
    "exp_range": lambda cycle, step: 0.9**step,
}


def published(step: int, scale) -> float:
    """The rate as the project's README defines it."""
    cycle = math.floor(1 + step / (2 * 3))
    x = abs(step / 3 - 2 * cycle + 1)
    return 0.1 + (0.5 - 0.1) * max(0.0, 1 - x) * scale(cycle, step)


def used_rates(model, steps: int, *callbacks, epochs: int = 1) -> np.ndarray:
    """What was subtracted from the weight at each step, the gradient being 1."""
    before = float(keras.ops.convert_to_numpy(model.trainable_variables[0])[0, 0])
    weights = Weights()
    fit_steps(model, steps, *callbacks, weights, epochs=epochs)
    return -np.diff([before, *weights.seen])


def descending(**options):
    return one_weight(keras.optimizers.SGD(), mean_of_output, **options)


@pytest.mark.parametrize("mode", SCALES)
def test_the_updates_use_the_published_formula(mode):
    clr = ck.CyclicLR(**BOUNDS, mode=mode, gamma=0.9)
    expected = [published(step, SCALES[mode]) for step in range(14)]
    np.testing.assert_allclose(used_rates(descending(), 14, clr), expected, rtol=2e-5)
    np.testing.assert_allclose(clr.history["lr"], expected, rtol=1e-12)


@pytest.mark.parametrize("scale_mode", ["cycle", "iterations"])
def test_a_scale_function_of_ones_own(scale_mode):
    clr = ck.CyclicLR(**BOUNDS, scale_fn=lambda x: 1 / (1 + x), scale_mode=scale_mode)

    def scale(cycle: int, step: int) -> float:
        return 1 / (1 + (cycle if scale_mode == "cycle" else step))

    expected = [published(step, scale) for step in range(9)]
    np.testing.assert_allclose(used_rates(descending(), 9, clr), expected, rtol=2e-5)


def test_a_second_fit_goes_on_and_history_has_every_batch():
    clr, model = ck.CyclicLR(**BOUNDS), descending(metrics=["mae"])
    first = used_rates(model, 4, clr, epochs=2)
    assert clr.clr_iterations == clr.trn_iterations == 4
    second = used_rates(model, 5, clr)
    expected = [published(step, SCALES["triangular"]) for step in range(10)]
    np.testing.assert_allclose([*first, *second], expected[:9], rtol=2e-5)
    assert clr.clr() == pytest.approx(expected[9], rel=1e-12)
    assert clr.history["iterations"] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [len(clr.history[name]) for name in ("lr", "loss", "mae")] == [9, 9, 9]


def test_reset_between_fits_begins_again_with_new_bounds():
    clr, model = ck.CyclicLR(**BOUNDS), descending()
    used_rates(model, 4, clr)
    clr._reset(new_base_lr=0.2, new_max_lr=0.4, new_step_size=2)
    assert (clr.clr_iterations, clr.trn_iterations) == (0, 4)
    np.testing.assert_allclose(used_rates(model, 4, clr), [0.2, 0.3, 0.4, 0.3], rtol=2e-5)
    assert clr.history["iterations"] == list(range(1, 9))


def test_reset_during_a_fit_counts_at_once():
    class ResetAfterThree(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                clr._reset(new_max_lr=0.7)

    clr, model = ck.CyclicLR(**BOUNDS), descending()
    rates = used_rates(model, 6, clr, ResetAfterThree())
    before = [published(step, SCALES["triangular"]) for step in range(3)]
    np.testing.assert_allclose(rates, [*before, 0.1, 0.3, 0.5], rtol=2e-5)
    np.testing.assert_allclose(clr.history["lr"], rates, rtol=2e-5)
    assert (clr.clr_iterations, clr.trn_iterations) == (3, 6)


def test_reset_with_impossible_bounds_changes_nothing():
    clr = ck.CyclicLR(**BOUNDS)
    clr.clr_iterations = 3
    with pytest.raises(ValueError, match=r"base_lr must be at most max_lr .*Received: 2\.0"):
        clr._reset(new_base_lr=2.0)
    assert (clr.base_lr, clr.max_lr, clr.clr_iterations, clr.clr()) == (0.1, 0.5, 3, 0.5)


def test_a_step_is_an_update_of_the_weights():
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    clr, model = ck.CyclicLR(**BOUNDS), one_weight(optimizer, mean_of_output)
    fit_steps(model, 8, clr)
    expected = [published(step, SCALES["triangular"]) for step in (0, 0, 1, 1, 2, 2, 3, 3)]
    np.testing.assert_allclose(clr.history["lr"], expected, rtol=1e-12)
    assert (clr.clr_iterations, clr.trn_iterations) == (4, 8)
    moved = 1 - float(keras.ops.convert_to_numpy(model.trainable_variables[0])[0, 0])
    assert moved == pytest.approx(sum(expected[::2]), rel=1e-5)


@compiled_by_tracing
def test_several_steps_per_execution():
    clr, model = ck.CyclicLR(**BOUNDS), descending(steps_per_execution=4)
    fit_steps(model, 8, clr)
    assert (clr.clr_iterations, clr.trn_iterations) == (8, 8)
    moved = 1 - float(keras.ops.convert_to_numpy(model.trainable_variables[0])[0, 0])
    assert moved == pytest.approx(sum(published(n, SCALES["triangular"]) for n in range(8)))


def test_a_step_size_of_rows_over_batches_is_rounded():
    clr = ck.CyclicLR(base_lr=0.0, max_lr=1.0, step_size=4 * (50 / 32))
    clr.clr_iterations = 6
    assert clr.clr() == 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "exp"}, r"mode must be one of .*triangular2.*Received: 'exp'"),
        ({"base_lr": 0.9}, r"base_lr must be at most max_lr .*Received: 0\.9"),
        ({"step_size": 0}, r"step_size must be .*Received: 0"),
        ({"scale_fn": 3}, r"scale_fn must be a function .*Received: 3"),
        ({"scale_fn": abs, "scale_mode": "step"}, r"scale_mode must be .*Received: 'step'"),
        ({"mode": "exp_range", "gamma": 1.5}, r"gamma must be .*Received: 1\.5"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        ck.CyclicLR(**{**BOUNDS, **wrong})


def test_the_callback_of_an_article_with_only_the_import_changed():
    """An image network trained with bounds read off a range test, step size four epochs."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 8)).astype("float32")
    y = (x[:, 0] + x[:, 1] > 0).astype("int32")
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(2, "softmax")]
    )
    batch_size = 10
    clr = ck.CyclicLR(
        base_lr=1e-4, max_lr=1e-2, step_size=int(4 * (len(x) / batch_size)), mode="triangular"
    )
    model.compile(
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(),
        metrics=["accuracy"],
    )
    history = model.fit(
        x,
        y,
        batch_size=batch_size,
        epochs=15,
        verbose=0,
        validation_split=0.2,
        callbacks=[clr],
    )
    assert max(clr.history["lr"]) == pytest.approx(1e-2, rel=1e-12)
    assert clr.history["lr"].index(max(clr.history["lr"])) == 24
    assert history.history["accuracy"][-1] > 0.8
