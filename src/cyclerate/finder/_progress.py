"""One line on a terminal while a range test runs."""

from __future__ import annotations

import sys
import time

from cyclerate._errors import check_choice
from cyclerate.finder._race import Race
from cyclerate.finder._run import Run
from cyclerate.finder._sweep import RangeTest

VERBOSE = ("auto", 0, 1)
QUIET_SECONDS = 2.0
_EVERY_SECONDS = 0.1
_WIDTH = 79


class StatusLine:
    """One line on standard error, written over and over.

    Args:
        verbose: "auto": if standard error is a terminal, from the third second on. 1: at once, and
            wherever it goes. 0: never.

    Raises:
        ValueError: `verbose` is none of these.
    """

    def __init__(self, verbose: str | int) -> None:
        verbose = check_choice("verbose", verbose, VERBOSE)
        self._wanted = bool(verbose == 1 or (verbose == "auto" and sys.stderr.isatty()))
        self._next = time.monotonic() + (QUIET_SECONDS if verbose == "auto" else 0.0)
        self._written = 0

    @property
    def due(self) -> bool:
        """Whether it is wanted, and the last one is not too recent."""
        return self._wanted and time.monotonic() >= self._next

    def show(self, text: str) -> None:
        """Shows a text in place of the last one, if it is due."""
        if self.due:
            self._next = time.monotonic() + _EVERY_SECONDS
            self._write(text[:_WIDTH])

    def close(self) -> None:
        """Clears the line."""
        if self._written:
            self._write("", end="\r")

    def _write(self, text: str, end: str = "") -> None:
        sys.stderr.write("\r" + text.ljust(self._written) + end)
        sys.stderr.flush()
        self._written = len(text)


def announce(text: str, verbose: str | int) -> None:
    """Writes a line to standard error that stays: "auto" on a terminal only, 0 never."""
    if verbose != 0 and (verbose != "auto" or sys.stderr.isatty()):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class Progress:
    """Writes how far a range test is to standard error, over and over the same line.

    Args:
        verbose: As of `StatusLine`.
        repeats: How many sweeps or probes there will be.
        method: "range" for sweeps alone, "probe" for sweeps and races.

    Raises:
        ValueError: `verbose` is none of these.
    """

    def __init__(self, verbose: str | int, repeats: int, method: str = "range") -> None:
        self._line = StatusLine(verbose)
        self._repeats = repeats
        self._name = "range test" if method == "range" else method
        self._run: Run | None = None
        self._metric = ""
        self._races = 0
        self.sweep = 1

    def show(self, run: Run, value: float) -> None:
        """Shows the step of a run that was just made, unless the last one is too recent."""
        if run is not self._run:
            self._begin(run)
        if not self._line.due:
            return
        which = f" {self.sweep} of {self._repeats}" if self._repeats > 1 else ""
        self._line.show(f"{self._name}{which}: {self._where(run)}, {self._metric} {value:.4g}")

    def close(self) -> None:
        """Clears the line."""
        self._line.close()

    def _begin(self, run: Run) -> None:
        self._run = run
        self._races = self._races + 1 if isinstance(run, Race) else 0
        if isinstance(run, RangeTest):
            self._metric = run.metric

    def _where(self, run: Run) -> str:
        step = f"step {run.index}/{run.planned_steps}"
        if isinstance(run, Race):
            return f"race {self._races} at {run.max_lr or 0:.2g}, {step}"
        sweep = "" if self._name == "range test" else "sweep "
        return f"{sweep}{step}, rate {run.lrs_from(run.index - 1)[0]:.2g}"
