"""DivergenceGuard: stops on the very batch, and gives back the end of the last good cycle."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from tests.keras.toys import Weights, mean_of_output, one_weight, value

CYCLE = cr.WarmRestarts(0.1, cycle_steps=4)


def fit_with(
    values: np.ndarray, cycle: cr.Schedule = CYCLE, epochs: int = 1, optimizer: Any = None
) -> tuple[Any, ...]:
    """The loss of a batch is its value times the weight, whose gradient is the value."""
    model = one_weight(optimizer or keras.optimizers.SGD(momentum=0.9), mean_of_output)
    guard, weights = ck.DivergenceGuard(batch_size=4), Weights()
    x = np.repeat(values.astype("float32"), 4)[:, None]
    callbacks = [weights, guard, ck.ScheduleCallback(lr=cycle)]
    model.fit(x, x, batch_size=4, epochs=epochs, shuffle=False, callbacks=callbacks, verbose=0)
    return model, guard, weights.seen


def test_nan_stops_on_that_batch_and_gives_back_the_last_cycle():
    batches = np.full(20, 0.1)
    batches[14] = np.nan
    with pytest.warns(UserWarning, match="became nan at step 14.*after step 7, the end of a cycle"):
        model, guard, seen = fit_with(batches)
    assert len(seen) == 15
    # The cycle that ended with step 11 was only three steps before: not sure to be good.
    assert guard.restored_step == 7
    assert value(model.weights[0]).item() == pytest.approx(seen[7], abs=0)
    assert int(model.optimizer.iterations) == 8
    assert guard.explosion.lr == max(CYCLE(range(9, 14)))
    assert guard.explosion.max_lr == pytest.approx(guard.explosion.lr / 3)


def test_before_the_first_cycles_end_it_gives_back_the_start():
    batches = np.full(6, 0.1)
    batches[3] = np.inf
    with pytest.warns(UserWarning, match="the weights that the fit began with"):
        model, guard, seen = fit_with(batches)
    assert (len(seen), guard.restored_step) == (4, None)
    assert value(model.weights[0]).item() == 1.0
    assert int(model.optimizer.iterations) == 0


def test_an_explosion_is_seen_in_the_batches_own_losses_over_epochs():
    # Twelve quiet batches, then ones whose loss doubles and doubles.
    batches = np.concatenate([np.tile([0.1, 0.11], 6), 1e3 * 2.0 ** np.arange(8)])
    with pytest.warns(UserWarning, match="The loss exploded"):
        _, guard, seen = fit_with(batches, cr.Constant(1e-9))
    assert guard.explosion.step == 14  # the third of them: two are a spike
    assert len(seen) == 15
    assert guard.explosion.loss == pytest.approx(4e3, rel=1e-3)


def test_a_training_that_goes_well_is_left_alone():
    model, guard, seen = fit_with(np.full(9, 0.1), epochs=2)
    assert guard.explosion is None
    assert len(seen) == 18
    assert value(model.weights[0]).item() == seen[-1]


def test_a_batch_that_is_skipped_is_no_step():
    inner = keras.optimizers.SGD(momentum=0.9)
    scaled = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1e36)
    batches = np.full(20, 0.1)
    batches[1], batches[15] = 1e4, np.nan  # the first overflows under that scale
    with pytest.warns(UserWarning, match="became nan at step 14.*after step 7, the end of a cycle"):
        model, guard, seen = fit_with(batches, optimizer=scaled)
    assert seen[1] == seen[0]
    assert guard.restored_step == 7
    assert value(model.weights[0]).item() == pytest.approx(seen[8], abs=0)
    assert int(inner.iterations) == 8
