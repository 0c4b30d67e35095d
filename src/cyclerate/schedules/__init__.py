"""Learning-rate schedules: values that give a number for a step."""

from cyclerate.schedules._base import Mirrored as Mirrored, Schedule as Schedule
from cyclerate.schedules._cos_log import CosLog as CosLog
from cyclerate.schedules._cyclic import (
    Cyclic as Cyclic,
    ExpRange as ExpRange,
    Triangular as Triangular,
    Triangular2 as Triangular2,
)
from cyclerate.schedules._one_cycle import OneCycle as OneCycle
from cyclerate.schedules._ramps import (
    Constant as Constant,
    Cosine as Cosine,
    Exponential as Exponential,
    Linear as Linear,
    Polynomial as Polynomial,
    WarmRestarts as WarmRestarts,
    WarmupStableDecay as WarmupStableDecay,
)
from cyclerate.schedules._sequence import Sequence as Sequence
from cyclerate.schedules._serialization import from_dict as from_dict
