"""The mean of weights and of predictions: built up one at a time, so that two are held at most."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cyclerate._errors import bad_argument

T = TypeVar("T")
Floats = NDArray[np.float64]
Outputs = str | Callable[[Floats], Any]
"""The outputs of a model: "probabilities", "logits", "values", or a function of an array."""


def running_mean(mean: Any, value: Any, number: int) -> Any:
    """Returns the mean of `number` values from that of all but the last.

        mean + (value - mean) / number

    Source: Izmailov et al. 2018, arXiv 1803.05407, algorithm 1.

    >>> running_mean(2.0, 8.0, number=3)
    4.0
    """
    return mean + (value - mean) / number


def probabilities_from(outputs: Outputs) -> Callable[[Any], Any]:
    """Returns the function from a model's outputs to the float64 values that are averaged.

    Probabilities must lie in [0, 1]; logits go through the softmax of the last axis, or the sigmoid
    where that has the length 1. The outputs are arrays, or tuples, lists and dicts of them.
    """
    kinds = {"probabilities": _checked, "logits": _from_logits, "values": lambda array: array}
    if not callable(outputs) and outputs not in kinds:
        allowed = f"one of {', '.join(map(repr, kinds))}, or a function"
        raise bad_argument("outputs", allowed, outputs)
    convert = outputs if callable(outputs) else kinds[outputs]
    return lambda tree: _mapped(lambda a: np.asarray(convert(np.asarray(a, np.float64))), tree)


def mean_of(predictions: Iterable[Any]) -> Any:
    """Returns the mean of predictions: arrays, or tuples, lists and dicts of them.

    >>> mean_of(np.array(row) for row in [[0.2, 0.8], [0.4, 0.6]]).round(6).tolist()
    [0.3, 0.7]
    """
    mean = None
    for number, prediction in enumerate(predictions, start=1):
        if number == 1:
            mean = prediction
        else:
            mean = _mapped(lambda m, p, n=number: running_mean(m, p, n), mean, prediction)
    return mean


def _checked(array: Floats) -> Floats:
    if array.size and not (array.min() >= -1e-6 and array.max() <= 1 + 1e-6):
        raise bad_argument(
            "outputs",
            '"logits" or "values" for a model whose outputs are not all in [0, 1]',
            "probabilities",
        )
    return array


def _from_logits(array: Floats) -> Floats:
    if array.shape[-1:] == (1,):
        return np.exp(-np.logaddexp(0.0, -array))
    shifted = np.exp(array - array.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _mapped(function: Callable[..., Any], *trees: Any) -> Any:
    """Applies the function to the arrays at the same place of each structure."""
    first = trees[0]
    if isinstance(first, dict):
        return {key: _mapped(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, (tuple, list)):
        return type(first)(_mapped(function, *parts) for parts in zip(*trees, strict=True))
    return function(*trees)
