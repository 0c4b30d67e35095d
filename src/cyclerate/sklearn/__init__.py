"""Estimators for scikit-learn: dense networks whose learning rate is found, then cycled."""

from cyclerate.sklearn._estimators import (
    CyclicClassifier as CyclicClassifier,
    CyclicRegressor as CyclicRegressor,
)
