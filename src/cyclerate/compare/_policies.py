"""The policies that a comparison knows, with the numbers Smith's rules give them.

A policy is one entry of the table below; `compare`, `cross_validate` and the command read it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cyclerate._errors import (
    bad_argument,
    check_choice,
    check_count,
    check_function,
    check_items,
    check_rate,
)
from cyclerate.compare._record import PolicyInfo
from cyclerate.schedules import (
    Constant,
    ExpRange,
    OneCycle,
    Schedule,
    Triangular,
    Triangular2,
    WarmRestarts,
)

FEWEST_CYCLES = 3
_USUAL_CYCLE_EPOCHS = 6
_LONGEST_CYCLE_EPOCHS = 20
_USUAL_MOST_CYCLES = 8
_FILE_NAME = re.compile(r"[\w.+ -]+")


@dataclass(frozen=True)
class Budget:
    """The length of every run: whole cycles, so that each ends where the rate is lowest."""

    steps_per_epoch: int
    cycles: int
    step_size: int

    @property
    def total_steps(self) -> int:
        """Optimizer steps of a run."""
        return 2 * self.cycles * self.step_size


def plan_budget(epochs: int, steps_per_epoch: int) -> Budget:
    """Divides a run into whole cycles of about 6 epochs, at least 3 of them.

    The run is shortened by less than one step for each half cycle.

    Raises:
        ValueError: The run is shorter than 6 steps: no room for 3 cycles.

    Source: Smith 2017, arXiv 1506.01186, section 3.2: half a cycle of 2 to 10 epochs, at least 3
    cycles, and the best place to stop is the end of a cycle.

    >>> plan_budget(epochs=24, steps_per_epoch=218)
    Budget(steps_per_epoch=218, cycles=4, step_size=654)
    """
    epochs = check_count("epochs", epochs, below=2**31)
    steps = epochs * check_count("steps_per_epoch", steps_per_epoch)
    if steps < 2 * FEWEST_CYCLES:
        raise bad_argument("epochs", f"enough for {2 * FEWEST_CYCLES} optimizer steps", epochs)
    usual = min(epochs // _USUAL_CYCLE_EPOCHS, _USUAL_MOST_CYCLES)
    cycles = max(FEWEST_CYCLES, usual, math.ceil(epochs / _LONGEST_CYCLE_EPOCHS))
    # A run of very few steps has no room for many cycles.
    cycles = min(cycles, steps // 2)
    return Budget(steps_per_epoch, cycles, steps // (2 * cycles))


@dataclass(frozen=True)
class Rates:
    """The rates that policies are made of: the framework's default, and the range test's answer.

    What was found is rounded to three digits: more of them say nothing, and are hard to copy.
    `default_of` says whose the default rate is; nothing if the user gave it.
    """

    default_lr: float
    base_lr: float | None = None
    max_lr: float | None = None
    default_of: str = "the optimizer"

    def __post_init__(self) -> None:
        check_rate("default_lr", self.default_lr)
        for name in ("base_lr", "max_lr"):
            if (rate := getattr(self, name)) is not None:
                rate = check_rate(name, rate)
                object.__setattr__(self, name, float(f"{rate:.3g}"))

    @property
    def highest(self) -> float:
        """The suggestion; only policies that need one ask for it."""
        if self.max_lr is None:
            raise bad_argument("max_lr", "a suggested rate for this policy", None)
        return self.max_lr

    @property
    def lowest(self) -> float:
        """`base_lr`, or a quarter of `max_lr` where none was found (Smith 2017, section 3.3)."""
        return self.base_lr if self.base_lr is not None else self.highest / 4


MakeSchedule = Callable[[Rates, Budget], Schedule]
PolicyLike = str | Schedule | MakeSchedule


@dataclass(frozen=True)
class Policy:
    """A policy by its name.

    `races_as` is what a range test races for it, None where it needs no rate; `why` says how its
    numbers come about.
    """

    name: str
    label: str
    races_as: str | None
    make: MakeSchedule
    why: str

    def schedule(self, rates: Rates, budget: Budget) -> Schedule:
        """Makes its schedule.

        Raises:
            ValueError: A function of the user's returned something else.
        """
        made: Any = self.make(rates, budget)
        if not isinstance(made, Schedule):
            allowed = "a function that returns a schedule"
            raise bad_argument(f"the policy {self.name}", allowed, made)
        return made

    def described(self, schedule: dict[str, Any], rates: Rates, budget: Budget) -> PolicyInfo:
        """Says why its schedule has these numbers."""
        epochs = f"{budget.step_size / budget.steps_per_epoch:.3g}"
        half = f"{budget.step_size:,} steps ({epochs} {'epoch' if epochs == '1' else 'epochs'})"
        of = rates.default_of
        fixed = f"The default rate of {of}" if of else "The rate that was given"
        why = self.why.format(cycles=budget.cycles, half=half, fixed=fixed)
        return PolicyInfo(self.name, self.label, schedule, why, self.races_as is not None)


def _cycling(kind: type[Triangular | Triangular2]) -> MakeSchedule:
    return lambda rates, budget: kind(rates.lowest, rates.highest, budget.step_size)


def _exp_range(rates: Rates, budget: Budget) -> Schedule:
    gamma = 0.1 ** (1 / budget.total_steps)
    return ExpRange(rates.lowest, rates.highest, budget.step_size, gamma)


def _one_cycle(rates: Rates, budget: Budget) -> Schedule:
    return OneCycle(rates.highest, budget.total_steps)


def _restarts(rates: Rates, budget: Budget) -> Schedule:
    return WarmRestarts(rates.highest, 2 * budget.step_size)


_FIXED = "{fixed}."
_FOUND = "max_lr of the range test, held constant."
_CYCLES = "{cycles} cycles between base_lr and max_lr of the range test; half a cycle is {half}."
_HALVING = _CYCLES + " Each cycle is half as high as the one before."
_FALLING = _CYCLES + " With gamma their height falls to a tenth."
_ONE = "One cycle over the whole run, up to max_lr of the range test."
_RESTARTS = "{cycles} cosine falls from max_lr of the range test to 0."
_TABLE = (
    Policy("fixed", "fixed", None, lambda r, _: Constant(r.default_lr), _FIXED),
    Policy("found", "found", "constant", lambda r, _: Constant(r.highest), _FOUND),
    Policy("triangular", "triangular", "triangular", _cycling(Triangular), _CYCLES),
    Policy("triangular2", "triangular2", "triangular", _cycling(Triangular2), _HALVING),
    Policy("exp_range", "exp_range", "triangular", _exp_range, _FALLING),
    Policy("one_cycle", "1cycle", "one_cycle", _one_cycle, _ONE),
    Policy("restarts", "warm restarts", "triangular", _restarts, _RESTARTS),
)
POLICIES = {policy.name: policy for policy in _TABLE}
DEFAULT_POLICIES = ("fixed", "triangular", "one_cycle")
REFERENCE = "fixed"


def named_policies(policies: Any, argument: str = "policies") -> tuple[Policy, ...]:
    """Turns names of the table, or a dict from names to schedules and functions, into policies.

    Raises:
        ValueError: A name is unknown, or fit for no file; a value is no schedule and no function;
            there is none.
    """
    if isinstance(policies, str):
        policies = (policies,)
    allowed = f"some of {', '.join(POLICIES)}, or a dict"
    pairs: Any = policies
    if not isinstance(policies, Mapping):
        pairs = [(name, name) for name in check_items(argument, policies, allowed)]
        for name, _ in pairs:
            check_choice(argument, name, POLICIES)
    named = tuple(_named(name, policy, argument) for name, policy in dict(pairs).items())
    if not named:
        raise bad_argument(argument, allowed, policies)
    return named


def _named(name: Any, policy: Any, argument: str) -> Policy:
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise bad_argument(argument, "named by letters, digits, '_', '-' and '.'", name)
    if isinstance(policy, Schedule):
        return Policy(name, name, None, lambda _rates, _budget: policy, "A schedule of your own.")
    if isinstance(policy, str):
        known = POLICIES[check_choice(argument, policy, POLICIES)]
        return known if name == policy else replace(known, name=name, label=name)
    if not callable(policy):
        allowed = "names, schedules, or functions of (rates, budget)"
        raise bad_argument(argument, allowed, {name: policy})
    own: Any = check_function(argument, policy, "(rates, budget)", instead=", name or schedule")
    return Policy(name, name, "triangular", own, "Made by a function of your own.")


def raced_policy(policies: Iterable[Policy]) -> str:
    """Says which policy a range test is to race in miniature, to find the rate for all of these.

    One answer serves them all. It is asked for cycles that come back to their highest rate, which
    bear less than a single cycle does, unless only one kind of policy is there.

    >>> raced_policy(named_policies(["fixed", "triangular", "one_cycle"]))
    'triangular'
    >>> raced_policy(named_policies(["fixed", "one_cycle"]))
    'one_cycle'
    """
    kinds = {policy.races_as for policy in policies} - {None}
    return str(kinds.pop()) if len(kinds) == 1 else "triangular"


def without_rate(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """Leaves the policies that need no rate of a range test; the reference where none would."""
    return tuple(p for p in policies if p.races_as is None) or (POLICIES[REFERENCE],)
