"""Compares pytrees by what they are made of, not by their values."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


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
