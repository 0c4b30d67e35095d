"""The Keras part, on a tiny problem: cells pair up, diverge in peace, and can be used again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cyclerate as cr
from cyclerate._errors import CyclerateError
from cyclerate.compare._folds import Fold
from cyclerate.compare._keras_learner import default_rate, objective_learner
from cyclerate.compare._learner import DataOrder, evaluation_steps
from cyclerate.compare._networks import (
    dense_network,
    dense_words,
    make_objective,
    make_optimizer,
    usual_batch_size,
    usual_hidden,
)
from cyclerate.compare._record import Run
from cyclerate.compare._study import Data, Job, Study

STEPS = 12  # 8 epochs of 2 steps, less what fills no whole cycle
OBJECTIVES = {"binary": (2, 1), "classes": (3, 3), "regression": (None, 1)}
FOLD = Fold(np.arange(64), np.arange(64, 100))


def data(kind: str) -> Data:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 3)).astype(np.float32)
    signal = x[:, 0] - x[:, 1]
    y = {
        "binary": (signal > 0).astype(np.int32),
        "classes": np.digitize(signal, [-0.7, 0.7]).astype(np.int32),
        "regression": signal.astype(np.float32),
    }[kind]
    return Data(x, y)


def trainer(kind: str = "binary", batch_size: int = 32, optimizer: str = "sgd") -> Study:
    objective = make_objective(OBJECTIVES[kind][0])
    learner = objective_learner(
        lambda seed: dense_network(3, (8, 4), objective.outputs, seed),
        objective,
        batch_size,
        optimizer=optimizer,
        words=dense_words(3, (8, 4), objective.outputs),
    )
    return Study(
        learner=learner,
        data=data(kind),
        folds=(FOLD,),
        seeds=(0,),
        epochs=8,
        batch_size=batch_size,
    )


def train_by(one: Study, name: str, schedule: cr.Schedule, seed: int) -> Run:
    ((_, trained),) = one.run([Job(name, schedule, seed, 0)])
    return trained.run


def train(one: Study, name: str, rate: float, seed: int) -> Run:
    return train_by(one, name, cr.Constant(rate), seed)


@pytest.fixture(scope="module")
def shared() -> Study:
    return trainer()


def test_a_cell_is_judged_at_every_point_and_learns(shared: Study):
    seen: list[int] = []
    job = Job("fixed", cr.Constant(0.5), 0, 0)
    ((_, trained),) = shared.run([job], lambda _, steps: seen.append(steps))
    cell = trained.run
    assert list(cell.steps) == seen[:-1] == evaluation_steps(STEPS, 2)
    assert cell.steps[-1] == shared.budgets[0].total_steps == STEPS == seen[-1]
    assert cell.heldout_loss[-1] < 0.56 < cell.heldout_loss[0]
    assert cell.heldout_metric[-1] > 0.8
    assert cell.seconds > 0
    assert not cell.diverged


def test_a_seed_decides_everything_whatever_was_trained_before(shared: Study):
    first = train(shared, "fixed", 0.1, seed=3)
    train(shared, "other", 1.0, seed=4)
    again = train(shared, "fixed", 0.1, seed=3)
    assert again.heldout_loss == first.heldout_loss
    assert again.train_loss == first.train_loss
    assert train(shared, "fixed", 0.1, seed=4).heldout_loss != first.heldout_loss


def test_policies_with_one_seed_start_alike(shared: Study):
    # A rate of almost zero leaves the initial loss in view.
    still, creeping = (train(shared, name, rate, 5) for name, rate in (("a", 1e-12), ("b", 2e-12)))
    assert still.heldout_loss[0] == pytest.approx(creeping.heldout_loss[0], rel=1e-6)
    assert still.train_loss == pytest.approx(creeping.train_loss, rel=1e-6)


def test_the_schedule_decides_the_steps(shared: Study):
    late = cr.Sequence((cr.Constant(1e-12), cr.Constant(0.5)), (6,))
    losses = train_by(shared, "late", late, 0).heldout_loss
    assert losses[5] == pytest.approx(losses[0], rel=1e-5)
    assert losses[-1] < 0.9 * losses[5]


def test_the_state_of_an_optimizer_begins_anew_with_every_cell():
    momentum = trainer(optimizer="momentum")
    first, _, again = (train(momentum, "fixed", 0.05, seed) for seed in (0, 1, 0))
    assert again.heldout_loss == first.heldout_loss


def test_a_diverged_cell_ends_early_and_is_said():
    cell = train(trainer("regression"), "wild", 1e6, seed=0)
    assert cell.diverged
    assert len(cell.steps) < len(evaluation_steps(STEPS, 2))
    assert None in (cell.train_loss[-1], cell.heldout_loss[-1])


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_saved_network_gives_the_same_answers_without_us(tmp_path: Path, kind: str):
    import keras

    one = trainer(kind)
    cell = train(one, "fixed", 0.1, seed=0)
    one.learner.save(tmp_path / "best.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]
    model = keras.models.load_model(tmp_path / "best.keras")
    assert not model.compiled
    outputs = np.asarray(model.predict(one.data.x[FOLD.heldout], verbose=0), dtype=np.float64)
    y = one.data.y[FOLD.heldout]
    if kind == "regression":
        assert ((outputs[:, 0] - y) ** 2).mean() == pytest.approx(cell.heldout_loss[-1], rel=1e-5)
        return
    chance = np.hstack([1 - outputs, outputs]) if kind == "binary" else outputs
    loss = -np.log(chance[np.arange(len(y)), y]).mean()
    assert loss == pytest.approx(cell.heldout_loss[-1], rel=1e-4)


def test_the_description_counts_the_parameters():
    model = trainer("classes", optimizer="nesterov").start(0).model
    assert model.description == "3 dense layers, 3 - 8 - 4 - 3, ReLU"
    assert model.parameters == (3 + 1) * 8 + (8 + 1) * 4 + (4 + 1) * 3
    assert model.optimizer == "SGD (momentum 0.9, nesterov)"


def test_a_range_test_finds_a_rate_and_leaves_later_cells_alone(shared: Study):
    before = train(shared, "fixed", 0.1, seed=0)
    found = shared.find(0, 0, "one_cycle")
    assert (found.method, found.runs, found.planned_steps) == ("probe", (), 100)
    assert f"for {STEPS} steps that is" in found.verdict
    assert 0.01 < found.max_lr < 10
    assert train(shared, "fixed", 0.1, seed=0).heldout_loss == before.heldout_loss


@pytest.mark.parametrize(("name", "rate"), [("sgd", 0.01), ("nesterov", 0.01), ("adam", 0.001)])
def test_the_default_rate_is_the_frameworks(name: str, rate: float):
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(make_optimizer(name), "mse")
    assert default_rate(model) == rate


def test_every_epoch_takes_all_whole_batches_in_a_new_order():
    order = DataOrder(rows_in_all=10, seed=1, batch_size=3, steps_per_epoch=3)
    first, second = order.rows(0, 3), order.rows(3, 6)
    assert len(set(first)) == len(set(second)) == 9
    assert first.tolist() != second.tolist()
    np.testing.assert_array_equal(
        np.concatenate([order.rows(0, 2), order.rows(2, 5), order.rows(5, 6)]),
        np.concatenate([first, second]),
    )
    assert DataOrder(10, 2, 3, 3).rows(0, 3).tolist() != first.tolist()


@pytest.mark.parametrize(
    ("rows", "size"), [(20, 20), (400, 32), (3_392, 32), (16_512, 64), (56_000, 256), (10**6, 1024)]
)
def test_the_usual_batch_size(rows: int, size: int):
    assert usual_batch_size(rows) == size


def test_the_usual_widths():
    widths = [usual_hidden(*shape) for shape in ((500, 8), (5000, 8), (5000, 100), (5000, 784))]
    assert widths == [(32, 16), (64, 32), (128, 64), (256, 128)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 65}, "batch_size must be at most the 64 training rows"),
        ({"batch_size": 0}, "batch_size must be a whole number >= 1"),
        ({"optimizer": "magic"}, "optimizer must be one of 'sgd'"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        trainer(**changes)


def test_there_is_nothing_to_save_before_the_first_cell(tmp_path: Path):
    with pytest.raises(CyclerateError, match="no cell has been trained yet"):
        trainer().learner.save(tmp_path / "best.keras")
