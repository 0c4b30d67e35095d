"""Times things against each other in one run: rounds of all of them, and the ratios of a round.

A shared machine is slow at times. Whatever ran in the same round met the same machine, so a ratio
is taken within a round, and the median over rounds is reported with the middle half of them.
"""

from __future__ import annotations

import importlib.metadata
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Runs = Mapping[str, Callable[[], object]]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
"""Processor time leaves out what other programs of a busy machine took."""


@dataclass(frozen=True)
class Ratio:
    """How long something takes, in units of the baseline of its round."""

    median: float
    quarter: float
    three_quarters: float
    seconds: float

    def __str__(self) -> str:
        return f"{self.median:6.3f}   {self.quarter:.3f} .. {self.three_quarters:.3f}"


def compare(
    baseline: str, runs: Runs, rounds: int, seed: int = 0, clock: Clock = time.perf_counter
) -> dict[str, Ratio]:
    """Runs everything `rounds` times; the ratios to one of them."""
    times = measure(runs, rounds, seed, clock)
    return {name: ratio(times[name], times[baseline]) for name in runs}


def measure(
    runs: Runs, rounds: int, seed: int = 0, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """The seconds of `rounds` runs, in a new order each round, after one round to warm up."""
    for run in runs.values():
        run()
    order = random.Random(seed)  # noqa: S311 - an order, no secret
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name in order.sample(list(runs), len(runs)):
            start = clock()
            runs[name]()
            times[name].append(clock() - start)
    return times


def ratio(times: Sequence[float], baseline: Sequence[float]) -> Ratio:
    """The ratios of the rounds of two things."""
    ratios = [time / base for time, base in zip(times, baseline, strict=True)]
    quarter, median, three_quarters = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, quarter, three_quarters, statistics.median(times))


def versions(*packages: str) -> str:
    """One line that says what was measured."""
    found = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    return f"Python {platform.python_version()}, " + ", ".join(found)
