"""One sweep: a compiled training step, at the sweep's rates, watched from two steps behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cyclerate.optax.batches import Batch
from cyclerate.optax.layout import dtype_in_jax
from cyclerate.optax.objective import Objective
from cyclerate.optax.optimizer import RatedOptimizer
from cyclerate.range_test import RangeTest
from cyclerate.range_test.progress import Progress

_AHEAD_STEPS = 2  # steps under way while a loss is looked at: the device need not wait for Python


class Training(NamedTuple):
    """What a training step changes."""

    params: Any
    opt_state: Any
    model_state: Any
    rng: Any


Step = Callable[[Training, Batch, float], tuple[Training, jax.Array]]


def compiled_step(objective: Objective, optimizer: RatedOptimizer) -> Step:
    """Returns the training step, one compiled function for all rates; it consumes its `Training`.

    One call a step, not `lax.scan` over many: inside a loop, XLA runs the gradient of a convolution
    on a CPU some twenty times slower, and calls made ahead cost as little as a loop.
    """

    def step(training: Training, batch: Batch, rate: float) -> tuple[Training, jax.Array]:
        params, opt_state, model_state, rng = training
        rng, key = (None, None) if rng is None else jax.random.split(rng)
        value_and_grad = jax.value_and_grad(objective, has_aux=True)
        (loss, outcome), grads = value_and_grad(params, batch, model_state, key)
        params, opt_state = optimizer.update(rate, grads, opt_state, params, loss)
        return Training(params, opt_state, outcome.model_state, rng), outcome.metric

    return jax.jit(step, donate_argnums=0)


def sweep(
    test: RangeTest,
    step: Step,
    training: Training,
    updates: Iterator[Sequence[Batch]],
    progress: Progress,
) -> None:
    """Drives `test` to its end; `training` itself is copied and stays as it is.

    Args:
        test: A new range test.
        step: From `compiled_step`.
        training: Where to begin.
        updates: The batches of each update; it is told the mean of their losses.
        progress: Shown after each update.
    """
    training = jax.tree.map(_copy, training)
    under_way: deque[list[jax.Array]] = deque()
    begun = 0
    while not test.done:
        if begun < test.sweep.steps:
            values: list[jax.Array] = []
            for batch in next(updates):
                training, value = step(training, batch, test.sweep.lr(begun))
                values.append(value)
            under_way.append(values)
            begun += 1
        if len(under_way) > _AHEAD_STEPS or begun == test.sweep.steps:
            loss = float(np.mean(jax.device_get(under_way.popleft())))
            test.tell(loss)
            progress.show(test, loss)


def _copy(leaf: Any) -> jax.Array:
    # With a dtype, a Python number does not become "weakly typed", which would compile twice.
    return jnp.array(leaf, dtype=dtype_in_jax(leaf), copy=True)
