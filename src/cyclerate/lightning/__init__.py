"""The range test as a callback of Lightning."""

from cyclerate.lightning.callback import RangeTestCallback as RangeTestCallback
