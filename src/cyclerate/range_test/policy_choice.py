"""Which policy to train by, from one short race of each.

Short races see less of a policy than a whole training does, and the best trainings by each differ
little: on the tasks of benchmarks/finders 1cycle is best more often than the other two together,
and never far behind. So it is kept unless a race says clearly otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cyclerate._errors import check_choice, check_number
from cyclerate.finder._probe import POLICIES

DECADES = {"one_cycle": 0.0, "triangular": -0.2, "constant": -0.45}
"""Where the best highest rate of a policy lies beside that of 1cycle: means over 46 tasks,
to a twentieth."""

CLEAR_FRAC = 0.1
"""Of what the best race gained: so much better is a clear difference."""


@dataclass(frozen=True)
class PolicyRace:
    """A short training by a policy.

    Attributes:
        policy: Its name.
        max_lr: Its highest rate.
        score: The metric after it, on the fixed sample; None where it diverged.
    """

    policy: str
    max_lr: float
    score: float | None

    def __post_init__(self) -> None:
        check_choice("policy", self.policy, POLICIES)
        check_number("max_lr", self.max_lr, low=0, low_open=True)
        if self.score is not None:
            check_number("score", self.score)


@dataclass(frozen=True)
class Choice:
    """A policy, and why."""

    policy: str
    reason: str


def choose(raced: Sequence[PolicyRace], *, start: float, mode: str) -> Choice | None:
    """Returns the policy to train by; None if there was no race at all.

    The first policy is the one to keep where no other is clearly better.

    Args:
        raced: The races of the policies, the first one's first.
        start: What the untouched model scores.
        mode: "min" if lower scores are better, "max" if higher ones are.

    >>> races = [PolicyRace("one_cycle", 0.1, 0.5), PolicyRace("constant", 0.04, 0.48)]
    >>> choose(races, start=1.0, mode="min").policy
    'one_cycle'
    >>> choose(races[:1] + [PolicyRace("constant", 0.04, 0.2)], start=1.0, mode="min").policy
    'constant'
    """
    if not raced:
        return None
    kept = raced[0].policy
    if len(raced) == 1:
        return Choice(kept, f"{kept} was not raced against others")
    sign = 1 if mode == "min" else -1
    scores = {race.policy: math.inf if race.score is None else sign * race.score for race in raced}
    best = min(scores, key=lambda policy: scores[policy])
    clear = CLEAR_FRAC * (sign * start - scores[best])
    if scores[kept] - scores[best] > clear:
        return Choice(best, f"{best} was clearly better than {kept}")
    close = [policy for policy in scores if scores[policy] - scores[kept] <= clear]
    if close == [kept]:
        return Choice(kept, f"{kept} was clearly the best")
    return Choice(kept, _not_apart(kept, close))


def _not_apart(kept: str, close: Sequence[str]) -> str:
    names = f"{', '.join(close[:-1])} and {close[-1]}"
    prior = "it was named first"
    if kept == "one_cycle":
        prior = "1cycle is rarely the worse one in a whole training"
    return f"{names} could not be told apart; {kept} is kept: {prior}"
