"""Early stopping and checkpoints: judged where a cycle ends, not at its peak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from tests.keras.toys import ONES, ZEROS, one_weight, value

CYCLE = cr.WarmRestarts(0.1, cycle_steps=4)  # two epochs of two batches


class Told(keras.callbacks.Callback):
    """Sets a value for each epoch, and the weight to the number of the epoch."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["val_loss"] = self.values[epoch]
        self.model.set_weights([np.full((1, 1), float(epoch))])


def fit(
    model: Any, values: list[float], *callbacks: Any, cycle: Any = CYCLE, batches: int = 2
) -> int:
    x, y = (np.concatenate([part] * batches) for part in (ONES, ZEROS))
    scheduled = [ck.ScheduleCallback(lr=cycle)] if cycle else []
    history = model.fit(
        x,
        y,
        batch_size=4,
        epochs=len(values),
        callbacks=[*callbacks[1:], Told(values), *callbacks[:1], *scheduled],
        verbose=0,
    )
    return len(history.epoch)


# Epochs 1, 3, 5, 7 end cycles; the best value of all is at a peak, in epoch 2.
VALUES = [9.0, 0.5, 0.1, 0.4, 8.0, 0.45, 7.0, 0.3]


def test_a_better_value_at_the_peak_is_not_looked_at():
    model = one_weight(keras.optimizers.SGD())
    stopping = ck.CycleEarlyStopping()
    assert fit(model, VALUES, stopping) == 6
    assert (stopping.best, stopping.best_cycle, stopping.stopped_cycle) == (0.4, 2, 3)
    assert value(model.weights[0]).item() == 3.0


def test_with_patience_it_goes_on():
    model = one_weight(keras.optimizers.SGD())
    stopping = ck.CycleEarlyStopping(CYCLE, patience=2, restore_best_weights=False)
    assert fit(model, [*VALUES[:6], 7.0, 0.41], stopping) == 8
    assert (stopping.best_cycle, stopping.stopped_cycle) == (2, 4)
    assert value(model.weights[0]).item() == 7.0


def test_accumulated_batches_are_a_step_unless_the_schedule_is_in_the_optimizer():
    stopping = ck.CycleEarlyStopping()
    model = one_weight(keras.optimizers.SGD(gradient_accumulation_steps=2))
    assert fit(model, VALUES, stopping) == 8  # judged in epochs 3 and 7
    assert (stopping.best, stopping.best_cycle) == (0.3, 2)
    rate = ck.as_schedule(CYCLE)
    model = one_weight(keras.optimizers.SGD(rate, gradient_accumulation_steps=2))
    assert fit(model, VALUES, stopping, cycle=None) == 6  # in epochs 1, 3 and 5
    assert (stopping.best, stopping.best_cycle) == (0.4, 2)


def test_a_model_is_saved_with_its_optimizer(tmp_path: Path):
    model = one_weight(keras.optimizers.SGD(ck.as_schedule(CYCLE)))
    checkpoint = ck.CycleCheckpoint(tmp_path / "best.keras")
    fit(model, VALUES, checkpoint, cycle=None)
    assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]
    best = keras.saving.load_model(checkpoint.saved[0])
    assert value(best.weights[0]).item() == 7.0
    assert int(best.optimizer.iterations) == 16


def test_the_best_cycles_are_saved_whole(tmp_path: Path):
    model = one_weight(keras.optimizers.SGD())
    checkpoint = ck.CycleCheckpoint(tmp_path / "{cycle}-{epoch}.weights.h5")
    fit(model, VALUES, checkpoint)
    names = [f"{name}.weights.h5" for name in ("1-2", "2-4", "4-8")]
    assert [Path(path).name for path in checkpoint.saved] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    model.load_weights(checkpoint.saved[1])
    assert value(model.weights[0]).item() == 3.0


def test_cycles_that_end_inside_an_epoch_are_refused():
    model = one_weight(keras.optimizers.SGD())
    with pytest.raises(ValueError, match=r"a multiple of 3 steps.* ends at step 7"):
        fit(model, VALUES, ck.CycleEarlyStopping(), batches=3)
    with pytest.raises(ValueError, match="that of the fit, WarmRestarts"):
        fit(model, VALUES, ck.CycleEarlyStopping(cr.WarmRestarts(0.2, 4)))
    with pytest.raises(
        ValueError, match=r"^schedule must be set by .*a fit whose rate is not scheduled"
    ):
        fit(model, VALUES, ck.CycleEarlyStopping(), cycle=None)
    assert value(model.weights[0]).item() == 1.0


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"^path must be"):
        ck.CycleCheckpoint("model.h5")
    with pytest.raises(ValueError, match=r"^patience must be"):
        ck.CycleEarlyStopping(patience=0)
    with pytest.raises(ValueError, match=r"^mode must be"):
        ck.CycleEarlyStopping(monitor="val_thing")
    with pytest.raises(ValueError, match=r"^monitor must be one of loss"):
        fit(one_weight(keras.optimizers.SGD()), VALUES, ck.CycleEarlyStopping(monitor="val_mae"))
