"""The range test, and a cycle that finds its own top, as callbacks of Lightning."""

from cyclerate._errors import require as _require

_require("lightning", "lightning")

from cyclerate.lightning._callback import RangeTestCallback as RangeTestCallback
from cyclerate.lightning._cycle import SelfFindingCycle as SelfFindingCycle
