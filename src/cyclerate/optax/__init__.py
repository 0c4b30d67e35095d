"""The range test for JAX: any loss function, any Optax optimizer.

Schedules need no adapter: `optax.adam(cr.OneCycle(...))` takes them as they are.
"""

from cyclerate.optax._finder import range_test as range_test, recommend as recommend
