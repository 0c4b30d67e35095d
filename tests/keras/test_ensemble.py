"""A member holds the weights of exactly the step with the cycle's lowest rate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from cyclerate.cycles import cycle_ends
from tests.keras.toys import BACKEND, ONES, ZEROS, fit_steps, one_weight, simulate, value

pytestmark = pytest.mark.keras_backend

CYCLES = cr.WarmRestarts(max_lr=0.1, cycle_steps=3, min_lr=0.01)


def members_of(folder: Path, **options: Any) -> dict[int, float]:
    """The one weight of each member, by its step."""
    ensemble = ck.SnapshotEnsemble.load(folder, outputs="values", **options)
    return {member.step: weight(model) for member, model in ensemble.models()}


def weight(model: Any) -> float:
    return float(value(model.trainable_variables[0]).ravel()[0])


def by_hand(schedule: cr.Schedule, steps: int, start: float = 1.0) -> dict[int, float]:
    """The weights at the ends of the cycles, under plain descent on w**2."""
    weights = simulate(lambda w, g, step: w - schedule(step) * g, steps)
    return {step: start * weights[step] for step in cycle_ends(schedule, steps)}


def test_members_are_the_weights_of_the_last_step_of_each_cycle(tmp_path: Path):
    # Ends at steps 2, 5, 8 in epochs of four batches: two of them inside of an epoch.
    model = one_weight(keras.optimizers.SGD(0.1, momentum=0.0))
    saving = ck.SnapshotEnsemble(tmp_path, CYCLES)
    fit_steps(model, 12, saving, ck.ScheduleCallback(lr=CYCLES), epochs=3)
    expected = by_hand(CYCLES, 12)
    assert list(expected) == [2, 5, 8, 11]
    assert members_of(tmp_path) == pytest.approx(expected, rel=1e-5)
    assert [(m.cycle, m.lr) for m in saving.members] == [
        (cycle, CYCLES(step)) for cycle, step in enumerate(expected, start=1)
    ]
    # Saving in the middle of an epoch left the training as it is without.
    other = one_weight(keras.optimizers.SGD(0.1, momentum=0.0))
    fit_steps(other, 12, ck.ScheduleCallback(lr=CYCLES), epochs=3)
    assert weight(model) == weight(other)
    x = np.array([[1.0], [2.0]], "float32")
    mean = ck.SnapshotEnsemble.load(tmp_path, outputs="values", last=2).predict(x, batch_size=1)
    assert mean.tolist() == pytest.approx(x * np.mean([expected[8], expected[11]]), rel=1e-5)


def test_a_fit_with_the_schedule_in_the_optimizer_that_goes_on_in_a_second(tmp_path: Path):
    model = one_weight(keras.optimizers.SGD(ck.as_schedule(CYCLES), momentum=0.9))
    model.fit(ONES, ZEROS, verbose=0)  # a step before there is a callback
    saving = ck.SnapshotEnsemble(tmp_path, CYCLES, total_steps=9, start_cycle=2)
    for steps in (3, 5):
        fit_steps(model, steps, saving)
    assert [(member.step, member.cycle) for member in saving.members] == [(5, 2), (8, 3)]
    assert members_of(tmp_path, last=1)[8] == weight(model)


def test_an_update_in_two_batches_ends_a_cycle_with_the_second(tmp_path: Path):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model = one_weight(optimizer)
    saving = ck.SnapshotEnsemble(tmp_path, CYCLES)
    fit_steps(model, 12, ck.ScheduleCallback(lr=CYCLES), saving, epochs=2)
    assert members_of(tmp_path) == pytest.approx(by_hand(CYCLES, 6), rel=1e-5)


def test_a_schedule_in_the_optimizer_counts_batches(tmp_path: Path):
    optimizer = keras.optimizers.SGD(ck.as_schedule(CYCLES), gradient_accumulation_steps=2)
    saving = ck.SnapshotEnsemble(tmp_path)
    fit_steps(one_weight(optimizer), 12, saving, epochs=2)
    # Every second batch makes an update, at the rate of that batch: 1, 3, 5 and so on.
    after = simulate(lambda w, g, update: w - CYCLES(2 * update + 1) * g, 6)
    expected = {2: after[0], 5: after[2], 8: after[3], 11: after[5]}
    assert members_of(tmp_path) == pytest.approx(expected, rel=1e-5)


def test_the_schedule_is_found_in_the_fit(tmp_path: Path):
    saving = ck.SnapshotEnsemble(tmp_path)
    assert (saving.schedule, saving.members) == (None, ())
    fit_steps(one_weight("sgd"), 4, saving, ck.ScheduleCallback(lr=CYCLES))
    assert saving.schedule == CYCLES
    assert [(member.step, member.lr) for member in saving.members] == [(2, CYCLES(2))]
    other = one_weight("sgd")
    with pytest.raises(ValueError, match="folder must be without the members of a previous run"):
        fit_steps(other, 3, ck.SnapshotEnsemble(tmp_path), ck.ScheduleCallback(lr=CYCLES))
    assert weight(other) == 1.0


def test_a_schedule_that_does_not_set_the_rate_is_refused(tmp_path: Path):
    model = one_weight(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match=r"ScheduleCallback.*a fit whose rate is not scheduled"):
        fit_steps(model, 3, ck.SnapshotEnsemble(tmp_path, CYCLES))
    other = ck.ScheduleCallback(lr=cr.Constant(0.1))
    with pytest.raises(ValueError, match="schedule must be that of the fit, Constant"):
        fit_steps(model, 3, ck.SnapshotEnsemble(tmp_path, CYCLES), other)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(BACKEND == "torch", reason="runs one step at a time whatever it is told")
def test_steps_executed_as_one_must_end_where_a_cycle_does(tmp_path: Path):
    model = one_weight("sgd", steps_per_execution=3)
    saving = ck.SnapshotEnsemble(tmp_path, CYCLES)
    fit_steps(model, 8, saving, ck.ScheduleCallback(lr=CYCLES), epochs=1)
    assert members_of(tmp_path) == pytest.approx(by_hand(CYCLES, 8), rel=1e-5)
    model = one_weight("sgd", steps_per_execution=2)
    with pytest.raises(ValueError, match="batch 3 of an epoch, after which a cycle ends"):
        fit_steps(
            model,
            6,
            ck.SnapshotEnsemble(tmp_path, CYCLES, overwrite=True),
            ck.ScheduleCallback(lr=CYCLES),
        )
    assert len(ck.SnapshotEnsemble.load(tmp_path)) == 3  # nothing was removed for it


def test_probabilities_are_averaged_and_a_corrupt_member_is_named(tmp_path: Path):
    layer = keras.layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(seed=1))
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(True))
    x, y = np.linspace(-2, 2, 8)[:, None].astype("float32"), np.arange(8) % 3
    callbacks = [ck.ScheduleCallback(lr=CYCLES), ck.SnapshotEnsemble(tmp_path, CYCLES)]
    model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    ensemble = ck.SnapshotEnsemble.load(tmp_path, outputs="logits")
    kernels = [[value(v).astype(float) for v in m.variables] for _, m in ensemble.models()]
    logits = [x.astype(float) @ kernel + bias for kernel, bias in kernels]
    each = [np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in logits]
    np.testing.assert_allclose(ensemble.predict(x), (each[0] + each[1]) / 2, rtol=1e-5)
    with pytest.raises(ValueError, match='outputs must be "logits" or "values"'):
        ck.SnapshotEnsemble.load(tmp_path).predict(x)
    file = tmp_path / ensemble.members[0].file
    broken = bytearray(file.read_bytes())
    broken[100] ^= 1
    file.write_bytes(broken)
    with pytest.warns(cr.LostMemberWarning, match=rf"{file.name} \(cycle 1\).*checksum"):
        np.testing.assert_allclose(ensemble.predict(x), each[1], rtol=1e-5)
    assert list(ensemble.lost) == [file.name]
    assert [member.cycle for member in ensemble.members] == [2]


def test_members_are_smaller_than_a_model_with_its_optimizer(tmp_path: Path):
    model = one_weight(keras.optimizers.Adam(ck.as_schedule(CYCLES)))
    saving = ck.SnapshotEnsemble(tmp_path, CYCLES)
    fit_steps(model, 3, saving)
    assert model.optimizer is not None
    assert model.compiled
    loaded = keras.saving.load_model(tmp_path / saving.members[0].file)
    assert getattr(loaded, "optimizer", None) is None
    manifest = json.loads((tmp_path / "ensemble.json").read_text())
    assert cr.from_dict(manifest["schedule"]) == CYCLES
