"""Schedules, range tests and recipes for PyTorch."""

from cyclerate.torch.averaging import WeightAveraging as WeightAveraging
from cyclerate.torch.depth import (
    GradualUnfreezing as GradualUnfreezing,
    layer_groups as layer_groups,
)
from cyclerate.torch.ensemble import SnapshotEnsemble as SnapshotEnsemble
from cyclerate.torch.fit import fit_cycles as fit_cycles, fit_one_cycle as fit_one_cycle
from cyclerate.torch.fitting import FitHistory as FitHistory
from cyclerate.torch.guarding import DivergenceGuard as DivergenceGuard
from cyclerate.torch.range_test import range_test as range_test
from cyclerate.torch.recommend import recommend as recommend
from cyclerate.torch.scheduled_lr import ScheduledLR as ScheduledLR
from cyclerate.torch.stopping import CycleEarlyStopping as CycleEarlyStopping
