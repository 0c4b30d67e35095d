"""Comparisons of policies: the record, the table made of it, and the runs behind it."""

from cyclerate.training.record import (
    Best as Best,
    Cell as Cell,
    DataInfo as DataInfo,
    Metric as Metric,
    ModelInfo as ModelInfo,
    PolicyInfo as PolicyInfo,
    Record as Record,
    SummaryRow as SummaryRow,
)
