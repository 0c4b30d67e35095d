"""Estimators for scikit-learn: dense networks whose learning rate is found, then cycled."""

from cyclerate._errors import require as _require

_require("sklearn", "sklearn")
_require("keras", "sklearn")

from cyclerate.sklearn._estimators import (
    CyclicClassifier as CyclicClassifier,
    CyclicRegressor as CyclicRegressor,
)
