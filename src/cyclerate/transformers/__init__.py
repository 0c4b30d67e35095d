"""The range test as a callback of the Trainer of Transformers."""

from cyclerate.transformers._callback import RangeTestCallback as RangeTestCallback
