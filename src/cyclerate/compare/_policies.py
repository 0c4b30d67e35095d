"""The policies that a comparison knows, with the numbers Smith's rules give them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cyclerate._errors import bad_argument, check_choice, check_count, check_number
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

    @property
    def step_size_epochs(self) -> float:
        """Half a cycle, in epochs."""
        return self.step_size / self.steps_per_epoch


def plan_budget(epochs: int, steps_per_epoch: int) -> Budget:
    """Divides a run into whole cycles of about 6 epochs, at least 3 of them.

    The run is shortened by less than one step for each half cycle.

    Args:
        epochs: Passes over the training data.
        steps_per_epoch: Optimizer steps in one pass.

    Returns:
        The budget.

    Raises:
        ValueError: The run is shorter than 6 steps: no room for 3 cycles.

    Source: Smith 2017, arXiv 1506.01186, section 3.2: half a cycle of 2 to 10 epochs, at least 3
    cycles, and the best place to stop is the end of a cycle.

    >>> plan_budget(epochs=24, steps_per_epoch=218)
    Budget(steps_per_epoch=218, cycles=4, step_size=654)
    """
    epochs = check_count("epochs", epochs)
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
    """

    default_lr: float
    base_lr: float | None = None
    max_lr: float | None = None
    default_of: str = "the optimizer"

    def __post_init__(self) -> None:
        check_number("default_lr", self.default_lr, low=0, low_open=True)
        for name in ("base_lr", "max_lr"):
            if (rate := getattr(self, name)) is not None:
                rate = check_number(name, rate, low=0, low_open=True)
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


@dataclass(frozen=True)
class Policy:
    """A name, how it is shown, and how it is made."""

    label: str
    needs_suggestion: bool
    build: Callable[[Rates, Budget], Schedule]
    why: str


def _exp_range(rates: Rates, budget: Budget) -> Schedule:
    gamma = 0.1 ** (1 / budget.total_steps)
    return ExpRange(rates.lowest, rates.highest, budget.step_size, gamma)


_CYCLES = "{cycles} cycles between base_lr and max_lr of the range test; half a cycle is {half}."

POLICIES: dict[str, Policy] = {
    "fixed": Policy(
        "fixed", False, lambda r, _: Constant(r.default_lr), "The default rate of {default_of}."
    ),
    "found": Policy(
        "found", True, lambda r, _: Constant(r.highest), "max_lr of the range test, held constant."
    ),
    "triangular": Policy(
        "triangular", True, lambda r, b: Triangular(r.lowest, r.highest, b.step_size), _CYCLES
    ),
    "triangular2": Policy(
        "triangular2",
        True,
        lambda r, b: Triangular2(r.lowest, r.highest, b.step_size),
        _CYCLES + " Each cycle is half as high as the one before.",
    ),
    "exp_range": Policy(
        "exp_range", True, _exp_range, _CYCLES + " With gamma their height falls to a tenth."
    ),
    "one_cycle": Policy(
        "1cycle",
        True,
        lambda r, b: OneCycle(r.highest, b.total_steps),
        "One cycle over the whole run, up to max_lr of the range test.",
    ),
    "restarts": Policy(
        "warm restarts",
        True,
        lambda r, b: WarmRestarts(r.highest, 2 * b.step_size),
        "{cycles} cosine falls from max_lr of the range test to 0.",
    ),
}
DEFAULT_POLICIES = ("fixed", "triangular", "one_cycle")
REFERENCE = "fixed"


def check_policies(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the names, each once, if every one is a policy.

    Raises:
        ValueError: One is not, or there is none; the message lists the policies.
    """
    unique = tuple(dict.fromkeys(check_choice("policies", name, POLICIES) for name in names))
    if not unique:
        raise bad_argument("policies", f"some of {', '.join(POLICIES)}", "")
    return unique


def raced_policy(names: Iterable[str]) -> str:
    """Says which policy a range test is to race in miniature, to find the rate for all of these.

    One answer serves them all. It is asked for cycles that come back to their highest rate, which
    bear less than a single cycle does, unless only one kind of policy is there.

    >>> raced_policy(["fixed", "triangular", "one_cycle"]), raced_policy(["fixed", "one_cycle"])
    ('triangular', 'one_cycle')
    """
    wanted = [name for name in check_policies(names) if POLICIES[name].needs_suggestion]
    alone: dict[tuple[str, ...], str] = {("found",): "constant", ("one_cycle",): "one_cycle"}
    return alone.get(tuple(wanted), "triangular")


def make_policies(names: Iterable[str], rates: Rates, budget: Budget) -> tuple[PolicyInfo, ...]:
    """Makes the policies of a comparison.

    Without a suggested rate (`rates.max_lr` is None) only those remain that need none; `fixed`
    where none would.

    Args:
        names: Policies of the table, in the order wanted.
        rates: The rates to make them of.
        budget: The length of the run.

    Returns:
        The policies with their schedules.

    Raises:
        ValueError: A name is not in the table.

    >>> budget = plan_budget(epochs=24, steps_per_epoch=100)
    >>> one, = make_policies(["triangular"], Rates(0.01, base_lr=0.1, max_lr=0.4), budget)
    >>> one.schedule["step_size"], one.why[:32]
    (300, '4 cycles between base_lr and max')
    """
    wanted = check_policies(names)
    if rates.max_lr is None:
        wanted = tuple(n for n in wanted if not POLICIES[n].needs_suggestion) or (REFERENCE,)
    return tuple(_make(name, rates, budget) for name in wanted)


def _make(name: str, rates: Rates, budget: Budget) -> PolicyInfo:
    policy = POLICIES[name]
    epochs = f"{budget.step_size_epochs:.3g}"
    half = f"{budget.step_size:,} steps ({epochs} {'epoch' if epochs == '1' else 'epochs'})"
    why = policy.why.format(cycles=budget.cycles, half=half, default_of=rates.default_of)
    return PolicyInfo(name, policy.label, policy.build(rates, budget).to_dict(), why)
