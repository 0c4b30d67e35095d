"""What a recommendation holds: a value that can be compared, printed, drawn and kept in a file."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cyclerate._errors import bad_argument, check_choice, check_count, check_number, check_rate
from cyclerate._svg import notebook, paragraphs
from cyclerate.finder._plot import draw_result
from cyclerate.finder._prior import Prior
from cyclerate.finder._probe import DECADES, POLICIES
from cyclerate.finder._result import RangeTestResult
from cyclerate.schedules import Schedule, from_dict
from cyclerate.schedules._drawing import draw_schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes


CLEAR_FRAC = 0.1
"""Of what the best race gained: so much better is a clear difference."""


@dataclass(frozen=True)
class PolicyRace:
    """A short training by a policy.

    Attributes:
        policy: Its name.
        max_lr: Its highest rate.
        score: The metric after it, on the fixed sample; None where it diverged.

    >>> PolicyRace("constant", max_lr=0.1, score=None)
    PolicyRace(policy='constant', max_lr=0.1, score=None)
    """

    policy: str
    max_lr: float
    score: float | None

    def __post_init__(self) -> None:
        check_choice("policy", self.policy, POLICIES)
        check_rate("max_lr", self.max_lr)
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


SCHEMA = 1
_LINE_WIDTH = 79


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """How to spend a budget: the policy, its rates, and what they were chosen by.

    Made by the `recommend` of an adapter. Where the range test found no clear answer and nothing is
    known of the optimizer, `policy`, `schedule` and the rates are None, and the verdict says why.

    Attributes:
        policy: "one_cycle", "triangular" or "constant".
        schedule: That policy for the steps that are left.
        max_lr: Its highest rate.
        base_lr: The lower bound of a cycle: max_lr / 4.
        interval: (low, high) for `max_lr`.
        steps: Optimizer steps that the tuning cost.
        training_steps: Those that are left of the budget.
        evidence: The races between the policies, each at its own rate.
        range_test: What the probe found: the sweep, and the races between rates.
        verdict: Why this policy.
        find: How `fit_one_cycle` had best find the rate with this budget: "warmup", on the way up
            of the cycle, and `max_lr` is only what to expect; or "probe", it is found already.
        seconds: Wall time of the tuning; None if not measured.

    >>> from cyclerate.finder import RecommendationSettings, drive
    >>> weight = [1.0]
    >>> def restore():
    ...     weight[0] = 1.0
    >>> def step(lr):
    ...     weight[0] -= lr * 2 * weight[0]
    ...     return weight[0] ** 2
    >>> recommender = RecommendationSettings(budget_steps=1000).new()
    >>> drive(recommender, restore=restore, step=step, score=lambda: weight[0] ** 2)
    >>> found = recommender.recommendation()
    >>> found.policy, found.schedule.total_steps == found.training_steps
    ('one_cycle', True)
    """

    policy: str | None
    schedule: Schedule | None
    max_lr: float | None
    base_lr: float | None
    interval: tuple[float, float] | None
    steps: int
    training_steps: int
    evidence: tuple[PolicyRace, ...]
    range_test: RangeTestResult
    verdict: str
    find: str = "probe"
    seconds: float | None = None

    def __post_init__(self) -> None:
        check_count("steps", self.steps, low=0)
        check_choice("find", self.find, ("warmup", "probe"))
        check_count("training_steps", self.training_steps)
        answer = (self.policy, self.schedule, self.max_lr, self.base_lr, self.interval)
        if any(part is None for part in answer) and any(part is not None for part in answer):
            raise bad_argument("policy, schedule and rates", "all given or all None", answer)
        if self.policy is not None:
            check_choice("policy", self.policy, POLICIES)
            check_rate("max_lr", self.max_lr)
            check_rate("base_lr", self.base_lr)
        if not isinstance(self.range_test, RangeTestResult):
            raise bad_argument("range_test", "the result of a range test", self.range_test)
        if not isinstance(self.verdict, str):
            raise bad_argument("verdict", "text", self.verdict)
        if self.seconds is not None:
            check_number("seconds", self.seconds, low=0)

    @classmethod
    def of(
        cls,
        tested: RangeTestResult,
        choice: Choice | None,
        *,
        prior: Prior | None,
        evidence: tuple[PolicyRace, ...],
        steps: int,
        budget_steps: int,
        seconds: float | None = None,
    ) -> Recommendation:
        """Returns what follows from a probe and the races of policies.

        Args:
            tested: What the probe found, for the first policy of the evidence.
            choice: The policy; None if there is no rate.
            prior: The rate that was expected; None if nothing was known.
            evidence: The races of policies.
            steps: Optimizer steps that all of it cost.
            budget_steps: Those of tuning and training together.
            seconds: Wall time of the tuning.
        """
        common: dict[str, Any] = {
            "steps": steps,
            "training_steps": budget_steps - steps,
            "evidence": evidence,
            "range_test": tested,
            "seconds": seconds,
            "find": "warmup" if tested.method == "prior" else "probe",
        }
        rate, interval = tested.max_lr, tested.interval
        if tested.fallback_lr is not None and prior is not None:
            rate = tested.fallback_lr
            interval = prior.times(rate / prior.lr).interval
        if choice is None or rate is None or interval is None:
            nothing = dict.fromkeys(("policy", "schedule", "max_lr", "base_lr", "interval"))
            return cls(**nothing, **common, verdict=tested.verdict)
        read_for = evidence[0].policy if evidence else choice.policy
        factor = 10 ** (DECADES[choice.policy] - DECADES[read_for])
        low, high = interval
        max_lr = factor * rate
        return cls(
            policy=choice.policy,
            schedule=POLICIES[choice.policy](max_lr, budget_steps - steps),
            max_lr=max_lr,
            base_lr=factor * (tested.base_lr or rate / 4),
            interval=(factor * low, factor * high),
            verdict=f"{choice.reason}.",
            **common,
        )

    @property
    def provenance(self) -> dict[str, Any] | None:
        """Where it comes from, as `RangeTestResult.provenance` has it."""
        return self.range_test.provenance

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws what the rate was read from, as `RangeTestResult.plot` does.

        Args:
            ax: Matplotlib Axes to draw on; a new figure if None.

        Returns:
            The Axes.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        return self.range_test.plot(ax)

    def _repr_html_(self) -> str:
        """The recommendation as a notebook shows it: what to do, its schedule, and the evidence."""
        title, *reasons = self._lines()
        parts = [paragraphs(reasons)]
        if self.schedule is not None:
            parts.insert(0, draw_schedule(self.schedule, self.training_steps))
        if self.range_test.method != "prior":
            parts.append(draw_result(self.range_test))
        return notebook(title, *parts)

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON-safe values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["schedule"] = None if self.schedule is None else self.schedule.to_dict()
        values["interval"] = None if self.interval is None else list(self.interval)
        values["evidence"] = [dataclasses.asdict(race) for race in self.evidence]
        values["range_test"] = self.range_test.to_dict()
        return {"schema": SCHEMA, **values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recommendation:
        """Returns the recommendation that `to_dict` made `values` of.

        Raises:
            ValueError: A key is missing or unknown, or a value is of the wrong type or impossible.
        """
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise bad_argument("a recommendation", f"an object of schema {SCHEMA}", values)
        names = {"schema", *(field.name for field in dataclasses.fields(cls))}
        if set(values) != names:
            raise bad_argument("the keys of a recommendation", str(sorted(names)), sorted(values))
        evidence, schedule = values["evidence"], values["schedule"]
        if not isinstance(evidence, list):
            raise bad_argument("evidence", "a list", evidence)
        read: dict[str, Any] = {name: values[name] for name in names - {"schema"}}
        read["schedule"] = None if schedule is None else from_dict(schedule)
        read["evidence"] = tuple(_race(race) for race in evidence)
        read["range_test"] = RangeTestResult.from_dict(values["range_test"])
        if read["interval"] is not None:
            read["interval"] = _pair(read["interval"])
        return cls(**read)

    def __str__(self) -> str:
        return "\n".join(
            textwrap.fill(line, _LINE_WIDTH, subsequent_indent="  ") for line in self._lines()
        )

    def _lines(self) -> list[str]:
        time = "" if self.seconds is None else f" in {self.seconds:.1f} s"
        budget = self.steps + self.training_steps
        cost = (
            f"Tuning: {self.steps} of {budget} steps ({self.steps / budget:.0%}){time}; "
            f"{self.training_steps} are left to train"
        )
        if self.policy is None or self.max_lr is None or self.interval is None:
            return ["Recommendation: none, there is no clear answer", cost, self.verdict]
        low, high = self.interval
        rates = f"max_lr {self.max_lr:.2g} ({low:.2g} to {high:.2g})"
        lines = [
            f"Recommendation: {self.policy} with {rates} for {self.training_steps} steps",
            cost,
            f"The rate: {self.range_test.verdict}",
            f"The policy: {self.verdict}",
        ]
        if self.find == "warmup":
            lines.append(
                f'fit_one_cycle(..., total_steps={budget}, find="warmup") tries rates around it on '
                "the way up of the cycle, as a part of the training."
            )
        if not self.evidence:
            return lines
        raced = ", ".join(
            f"{race.policy} {'diverged' if race.score is None else f'{race.score:.4g}'} at "
            f"{race.max_lr:.2g}"
            for race in self.evidence
        )
        return [*lines, f"The {self.range_test.metric} after a race: {raced}"]


def _pair(values: Any) -> tuple[float, float]:
    if not isinstance(values, (list, tuple)) or len(values) != 2:
        raise bad_argument("interval", "a pair (low, high)", values)
    return check_number("interval[0]", values[0]), check_number("interval[1]", values[1])


def _race(values: Any) -> PolicyRace:
    if not isinstance(values, dict) or set(values) != {"policy", "max_lr", "score"}:
        raise bad_argument("evidence", "objects with policy, max_lr and score", values)
    return PolicyRace(**values)
