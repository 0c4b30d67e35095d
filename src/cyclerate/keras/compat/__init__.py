"""Names and arguments that published code uses, over this library's schedules and callback."""

from cyclerate.keras.compat._cyclic import (
    CyclicalLearningRate as CyclicalLearningRate,
    CyclicLR as CyclicLR,
    ExponentialCyclicalLearningRate as ExponentialCyclicalLearningRate,
    Triangular2CyclicalLearningRate as Triangular2CyclicalLearningRate,
    TriangularCyclicalLearningRate as TriangularCyclicalLearningRate,
)
from cyclerate.keras.compat._finders import (
    ExponentialLearningRate as ExponentialLearningRate,
    LRFinder as LRFinder,
    OneCycleScheduler as OneCycleScheduler,
    lr_find as lr_find,
)
