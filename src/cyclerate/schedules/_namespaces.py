"""JAX, TensorFlow and PyTorch: float32 tensors, and no Python branch on a value."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from cyclerate.schedules.namespaces.protocol import Piece


class _Traced:
    """What the tensor frameworks share: float32, and no Python branch on a value."""

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
        # small.
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

    def __init__(self) -> None:
        self._np = jnp = importlib.import_module("jax.numpy")
        self.where, self.clip, self.least = jnp.where, jnp.clip, jnp.minimum
        self.sin, self.sqrt, self.exp = jnp.sin, jnp.sqrt, jnp.exp
        self.log1p, self.expm1, self.power = jnp.log1p, jnp.expm1, jnp.power

    def steps(self, step: Any) -> Any:
        return self._np.maximum(self._np.asarray(step).astype(int), 0)

    def real(self, n: Any) -> Any:
        return n.astype(float)

    def lookup(self, starts: Sequence[int], values: Sequence[int], n: Any) -> tuple[Any, Any]:
        # Without x64 a step fits 32 bits: later cycles cannot be reached.
        limit = self._np.iinfo(n.dtype).max
        table = [start for start in starts if start <= limit]
        i = self._np.searchsorted(self._np.asarray(table, n.dtype), n, side="right") - 1
        lengths = self._np.asarray([min(v, limit) for v in values[: len(table)]], n.dtype)
        return self._np.asarray(table, n.dtype)[i], lengths[i]


class TensorFlow(_Traced):
    """tf.Tensor or tf.Variable -> tf.Tensor of float32."""

    def __init__(self) -> None:
        self._tf = tf = importlib.import_module("tensorflow")
        self.where, self.clip, self.power = tf.where, tf.clip_by_value, tf.pow
        self.sin, self.sqrt, self.exp = tf.sin, tf.sqrt, tf.exp
        self.log1p, self.expm1 = tf.math.log1p, tf.math.expm1

    def steps(self, step: Any) -> Any:
        return self._tf.maximum(self._tf.cast(step, self._tf.int64), 0)

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
        return step.long().clamp(min=0)

    def real(self, n: Any) -> Any:
        return n.float()

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        return x.where(condition, y)

    def least(self, n: Any, limit: int) -> Any:
        return n.clamp(max=limit)

    def clip(self, x: Any, low: float, high: float) -> Any:
        return x.clamp(low, high)

    def sin(self, x: Any) -> Any:
        return x.sin()

    def sqrt(self, x: Any) -> Any:
        return x.sqrt()

    def exp(self, x: Any) -> Any:
        return x.exp()

    def log1p(self, x: Any) -> Any:
        return x.log1p()

    def expm1(self, x: Any) -> Any:
        return x.expm1()

    def power(self, x: Any, exponent: float) -> Any:
        return x.pow(exponent)

    def lookup(self, starts: Sequence[int], values: Sequence[int], n: Any) -> tuple[Any, Any]:
        table = n.new_tensor(starts)
        i = (n.unsqueeze(-1) >= table).sum(-1) - 1
        return table[i], n.new_tensor(values)[i]
