"""fit_cycles: whole cycles by Smith's rules, the last update of each at the lowest rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from tests.keras.toys import BACKEND, ONES, ZEROS, mean_of_output, one_weight

X, Y = np.concatenate([ONES, ONES]), np.concatenate([ZEROS, ZEROS])


def fit(model: Any = None, x: Any = X, y: Any = Y, **options: Any) -> Any:
    model = model or one_weight(keras.optimizers.SGD(momentum=0.9))
    return ck.fit_cycles(model, x, y, batch_size=4, verbose=0, **{"max_lr": 0.1, **options})


def test_rate_and_momentum_are_those_of_whole_cycles():
    history = fit(momentum=(0.8, 0.9), base_lr=0.02)
    policy = cr.Triangular(0.02, 0.1, step_size=4)
    assert history.steps == {
        "learning_rate": policy(range(1, 25)).tolist(),
        "momentum": policy.mirrored(0.8, 0.9)(range(1, 25)).tolist(),
    }
    assert [history.steps["learning_rate"][i] for i in (7, 15, 23)] == [0.02] * 3
    assert (history.range_test, history.explosion) == (None, None)


def test_the_epochs_that_are_given_hold_whole_cycles_and_their_ends_are_judged():
    stopping = ck.CycleEarlyStopping(min_delta=1e9)
    history = fit(
        epochs=14, policy="triangular2", callbacks=stopping, validation_data=(X, Y), guard=True
    )
    # The second cycle brings nothing better: two cycles of four epochs.
    assert (len(history.epoch), stopping.stopped_cycle) == (8, 2)
    assert history.steps["learning_rate"] == cr.Triangular2(0.025, 0.1, 4)(range(1, 17)).tolist()


@pytest.mark.parametrize("how", ["initial_epoch", "BackupAndRestore"])
def test_a_fit_that_goes_on_goes_on_in_its_cycle(how: str, tmp_path: Path):
    whole = fit(momentum=(0.8, 0.9)).steps
    if how == "initial_epoch":
        rest = fit(momentum=(0.8, 0.9), initial_epoch=5)
    else:

        def stop(epoch: int, logs: Any) -> None:
            if epoch == 5:
                raise KeyboardInterrupt

        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        with pytest.raises(KeyboardInterrupt):
            fit(callbacks=[backup, keras.callbacks.LambdaCallback(on_epoch_begin=stop)])
        rest = fit(momentum=(0.8, 0.9), callbacks=[backup])
    assert rest.epoch[0] == 5
    assert rest.steps == {name: values[10:] for name, values in whole.items()}


def test_a_guarded_fit_says_what_happened():
    x = np.concatenate([ONES, np.nan * ONES])
    model = one_weight(keras.optimizers.SGD(), mean_of_output)
    with pytest.warns(UserWarning, match="batches of 2 instead of 4"):
        history = fit(model, x, x, guard=True, shuffle=False)
    assert history.explosion.step == 2


@pytest.mark.skipif(BACKEND == "tensorflow", reason="the same code; it takes ten times as long")
def test_the_rate_that_is_found_is_the_highest():
    history = fit(max_lr=None, range_test_options={"method": "range", "steps": 40})
    assert max(history.steps["learning_rate"]) == history.range_test.max_lr
    assert history.steps["learning_rate"][-1] == history.range_test.max_lr / 4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cycles", {"cycles": 2}),
        ("y", {"y": None}),
        ("step_size_epochs", {"step_size_epochs": 11}),
        ("epochs", {"epochs": 8}),
        ("policy", {"policy": "one_cycle"}),
        ("gamma", {"policy": "exp_range"}),
        ("base_lr", {"base_lr": 0.2}),
        ("initial_epoch", {"initial_epoch": 12}),
        ("initial_epoch", {"initial_epoch": 1, "max_lr": None}),
    ],
)
def test_wrong_arguments_train_nothing(name: str, options: dict):
    model = one_weight(keras.optimizers.SGD())
    with pytest.raises(ValueError, match=f"^{name} must be"):
        fit(model, **options)
    assert int(model.optimizer.iterations) == 0
