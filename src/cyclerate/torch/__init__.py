"""Schedules, range tests and recipes for PyTorch."""

from cyclerate._errors import require as _require

_require("torch", "torch")

from cyclerate.torch._cycle_callbacks import (
    CycleEarlyStopping as CycleEarlyStopping,
    DivergenceGuard as DivergenceGuard,
    WeightAveraging as WeightAveraging,
)
from cyclerate.torch._depth import (
    GradualUnfreezing as GradualUnfreezing,
    layer_groups as layer_groups,
)
from cyclerate.torch._ensemble import SnapshotEnsemble as SnapshotEnsemble
from cyclerate.torch._finder import range_test as range_test, recommend as recommend
from cyclerate.torch._fit import (
    fit_cycles as fit_cycles,
    fit_one_cycle as fit_one_cycle,
    how_long as how_long,
)
from cyclerate.torch._loop import FitHistory as FitHistory
from cyclerate.torch._scheduler import ScheduledLR as ScheduledLR
from cyclerate.torch._self_finding import SelfFindingCycle as SelfFindingCycle
