"""Recipes for your own model: policies compared, folds cross-validated."""

from cyclerate.training.comparing import compare as compare
from cyclerate.training.comparison import Comparison as Comparison
from cyclerate.training.cross_validation import (
    CrossValidation as CrossValidation,
    cross_validate as cross_validate,
)
from cyclerate.training.paired import Difference as Difference
