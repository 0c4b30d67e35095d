"""How far each variable goes of the way that an update would take it.

To scale a gradient is no help: Adam divides by its size. So the optimizer makes its update, of
whatever kind, and each variable is then set on the way between its old value and the new one. That
is the rate of that variable times a factor, wherever an update is in proportion to the rate, weight
decay included. It is traced with the step, and costs nothing on the host.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from keras import ops

from cyclerate.schedules import Constant, Schedule

_WHOLE = Constant(1.0)


@dataclass(frozen=True)
class Shares:
    """The part of its update that each trainable variable gets: `factors[i](iterations - offset)`.

    A variable with factor 0 does not move at all, also where its update is NaN.
    """

    factors: tuple[Schedule, ...]
    offset: int

    attribute = "the rates of layers"

    @contextmanager
    def during(self, variables: Sequence[Any], iterations: Any) -> Generator[None]:
        """Gives the variables their parts of the update that is made in the block."""
        step = ops.convert_to_tensor(iterations) - self.offset
        pairs = zip(variables, self.factors, strict=True)
        # A copy before the update: PyTorch changes the tensor itself.
        parts = [
            (variable, factor(step), ops.copy(ops.convert_to_tensor(variable)))
            for variable, factor in pairs
            if factor != _WHOLE
        ]
        yield
        for variable, factor, before in parts:
            variable.assign(_between(before, ops.convert_to_tensor(variable), factor))


def _between(before: Any, after: Any, factor: Any) -> Any:
    factor = ops.cast(factor, before.dtype)
    part = ops.where(factor > 0, before + factor * (after - before), before)
    return ops.where(factor >= 1, after, part)
