"""The older name of `cyclerate.compare`; both go on to work."""

from cyclerate.compare import (
    Comparison as Comparison,
    CrossValidation as CrossValidation,
    Difference as Difference,
    compare as compare,
    cross_validate as cross_validate,
)
