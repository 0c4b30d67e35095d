"""Pieces of sentences that are derived from a record; what the figures do not support is not said.

Two cells differ where the ranges mean ± spread over the seeds do not meet, as in the report of a
comparison; with one seed nothing is known about the spread, and nothing differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cyclerate.compare._wording import rate
from reproductions._record import Reproduction


def points(value: float, decimals: int = 1) -> str:
    """Writes a difference of two shares.

    >>> points(0.0132), points(0.1)
    ('1.3 points', '10.0 points')
    """
    return f"{100 * value:.{decimals}f} points"


def signed_points(value: float, decimals: int = 1) -> str:
    """Writes a difference of two shares with its sign.

    >>> signed_points(0.0132), signed_points(-0.002)
    ('+1.3 points', '-0.2 points')
    """
    return f"{100 * value:+.{decimals}f} points"


def share(value: float, decimals: int = 1) -> str:
    """Writes a share.

    >>> share(0.6471), share(0.99123, decimals=2)
    ('64.7 %', '99.12 %')
    """
    return f"{100 * value:.{decimals}f} %"


def compared(record: Reproduction, one: str, other: str, value: str, *, decimals: int = 1) -> str:
    """Says how a share of one cell stands to that of another, as "above it by 1.3 points"."""
    gain, verdict = difference(record, one, other, value), order(record, one, other, value)
    if gain is None or verdict is None:
        return "without a result"
    if verdict == 0:
        few = record.spread(one, value) is None or record.spread(other, value) is None
        doubt = "with one seed" if few else "level within the spread"
        return f"{signed_points(gain, decimals)} ({doubt})"
    return f"{'above' if verdict > 0 else 'below'} it by {points(abs(gain), decimals)}"


def loss_beside(record: Reproduction, one: str, other: str) -> str | None:
    """Says how the held-out loss of one cell stands to that of another, up to the word "than"."""
    gain, verdict = difference(record, one, other, "loss"), order(record, one, other, "loss")
    if gain is None or verdict is None:
        return None
    if verdict == 0 and len(record.values(one, "loss")) > 1:
        return "no clearly lower or higher loss than"
    few = "" if verdict else " (one seed)"
    return f"a {'higher' if gain > 0 else 'lower'} loss{few} than"


def order(record: Reproduction, one: str, other: str, value: str) -> int | None:
    """Compares two cells by a value: 1 if the first is clearly higher, -1 if lower, 0 if level.

    None if one of them has no such value.
    """
    means = [record.mean(cell, value) for cell in (one, other)]
    if means[0] is None or means[1] is None:
        return None
    spreads = [record.spread(cell, value) for cell in (one, other)]
    if spreads[0] is None or spreads[1] is None:
        return 0
    difference = means[0] - means[1]
    if abs(difference) <= spreads[0] + spreads[1]:
        return 0
    return 1 if difference > 0 else -1


def difference(record: Reproduction, one: str, other: str, value: str) -> float | None:
    """By how much a mean is above another; None if there is none."""
    means = [record.mean(cell, value) for cell in (one, other)]
    return None if means[0] is None or means[1] is None else means[0] - means[1]


def rates(values: Sequence[float | None]) -> str:
    """Writes the rates that several seeds gave.

    >>> rates([0.1, 0.4]), rates([0.1]), rates([None, 0.1])
    ('0.1 to 0.4', '0.1', '0.1 (1 of 2 without an answer)')
    """
    known = sorted(value for value in values if value is not None)
    if not known:
        return "no clear answer"
    low, high = rate(known[0]), rate(known[-1])
    lost = len(values) - len(known)
    missing = f" ({lost} of {len(values)} without an answer)" if lost else ""
    return (low if low == high else f"{low} to {high}") + missing


def middle(values: Sequence[float | None]) -> float | None:
    """The geometric mean of rates."""
    known = [math.log(value) for value in values if value]
    return math.exp(sum(known) / len(known)) if known else None
