"""One line on a terminal while a range test runs."""

from __future__ import annotations

import sys
import time

from cyclerate._errors import check_choice
from cyclerate.range_test.core import RangeTest

QUIET_SECONDS = 2.0
_EVERY_SECONDS = 0.1


class Progress:
    """Writes how far a range test is to standard error, over and over the same line.

    Args:
        verbose: "auto": if standard error is a terminal, from the third second on. 1: at once, and
            wherever it goes. 0: never.
        repeats: How many sweeps there will be.

    Raises:
        ValueError: `verbose` is none of these.
    """

    def __init__(self, verbose: str | int, repeats: int) -> None:
        verbose = check_choice("verbose", verbose, ("auto", 0, 1))
        self._wanted = bool(verbose == 1 or (verbose == "auto" and sys.stderr.isatty()))
        self._repeats = repeats
        self._next = time.monotonic() + (QUIET_SECONDS if verbose == "auto" else 0.0)
        self._written = 0
        self.sweep = 1

    def show(self, test: RangeTest, value: float) -> None:
        """Shows the step that was just made, unless the last one is too recent."""
        if not self._wanted or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_SECONDS
        which = f" {self.sweep} of {self._repeats}" if self._repeats > 1 else ""
        line = (
            f"range test{which}: step {test.index}/{test.sweep.steps}, "
            f"rate {test.sweep.lr(test.index - 1):.2g}, {test.metric} {value:.4g}"
        )
        self._write(line)

    def close(self) -> None:
        """Clears the line."""
        if self._written:
            self._write("", end="\r")

    def _write(self, line: str, end: str = "") -> None:
        sys.stderr.write("\r" + line.ljust(self._written) + end)
        sys.stderr.flush()
        self._written = len(line)
