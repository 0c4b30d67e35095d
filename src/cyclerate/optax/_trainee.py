"""A loss function with its data, as the finder trains it: batches, runs watched from behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from cyclerate._errors import bad_argument, check_count, check_function
from cyclerate._plain import versions
from cyclerate._randomness import (
    all_of,
    lending,
    remember_global_randomness,
    remember_order,
    seed_global_randomness,
)
from cyclerate.finder import Run, Trainee
from cyclerate.finder._prior import Prior
from cyclerate.finder._run import SCORE_ROWS, Passes, described, fingerprint, length_of
from cyclerate.optax._step import (
    Batch,
    MakeOptimizer,
    Objective,
    RatedOptimizer,
    Training,
    check_arrays,
    check_key,
    compiled_step,
    copied,
)

_AHEAD_STEPS = 2  # steps under way while a loss is looked at: the device need not wait for Python
_DEFAULT_BATCH_SIZE = 32
_ALLOWED = (
    "arrays of equal length in a tuple or dictionary, an iterable of batches, or a function that "
    "returns a new one"
)
_A_BATCH = "at least one batch in every pass; of an iterator there is one pass only"


def batches_of(data: Any, batch_size: int | None) -> Passes:
    """Returns batches without end: used up, the data are gone through again.

    Args:
        data: Arrays, an iterable, or a function that returns one; see `range_test`.
        batch_size: Rows of a batch, for arrays. None: 32.
    """
    if _are_arrays(data):
        size, rows = _size(batch_size), _rows_of(data)
        begin = partial(_drawn, jax.tree.map(_as_array, data), rows, min(size, rows))
        return Passes(begin, drawn=True, rows=rows, rows_in=rows_in, a_batch=_A_BATCH)
    if batch_size is not None:
        raise bad_argument("batch_size", "None if the data come in batches already", batch_size)
    if not (callable(data) or isinstance(data, Iterable)):
        raise bad_argument("data", _ALLOWED, data)
    return Passes(partial(_given, data), drawn=False, rows_in=rows_in, a_batch=_A_BATCH)


def number_of_batches(data: Any, batch_size: int | None) -> int | None:
    """Returns the batches in a pass over the data, or None if the data do not say."""
    if _are_arrays(data):
        return -(-_rows_of(data) // _size(batch_size))
    return length_of(data)


def rows_in(batch: Batch) -> int:
    """The length that most arrays in a batch have, the longest if none is more common.

    >>> rows_in({"name": "train", "size": np.zeros(2), "x": np.zeros((8, 3))}), rows_in(1.0)
    (8, 1)
    """
    lengths = sorted([np.shape(leaf)[0] for leaf in jax.tree.leaves(batch) if np.ndim(leaf)])
    return max(reversed(lengths), key=lengths.count, default=1)


def _are_arrays(data: Any) -> bool:
    return isinstance(data, (tuple, Mapping)) or isinstance(getattr(data, "shape", None), tuple)


def _size(batch_size: int | None) -> int:
    return check_count("batch_size", _DEFAULT_BATCH_SIZE if batch_size is None else batch_size)


def _rows_of(data: Any) -> int:
    shapes = [(0, *getattr(leaf, "shape", ()))[:2] for leaf in jax.tree.leaves(data)]
    if len(set(shapes)) != 1 or not shapes[0][-1]:
        kinds = [
            f"{type(leaf).__name__}{tuple(getattr(leaf, 'shape', ()))}"
            for leaf in jax.tree.leaves(data)[:5]
        ]
        raise bad_argument("data", _ALLOWED, kinds)
    return shapes[0][-1]


def _drawn(arrays: Any, rows: int, size: int, seed: int | None) -> Iterator[Batch]:
    """All rows in random order, again and again, in batches of one size throughout."""
    order = np.random.default_rng(seed)
    left = order.permutation(rows)
    while True:
        if len(left) < size:
            left = np.concatenate([left, order.permutation(rows)])
        yield jax.tree.map(partial(_take, index=left[:size]), arrays)
        left = left[size:]


def _take(array: Any, index: np.ndarray) -> Any:
    if not isinstance(array, jax.Array):
        return array[index]
    sharding = array.sharding
    if sharding.num_devices == 1 or not isinstance(sharding, NamedSharding):
        return jnp.take(array, index, axis=0)
    # A batch lies where its rows did; on all devices, where they cannot share it evenly.
    try:
        sharding.shard_shape((len(index), *array.shape[1:]))
    except ValueError:
        sharding = NamedSharding(sharding.mesh, PartitionSpec())
    if any(str(kind).endswith("Explicit") for kind in getattr(sharding.mesh, "axis_types", ())):
        return array.at[index].get(out_sharding=sharding)
    return jax.device_put(jnp.take(array, index, axis=0), sharding)


def _given(data: Any, _seed: int | None) -> Iterator[Batch]:
    batches = data if isinstance(data, Iterable) else data()
    if not isinstance(batches, Iterable):
        raise bad_argument("data", _ALLOWED, f"a function that returned {batches!r}")
    return (jax.tree.map(_as_array, batch) for batch in batches)


def _as_array(leaf: Any) -> Any:
    """Tensors of PyTorch and TensorFlow become NumPy arrays, where possible without a copy."""
    if isinstance(leaf, jax.Array):
        return leaf
    array = np.asarray(leaf)
    if array.dtype.kind in "OUS":
        raise bad_argument("data", "batches of numbers alone", repr(leaf)[:80])
    return array


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
        again: Whether every run goes through the data again.

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
        again: bool,
    ) -> None:
        check_key(rng)
        check_arrays("model_state", model_state)
        if score_fn is not None:
            of = "(params, batch)" if model_state is None else "(params, batch, model_state)"
            check_function("score_fn", score_fn, of)
        if again and isinstance(data, Iterator):
            allowed = 'what every run can go through again; an iterator is for method="range"'
            raise bad_argument("data", allowed, data)
        self._data, self._batches = data, batches_of(data, batch_size)
        self._objective = Objective(
            loss_fn, metric, model_state is not None, rng is not None, has_aux
        )
        self._optimizer = RatedOptimizer(make_optimizer, params)
        if opt_state is not None:
            self._optimizer.check_state(opt_state)
        self._accumulation_steps = self._optimizer.check_accumulation(accumulation_steps)
        self._rows = _size(batch_size) * self._accumulation_steps if _are_arrays(data) else None
        self._start = Training(params, opt_state, model_state, rng)
        self._start_lr, self._score_fn = start_lr, score_fn
        self._step = compiled_step(self._objective, self._optimizer)
        self._evaluate = jax.jit(self._metric_of)
        self._trained: Training | None = None
        self._sample: list[Batch] = []
        self._seed: int | None = None

    @contextmanager
    def lent(self) -> Generator[None]:
        """Puts back the generators that the data draw from; lets losses be NaN meanwhile.

        Raises:
            CyclerateError: Another thread tests.
        """
        with lending() as stack:
            stack.callback(all_of([remember_global_randomness(), remember_order(self._data)]))
            with jax.debug_nans(False), jax.debug_infs(False):  # a sweep is there to diverge
                yield

    def restore(self, seed: int) -> None:
        self._trained = None  # not two copies at a time
        if seed != self._seed:
            self._seed, self._sample = seed, []
            self._put_order_back = remember_order(self._data)
            self._batches.begin_repeat(seed)
        else:
            self._put_order_back()
            self._batches.rewind()
        seed_global_randomness(seed)

    def prior(self, total_steps: int, *, fine_tuned: bool = False) -> Prior:
        return self._optimizer.prior(
            self._start.params, self._rows, total_steps, fine_tuned=fine_tuned
        )

    def provenance(self) -> dict[str, Any]:
        data = self._data
        leaves = jax.tree.leaves(data) if _are_arrays(data) else []
        spread = any(isinstance(x, jax.Array) and x.sharding.num_devices > 1 for x in leaves)
        arrays = bool(leaves) and not spread
        return {
            "backend": "jax",
            "device": str(jax.devices()[0]),
            "data": fingerprint(leaves) if arrays else described(data),
            "versions": versions("jax", "optax"),
        }

    def train(self, run: Run) -> None:
        training = self._begin()
        updates = self._optimizer.updates_in(training.opt_state)
        under_way: deque[list[jax.Array]] = deque()
        begun = 0
        while not run.done:
            if begun < run.planned_steps:
                values: list[jax.Array] = []
                for _ in range(self._accumulation_steps):
                    rate = (run.lrs_from(begun)[0],)
                    training, told = self._step(training, next(self._batches), rate, None)
                    values.append(told.metric)
                under_way.append(values)
                if not begun:
                    state = training.opt_state
                    self._optimizer.check_update(self._accumulation_steps, updates, state)
                begun += 1
            if len(under_way) > _AHEAD_STEPS or begun == run.planned_steps:
                values = jax.device_get(under_way.popleft())
                run.tell(sum(map(float, values)) / len(values))
        self._trained = training

    def score(self, seed: int) -> float:
        seed_global_randomness(seed)
        self._sample = self._sample or self._batches.sample(SCORE_ROWS, seed)
        params, _, model_state, _ = cast(Training, self._trained)
        total = rows = 0.0
        for batch in self._sample:
            in_batch = rows_in(batch)
            total += in_batch * float(self._evaluate(params, model_state, batch))
            rows += in_batch
        return total / rows

    def _begin(self) -> Training:
        start = self._start
        if start.opt_state is None:
            # New for each run: no copy of it is kept beside the one that trains.
            new = self._optimizer.init((self._start_lr,), start.params)
            start = start._replace(opt_state=new)
        return copied(start)

    def _metric_of(self, params: Any, model_state: Any, batch: Batch) -> Any:
        """The metric in evaluation mode, or with a key that is always the same."""
        if self._score_fn is None:
            rng = self._start.rng
            key = None if rng is None else jax.random.fold_in(rng, 0)
            return self._objective(params, batch, model_state, key)[1][0]
        state = (model_state,) if self._objective.has_state else ()
        score = self._score_fn(params, batch, *state)
        if isinstance(score, tuple) or jnp.shape(score) != ():
            shapes = jax.tree.map(jnp.shape, score)
            raise bad_argument("the output of score_fn", "a single number", f"of shape {shapes}")
        return score
