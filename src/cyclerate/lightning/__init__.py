"""The range test, and a cycle that finds its own top, as callbacks of Lightning."""

from cyclerate.lightning._callback import RangeTestCallback as RangeTestCallback
from cyclerate.lightning._cycle import SelfFindingCycle as SelfFindingCycle
