"""The range test as a callback of Lightning."""

from cyclerate.lightning._callback import RangeTestCallback as RangeTestCallback
