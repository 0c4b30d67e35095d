"""Pieces of sentences that are derived from a record; what the figures do not support is not said.

Two cells differ where the ranges mean ± spread over the seeds do not meet, as in the report of a
comparison; with one seed nothing is known about the spread, and nothing differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cyclerate.compare._wording import MISSING, Numbers, rate
from reproductions._record import Reproduction


def measured(
    record: Reproduction, cell: str, value: str, *, share: bool = False, decimals: int | None = None
) -> str:
    """Writes a value of a cell: mean and spread over its seeds, and how many seeds had none."""
    runs, values = record.of(cell), record.values(cell, value)
    if not runs:
        return MISSING
    if not values:
        return "diverged" if any(run.outcome.values for run in runs) else "no rate"
    mean, spread = record.mean(cell, value), record.spread(cell, value)
    numbers = Numbers.fitting([mean], share=share, spreads=[spread])
    if decimals is not None:
        numbers = Numbers(decimals, percent=share)
    lost = len(runs) - len(values)
    return numbers.text(mean, spread) + (f" ({lost} of {len(runs)} diverged)" if lost else "")


def over_seeds(record: Reproduction, cell: str) -> str:
    """Says what the numbers of a cell are: a mean over its seeds, or those of one."""
    number = len(record.of(cell))
    return f"mean ± standard deviation over {number} seeds" if number > 1 else "one seed"


def top_rates(record: Reproduction, cell: str) -> str:
    """Writes the highest rate of each training of a cell."""
    return rates([run.outcome.top_rate for run in record.of(cell)])


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


def share(value: float, decimals: int = 1) -> str:
    """Writes a share.

    >>> share(0.6471), share(0.99123, decimals=2)
    ('64.7 %', '99.12 %')
    """
    return f"{100 * value:.{decimals}f} %"


def points(value: float, decimals: int = 1, *, signed: bool = False) -> str:
    """Writes a difference of two shares.

    >>> points(0.0132), points(0.0132, 2, signed=True)
    ('1.3 points', '+1.32 points')
    """
    return f"{100 * value:{'+' if signed else ''}.{decimals}f} points"


def sentences(*said: str) -> tuple[str, ...]:
    """Leaves out the sentences that the record has no numbers for: they are empty."""
    return tuple(filter(None, said))


def compared(record: Reproduction, one: str, other: str, value: str, *, decimals: int = 1) -> str:
    """Says how a share of one cell stands to that of another, as "above it by 1.3 points"."""
    gain, verdict = difference(record, one, other, value), order(record, one, other, value)
    if gain is None or verdict is None:
        return "without a result"
    if verdict == 0:
        few = record.spread(one, value) is None or record.spread(other, value) is None
        doubt = "with one seed" if few else "level within the spread"
        return f"{points(gain, decimals, signed=True)} ({doubt})"
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
    gap = difference(record, one, other, value)
    if gap is None:
        return None
    spreads = [record.spread(cell, value) for cell in (one, other)]
    if spreads[0] is None or spreads[1] is None or abs(gap) <= spreads[0] + spreads[1]:
        return 0
    return 1 if gap > 0 else -1


def difference(record: Reproduction, one: str, other: str, value: str) -> float | None:
    """By how much a mean is above another; None if there is none."""
    first, second = (record.mean(cell, value) for cell in (one, other))
    return None if first is None or second is None else first - second


def reached_after(record: Reproduction, one: str, other: str) -> float | None:
    """The share of its steps after which a cell had the final held-out loss of another.

    The mean over the seeds; None if it did not have it with one of them.
    """
    shares: list[float] = []
    for rival in record.of(other):
        finish = rival.outcome.values.get("loss")
        run = next((run for run in record.of(one) if run.seed == rival.seed), None)
        if finish is None or run is None or not run.outcome.curves:
            return None
        steps, losses = run.outcome.curves["steps"], run.outcome.curves["loss"]
        measured_at = zip(steps, losses, strict=True)
        arrived = [step for step, loss in measured_at if loss is not None and loss <= finish]
        if not arrived or arrived[0] is None or steps[-1] is None:
            return None
        shares.append(arrived[0] / steps[-1])
    return sum(shares) / len(shares) if shares else None
