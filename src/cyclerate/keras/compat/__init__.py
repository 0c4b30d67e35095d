"""Names and arguments that published code uses, over this library's schedules and callback."""

from cyclerate.keras.compat.addons import (
    CyclicalLearningRate as CyclicalLearningRate,
    ExponentialCyclicalLearningRate as ExponentialCyclicalLearningRate,
    Triangular2CyclicalLearningRate as Triangular2CyclicalLearningRate,
    TriangularCyclicalLearningRate as TriangularCyclicalLearningRate,
)
from cyclerate.keras.compat.cyclic_lr import CyclicLR as CyclicLR
from cyclerate.keras.compat.exponential import ExponentialLearningRate as ExponentialLearningRate
from cyclerate.keras.compat.lr_find import lr_find as lr_find
from cyclerate.keras.compat.lr_finder import LRFinder as LRFinder
from cyclerate.keras.compat.one_cycle_scheduler import OneCycleScheduler as OneCycleScheduler
