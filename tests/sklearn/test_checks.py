"""The checks that scikit-learn asks of every estimator."""

from __future__ import annotations

from sklearn.utils.estimator_checks import parametrize_with_checks

from cyclerate.sklearn import CyclicClassifier, CyclicRegressor

# The words of scikit-learn, which excuses its own bagging, boosting and forests with them. With a
# batch of all rows the two differ from the seventh digit on: a network is trained in float32.
EXPECTED_TO_FAIL = {
    "check_sample_weight_equivalence_on_dense_data": (
        "sample_weight is not equivalent to removing/repeating samples."
    )
}
QUICK = {
    "hidden": (16,), "epochs": 24, "batch_size": 512, "max_lr": 0.1,
    "random_state": 0, "networks": 2,
}  # fmt: skip


@parametrize_with_checks(
    [CyclicClassifier(**QUICK), CyclicRegressor(**QUICK)],
    expected_failed_checks=lambda _: EXPECTED_TO_FAIL,
)
def test_scikit_learn_finds_no_fault(estimator, check):
    check(estimator)
