"""The few operations that a formula needs, in Python, NumPy, JAX, TensorFlow and PyTorch.

A formula is written once, as `value_at(n, xp)`, and never asks which framework it runs in. Steps
arrive here as whole numbers and stay whole numbers until the position within a phase is known; only
then do they become floats. That keeps step 2**40 as exact as step 40, also in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cyclerate._errors import bad_argument
from cyclerate.schedules._namespaces import Jax, TensorFlow, Torch
from cyclerate.schedules.namespaces.exact import NumPy, PlainPython
from cyclerate.schedules.namespaces.protocol import WHOLE_STEP, Namespace

__all__ = ["PLAIN", "Namespace", "resolve"]

PLAIN: Namespace = PlainPython()
NUMPY: Namespace = NumPy()
_FRAMEWORKS: dict[str, Callable[[], Namespace]] = {
    "jax": Jax,
    "jaxlib": Jax,
    "tensorflow": TensorFlow,
    "torch": Torch,
}
_loaded: dict[str, Namespace] = {}


def resolve(step: Any) -> tuple[Any, Namespace]:
    """The steps as whole numbers, and the namespace of their kind.

    Loads no framework that is not in use.

    Raises:
        ValueError: `step` is no whole number, or none that this library knows.
    """
    if isinstance(step, (int, float, np.generic)):
        return PLAIN.steps(step), PLAIN
    if isinstance(step, (np.ndarray, list, tuple, range)):
        return NUMPY.steps(step), NUMPY
    framework = type(step).__module__.partition(".")[0]
    if framework == "keras":
        return resolve(step.value)
    if framework not in _FRAMEWORKS:
        framework = _base_framework(type(step))
    if framework not in _FRAMEWORKS:
        raise bad_argument("step", WHOLE_STEP, step)
    if framework not in _loaded:
        _loaded[framework] = _FRAMEWORKS[framework]()
    xp = _loaded[framework]
    return xp.steps(step), xp


def _base_framework(kind: type) -> str:
    """The framework of a user's own tensor class, by the classes that it is derived from."""
    roots = (base.__module__.partition(".")[0] for base in kind.__mro__)
    return next((root for root in roots if root in _FRAMEWORKS), "")
