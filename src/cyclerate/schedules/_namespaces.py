"""The arithmetic that a formula asks for: plain Python, NumPy, and tensors of each framework."""

from __future__ import annotations

import bisect
import importlib
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from cyclerate._errors import bad_argument

Piece = Callable[[Any, "Namespace"], Any]
"""A formula: (whole step, namespace) -> value."""

WHOLE_STEP = "a whole number >= 0, or an array or tensor of them, below 2**63"

_ZERO_EXPONENT = -750.0  # exp() of it is zero, in float64 too
FARTHEST = 2**62
"""Lengths lie below it, so that the sum of two fits 64 bits. A tensor's step beyond it counts as
this one, infinity too."""


class Namespace(Protocol):
    """The operations of a formula; `n` are whole steps, `x` floats, of the namespace's kind."""

    def steps(self, step: Any, /) -> Any:
        """Steps as the namespace's integers, none below zero."""

    def real(self, n: Any, /) -> Any:
        """Integers as floats."""

    def where(self, condition: Any, x: Any, y: Any, /) -> Any: ...
    def least(self, n: Any, limit: int, /) -> Any: ...
    def clip(self, x: Any, low: float, high: float, /) -> Any: ...
    def full(self, n: Any, value: float, /) -> Any:
        """`value` in the shape of `n`."""

    def sin(self, x: Any, /) -> Any: ...
    def sqrt(self, x: Any, /) -> Any: ...
    def log1p(self, x: Any, /) -> Any: ...
    def power(self, x: Any, exponent: float, /) -> Any: ...
    def one_minus_power(self, p: Any, exponent: float, /) -> Any:
        """`1 - (1 - p) ** exponent` without cancellation near `p` = 0."""

    def exp_steps(self, rate: float, n: Any, /) -> Any:
        """`exp(rate * n)` for whole `n`, to the last digits also where `n` is large."""

    def power_steps(self, base: float, n: Any, /) -> Any:
        """`base ** n` for whole `n`, likewise."""

    def power_of_half(self, n: Any, /) -> Any:
        """`0.5 ** n`."""

    def lookup(self, starts: Sequence[int], values: Sequence[int], n: Any, /) -> tuple[Any, Any]:
        """The last start that is not after `n`, and the value that belongs to it."""
        ...

    def scale(self, function: Callable[[Any], Any], n: Any, /) -> Any:
        """A user's `scale_fn` at `n`."""

    def join(self, starts: Sequence[int], pieces: Sequence[Piece], n: Any, /) -> Any:
        """Each piece from its own start on, at the steps since that start."""


class _Traced:
    """Shared by the tensor frameworks: float32, and no Python branch on a value."""

    def evaluate(self: Any, formula: Piece, step: Any) -> Any:
        """The value of a formula at steps that are not whole numbers of this namespace yet."""
        return formula(self.steps(step), self)

    def full(self: Any, n: Any, value: float) -> Any:
        return self.real(n) * 0.0 + value

    def one_minus_power(self: Any, p: Any, exponent: float) -> Any:
        # p = 1 is left to the clip below 1: its logarithm is not finite.
        below_one = self.clip(p, 0.0, 1.0 - 2.0**-24)
        near = -self.expm1(self.log1p(-below_one) * exponent)
        return self.where(p >= 1.0, p, near)

    def exp_steps(self: Any, rate: float, n: Any) -> Any:
        # The product rate * n loses digits in float32, and exp() makes that an error of |rate * n|
        # units. Split so that the large products are exact (12 bits times 12 bits) and the rest is
        # small: also far out, where the whole is zero, and zero times infinity would be NaN.
        if rate < 0:
            n = self.least(n, min(math.ceil(_ZERO_EXPONENT / rate), FARTHEST))
        mantissa, exponent = math.frexp(rate)
        coarse = math.ldexp(round(mantissa * 4096), exponent - 12)
        high, low = n // 4096, n % 4096
        return (
            self.exp(self.real(high) * (coarse * 4096))
            * self.exp(self.real(low) * coarse)
            * self.exp(self.real(n) * (rate - coarse))
        )

    def power_steps(self: Any, base: float, n: Any) -> Any:
        return self.exp_steps(math.log(base), n)

    def power_of_half(self: Any, n: Any) -> Any:
        return self.power_steps(0.5, self.least(n, 2000))

    def scale(self: Any, function: Callable[[Any], Any], n: Any) -> Any:
        return function(self.real(n))

    def join(self: Any, starts: Sequence[int], pieces: Sequence[Piece], n: Any) -> Any:
        value = pieces[0](n, self)
        for start, piece in zip(starts[1:], pieces[1:], strict=True):
            since = self.steps(n - start)
            value = self.where(n >= start, piece(since, self), value)
        return value


class Jax(_Traced):
    """jax.Array or tracer -> the same, float32 (float64 where x64 is enabled)."""

    def __init__(self, real: Any = None) -> None:
        jax, self._real = importlib.import_module("jax"), real
        self._np = jnp = jax.numpy
        named = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
        self._enable_x64 = named.enable_x64
        self.where, self.clip, self.least = jnp.where, jnp.clip, jnp.minimum
        self.sin, self.sqrt, self.exp = jnp.sin, jnp.sqrt, jnp.exp
        self.log1p, self.expm1, self.power = jnp.log1p, jnp.expm1, jnp.power

    def evaluate(self, formula: Piece, step: Any) -> Any:
        # Whole numbers of 64 bits whatever JAX is set to: a schedule may be longer than 2**31
        # steps, and a count of 32 bits without a sign goes beyond that, too.
        real = self._np.result_type(float)
        with self._enable_x64(True):
            xp = Jax(real)
            return self._np.asarray(formula(xp.steps(step), xp), real)

    def steps(self, step: Any) -> Any:
        n = self._np.asarray(step)
        if n.dtype == "uint64" or not self._np.issubdtype(n.dtype, self._np.integer):
            n = self._np.minimum(n, self._np.asarray(FARTHEST, n.dtype))
        return self._np.maximum(n.astype(int), 0)

    def real(self, n: Any) -> Any:
        return n.astype(self._real)

    def lookup(self, starts: Sequence[int], values: Sequence[int], n: Any) -> tuple[Any, Any]:
        table = self._np.asarray(starts, n.dtype)
        i = self._np.searchsorted(table, n, side="right") - 1
        return table[i], self._np.asarray(values, n.dtype)[i]


class TensorFlow(_Traced):
    """tf.Tensor or tf.Variable -> tf.Tensor of float32."""

    def __init__(self) -> None:
        self._tf = tf = importlib.import_module("tensorflow")
        self.where, self.clip, self.power = tf.where, tf.clip_by_value, tf.pow
        self.sin, self.sqrt, self.exp = tf.sin, tf.sqrt, tf.exp
        self.log1p, self.expm1 = tf.math.log1p, tf.math.expm1

    def steps(self, step: Any) -> Any:
        tf = self._tf
        if step.dtype.is_floating or step.dtype == tf.uint64:
            step = tf.minimum(step, tf.constant(FARTHEST, step.dtype))
        return tf.maximum(tf.cast(step, tf.int64), 0)

    def real(self, n: Any) -> Any:
        return self._tf.cast(n, self._tf.float32)

    def least(self, n: Any, limit: int) -> Any:
        return self._tf.minimum(n, limit)

    def lookup(self, starts: Sequence[int], values: Sequence[int], n: Any) -> tuple[Any, Any]:
        tf = self._tf
        table = tf.constant(starts, tf.int64)
        flat = tf.searchsorted(table, tf.reshape(n, [-1]), side="right") - 1
        i = tf.reshape(flat, tf.shape(n))
        return tf.gather(table, i), tf.gather(tf.constant(values, tf.int64), i)


class Torch(_Traced):
    """torch.Tensor -> torch.Tensor of float32, on the same device.

    Written with the tensors' own methods, so that nothing is imported while `torch.compile` traces.
    """

    def steps(self, step: Any) -> Any:
        if step.dtype.is_floating_point:
            step = step.clamp(max=float(FARTHEST))
        n = step.long()
        return n.clamp(min=0) if step.dtype.is_signed else n.where(n >= 0, FARTHEST)

    def real(self, n: Any) -> Any:
        return n.float()

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        return x.where(condition, y)

    def least(self, n: Any, limit: int) -> Any:
        return n.clamp(max=limit)

    def clip(self, x: Any, low: float, high: float) -> Any:
        return x.clamp(low, high)

    sin, sqrt = staticmethod(lambda x: x.sin()), staticmethod(lambda x: x.sqrt())
    exp, log1p = staticmethod(lambda x: x.exp()), staticmethod(lambda x: x.log1p())
    expm1, power = staticmethod(lambda x: x.expm1()), staticmethod(lambda x, e: x.pow(e))

    def lookup(self, starts: Sequence[int], values: Sequence[int], n: Any) -> tuple[Any, Any]:
        table = n.new_tensor(starts)
        i = (n.unsqueeze(-1) >= table).sum(-1) - 1
        return table[i], n.new_tensor(values)[i]


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

    def log1p(self, x: float) -> float:
        return float(np.log1p(x))

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
        whole = n.dtype.kind in "iu" or (n.dtype.kind == "f" and np.all(np.floor(n) == n))
        if not whole or (n.size and not (n.min() >= 0 and n.max() < 2**63)):
            raise bad_argument("step", WHOLE_STEP, step)
        return n.astype(np.int64, copy=False)

    def real(self, n: np.ndarray) -> np.ndarray:
        return n.astype(np.float64)

    where = staticmethod(np.where)
    least = staticmethod(np.minimum)
    clip = staticmethod(np.clip)
    sin = staticmethod(np.sin)
    sqrt = staticmethod(np.sqrt)
    log1p = staticmethod(np.log1p)
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


PLAIN: Namespace = PlainPython()
NUMPY: Namespace = NumPy()
_FRAMEWORKS: dict[str, Callable[[], Any]] = {
    "jax": Jax,
    "jaxlib": Jax,
    "tensorflow": TensorFlow,
    "torch": Torch,
}
_loaded: dict[str, Any] = {}


def evaluate(formula: Piece, step: Any) -> Any:
    """The value of a formula at steps of any kind.

    Loads no framework that is not in use.

    Raises:
        ValueError: `step` is no whole number, or none that this library knows.
    """
    if isinstance(step, (int, float, np.generic)):
        return formula(PLAIN.steps(step), PLAIN)
    if isinstance(step, (np.ndarray, list, tuple, range)):
        return formula(NUMPY.steps(step), NUMPY)
    framework = type(step).__module__.partition(".")[0]
    if framework == "keras":
        return evaluate(formula, step.value)
    if framework not in _FRAMEWORKS:
        framework = _base_framework(type(step))
    if framework not in _FRAMEWORKS or not hasattr(step, "shape"):
        raise bad_argument("step", WHOLE_STEP, step)
    if framework not in _loaded:
        _loaded[framework] = _FRAMEWORKS[framework]()
    return _loaded[framework].evaluate(formula, step)


def _base_framework(kind: type) -> str:
    """The framework of a user's own tensor class, by the classes that it is derived from."""
    roots = (base.__module__.partition(".")[0] for base in kind.__mro__)
    return next((root for root in roots if root in _FRAMEWORKS), "")
