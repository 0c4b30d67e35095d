"""A range test and a cycle that finds its own top, as callbacks of the Trainer of Transformers."""

from cyclerate._errors import require as _require

_require("transformers", "transformers")

from cyclerate.transformers._callback import (
    RangeTestCallback as RangeTestCallback,
    SelfFindingCycle as SelfFindingCycle,
)
