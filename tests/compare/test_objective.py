"""Losses and metrics, against values worked out by hand and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from cyclerate.compare._networks import make_objective

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(40, 1))
LABELS = RNG.integers(0, 2, 40)
MANY = RNG.normal(size=(40, 3))
CLASSES = RNG.integers(0, 3, 40)


def test_binary_cross_entropy():
    objective = make_objective(2)
    chance = 1 / (1 + np.exp(-LOGITS[:, 0]))
    assert objective.loss(LOGITS, LABELS) == pytest.approx(metrics.log_loss(LABELS, chance))
    assert objective.loss(np.array([[0.0]]), np.array([1])) == pytest.approx(math.log(2))


def test_a_confident_mistake_is_not_clipped():
    assert make_objective(2).loss(np.array([[-800.0]]), np.array([1])) == pytest.approx(800.0)
    assert make_objective(3).loss(np.array([[0.0, 900.0, 0.0]]), np.array([0])) == pytest.approx(
        900
    )


def test_categorical_cross_entropy():
    shares = np.exp(MANY) / np.exp(MANY).sum(axis=1, keepdims=True)
    expected = metrics.log_loss(CLASSES, shares)
    assert make_objective(3).loss(MANY, CLASSES) == pytest.approx(expected)


def test_regression_metrics_are_in_the_unit_of_the_target():
    outputs, y = np.array([[1.0], [2.0]]), np.array([0.0, 4.0])
    assert make_objective(None, scale=10.0).loss(outputs, y) == pytest.approx(2.5)
    assert make_objective(None, "rmse", 10.0).score(outputs, y) == pytest.approx(10 * 2.5**0.5)
    assert make_objective(None, "mae", 10.0).score(outputs, y) == pytest.approx(15.0)
    assert make_objective(None, "r2", 10.0).score(outputs, y) == pytest.approx(1 - 5 / 8)


def test_regression_metrics_of_a_transformed_target_are_in_its_own_unit():
    outputs, y = np.array([[1.0], [2.0]]), np.array([0.0, 4.0])
    objective = make_objective(None, "mae", 10.0, np.exp)
    gaps = [math.e - 1, math.exp(4) - math.exp(2)]
    assert objective.score(outputs, y) == pytest.approx(sum(gaps) / 2)
    assert objective.loss(outputs, y) == pytest.approx(2.5)


def test_class_metrics():
    chosen = (LOGITS[:, 0] > 0).astype(int)
    scores = {
        "accuracy": metrics.accuracy_score(LABELS, chosen),
        "balanced_accuracy": metrics.balanced_accuracy_score(LABELS, chosen),
        "roc_auc": metrics.roc_auc_score(LABELS, LOGITS[:, 0]),
        "average_precision": metrics.average_precision_score(LABELS, LOGITS[:, 0]),
    }
    for name, expected in scores.items():
        assert make_objective(2, name).score(LOGITS, LABELS) == pytest.approx(expected)
    expected = metrics.balanced_accuracy_score(CLASSES, MANY.argmax(axis=1))
    assert make_objective(3, "balanced_accuracy").score(MANY, CLASSES) == pytest.approx(expected)


def test_average_precision_is_that_of_the_rarer_class():
    objective, y = make_objective(2, "average_precision"), np.ones(40, dtype=np.int32)
    y[:4] = 0
    expected = metrics.average_precision_score(1 - y, -LOGITS[:, 0])
    assert expected < 0.5 < metrics.average_precision_score(y, LOGITS[:, 0])
    assert objective.score(LOGITS, y) == pytest.approx(expected)
    assert objective.score(-LOGITS, 1 - y) == pytest.approx(expected)


def test_the_usual_metric_and_width():
    usual = [(o.metric, o.mode, o.outputs) for o in map(make_objective, (2, 3, None))]
    assert usual == [("accuracy", "max", 1), ("accuracy", "max", 3), ("rmse", "min", 1)]


def test_outputs_that_are_not_finite_give_no_number():
    outputs = np.array([[0.0], [np.nan]])
    assert math.isnan(make_objective(2).loss(outputs, np.array([0, 1])))
    assert math.isnan(make_objective(2).score(outputs, np.array([0, 1])))


@pytest.mark.parametrize(
    ("classes", "metric", "fitting"),
    [
        (
            2,
            "rmse",
            "accuracy, balanced_accuracy, roc_auc, average_precision for this target .two classes",
        ),
        (3, "roc_auc", "accuracy, balanced_accuracy for this target .many classes"),
        (None, "accuracy", "rmse, mae, r2 for this target .regression"),
        (2, "f1", "accuracy"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(classes: int | None, metric: str, fitting: str):
    with pytest.raises(ValueError, match=f"metric must be one of {fitting}"):
        make_objective(classes, metric)
