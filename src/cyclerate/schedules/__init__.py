"""Learning-rate schedules: values that give a number for a step."""

from cyclerate.schedules._base import (
    Mirrored as Mirrored,
    Schedule as Schedule,
    Sequence as Sequence,
    from_dict as from_dict,
)
from cyclerate.schedules._cyclic import (
    Cyclic as Cyclic,
    ExpRange as ExpRange,
    Triangular as Triangular,
    Triangular2 as Triangular2,
)
from cyclerate.schedules._ramps import (
    Constant as Constant,
    Cosine as Cosine,
    Exponential as Exponential,
    Linear as Linear,
    OneCycle as OneCycle,
    Polynomial as Polynomial,
)
from cyclerate.schedules._restarts import (
    CosLog as CosLog,
    WarmRestarts as WarmRestarts,
    WarmupStableDecay as WarmupStableDecay,
)
