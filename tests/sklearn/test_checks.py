"""The checks that scikit-learn asks of every estimator.

They ask nothing of the backend, and fit a hundred tiny networks of many shapes: so they run on the
one that compiles nothing.
"""

from __future__ import annotations

import keras
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from cyclerate.sklearn import CyclicClassifier, CyclicRegressor
from tests.one_thread import one_thread

if keras.backend.backend() != "torch":
    pytest.skip("on PyTorch, where nothing is compiled", allow_module_level=True)

pytestmark = pytest.mark.keras_backend

# The words of scikit-learn, which excuses its own bagging, boosting and forests with them. With a
# batch of all rows the two differ from the seventh digit on: a network is trained in float32.
EXPECTED_TO_FAIL = {
    "check_sample_weight_equivalence_on_dense_data": (
        "sample_weight is not equivalent to removing/repeating samples."
    )
}
QUICK = {"hidden": (16,), "epochs": 12, "batch_size": 512, "max_lr": 0.1, "random_state": 0}


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with one_thread():
        yield


@parametrize_with_checks(
    [CyclicClassifier(**QUICK), CyclicRegressor(**QUICK)],
    expected_failed_checks=lambda _: EXPECTED_TO_FAIL,
)
def test_scikit_learn_finds_no_fault(estimator, check):
    check(estimator)
