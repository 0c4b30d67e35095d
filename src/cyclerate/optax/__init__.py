"""The range test and the cycle that finds its own top, for JAX: any loss, any Optax optimizer.

Schedules need no adapter: `optax.adam(cr.OneCycle(...))` takes them as they are.
"""

from cyclerate._errors import require as _require

_require("jax", "jax")
_require("optax", "jax")

from cyclerate.optax._cycle import CycleTraining as CycleTraining
from cyclerate.optax._finder import range_test as range_test, recommend as recommend
from cyclerate.optax._fit import FitResult as FitResult, fit_one_cycle as fit_one_cycle
