"""What a formula may ask of the framework that it runs in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Piece = Callable[[Any, "Namespace"], Any]
"""A formula: (whole step, namespace) -> value."""

WHOLE_STEP = "a whole number >= 0, or an array or tensor of them"


class Namespace(Protocol):
    """What a formula may ask for; `n` are whole steps, `x` floats, of the namespace's kind."""

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
