"""Comparisons of policies: the record, the table made of it, and the runs behind it."""

from cyclerate.training.record import Best as Best
from cyclerate.training.record import Cell as Cell
from cyclerate.training.record import DataInfo as DataInfo
from cyclerate.training.record import Metric as Metric
from cyclerate.training.record import ModelInfo as ModelInfo
from cyclerate.training.record import PolicyInfo as PolicyInfo
from cyclerate.training.record import Record as Record
from cyclerate.training.record import SummaryRow as SummaryRow
