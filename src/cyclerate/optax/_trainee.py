"""The runs of a range test: a compiled step, at given rates, watched from two steps behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cyclerate._randomness import PutBack, seed_global_randomness
from cyclerate.finder import Procedure, Race, RangeTest, conduct
from cyclerate.finder._passes import Passes
from cyclerate.finder._progress import Progress
from cyclerate.finder._run import SCORE_ROWS, sample_seed
from cyclerate.optax._data import Batch, rows_in
from cyclerate.optax._objective import RatedOptimizer
from cyclerate.optax.layout import dtype_in_jax
from cyclerate.optax.objective import Objective

_AHEAD_STEPS = 2  # steps under way while a loss is looked at: the device need not wait for Python


class Training(NamedTuple):
    """What a training step changes."""

    params: Any
    opt_state: Any
    model_state: Any
    rng: Any


Step = Callable[[Training, Batch, float], tuple[Training, jax.Array]]

Evaluate = Callable[[Training, Batch], jax.Array]


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


def compiled_evaluation(
    objective: Objective, score_fn: Callable[..., Any] | None, rng: Any
) -> Evaluate:
    """Returns the metric of a batch as one compiled function.

    Args:
        objective: Gives the metric where there is no `score_fn`; its new state is let go.
        score_fn: Gives it of parameters, batch and, if there is one, state.
        rng: The key, always the same; None for none.
    """
    key = None if rng is None else jax.random.fold_in(rng, 0)

    def evaluate(training: Training, batch: Batch) -> Any:
        params, _, model_state, _ = training
        if score_fn is None:
            return objective(params, batch, model_state, key)[1].metric
        state = () if model_state is None else (model_state,)
        return score_fn(params, batch, *state)

    return jax.jit(evaluate)


class Runner:
    """Makes the runs of procedures.

    Args:
        begin: Returns where every run begins; it is copied.
        step: From `compiled_step`.
        evaluate: From `compiled_evaluation`.
        batches: The training data.
        accumulation_steps: Batches of a step; a run is told the mean of their losses.
        remember_order: Notes what decides on the order of the data.
        progress: Shown after each step.
    """

    def __init__(
        self,
        begin: Callable[[], Training],
        step: Step,
        evaluate: Evaluate,
        batches: Passes,
        *,
        accumulation_steps: int,
        remember_order: Callable[[], PutBack],
        progress: Progress,
    ) -> None:
        self._begin, self._step, self._evaluate = begin, step, evaluate
        self._batches, self._accumulation_steps = batches, accumulation_steps
        self._remember_order, self._progress = remember_order, progress

    def conduct(self, procedure: Procedure, seed: int) -> None:
        """Makes all runs of a procedure, on the same batches: those of a seed."""
        put_order_back = self._remember_order()
        self._batches.begin_repeat(seed)
        ended: list[Training] = []
        sample: list[Batch] = []
        first = True

        def restore() -> None:
            nonlocal first
            ended.clear()  # not two copies at a time
            if not first:
                put_order_back()
                self._batches.rewind()
            first = False
            seed_global_randomness(seed)

        def train(run: RangeTest | Race) -> None:
            ended.append(self._train(run, jax.tree.map(_copy, self._begin())))

        def score() -> float:
            nonlocal sample
            own_seed = sample_seed(seed)
            seed_global_randomness(own_seed)
            sample = sample or self._batches.sample(SCORE_ROWS, own_seed)
            values = jax.device_get([self._evaluate(ended[0], batch) for batch in sample])
            return float(np.average(values, weights=[rows_in(batch) for batch in sample]))

        conduct(procedure, restore=restore, train=train, score=score)

    def _train(self, run: RangeTest | Race, training: Training) -> Training:
        """Makes the steps of a run; `training` is used up."""
        lrs = run.lrs
        under_way: deque[Sequence[jax.Array]] = deque()
        begun = 0
        while not run.done:
            if begun < len(lrs):
                values: list[jax.Array] = []
                for _ in range(self._accumulation_steps):
                    training, value = self._step(training, next(self._batches), lrs[begun])
                    values.append(value)
                under_way.append(values)
                begun += 1
            if len(under_way) > _AHEAD_STEPS or begun == len(lrs):
                loss = float(np.mean(jax.device_get(under_way.popleft())))
                run.tell(loss)
                self._progress.show(run, loss)
        return training


def _copy(leaf: Any) -> jax.Array:
    # With a dtype, a Python number does not become "weakly typed", which would compile twice.
    return jnp.array(leaf, dtype=dtype_in_jax(leaf), copy=True)
