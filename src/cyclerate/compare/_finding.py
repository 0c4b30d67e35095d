"""How the rate was found, and what that took, in words."""

from __future__ import annotations

from cyclerate.compare._record import Record
from cyclerate.compare._wording import count, seconds
from cyclerate.finder import RangeTestResult


def method(result: RangeTestResult) -> str:
    """Says what a range test did: its sweeps and its races."""
    times = len(result.runs)
    swept = f"a sweep of {count(len(result.lrs))} steps"
    if result.method != "probe":
        return f"{swept}, {times} times" if times else swept
    races = len(result.races)
    raced = "one race" if races == 1 else f"{count(races) if races else 'no'} races"
    what = f"{swept}, then {raced}"
    return f"{times} probes, with {races} races in all" if times else f"a probe: {what}"


def cost(record: Record) -> str:
    """Says what the range test of a record took, beside one of its runs."""
    result = RangeTestResult.from_dict(record.range_test or {})
    share = result.steps / max(record.total_steps, 1)
    time = "" if result.seconds is None else f", {seconds(result.seconds)} s"
    return f"{count(result.steps)} optimizer steps, {100 * share:.0f} % of one run{time}"
