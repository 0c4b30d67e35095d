"""Recipes for your own model: policies compared, folds cross-validated."""

from cyclerate.compare._compare import compare as compare
from cyclerate.compare._comparison import Comparison as Comparison, Difference as Difference
from cyclerate.compare._cross_validation import (
    CrossValidation as CrossValidation,
    cross_validate as cross_validate,
)
