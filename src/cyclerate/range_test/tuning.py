"""How much of a budget goes into finding out what to do with the rest.

The steps of a tuning are lost to the training, so a small budget gets a small tuning. How small a
probe still finds a good rate was measured on the design tasks of benchmarks/finders:
docs/recommend.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass

from cyclerate._errors import bad_argument, check_count
from cyclerate.finder._probe import RACES

TUNING_FRAC = 0.15
"""Share of the budget, where it is large enough; of a small one up to twice of it."""

LEAST_BUDGET_STEPS = 80
"""Half of it is then the smallest tuning that is worth its steps."""

_SMALL_BUDGET_FRAC = 0.3
_GOOD_STEPS = 120  # so many are worth that: half of them give a rate that costs twice as much
_LEAST_STEPS, _MOST_STEPS = 40, 600
_LEAST_SWEEP_STEPS, _MOST_SWEEP_STEPS = 10, 100
_SWEEP_FRAC = 1 / 4
_SWEPT_FRAC = 0.7  # a sweep that diverges earlier leaves longer races
_MOST_PROBE_STEPS = 400
_POLICIES_FROM_STEPS = 200  # below, their races would be paid for by worse rates


@dataclass(frozen=True)
class Tuning:
    """Lengths of the parts of a tuning, in optimizer steps.

    Attributes:
        sweep_steps: The sweep.
        probe_steps: The sweep and the races of rates.
        steps: All of it, the races of policies included.
    """

    sweep_steps: int
    probe_steps: int
    steps: int

    @property
    def races_policies(self) -> bool:
        """Whether anything is left for races of policies."""
        return self.steps > self.probe_steps


def tuning_for(budget_steps: int, policies: int) -> Tuning:
    """Returns the parts of the tuning for a budget.

    Args:
        budget_steps: Optimizer steps of tuning and training together, at least 80.
        policies: How many policies there are to choose from.

    Raises:
        ValueError: The budget is too small.

    >>> tuning_for(100, 3)
    Tuning(sweep_steps=10, probe_steps=40, steps=40)
    >>> tuning_for(2000, 3)
    Tuning(sweep_steps=75, probe_steps=201, steps=300)
    """
    budget_steps = check_count("budget_steps", budget_steps)
    if budget_steps < LEAST_BUDGET_STEPS:
        allowed = f"at least {LEAST_BUDGET_STEPS}, of which the smallest tuning takes half"
        raise bad_argument("budget_steps", allowed, budget_steps)
    small = min(_GOOD_STEPS, round(_SMALL_BUDGET_FRAC * budget_steps))
    steps = min(max(round(TUNING_FRAC * budget_steps), small, _LEAST_STEPS), _MOST_STEPS)
    sweep = min(max(int(_SWEEP_FRAC * steps), _LEAST_SWEEP_STEPS), _MOST_SWEEP_STEPS)
    if policies < 2 or steps < _POLICIES_FROM_STEPS:
        probe = min(steps, _MOST_PROBE_STEPS)
        return Tuning(sweep, probe, probe)
    rivals = policies - 1
    # A race is a third of what the sweep leaves of the probe's steps.
    probe = int((RACES * steps + rivals * _SWEPT_FRAC * sweep) / (RACES + rivals))
    return Tuning(sweep, min(probe, _MOST_PROBE_STEPS), steps)
