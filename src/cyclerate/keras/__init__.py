"""cyclerate for Keras 3, on JAX, TensorFlow and PyTorch."""

from cyclerate._errors import require as _require

_require("keras", "keras")

from cyclerate.keras._cycle_callbacks import (
    CycleCheckpoint as CycleCheckpoint,
    CycleEarlyStopping as CycleEarlyStopping,
    DivergenceGuard as DivergenceGuard,
)
from cyclerate.keras._ensemble import (
    SnapshotEnsemble as SnapshotEnsemble,
    WeightAveraging as WeightAveraging,
    update_batch_norm as update_batch_norm,
)
from cyclerate.keras._finder import range_test as range_test, recommend as recommend
from cyclerate.keras._layers import LayerRates as LayerRates
from cyclerate.keras._recipes import (
    fit_cycles as fit_cycles,
    fit_one_cycle as fit_one_cycle,
    how_long as how_long,
)
from cyclerate.keras._schedule import (
    ScheduleCallback as ScheduleCallback,
    as_schedule as as_schedule,
)
from cyclerate.keras._self_finding import SelfFindingCycle as SelfFindingCycle
from cyclerate.keras.compat import (
    CyclicalLearningRate as CyclicalLearningRate,
    CyclicLR as CyclicLR,
    ExponentialCyclicalLearningRate as ExponentialCyclicalLearningRate,
    ExponentialLearningRate as ExponentialLearningRate,
    LRFinder as LRFinder,
    OneCycleScheduler as OneCycleScheduler,
    Triangular2CyclicalLearningRate as Triangular2CyclicalLearningRate,
    TriangularCyclicalLearningRate as TriangularCyclicalLearningRate,
    lr_find as lr_find,
)
