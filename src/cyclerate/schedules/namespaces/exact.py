"""Plain Python and NumPy, which agree bit for bit.

Plain Python takes sine and the like from NumPy rather than from `math`, so that one step gives
exactly what the same step gives inside an array.
"""

from __future__ import annotations

import bisect
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cyclerate._errors import bad_argument
from cyclerate.schedules.namespaces.protocol import WHOLE_STEP, Piece


class PlainPython:
    """int -> float."""

    def steps(self, step: Any) -> int:
        try:
            n = operator.index(step)
        except TypeError:
            if not (isinstance(step, (float, np.floating)) and float(step).is_integer()):
                raise bad_argument("step", WHOLE_STEP, step) from None
            n = int(step)
        if isinstance(step, (bool, np.bool_)) or n < 0:
            raise bad_argument("step", WHOLE_STEP, step)
        return n

    real = staticmethod(float)

    def where(self, condition: bool, x: float, y: float) -> float:
        return x if condition else y

    least = staticmethod(min)

    def clip(self, x: float, low: float, high: float) -> float:
        return low if x < low else min(x, high)

    def full(self, n: int, value: float) -> float:
        return value

    def sin(self, x: float) -> float:
        return float(np.sin(x))

    def sqrt(self, x: float) -> float:
        return math.sqrt(x)

    def power(self, x: float, exponent: float) -> float:
        return float(np.power(x, exponent))

    def one_minus_power(self, p: float, exponent: float) -> float:
        return 1.0 - self.power(1.0 - p, exponent)

    def exp_steps(self, rate: float, n: int) -> float:
        return float(np.exp(rate * float(n)))

    def power_steps(self, base: float, n: int) -> float:
        return float(np.power(base, float(n)))

    def power_of_half(self, n: int) -> float:
        return math.ldexp(1.0, -n) if n < 2000 else 0.0

    def lookup(self, starts: Sequence[int], values: Sequence[int], n: int) -> tuple[int, int]:
        i = bisect.bisect_right(starts, n) - 1
        return starts[i], values[i]

    def scale(self, function: Callable[[Any], Any], n: int) -> float:
        return float(function(n))

    def join(self, starts: Sequence[int], pieces: Sequence[Piece], n: int) -> float:
        i = bisect.bisect_right(starts, n) - 1
        return pieces[i](n - starts[i], self)


class NumPy:
    """ndarray -> ndarray of float64."""

    def steps(self, step: Any) -> np.ndarray:
        n = np.asarray(step)
        if n.dtype.kind not in "iuf" or (n.dtype.kind == "f" and not np.all(np.floor(n) == n)):
            raise bad_argument("step", WHOLE_STEP, step)
        if n.size and n.min() < 0:
            raise bad_argument("step", WHOLE_STEP, step)
        return n.astype(np.int64, copy=False)

    def real(self, n: np.ndarray) -> np.ndarray:
        return n.astype(np.float64)

    where = staticmethod(np.where)
    least = staticmethod(np.minimum)
    clip = staticmethod(np.clip)
    sin = staticmethod(np.sin)
    sqrt = staticmethod(np.sqrt)
    power = staticmethod(np.power)

    def full(self, n: np.ndarray, value: float) -> np.ndarray:
        return np.full(n.shape, value)

    def one_minus_power(self, p: np.ndarray, exponent: float) -> np.ndarray:
        return 1.0 - np.power(1.0 - p, exponent)

    def exp_steps(self, rate: float, n: np.ndarray) -> np.ndarray:
        return np.exp(rate * n.astype(np.float64))

    def power_steps(self, base: float, n: np.ndarray) -> np.ndarray:
        return np.power(base, n.astype(np.float64))

    def power_of_half(self, n: np.ndarray) -> np.ndarray:
        return np.ldexp(1.0, -np.minimum(n, 2000))

    def lookup(self, starts: Sequence[int], values: Sequence[int], n: np.ndarray) -> Any:
        i = np.searchsorted(np.array(starts), n, side="right") - 1
        return np.array(starts)[i], np.array(values)[i]

    def scale(self, function: Callable[[Any], Any], n: np.ndarray) -> np.ndarray:
        # Called with the same Python ints as in the plain case: a scale_fn need not be vectorised.
        distinct, where = np.unique(n, return_inverse=True)
        values = np.array([float(function(int(k))) for k in distinct], dtype=np.float64)
        return values[where].reshape(n.shape)

    def join(self, starts: Sequence[int], pieces: Sequence[Piece], n: np.ndarray) -> np.ndarray:
        out = np.empty(n.shape)
        ends = [*starts[1:], None]
        for start, end, piece in zip(starts, ends, pieces, strict=True):
            here = n >= start if end is None else (n >= start) & (n < end)
            out[here] = piece(n[here] - start, self)
        return out
