"""Smith's rules for a training in cycles: how long a cycle is, how many, and where to stop."""

from __future__ import annotations

from dataclasses import dataclass

from cyclerate._errors import bad_argument, check_choice, check_count
from cyclerate.schedules import ExpRange, Schedule, Triangular, Triangular2

POLICIES = ("triangular", "triangular2", "exp_range")
FIRST_STEP = 1
"""The step of the schedule that a training in cycles begins with.

A triangle of `step_size` s is at its lowest at the steps 0, 2 s, 4 s and so on. Begun at step 1,
the last update of every cycle, and so of the training, is made exactly at `base_lr`.
"""

_SMITH_EPOCHS = (2, 10)
_LEAST_CYCLES = 3


@dataclass(frozen=True)
class CyclePlan:
    """A training of whole cycles.

    Attributes:
        cycles: How many.
        step_size_epochs: Half a cycle, in epochs.
    """

    cycles: int
    step_size_epochs: int

    @property
    def epochs(self) -> int:
        """Epochs of the training; the last one ends a cycle."""
        return 2 * self.step_size_epochs * self.cycles

    def step_size(self, batches_per_epoch: int, accumulated: int = 1) -> int:
        """Half a cycle in updates of the weights.

        Raises:
            ValueError: That many batches do not make whole updates.
        """
        batches = self.step_size_epochs * batches_per_epoch
        if batches % accumulated:
            allowed = f"a divisor of the {batches} batches in half a cycle"
            raise bad_argument("the number of accumulated batches", allowed, accumulated)
        return batches // accumulated


def plan_cycles(
    cycles: int | None = None, step_size_epochs: int | None = None, epochs: int | None = None
) -> CyclePlan:
    """Returns whole cycles by Smith's rules: half a cycle of 2 to 10 epochs, at least 3 cycles.

    With `epochs`, the training ends at a cycle's end at or before that epoch: of `cycles` and
    `step_size_epochs`, what is missing follows. Without, both have a default.

    Args:
        cycles: How many. Default 3, or what fits `epochs`.
        step_size_epochs: Half a cycle, 2 to 10. Default 2, with which a cycle is shortest: Smith
            saw 8 to be only slightly better. With `epochs`: the longest that fits.
        epochs: The most epochs. Default: what the cycles take.

    Raises:
        ValueError: Numbers outside the rules, or too few epochs for them.

    Source: Smith 2017, arXiv 1506.01186, section 3.2.

    >>> plan_cycles(), plan_cycles().epochs
    (CyclePlan(cycles=3, step_size_epochs=2), 12)
    >>> plan_cycles(epochs=32), plan_cycles(epochs=32).epochs
    (CyclePlan(cycles=3, step_size_epochs=5), 30)
    """
    shortest, longest = _SMITH_EPOCHS
    if cycles is not None and check_count("cycles", cycles) < _LEAST_CYCLES:
        allowed = f"at least {_LEAST_CYCLES}, for training in cycles (for one, fit_one_cycle)"
        raise bad_argument("cycles", allowed, cycles)
    if step_size_epochs is not None:
        size = check_count("step_size_epochs", step_size_epochs)
        if not shortest <= size <= longest:
            raise bad_argument("step_size_epochs", f"{shortest} to {longest}", step_size_epochs)
    if epochs is None:
        return CyclePlan(int(cycles or _LEAST_CYCLES), int(step_size_epochs or shortest))
    epochs = check_count("epochs", epochs)
    size = step_size_epochs or min(longest, epochs // (2 * int(cycles or _LEAST_CYCLES)))
    plan = CyclePlan(int(cycles or epochs // (2 * max(size, 1))), int(size))
    least = CyclePlan(int(cycles or _LEAST_CYCLES), int(step_size_epochs or shortest)).epochs
    if epochs < least or plan.epochs > epochs:
        raise bad_argument("epochs", f"at least {least}, for whole cycles of that length", epochs)
    return plan


def cycle_policy(
    policy: str, base_lr: float | None, max_lr: float | None, step_size: int, gamma: float | None
) -> Schedule:
    """Returns the schedule of a training in cycles.

    Args:
        policy: "triangular", "triangular2" or "exp_range".
        base_lr: The lowest rate. None: a quarter of `max_lr` (Smith 2017, section 3.3).
        max_lr: The highest rate. None while it has to be found: some rate, so that the other
            arguments are checked before.
        step_size: Half a cycle, in steps.
        gamma: What the amplitude of "exp_range" is multiplied by at every step.

    Raises:
        ValueError: An unknown policy, a gamma without use or missing, rates out of range.

    >>> cycle_policy("triangular", None, 0.4, step_size=10, gamma=None)
    Triangular(base_lr=0.1, max_lr=0.4, step_size=10, step_size_down=None, shape='triangle')
    """
    check_choice("policy", policy, POLICIES)
    if (gamma is None) == (policy == "exp_range"):
        raise bad_argument("gamma", "given for 'exp_range', and for nothing else", gamma)
    if max_lr is None:
        max_lr = 1.0 if base_lr is None else base_lr
    # Before a quarter is taken of it, it has to be a rate.
    base_lr = Triangular(0.0, max_lr, step_size).max_lr / 4 if base_lr is None else base_lr
    if gamma is not None:
        return ExpRange(base_lr, max_lr, step_size, gamma)
    return (Triangular if policy == "triangular" else Triangular2)(base_lr, max_lr, step_size)
