"""Batches without end, whatever the data come as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cyclerate._errors import bad_argument, check_count
from cyclerate.finder._passes import Passes, length_of

Batch = Any
"""A pytree of arrays, as the user's loss function takes it."""

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
        size = check_count("batch_size", _DEFAULT_BATCH_SIZE if batch_size is None else batch_size)
        return _drawn(data, size)
    if batch_size is not None:
        raise bad_argument("batch_size", "None if the data come in batches already", batch_size)
    open_data = _opener(data)
    return Passes(
        lambda _seed: (jax.tree.map(_as_array, batch) for batch in _iterable(open_data())),
        drawn=False,
        rows_in=rows_in,
        a_batch=_A_BATCH,
    )


def number_of_batches(data: Any, batch_size: int | None) -> int | None:
    """Returns the batches in a pass over the data, or None if the data do not say."""
    if _are_arrays(data):
        return -(-_common_length(jax.tree.leaves(data)) // (batch_size or _DEFAULT_BATCH_SIZE))
    return length_of(data)


def rows_in(batch: Batch) -> int:
    """The length of the first array in a batch; 1 if it has none."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(batch)]
    return shapes[0][0] if shapes and shapes[0] else 1


def _are_arrays(data: Any) -> bool:
    return hasattr(data, "shape") or isinstance(data, (tuple, Mapping))


def _drawn(data: Any, batch_size: int) -> Passes:
    leaves, structure = jax.tree.flatten(data)
    rows = _common_length(leaves)
    arrays = [leaf if isinstance(leaf, jax.Array) else np.asarray(leaf) for leaf in leaves]

    def begin(seed: int) -> Iterator[Batch]:
        for index in _indices(rows, min(batch_size, rows), np.random.default_rng(seed)):
            yield structure.unflatten(_take(array, index) for array in arrays)

    return Passes(begin, drawn=True, rows=rows, rows_in=rows_in, a_batch=_A_BATCH)


def _common_length(leaves: list[Any]) -> int:
    shapes = [getattr(leaf, "shape", ()) for leaf in leaves]
    lengths = {shape[0] if shape else 0 for shape in shapes}
    if len(lengths) != 1 or 0 in lengths:
        kinds = [f"{type(leaf).__name__}{tuple(s)}" for leaf, s in zip(leaves, shapes, strict=True)]
        raise bad_argument("data", _ALLOWED, kinds[:5])
    return lengths.pop()


def _indices(rows: int, size: int, order: np.random.Generator) -> Iterator[np.ndarray]:
    """All rows in random order, again and again, in batches of one size throughout."""
    left = order.permutation(rows)
    while True:
        if len(left) < size:
            left = np.concatenate([left, order.permutation(rows)])
        yield left[:size]
        left = left[size:]


def _take(array: Any, index: np.ndarray) -> Any:
    return jnp.take(array, index, axis=0) if isinstance(array, jax.Array) else array[index]


def _opener(data: Any) -> Callable[[], Any]:
    if isinstance(data, Iterable):
        return lambda: data
    if not callable(data):
        raise bad_argument("data", _ALLOWED, data)
    return data


def _iterable(batches: Any) -> Iterable[Batch]:
    if not isinstance(batches, Iterable):
        raise bad_argument("data", _ALLOWED, f"a function that returned {batches!r}")
    return batches


def _as_array(leaf: Any) -> Any:
    """Tensors of PyTorch and TensorFlow become NumPy arrays, where possible without a copy."""
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)


def difference(expected: Any, received: Any) -> str | None:
    """Returns where two pytrees first differ in structure, shape or dtype; None if nowhere.

    >>> import numpy as np
    >>> difference({"w": np.zeros(3)}, {"w": np.zeros(4)})
    "['w'] is float32[4] instead of float32[3]"
    """
    want, have = _leaves(expected), _leaves(received)
    for path in {**want, **have}:
        if want.get(path) != have.get(path):
            return f"{path} is {have.get(path, 'missing')} instead of {want.get(path, 'absent')}"
    if jax.tree.structure(expected) != jax.tree.structure(received):
        return f"it is {jax.tree.structure(received)} instead of {jax.tree.structure(expected)}"
    return None


def _leaves(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path) or "it": _kind(leaf) for path, leaf in leaves}


def _kind(leaf: Any) -> str:
    return f"{dtype_in_jax(leaf)}{list(jnp.shape(leaf))}"


def dtype_in_jax(leaf: Any) -> Any:
    """Returns the dtype that a leaf has as a JAX array: without x64, float64 becomes float32."""
    dtype = getattr(leaf, "dtype", None)
    is_key = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    return dtype if is_key else jnp.result_type(leaf)
