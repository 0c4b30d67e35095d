"""Shapes: from the straight-line height of a cycle to its height, both in [0, 1].

Each is exact at both ends and accurate near 0, where a small rate lives: a cosine written as
`(1 + cos) / 2` cancels there, `sin ** 2` does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cyclerate.schedules._namespaces import Namespace

Shape = Callable[[Any, Namespace], Any]


def straight(u: Any, xp: Namespace) -> Any:
    """`u`: the triangular window of Smith (arXiv 1506.01186, section 3.1)."""
    return u


def cosine(u: Any, xp: Namespace) -> Any:
    """`sin(pi u / 2) ** 2`, which is `(1 - cos(pi u)) / 2`: the sinusoidal (Hann) window."""
    root = xp.sin(u * (math.pi / 2))
    return root * root


def welch(u: Any, xp: Namespace) -> Any:
    """`u (2 - u)`, which is `1 - (1 - u) ** 2`: the parabolic (Welch) window."""
    return u * (2.0 - u)


SHAPES: dict[str, Shape] = {
    "triangle": straight,
    "linear": straight,
    "cosine": cosine,
    "welch": welch,
}
"""The names that `shape=` takes; "linear" and "triangle" are the same straight lines."""


def blend(a: float, b: float, u: Any, xp: Namespace) -> Any:
    """`a` at `u` = 0, `b` at `u` = 1, both exactly, and never outside the two."""
    return xp.clip(a * (1.0 - u) + b * u, min(a, b), max(a, b))
