"""How numbers and tables are written for people: in the page, the terminal and the figures."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MISSING = "\N{EN DASH}"


@dataclass(frozen=True)
class Numbers:
    """One way of writing the values of one quantity, so that a column of them lines up.

    >>> str_loss = Numbers(decimals=4)
    >>> str_loss.text(0.548)
    '0.5480'
    >>> Numbers(decimals=1, percent=True).text(0.7342, 0.0011)
    '73.4 % ± 0.1'
    """

    decimals: int
    percent: bool = False

    @classmethod
    def fitting(
        cls,
        values: Iterable[float | None],
        *,
        share: bool = False,
        spreads: Iterable[float | None] = (),
    ) -> Numbers:
        """Chooses four significant digits for the typical value, or percent for shares."""
        sizes = sorted(abs(v) for v in values if v is not None and math.isfinite(v))
        if share and all(size <= 1.0 for size in sizes):
            small = any(spread and spread < 0.0005 for spread in spreads)
            return cls(decimals=2 if small else 1, percent=True)
        sizes = [size for size in sizes if size > 0.0]
        typical = sizes[len(sizes) // 2] if sizes else 1.0
        return cls(decimals=max(0, 3 - math.floor(math.log10(typical))))

    def text(self, mean: float | None, spread: float | None = None) -> str:
        """Returns the mean, with its spread where there is one."""
        if mean is None or not math.isfinite(mean):
            return MISSING
        unit = " %" if self.percent else ""
        if spread is None or not math.isfinite(spread):
            return f"{self._one(mean)}{unit}"
        return f"{self._one(mean)}{unit} ± {self._one(spread)}"

    def _one(self, value: float) -> str:
        scaled = 100.0 * value if self.percent else value
        # Fixed decimals would write a diverged loss as thirty digits and a tiny one as zeros.
        if abs(scaled) >= 1e6 or self.decimals > 7:
            return f"{scaled:.3g}"
        return f"{scaled:,.{self.decimals}f}"


def whole(value: float) -> str:
    """Writes a whole number with separators.

    >>> whole(8000)
    '8,000'
    """
    return f"{round(value):,}"


def seconds(value: float) -> str:
    """Writes a duration with three digits at most.

    >>> [seconds(value) for value in (0.1234, 12.34, 1234.5)]
    ['0.12', '12.3', '1,234']
    """
    if not math.isfinite(value):
        return MISSING
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"


def rate(value: float) -> str:
    """Writes a learning rate with three significant digits.

    >>> [rate(value) for value in (0.01, 0.00123456, 3.2e-7)]
    ['0.01', '0.00123', '3.2e-07']
    """
    return f"{value:.3g}"


def signed(value: float) -> str:
    """Writes a difference with its sign and two significant digits, where that can be read.

    >>> [signed(value) for value in (-213.4, 0.00831, 0.0, 2.5e7)]
    ['-210', '+0.0083', '0', '+2.5e+07']
    """
    short = float(f"{value:.2g}")
    if short == 0 or not 1e-4 <= abs(short) < 1e6:
        return f"{short:+.2g}" if short else "0"
    return f"{short:+,.{max(1 - math.floor(math.log10(abs(short))), 0)}f}"


def fewer(steps: float, instead_of: float, *, short: bool = False) -> str:
    """Says how many times fewer one number of steps is than another.

    >>> fewer(480, 8000), fewer(3000, 8000), fewer(6000, 8000)
    ('17 times fewer', '2.7 times fewer', '25 % fewer')
    """
    factor = instead_of / steps
    if factor < 2.0:
        return f"{100.0 * (1.0 - 1.0 / factor):.0f} % fewer"
    digits = f"{factor:,.0f}" if factor >= 10.0 else f"{factor:.1f}".removesuffix(".0")
    times = "\N{MULTIPLICATION SIGN}" if short else " times"
    return f"{digits}{times} fewer"


def joined(names: Iterable[str]) -> str:
    """Joins names as a sentence does.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last


def printable(text: str) -> str:
    r"""Replaces what would move a cursor or break a line: control characters and line ends.

    >>> printable("two\nlines")
    'two lines'
    """
    spaced = " ".join(text.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in spaced)


def width(text: str) -> int:
    """Counts the terminal columns of a text: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def shortened(text: str, columns: int) -> str:
    """Cuts a text to so many terminal columns; the cut is shown.

    >>> shortened("warm_restarts", 8)
    'warm_re…'
    """
    if width(text) <= columns:
        return text
    while width(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def folded(text: str, columns: int) -> list[str]:
    """Breaks a text into lines of so many terminal columns; nothing is lost.

    >>> folded("warm_restarts", 8)
    ['warm_res', 'tarts']
    """
    lines, line = list[str](), ""
    for character in text:
        if width(line + character) > columns:
            lines.append(line)
            line = ""
        line += character
    return [*lines, line]


def aligned(rows: Sequence[Sequence[str]], most: int | None = None) -> list[str]:
    r"""Lays texts out in columns: the first to the left, the others to the right.

    >>> print("\n".join(aligned([["policy", "loss"], ["fixed", "0.5"]])))
    policy  loss
    fixed    0.5
    """
    first, *others = [max(map(width, column)) for column in zip(*rows, strict=True)]
    if most is not None:
        first = min(first, most - sum(others) - 2 * len(others))
    lines: list[str] = []
    for text, *values in rows:
        name = shortened(text, first)
        cells = [" " * (size - width(v)) + v for v, size in zip(values, others, strict=True)]
        lines.append("  ".join([name + " " * (first - width(name)), *cells]).rstrip())
    return lines
