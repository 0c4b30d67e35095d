"""Find a neural network's learning rate, cycle it, and prove what that gained.

This module holds what needs no framework: the schedules and the result of a range test. The
adapters are imported by name: `import cyclerate.keras`.
"""

from cyclerate._trackers import Tracker as Tracker, tracking as tracking
from cyclerate.cycles._how_long import Forecast as Forecast, HowLong as HowLong
from cyclerate.cycles._members import LostMemberWarning as LostMemberWarning
from cyclerate.cycles._rules import fge_schedule as fge_schedule, scale_lr as scale_lr
from cyclerate.finder import (
    RangeTest as RangeTest,
    RangeTestResult as RangeTestResult,
    Recommendation as Recommendation,
    StopReason as StopReason,
    Sweep as Sweep,
)
from cyclerate.schedules import (
    Constant as Constant,
    Cosine as Cosine,
    CosLog as CosLog,
    Cyclic as Cyclic,
    Exponential as Exponential,
    ExpRange as ExpRange,
    Linear as Linear,
    OneCycle as OneCycle,
    Polynomial as Polynomial,
    Schedule as Schedule,
    Sequence as Sequence,
    Triangular as Triangular,
    Triangular2 as Triangular2,
    WarmRestarts as WarmRestarts,
    WarmupStableDecay as WarmupStableDecay,
    from_dict as from_dict,
)

__version__ = "0.1.0"
