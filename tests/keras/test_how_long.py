"""The whole curve from one training, in Keras: points, files, what is given back."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from cyclerate._errors import CyclerateError
from cyclerate.keras._state import seed_all_randomness, variables_of
from tests.keras.toys import value

pytestmark = pytest.mark.keras_backend

RNG = np.random.default_rng(3)
X = RNG.normal(size=(120, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 3))).argmax(1)
TRAIN, HELD = (X[:80], Y[:80]), (X[80:], Y[80:])


def new() -> Any:
    seed_all_randomness(1)
    layers = [keras.layers.Dense(8, "tanh"), keras.layers.Dropout(0.2), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(), loss, metrics=["accuracy"])
    return model


def run(model: Any, **options: Any) -> cr.HowLong:
    told = {"total_steps": 48, "points": 3, "validation_data": HELD, "batch_size": 16, "verbose": 0}
    return ck.how_long(model, *TRAIN, **{**told, **options})


class StopAt(keras.callbacks.Callback):
    """Ends the training in its middle."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_points_are_measured_and_kept_and_a_resumed_run_is_the_same_to_the_last_bit(tmp_path: Path):
    whole = new()
    random.seed(5)
    before = random.getstate()
    told = run(whole)
    assert random.getstate() == before
    assert (told.steps, told.metric) == ((12, 24, 48), "val_loss")
    assert set(told.values) == {"loss", "val_loss", "val_accuracy"}
    measured = whole.evaluate(*HELD, verbose=0, return_dict=True)
    assert told.values["val_loss"][-1] == pytest.approx(measured["loss"], rel=1e-5)
    assert told.values["val_accuracy"][-1] == pytest.approx(measured["accuracy"])
    with pytest.raises(KeyboardInterrupt):
        run(new(), folder=tmp_path, callbacks=StopAt(30))
    assert cr.HowLong.load(tmp_path / "how_long.json").steps == (12, 24)
    resumed = new()
    assert run(resumed, folder=tmp_path) == told
    for one, other in zip(variables_of(resumed), variables_of(whole), strict=True):
        if "metrics" not in one.path and one.path in [v.path for v in whole.variables]:
            assert np.array_equal(value(one), value(other)), one.path
    ensemble = ck.SnapshotEnsemble.load(tmp_path, outputs="logits")
    assert [member.step for member in ensemble.members] == [11, 23, 47]
    *_, (_, last) = ensemble.predictions(HELD[0])
    share = (np.asarray(last).argmax(1) == HELD[1]).mean()
    assert share == pytest.approx(told.values["val_accuracy"][-1])
    with pytest.raises(ValueError, match="batch_size must be 16, as in"):
        run(new(), folder=tmp_path, batch_size=8)


def test_a_rate_that_is_given_is_the_top_of_every_cycle():
    assert run(new(), max_lr=0.02).max_lrs == (0.02, 0.02, 0.02)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"total_steps": 3}, "total_steps"),
        ({"epochs": 2}, "epochs or total_steps"),
        ({"metric": "accuracy"}, "metric"),
        ({"metric": "val_loss", "validation_data": None}, "metric"),
        ({"points": 13}, "points"),
        ({"max_lr": 0}, "max_lr"),
        ({"momentum": 3}, "momentum"),
        ({"fine_tuned": None}, "fine_tuned"),
        ({"seed": 2**32}, "seed"),
        ({"initial_epoch": 1}, "initial_epoch must be 0 here: with a folder"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_trained(options: dict[str, Any], named: str):
    model = new()
    before = [value(variable) for variable in model.variables]
    with pytest.raises(ValueError, match=named):
        run(model, **options)
    assert all(np.array_equal(value(v), b) for v, b in zip(model.variables, before, strict=True))


def test_a_metric_that_was_not_measured_is_named_with_those_that_were():
    with pytest.raises(ValueError, match="metric must be one of loss, val_accuracy, val_loss"):
        run(new(), metric="val_auc")


class EndAt(keras.callbacks.Callback):
    """Ends a fit in its middle, as a stopping callback does."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.model.stop_training = True


def test_a_cycle_that_something_ends_is_no_point(tmp_path: Path):
    with pytest.raises(CyclerateError, match="a cycle of 12 steps ended after 1: how_long needs"):
        run(new(), callbacks=[EndAt()], folder=tmp_path)
    assert not (tmp_path / "how_long.json").exists()


def test_another_run_is_refused(tmp_path: Path):
    told = run(new(), folder=tmp_path)
    for changed, named in (
        ({"metric": "loss"}, "metric must be 'val_loss'"),
        ({"metric": "val_accuracy"}, "metric must be 'val_loss'"),
        ({"validation_data": None}, "metric must be 'val_loss'"),
    ):
        with pytest.raises(ValueError, match=named):
            run(new(), folder=tmp_path, **changed)
    assert run(new(), folder=tmp_path) == told


def test_validation_data_that_come_later_are_another_run(tmp_path: Path):
    run(new(), folder=tmp_path, metric="loss", validation_data=None)
    with pytest.raises(ValueError, match="validation_data must be 'none'"):
        run(new(), folder=tmp_path, metric="loss")
