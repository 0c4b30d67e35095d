"""Models, data and places in training that a schedule or a range test was not written for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from cyclerate._errors import CyclerateError
from tests.keras.toys import BACKEND, ONES, ZEROS, compiled_by_tracing, fit_steps, one_weight

LR = cr.OneCycle(0.1, total_steps=12)


class _Interrupt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            raise KeyboardInterrupt


class TestAFitThatGoesOn:
    """The place in training is that of the fit, not that of the callback."""

    @pytest.mark.keras_backend
    @pytest.mark.parametrize("first", [True, False], ids=["backup first", "backup last"])
    def test_after_backup_and_restore(self, first: bool, tmp_path: Path):
        def callbacks(cycle: Any) -> list[Any]:
            both = [keras.callbacks.BackupAndRestore(tmp_path), cycle]
            return both if first else both[::-1]

        begun = ck.ScheduleCallback(LR)
        model = one_weight(keras.optimizers.SGD())
        with pytest.raises(KeyboardInterrupt):
            fit_steps(model, 12, *callbacks(begun), _Interrupt(), epochs=4)
        again, cycle = one_weight(keras.optimizers.SGD()), ck.ScheduleCallback(LR)
        ends = ck.CycleEarlyStopping(monitor="loss", patience=9)
        history = fit_steps(again, 12, ends, *callbacks(cycle), epochs=4)
        assert cycle.history["learning_rate"] == LR(range(6, 12)).tolist()
        assert history.steps == cycle.history
        assert cycle.next_step == 12
        assert ends.best_cycle == 1  # that ends with step 11

    @pytest.mark.parametrize("before", [0, 5], ids=["new", "trained before"])
    def test_with_an_initial_epoch(self, before: int):
        model, cycle = one_weight(keras.optimizers.SGD()), ck.ScheduleCallback(LR)
        if before:
            fit_steps(model, before)
        x, y = np.concatenate([ONES] * 3), np.concatenate([ZEROS] * 3)
        options: dict[str, Any] = {"batch_size": 4, "verbose": 0}
        model.fit(x, y, epochs=4, initial_epoch=2, callbacks=[cycle], **options)
        assert cycle.history["learning_rate"] == LR(range(6, 12)).tolist()

    def test_a_place_that_is_given_is_kept(self):
        model, cycle = one_weight(keras.optimizers.SGD()), ck.ScheduleCallback(LR, start_step=4)
        options: dict[str, Any] = {"batch_size": 4, "verbose": 0, "callbacks": [cycle]}
        model.fit(ONES, ZEROS, epochs=3, initial_epoch=1, **options)
        assert cycle.history["learning_rate"] == LR(range(4, 6)).tolist()


UNTRACEABLE: dict[str, Callable[[Any], Any]] = {
    "if": lambda cycle: 1.0 if cycle < 2 else 0.5,
    "math": lambda cycle: math.pow(0.5, cycle),
    "int": lambda cycle: 0.5 ** int(cycle),
}
SCHEDULED: dict[str, Callable[[Any], Any]] = {
    "ScheduleCallback": lambda f: ck.ScheduleCallback(cr.Cyclic(0.1, 0.2, 2, scale_fn=f)),
    "momentum": lambda f: ck.ScheduleCallback(
        momentum=cr.Cyclic(0.1, 0.2, 2, scale_fn=f).mirrored(0.8, 0.9)
    ),
    "CyclicLR": lambda f: ck.CyclicLR(0.1, 0.2, 2, scale_fn=f),
    "as_schedule": lambda f: ck.as_schedule(cr.Cyclic(0.1, 0.2, 2, scale_fn=f)),
    "CyclicalLearningRate": lambda f: ck.CyclicalLearningRate(0.1, 0.2, 2, f),
}


@compiled_by_tracing
@pytest.mark.keras_backend
@pytest.mark.parametrize("function", UNTRACEABLE)
@pytest.mark.parametrize("scheduled", SCHEDULED)
def test_a_function_that_cannot_be_compiled_is_refused_before_the_model_is_touched(
    function: str, scheduled: str
):
    model = one_weight(keras.optimizers.SGD(momentum=0.9))
    fit_steps(model, 1)
    before = model.get_weights()
    with pytest.raises(ValueError, match="scale_fn can be compiled"):
        fit_steps(model, 2, SCHEDULED[scheduled](UNTRACEABLE[function]))
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    fit_steps(model, 1)


def test_steps_that_no_backend_counts_are_refused():
    steps: list[Any] = [1e300, 2**31, 10**400]
    for step in steps:
        with pytest.raises(ValueError, match="start_step must be"):
            ck.ScheduleCallback(LR, start_step=step)


@pytest.mark.keras_backend
@pytest.mark.parametrize("kind", ["plateau", "scheduler", "none"])
@pytest.mark.parametrize("first", [True, False])
def test_another_callback_that_sets_the_rate_is_told_that_it_does_nothing(kind: str, first: bool):
    others: dict[str, list[Any]] = {
        "plateau": [keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=1e9)],
        "scheduler": [keras.callbacks.LearningRateScheduler(lambda epoch: 0.3)],
        "none": [],
    }
    cycle = ck.ScheduleCallback(LR)
    both = [cycle, *others[kind]] if first else [*others[kind], cycle]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit_steps(one_weight(keras.optimizers.SGD()), 10, *both, epochs=5)
    texts = [str(warning.message) for warning in told if "sets the learning" in str(warning)]
    assert len(texts) == (kind != "none")
    assert cycle.history["learning_rate"] == [LR(step) for step in range(10)]


class _ByHand(keras.Sequential):
    """Its steps do without the optimizer that it was compiled with."""

    def train_step(self, state: Any, data: Any) -> Any:
        import jax

        trainable, others, optimizer, metrics = state
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)

        def loss_of(weights: Any) -> Any:
            return (self.stateless_call(weights, others, x)[0] ** 2).mean()

        loss, gradients = jax.value_and_grad(loss_of)(trainable)
        trainable = [w - 0.01 * g for w, g in zip(trainable, gradients, strict=True)]
        return {"loss": loss}, (trainable, others, optimizer, metrics)


@pytest.mark.skipif(BACKEND != "jax", reason="its train_step is that of JAX")
class TestAnOptimizerThatIsNotTheOneInUse:
    @pytest.fixture
    def model(self) -> Any:
        model = _ByHand([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    def test_a_schedule_says_so(self, model: Any):
        with pytest.warns(UserWarning, match="whose rate is scheduled, took no step"):
            fit_steps(model, 4, ck.ScheduleCallback(LR), epochs=2)

    def test_a_cycle_that_would_find_its_top_refuses(self, model: Any):
        with pytest.raises(ValueError, match=r"steps with model\.optimizer"):
            fit_steps(model, 4, ck.SelfFindingCycle())
        fit_steps(model, 1)

    def test_a_range_test_refuses_and_gives_all_back(self, model: Any):
        before = model.get_weights()
        with pytest.raises(ValueError, match=r"steps with model\.optimizer"):
            ck.range_test(model, ONES, ZEROS, batch_size=4, steps=10, method="range")
        np.testing.assert_array_equal(model.get_weights()[0], before[0])


class NotForEvaluate(keras.Sequential):
    def test_step(self, *data: Any) -> Any:
        raise NotImplementedError("only train_step")


class TestAModelThatEvaluateIsNotFor:
    x = np.linspace(-1, 1, 64, dtype="float32")[:, None]

    @pytest.fixture
    def model(self) -> Any:
        model = NotForEvaluate([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(), "mse")
        return model

    def test_a_probe_says_what_to_do(self, model: Any):
        with pytest.raises(CyclerateError, match="Give score_fn"):
            ck.range_test(model, self.x, 2 * self.x, batch_size=8, steps=20, max_steps=80)
        model.fit(self.x, self.x, verbose=0)

    def test_with_a_function_it_is_raced(self, model: Any):
        seen: list[int] = []

        def score(of: Any, batch: Any) -> Any:
            x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
            seen.append(len(x))
            return keras.ops.mean((of(x, training=False) - y) ** 2)

        options: dict[str, Any] = {"batch_size": 8, "steps": 20, "max_steps": 80}
        found = ck.range_test(model, self.x, 2 * self.x, score_fn=score, **options)
        assert found.races
        assert set(seen) == {8}
        plain = keras.Sequential(model.layers)
        plain.compile(keras.optimizers.SGD(), "mse")
        same = ck.range_test(plain, self.x, 2 * self.x, **options)
        assert found.max_lr == pytest.approx(same.max_lr)
        nothing: Any = 1
        with pytest.raises(ValueError, match="score_fn must be"):
            ck.range_test(model, self.x, self.x, score_fn=nothing)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"validation_data": (np.ones((0, 1)), np.ones((0, 1)))}, "validation_data"),
        ({"validation_data": ()}, "validation_data"),
        ({"validation_data": 3}, "validation_data"),
        ({"batch_size": math.inf}, "batch_size"),
        ({"batch_size": "8"}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
    ],
    ids=str,
)
def test_the_argument_that_is_wrong_is_the_one_that_is_named(options: dict[str, Any], name: str):
    model = one_weight(keras.optimizers.SGD())
    with pytest.raises(ValueError, match=f"^{name} must be"):
        ck.range_test(model, ONES, ZEROS, **{"steps": 10, "method": "range", **options})


JUNK: list[Any] = [[1], {}, np.array([1, 2]), "abc", -1, 1.5, math.nan, object(), 10**400, b"x"]
TRIANGLE = cr.Triangular(0.1, 0.2, 2)
NORMED = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])


def _tested(**options: Any) -> Any:
    told = {"y": ZEROS, "steps": 10, "method": "range", "verbose": 0, **options}
    return ck.range_test(one_weight(keras.optimizers.SGD()), ONES, **told)


# What takes an argument, its name, and which of the junk may be right.
DOORS: dict[str, tuple[Callable[[Any], Any], str, tuple[int, ...]]] = {
    "early stopping's monitor": (lambda j: ck.CycleEarlyStopping(monitor=j), "mon|mode", ()),
    "early stopping's schedule": (ck.CycleEarlyStopping, "schedule", ()),
    "restore": (
        lambda j: ck.CycleEarlyStopping(restore_best_weights=j),
        "restore_best_weights",
        (),
    ),
    "checkpoint's path": (ck.CycleCheckpoint, "path", ()),
    "save_best_only": (
        lambda j: ck.CycleCheckpoint("a.keras", save_best_only=j),
        "save_best_only",
        (),
    ),
    "guard's schedule": (ck.DivergenceGuard, "schedule", ()),
    "guard's batch": (lambda j: ck.DivergenceGuard(batch_size=j), "batch_size", (8,)),
    "groups": (
        lambda j: fit_steps(one_weight("sgd"), 1, ck.LayerRates(groups=j)),
        "groups",
        (),
    ),
    "folder": (ck.SnapshotEnsemble, "folder", (3,)),
    "load": (ck.SnapshotEnsemble.load, "folder", (3,)),
    "saved cycle": (ck.SelfFindingCycle.load, "path", (3,)),
    "assign": (lambda j: ck.WeightAveraging(assign=j), "assign", ()),
    "batch norm's model": (lambda j: ck.update_batch_norm(j, ONES), "model", ()),
    "batch norm's data": (lambda j: ck.update_batch_norm(NORMED, j), "x", (2,)),
    "targets": (lambda j: _tested(y=j), "y", ()),
    "sample_weight": (lambda j: _tested(sample_weight=j), "sample_weight", ()),
    "class_weight": (lambda j: _tested(class_weight=j), "class_weight", (1,)),
    "callbacks": (
        lambda j: ck.fit_one_cycle(one_weight("sgd"), ONES, ZEROS, 1, 0.1, callbacks=j, verbose=0),
        "callbacks",
        (1,),
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_what_is_nonsense_is_refused_by_name(door: str):
    call, name, may_be_right = DOORS[door]
    for i, junk in enumerate(JUNK):
        if i not in may_be_right:
            with pytest.raises(ValueError, match=f"^({name}).* must be") as caught:
                call(junk)
            assert len(str(caught.value)) < 300
