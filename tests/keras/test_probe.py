"""The probe: what its runs are trained on and scored on, and what it does not conclude."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import cyclerate as cr
import cyclerate.keras as ck
from cyclerate.finder import Probe, Race, RangeTest
from tests.keras.test_untouched import DATA, X, Y
from tests.keras.toys import BACKEND, compiled_by_tracing, mean_of_output, one_weight, value

SGD = keras.optimizers.SGD
SHORT: dict[str, Any] = {"steps": 12, "start_lr": 1e-3, "end_lr": 0.5, "max_steps": 42}
ROWS = np.ones((48, 1), "float32")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[float, ...], Any]]:
    """The rates of each run, as far as it came, and its score."""
    seen: list[tuple[tuple[float, ...], Any]] = []
    tell = Probe.tell

    def noted(probe: Probe, score: Any) -> None:
        run = probe.run
        seen.append((run.lrs[: run.index], score if probe.wants_score else None))
        tell(probe, score)

    monkeypatch.setattr(Probe, "tell", noted)
    return seen


@pytest.fixture
def first_losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the first step of each run told, in the order of the runs."""
    seen: list[float] = []
    for kind in (RangeTest, Race):

        def noted(run: Any, loss: float, tell: Any = kind.tell) -> bool:
            if run.index == 0:
                seen.append(loss)
            return tell(run, loss)

        monkeypatch.setattr(kind, "tell", noted)
    return seen


@pytest.mark.parametrize(
    "rate", [0.25, keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)], ids=["own", "decay"]
)
@pytest.mark.parametrize("scale", [None, 2.0], ids=["training rows", "validation_data"])
def test_each_run_begins_anew_and_is_scored_as_it_ended(rate: Any, scale: float | None, runs):
    model = one_weight(SGD(rate), mean_of_output)
    given = None if scale is None else (scale * ROWS, 0 * ROWS)
    result = ck.range_test(model, ROWS, 0 * ROWS, batch_size=8, validation_data=given, **SHORT)
    assert [lrs for lrs, _ in runs[:2]] == [(), tuple(cr.Sweep(1e-3, 0.5, 12).lrs())]
    scored = [(lrs, score) for lrs, score in runs if score is not None]
    assert len(scored) > 1
    for lrs, score in scored:
        # The gradient is 1: each step takes its rate off the weight, which was 1.
        assert score == pytest.approx((scale or 1.0) * (1 - sum(lrs)), rel=1e-5)
    assert result.metric == "loss"
    assert result.steps == sum(len(lrs) for lrs, _ in runs)
    assert value(model.trainable_variables[0])[0, 0] == 1.0


def test_scores_are_taken_in_evaluation_mode(runs):
    layers = [keras.Input((1,)), keras.layers.Dropout(0.5, seed=1), one_weight(SGD()).layers[0]]
    model = keras.Sequential(layers)
    model.compile(SGD(), mean_of_output)
    ck.range_test(model, ROWS, 0 * ROWS, batch_size=8, **SHORT)
    assert runs[0] == ((), 1.0)


@pytest.mark.parametrize("how", ["sample_weight", "class_weight"])
def test_scores_weigh_samples_as_the_training_does(how: str, runs):
    x = np.arange(48, dtype="float32")[:, None]
    classes = (np.arange(48) % 2).astype("int32")
    weights = np.where(classes == 1, 3.0, 0.5).astype("float32")
    given = {"sample_weight": weights, "class_weight": {0: 0.5, 1: 3.0}}[how]
    model = one_weight(SGD(), mean_of_output)
    ck.range_test(model, x, classes, batch_size=8, **{how: given}, **SHORT)
    assert runs[0][1] == pytest.approx(float((weights * x[:, 0]).mean()), rel=1e-5)


def test_of_many_rows_a_sample_is_scored_that_the_seed_draws(runs):
    x = np.arange(4000, dtype="float32")[:, None] / 4000
    model = one_weight(SGD(), mean_of_output)
    for seed in (0, 0, 1):
        ck.range_test(model, x, 0 * x, batch_size=64, seed=seed, **SHORT)
    looks = [score for lrs, score in runs if lrs == ()]
    assert looks[0] == looks[1] != looks[2]
    assert 0.4 < looks[0] < 0.6  # not the first rows


def unseeded_tf_dataset() -> dict[str, Any]:
    import tensorflow as tf

    return {"x": tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(48).batch(16)}


DATA_HERE: dict[str, Callable[[], dict[str, Any]]] = {
    name: make
    for name, make in {**DATA, "unseeded tf.data": unseeded_tf_dataset}.items()
    if {"tf.data": "tensorflow", "DataLoader": "torch"}.get(name.split()[-1], BACKEND) == BACKEND
}


@pytest.mark.parametrize("data", DATA_HERE)
def test_all_runs_see_the_same_batches(data: str, first_losses: list[float]):
    layers = [keras.Input((3,)), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(SGD(0.01), "mse")
    ck.range_test(model, **DATA_HERE[data](), **SHORT)
    assert len(first_losses) > 1
    assert set(first_losses) == {first_losses[0]}


class Counting(keras.Sequential):
    """Counts how often its Python runs: as often as it is traced, where it is traced."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.traced = {True: 0, False: 0}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        self.traced[bool(training)] += 1
        return super().compute_loss(x, y, y_pred, sample_weight, training)


@compiled_by_tracing
@pytest.mark.parametrize("rate", [0.01, keras.optimizers.schedules.ExponentialDecay(0.01, 9, 0.5)])
def test_the_step_is_traced_once_for_all_runs(rate: Any, runs):
    def traced(method: str) -> dict[bool, int]:
        model = Counting([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(SGD(rate), "mse")
        options = {**SHORT, "steps": 24, "max_steps": 64, "horizon_steps": 10, "repeats": 2}
        ck.range_test(model, X, Y, batch_size=2, method=method, **options)
        return model.traced

    alone, probed = traced("range"), traced("probe")
    assert len(runs) >= 8
    assert probed[True] == alone[True] <= 2
    assert 1 <= probed[False] <= 2


MANY_X = np.random.default_rng(2).normal(size=(320, 3)).astype("float32")
MANY_Y = MANY_X[:, :1] * 2 - MANY_X[:, 1:2]


class RateFree(SGD):
    """Takes steps of a size of its own, as rate-free methods do."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient, variable, 0.02)


def noise_labels() -> tuple[Any, np.ndarray]:
    y = np.random.default_rng(3).normal(size=(320, 1)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(SGD(), "mse")
    return model, y - y.mean()


def frozen() -> tuple[Any, np.ndarray]:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1), keras.layers.ReLU()])
    model.layers[0].set_weights([np.zeros((3, 1)), -np.ones(1)])  # a dead unit: no gradient
    model.compile(SGD(), "mse")
    return model, MANY_Y


def rate_free() -> tuple[Any, np.ndarray]:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(RateFree(), "mse")
    return model, MANY_Y


@pytest.mark.parametrize(
    ("make", "reason"),
    [(noise_labels, "chance"), (frozen, "chance"), (rate_free, "whatever their rate")],
)
def test_no_clear_answer(make: Callable[[], tuple[Any, np.ndarray]], reason: str):
    model, y = make()
    result = ck.range_test(model, MANY_X, y, batch_size=16, steps=40, end_lr=1.0, max_steps=110)
    assert (result.max_lr, result.base_lr, result.interval) == (None, None, None)
    assert result.verdict.startswith("No clear answer")
    assert reason in result.verdict


def test_validation_metric_by_either_name(runs):
    model = one_weight(SGD(), mean_of_output, metrics=["mae"])
    options = {"batch_size": 8, "validation_data": (3 * ROWS, 0 * ROWS), **SHORT}
    names = [
        ck.range_test(model, ROWS, 0 * ROWS, metric=name, **options).metric
        for name in ("mae", "val_mae")
    ]
    assert names == ["mae", "mae"]
    assert [score for lrs, score in runs if lrs == ()] == [3.0, 3.0]
