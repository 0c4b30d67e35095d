"""What a user sees of the estimators: scores, found rates, weights, names, and what is refused."""

from __future__ import annotations

import pickle
import random
import tracemalloc
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import cyclerate as cr
from cyclerate._errors import CyclerateError
from cyclerate.sklearn import CyclicClassifier, CyclicRegressor

# One shape of network and of batch, one rate: compiled once for the whole file.
QUICK = {
    "hidden": (16,), "epochs": 30, "batch_size": 32, "max_lr": 0.05,
    "random_state": 0, "networks": 2,
}  # fmt: skip


def iris() -> tuple[pd.DataFrame, np.ndarray]:
    data = load_iris(as_frame=True)
    return data.data, data.target_names[data.target]


def line(slope: float = 1.0, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(96, 2))
    return x, slope * (x[:, 0] - 2 * x[:, 1]) + offset


def global_state() -> tuple[object, ...]:
    numpy = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - the generator that is to be left alone
    return random.getstate(), numpy["key"].tolist(), numpy["pos"]


@pytest.fixture(scope="module")
def found() -> CyclicClassifier:
    """An estimator that found its rate."""
    settings = {**QUICK, "max_lr": None}
    return CyclicClassifier(**settings).fit(*iris())


def test_the_rate_is_found_and_told(found: CyclicClassifier):
    rates, density = found.range_test_.posterior
    below = density[rates < found.max_lr_].sum() / density.sum()
    assert 0.3 < below < 0.7
    assert 1e-3 < found.max_lr_ < 1.0
    assert found.score(*iris()) > 0.95
    assert found.n_iter_ == 30
    assert len(found.history_["loss"]) == 30
    assert found.history_["loss"][-1] < 0.2 * found.history_["loss"][0]
    # Cycles of 2, 4, 8 and 16 epochs, of 4 batches each: the last step of the last is the lowest.
    rates = found.history_["learning_rate"]
    assert rates[-1] == pytest.approx(cr.CosLog(found.max_lr_, 64, cycles=1)(63), rel=1e-3)
    assert [rates[end - 1] < rates[end] for end in (2, 6, 14)] == [True, True, True]
    assert max(rates) > 0.9 * found.max_lr_


def test_labels_names_and_probabilities(found: CyclicClassifier):
    x, y = iris()
    assert found.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert found.feature_names_in_.tolist() == list(x.columns)
    probabilities = found.predict_proba(x)
    assert np.allclose(probabilities.sum(axis=1), 1.0)
    chosen = found.classes_[probabilities.argmax(axis=1)]
    assert (chosen == found.predict(x)).all()
    assert (chosen == y).mean() > 0.95
    row = found.predict_proba(x.iloc[70:71])
    assert np.abs(row - probabilities[70:71]).max() < 1e-12


def test_a_copy_through_bytes_predicts_the_same_to_the_bit(found: CyclicClassifier):
    x, _ = iris()
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.predict_proba(x), found.predict_proba(x))
    assert again.max_lr_ == found.max_lr_
    assert b"keras.src" not in pickle.dumps(found)


def test_a_seed_decides_everything_and_leaves_the_global_generators_alone():
    x, y = iris()
    before = global_state()
    first = CyclicClassifier(**QUICK).fit(x, y).predict_proba(x)
    # The network compiled for the first is lent again: nothing of its training is left in it.
    second = CyclicClassifier(**QUICK).fit(x, y).predict_proba(x)
    other = CyclicClassifier(**{**QUICK, "random_state": 1}).fit(x, y).predict_proba(x)
    assert np.array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3
    assert global_state() == before


def test_a_row_of_weight_0_is_as_if_it_were_not_there():
    x, y = iris()
    kept = np.arange(150) % 50 < 40
    swapped = np.where(kept, y, "setosa")
    with_weights = CyclicClassifier(**QUICK).fit(x, swapped, sample_weight=2.0 * kept)
    without = CyclicClassifier(**QUICK).fit(x[kept], y[kept])
    assert np.array_equal(with_weights.predict_proba(x), without.predict_proba(x))


def test_a_label_of_rows_without_weight_is_none():
    x, y = line()
    labels = np.where(y > 0, "high", "low").astype(object)
    labels[:30] = "gone"
    weights = np.where(labels == "gone", 0.0, 1.0)
    quick = CyclicClassifier(**{**QUICK, "class_weight": "balanced"})
    whole, part = clone(quick).fit(x, labels, weights), clone(quick).fit(x[30:], labels[30:])
    assert whole.classes_.tolist() == ["high", "low"]
    assert np.array_equal(whole.predict_proba(x), part.predict_proba(x))


def test_weights_move_the_answer():
    x = np.zeros((64, 2))
    y = np.arange(64) % 2
    weights = np.where(y == 1, 3.0, 1.0)
    network = CyclicClassifier(**QUICK).fit(x, y, sample_weight=weights)
    assert network.predict_proba(x)[0, 1] == pytest.approx(0.75, abs=0.05)


def mixed() -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    kind, size = random.choice(["a", "b", "c"], 96), random.normal(size=96)
    y = size + pd.Series(kind).map({"a": 0.0, "b": 3.0, "c": -3.0}).to_numpy()
    size[::12] = np.nan
    return pd.DataFrame({"size": size, "kind": kind}), y


def test_a_frame_may_have_texts_gaps_and_categories_that_are_new():
    x, y = mixed()
    network = CyclicRegressor(**QUICK).fit(x, y)
    assert network.score(x, y) > 0.9
    assert network.feature_names_in_.tolist() == ["size", "kind"]
    kinds = pd.DataFrame({"size": [0.0] * 5, "kind": ["a", "b", "c", "new", None]})
    a, b, c, new, missing = network.predict(kinds)
    assert c + 2 < a < b - 2
    assert c < new == missing < b  # of both nothing is known
    assert np.array_equal(pickle.loads(pickle.dumps(network)).predict(x), network.predict(x))
    # The same as pandas's categories, or as cells of an array whose column is named.
    typed = x.astype({"kind": "category"})
    assert np.array_equal(network.predict(typed), network.predict(x))
    assert np.array_equal(CyclicRegressor(**QUICK).fit(typed, y).predict(x), network.predict(x))
    cells = x.to_numpy(dtype=object)
    named = CyclicRegressor(**QUICK, categorical_features=[1]).fit(cells, y)
    assert np.array_equal(named.predict(cells), network.predict(x))


def test_a_frame_with_texts_is_checked_as_one_of_numbers_is():
    x, y = mixed()
    network = CyclicRegressor(**{**QUICK, "epochs": 1}).fit(x, y)
    with pytest.raises(ValueError, match="feature names should match"):
        network.predict(x[["kind", "size"]])
    with pytest.raises(ValueError, match="infinity"):
        network.predict(x.assign(size=np.inf))
    with pytest.raises(ValueError, match="could not convert string to float"):
        CyclicRegressor(**QUICK, categorical_features=None).fit(x, y)


def test_numbers_in_bins_can_bend_where_one_layer_of_the_number_cannot():
    x = np.linspace(0, 1, 256)[:, None]
    y = np.floor(x[:, 0] * 8) % 2
    linear = {**QUICK, "hidden": (), "weight_decay": 0.0}
    assert CyclicRegressor(**linear, bins=16).fit(x, y).score(x, y) > 0.5
    assert CyclicRegressor(**linear, bins=0).fit(x, y).score(x, y) < 0.1


def test_predictions_come_in_the_unit_of_the_targets():
    x, y = line(slope=1e4, offset=3e6)
    network = CyclicRegressor(**QUICK).fit(x, y)
    assert network.score(x, y) > 0.97
    assert network.predict(x).mean() == pytest.approx(3e6, rel=1e-3)
    both = CyclicRegressor(**QUICK).fit(x, np.stack([y, -1e-3 * y], axis=1))
    predicted = both.predict(x)
    assert predicted.shape == (96, 2)
    assert both.score(x, np.stack([y, -1e-3 * y], axis=1)) > 0.97


def test_features_are_standardised_unless_asked_not_to():
    x, y = iris()
    far = 1e6 + 1e3 * x
    assert CyclicClassifier(**QUICK).fit(far, y).score(far, y) > 0.95
    plain = CyclicClassifier(**QUICK, standardize=False)
    assert plain.fit(x, y).score(x, y) > 0.9
    with pytest.raises(ValueError, match="standardize must be one of True, False"):
        plain.set_params(standardize="yes").fit(x, y)


def test_a_row_that_is_far_out_gets_an_answer_near_the_others():
    x, y = line()
    network = CyclicRegressor(**QUICK).fit(x, y)
    far = network.predict(np.array([[1e9, 0.0], [0.0, -1e9]]))
    assert np.abs(far).max() < 3 * np.abs(y).max()


# Keras's own; `pytest.warns` raises it anew in another module's name.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_where_no_rate_is_clear_it_says_so_and_takes_the_usual_one():
    # Nothing to learn: every loss is 0 from the first step on, at every rate.
    x, y = np.zeros((96, 2)), np.full(96, 7.0)
    with pytest.warns(
        ConvergenceWarning, match=r"no clear answer; trained up to .*, the rate to expect"
    ):
        network = CyclicRegressor(**{**QUICK, "max_lr": None}).fit(x, y)
    assert network.max_lr_ == network.range_test_.fallback_lr
    assert 0.001 < network.max_lr_ < 0.1
    assert network.range_test_.max_lr is None
    assert network.predict(x).tolist() == [7.0] * 96


def test_a_constant_target_is_predicted():
    x, _ = line()
    network = CyclicRegressor(**QUICK).fit(x, np.full(96, 7.0))
    assert network.predict(x) == pytest.approx(7.0, abs=0.05)


def test_one_row_is_enough_for_numbers():
    network = CyclicRegressor(**QUICK).fit([[1.0, 2.0]], [5.0])
    assert network.predict([[1.0, 2.0]]) == pytest.approx(5.0, abs=0.1)


def test_widths_may_be_an_array():
    x, y = line()
    given = CyclicRegressor(**{**QUICK, "hidden": np.array([16])}).fit(x, y)
    assert np.array_equal(given.predict(x), CyclicRegressor(**QUICK).fit(x, y).predict(x))


def test_class_weights_count_as_those_of_rows():
    x = np.zeros((64, 2))
    y = np.where(np.arange(64) % 4 == 0, "rare", "common")
    balanced = CyclicClassifier(**QUICK, class_weight="balanced").fit(x, y)
    assert balanced.predict_proba(x)[0, 1] == pytest.approx(0.5, abs=0.05)
    given = CyclicClassifier(**QUICK, class_weight={"rare": 3.0, "common": 1.0}).fit(x, y)
    rows = CyclicClassifier(**QUICK).fit(x, y, sample_weight=np.where(y == "rare", 3.0, 1.0))
    assert np.array_equal(given.predict_proba(x), rows.predict_proba(x))


def test_a_class_of_weight_zero_is_as_if_its_rows_were_not_there():
    x = np.random.default_rng(0).normal(size=(300, 2))
    y = np.where(np.arange(300) < 297, "common", "rare")
    network = CyclicClassifier(**QUICK, class_weight={"common": 0.0}).fit(x, y)
    assert network.classes_.tolist() == ["common", "rare"]
    assert network.predict(x[y == "rare"]).tolist() == ["rare"] * 3
    assert network.history_["held_out_loss"] == []  # of three rows none is held out


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, 0.0])
def test_class_weights_that_cannot_be_are_refused(weight: float):
    x, y = np.zeros((8, 1)), np.array(["rare", "common"] * 4)
    weights = {"rare": weight, "common": 0.0}
    with pytest.raises(ValueError, match=r"class_weight must be .*, none below zero"):
        CyclicClassifier(**QUICK, class_weight=weights).fit(x, y)


def test_a_target_that_no_network_can_learn_is_refused_by_name():
    x = np.zeros((4, 1))
    labels = np.array(["a", None, "b", "a"], dtype=object)
    with pytest.raises(ValueError, match=r"y must be labels of one kind.* 'NoneType, str'"):
        CyclicClassifier(**QUICK).fit(x, labels)
    days = np.array(["2024-01-01", "NaT", "2024-01-03", "2024-01-04"], dtype="M8[D]")
    with pytest.raises(ValueError, match="y must be labels or numbers; of a date, parts or days"):
        CyclicRegressor(**QUICK).fit(x, days)


def test_fits_in_threads_are_those_one_after_the_other():
    x, y = iris()

    def fit(seed: int) -> np.ndarray:
        settings = {**QUICK, "hidden": (4,), "epochs": 2, "max_lr": None, "random_state": seed}
        return CyclicClassifier(**settings).fit(x, y).predict_proba(x)

    before = global_state()
    alone = [fit(seed) for seed in range(2)]
    together = joblib.Parallel(2, backend="threading")(joblib.delayed(fit)(s) for s in range(2))
    assert all(map(np.array_equal, alone, together))
    assert global_state() == before


def test_many_rows_are_predicted_in_little_memory():
    x, y = line()
    network = CyclicRegressor(**{**QUICK, "hidden": (64, 64)}).fit(x, y)
    many = np.tile(x, (2000, 1))
    tracemalloc.start()
    predicted = network.predict(many)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The inputs of all rows at once would be 7 times, a layer of 64 would be 32.
    assert most < 5 * many.nbytes, most / many.nbytes
    assert np.abs(predicted[-96:] - network.predict(x)).max() < 1e-6  # in single precision


def test_a_grid_over_a_pipeline():
    x, y = iris()
    pipe = make_pipeline(MinMaxScaler(), CyclicClassifier(**QUICK, bins=0))
    grid = {"cyclicclassifier__weight_decay": [None, 20.0]}
    search = GridSearchCV(pipe, grid, cv=2).fit(x, y)
    # At the peak so much decay sets every kernel to 0.
    assert search.best_params_ == {"cyclicclassifier__weight_decay": None}
    good, bad = search.cv_results_["mean_test_score"]
    assert good > 0.9
    assert bad < 0.8


def test_a_training_that_diverged_is_no_model():
    x, y = line()
    wild = CyclicRegressor(**{**QUICK, "optimizer": "sgd", "max_lr": 1e6})
    with pytest.raises(CyclerateError, match="diverged"):
        wild.fit(x, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden": 16}, "hidden must be the widths"),
        ({"hidden": "16"}, "hidden must be the widths"),
        ({"hidden": (16, 0)}, "hidden must be a whole number >= 1"),
        ({"epochs": 0}, "epochs must be a whole number >= 1"),
        ({"epochs": 2**31}, r"epochs must be .* and below 2\*\*31"),
        ({"networks": 2**32}, r"networks must be .* and below 2\*\*16"),
        ({"batch_size": -1}, "batch_size must be a whole number >= 1"),
        ({"max_lr": 0}, "max_lr must be a finite number > 0"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number >= 0"),
        ({"optimizer": "adams"}, "optimizer must be one of"),
        ({"bins": -1}, "bins must be a whole number >= 0"),
        ({"categorical_features": "size"}, "categorical_features must be"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        CyclicRegressor(**{**QUICK, **parameters}).fit(*line())


@pytest.mark.parametrize("kind", [CyclicClassifier, CyclicRegressor])
def test_what_is_not_offered_is_refused_with_what_to_do(kind: Any):
    network, (x, _) = kind(**QUICK), line()
    y = np.arange(len(x)) % 2
    assert not hasattr(network, "partial_fit")
    with pytest.raises(AttributeError, match=f"{kind.__name__} has no partial_fit: how long a cyc"):
        network.partial_fit(x, y)
    with pytest.raises(AttributeError, match=f"'{kind.__name__}' object has no attribute 'other'"):
        network.other  # noqa: B018
    with pytest.raises(TypeError, match=r"Sparse data was passed for X.*toarray\(\)"):
        network.fit(scipy.sparse.csr_array(x), y)
    with pytest.raises(TypeError, match="unexpected keyword argument 'early_stopping'"):
        kind(early_stopping=True)


def test_one_class_cannot_be_learned():
    x, _ = line()
    with pytest.raises(ValueError, match="of two classes or more"):
        CyclicClassifier(**QUICK).fit(x, np.zeros(96))


def test_more_classes_than_rows_to_hold_out_are_learnt():
    y = np.arange(210) // 7
    x = np.eye(30)[y]
    network = CyclicClassifier(**{**QUICK, "epochs": 4}).fit(x, y)
    assert network.predict_proba(x).shape == (210, 30)


def test_a_fit_that_fails_leaves_no_mixture_of_two_models():
    x, y = iris()
    network = CyclicClassifier(**QUICK).fit(x, y)
    with pytest.raises(ValueError, match="two classes or more"):
        network.fit(x, ["one"] * len(x))
    with pytest.raises(NotFittedError):
        network.predict(x)
    with pytest.raises(NotFittedError):
        CyclicClassifier(**QUICK).predict(x)
