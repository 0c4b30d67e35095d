"""A loss function as the finder trains it: a compiled step at given rates, watched from behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from cyclerate._errors import bad_argument, check_choice, check_count
from cyclerate._randomness import (
    PutBack,
    all_of,
    remember_generators_of,
    remember_global_randomness,
    seed_global_randomness,
)
from cyclerate.finder import Run, Trainee
from cyclerate.finder._run import SCORE_ROWS
from cyclerate.optax._data import Batch, batches_of, dtype_in_jax, rows_in
from cyclerate.optax._objective import MakeOptimizer, Objective, RatedOptimizer

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


class OptaxTrainee(Trainee):
    """A loss function with its parameters and data, lent to the finder.

    Args:
        loss_fn: As `range_test` takes it, like all that follows.
        params: The parameters.
        make_optimizer: Builds the optimizer for a rate.
        data: The training data.
        batch_size: Rows of a batch.
        start_lr: A rate to begin the optimizer's state with.
        metric: What to record.
        has_aux: Whether the loss function gives more than the loss.
        model_state: What a step changes beside the parameters.
        rng: A key of `jax.random`.
        opt_state: The optimizer's state; None for a new one.
        accumulation_steps: Batches of an update; a run is told the mean of their losses.
        score_fn: What the races are scored by.

    Raises:
        ValueError: A wrong argument.
    """

    def __init__(
        self,
        loss_fn: Callable[..., Any],
        params: Any,
        make_optimizer: MakeOptimizer,
        data: Any,
        *,
        batch_size: int | None,
        start_lr: float,
        metric: str,
        has_aux: bool,
        model_state: Any,
        rng: Any,
        opt_state: Any,
        accumulation_steps: int,
        score_fn: Callable[..., Any] | None,
    ) -> None:
        self._accumulation_steps = check_count("accumulation_steps", accumulation_steps)
        check_choice("has_aux", has_aux, (True, False))
        if score_fn is not None and not callable(score_fn):
            raise bad_argument("score_fn", "a function of (params, batch)", score_fn)
        self._data, self._batches = data, batches_of(data, batch_size)
        objective = Objective(loss_fn, metric, model_state is not None, rng is not None, has_aux)
        optimizer = RatedOptimizer(make_optimizer, params)
        if opt_state is not None:
            optimizer.check_state(opt_state)
        if optimizer.accumulates != (self._accumulation_steps > 1):
            allowed = "every_k_schedule where make_optimizer builds an optax.MultiSteps, else 1"
            raise bad_argument("accumulation_steps", allowed, accumulation_steps)
        # A new state is made for each run: no copy of it is kept beside the one that trains.
        self._begin = lambda: Training(
            params,
            optimizer.init(start_lr, params) if opt_state is None else opt_state,
            model_state,
            rng,
        )
        self._step = compiled_step(objective, optimizer)
        self._evaluate = compiled_evaluation(objective, score_fn, rng)
        self._trained: Training | None = None
        self._sample: list[Batch] = []
        self._seed: int | None = None

    @contextmanager
    def lent(self) -> Generator[None]:
        """Puts back the generators that the data draw from; lets losses be NaN meanwhile."""
        put_back = all_of([remember_global_randomness(), self._remember_order()])
        try:
            with jax.debug_nans(False), jax.debug_infs(False):  # a sweep is there to diverge
                yield
        finally:
            put_back()

    def restore(self, seed: int) -> None:
        self._trained = None  # not two copies at a time
        if seed != self._seed:
            self._seed, self._sample = seed, []
            self._put_order_back = self._remember_order()
            self._batches.begin_repeat(seed)
        else:
            self._put_order_back()
            self._batches.rewind()
        seed_global_randomness(seed)

    def train(self, run: Run) -> None:
        training = jax.tree.map(_copy, self._begin())
        under_way: deque[Sequence[jax.Array]] = deque()
        begun = 0
        while not run.done:
            if begun < len(run.lrs):
                values: list[jax.Array] = []
                for _ in range(self._accumulation_steps):
                    training, value = self._step(training, next(self._batches), run.lrs[begun])
                    values.append(value)
                under_way.append(values)
                begun += 1
            if len(under_way) > _AHEAD_STEPS or begun == len(run.lrs):
                run.tell(float(np.mean(jax.device_get(under_way.popleft()))))
        self._trained = training

    def score(self, seed: int) -> float:
        seed_global_randomness(seed)
        self._sample = self._sample or self._batches.sample(SCORE_ROWS, seed)
        trained = cast(Training, self._trained)
        values = jax.device_get([self._evaluate(trained, batch) for batch in self._sample])
        return float(np.average(values, weights=[rows_in(batch) for batch in self._sample]))

    def _remember_order(self) -> PutBack:
        data = self._data
        return remember_generators_of(
            data, getattr(data, "dataset", None), getattr(data, "sampler", None)
        )


def _copy(leaf: Any) -> jax.Array:
    # With a dtype, a Python number does not become "weakly typed", which would compile twice.
    return jnp.array(leaf, dtype=dtype_in_jax(leaf), copy=True)
