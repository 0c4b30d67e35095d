"""Names and arguments that published code uses, over this library's schedules and callback."""

from cyclerate.keras.compat._addons import (
    CyclicalLearningRate as CyclicalLearningRate,
    ExponentialCyclicalLearningRate as ExponentialCyclicalLearningRate,
    Triangular2CyclicalLearningRate as Triangular2CyclicalLearningRate,
    TriangularCyclicalLearningRate as TriangularCyclicalLearningRate,
)
from cyclerate.keras.compat._cyclic_lr import CyclicLR as CyclicLR
from cyclerate.keras.compat._geron import (
    ExponentialLearningRate as ExponentialLearningRate,
    OneCycleScheduler as OneCycleScheduler,
)
from cyclerate.keras.compat._lr_finder import LRFinder as LRFinder, lr_find as lr_find
