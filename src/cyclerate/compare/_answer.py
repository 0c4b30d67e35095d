"""The answer of a comparison: which policy the numbers speak for, and what they do not support."""

from __future__ import annotations

from cyclerate.compare._comparison import Comparison
from cyclerate.compare._record import SummaryRow
from cyclerate.compare._wording import Numbers, fewer, joined, rate, whole

# Below this a policy is not called sooner: evaluations are some steps apart.
SOONER = 1.1
# An interval for max_lr of two decades or more gives no rate to rely on.
VAGUE = 100.0
# Constant rates are things, other policies are ways: "the fixed rate", but "triangular".
_RATES = {"fixed": "the fixed rate", "found": "the found rate"}
_SHARES = ("accuracy", "balanced_accuracy", "top_5_accuracy")


class Answer:
    """Reads a comparison, once for the page, the table and the figures.

    Attributes:
        comparison: What it reads.
        rows: The table.
        usable: Rows of the policies that finished with every seed, lowest final loss first.
        reference: The reference's row, or None if it has no final loss to race to.
        level: The names whose final loss is level with the lowest one.
        best: The row to recommend, or None if no policy finished with every seed. It is the one
            with the lowest final loss among those that beat the reference, which is to end lower
            by more than the spread, or level with it and sooner; the reference if none did. Where
            losses are equal within either spread, the policy that was sooner.
        losses: How held-out losses are written.
        scores: How the held-out metric is written: accuracies in percent.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.rows = comparison, comparison.summary
        finished = (row for row in self.rows if row.loss_mean is not None and not row.diverged)
        self.usable = tuple(sorted(finished, key=_loss))
        usable = self.usable
        self.reference = next((r for r in usable if r.policy == comparison.reference), None)
        level = [row for row in usable if is_level(row, usable[0])]
        self.level = frozenset(row.policy for row in level)
        beating = [row for row in level if self._beats_reference(row)]
        equal = [row for row in beating if _is_equal(row, beating[0])]
        self.best = min(equal, key=_arrival) if equal else self.reference
        self.losses = Numbers.fitting(row.loss_mean for row in self.rows if not row.diverged)
        self.scores = Numbers.fitting(
            (row.metric_mean for row in self.rows),
            share=comparison.metric in _SHARES,
            spreads=[row.metric_std for row in self.rows],
        )
        self._labels = {info.name: info.label for info in comparison.about.policies}

    def label(self, policy: str) -> str:
        """What a policy is called in tables and figures."""
        return self._labels.get(policy) or policy

    def name(self, policy: str) -> str:
        """What a policy is called inside a sentence."""
        return _RATES.get(policy) or self.label(policy)

    @property
    def rival(self) -> str:
        """What the reference is called inside a sentence."""
        return self.name(self.comparison.reference)

    @property
    def metric(self) -> str:
        """What is measured beside the held-out loss; the loss itself if nothing is."""
        return self.comparison.metric or "loss"

    def mark(self, policy: str) -> str:
        """Marks a policy as "best", as "level" (as good within the spread), or not at all: ""."""
        if len(self.usable) < 2:
            return ""
        if self.best is not None and policy == self.best.policy:
            return "best"
        return "level" if policy in self.level else ""

    def loss(self, row: SummaryRow) -> str:
        """The final held-out loss."""
        return self.losses.text(row.loss_mean, row.loss_std)

    def score(self, row: SummaryRow) -> str:
        """The final held-out metric."""
        if self.comparison.metric is None:
            return self.loss(row)
        return self.scores.text(row.metric_mean, row.metric_std)

    def is_sooner(self, row: SummaryRow) -> bool:
        """Whether every run of a policy held, and had the reference's final loss clearly sooner."""
        if self.reference is None or row.policy == self.reference.policy:
            return False
        if row.diverged or not row.steps_to_reference:
            return False
        return self.reference_steps / row.steps_to_reference >= SOONER

    @property
    def reference_steps(self) -> float:
        """The steps after which the reference itself had its final loss for the first time."""
        row = self.reference
        return 0.0 if row is None else row.steps_to_reference or float(row.steps)

    def _beats_reference(self, row: SummaryRow) -> bool:
        if self.reference is None:
            return True
        if not is_level(row, self.reference):
            return _loss(row) < _loss(self.reference)
        # Runs that end far apart are level with everything; their mean must still hold.
        holds = _loss(row) <= _loss(self.reference) + (self.reference.loss_std or 0.0)
        return holds and self.is_sooner(row)

    @property
    def sentence(self) -> str:
        """What was found, in one sentence that claims no more than was measured."""
        best, reference = self.best, self.reference
        if not self.rows:
            return "No training was finished, so there is nothing to compare."
        if best is None:
            lost = joined(self._divergence(row) for row in self.rows)
            return f"No policy finished with every seed: {lost}."
        name, metric = _capital(self.name(best.policy)), self._metric(best)
        if len(self.rows) == 1:
            return f"Only {self.name(best.policy)} was trained: {metric}."
        if reference is None:
            return f"{name} ended best, with {metric}{self._next_best()}."
        if best is reference:
            return f"No policy beat {self.rival} ({metric}); {self._closest()}."
        return f"{name} {self._won(best)}; {metric} against {self.score(reference)}."

    def _won(self, best: SummaryRow) -> str:
        reference = self.reference or best
        if not self.is_sooner(best):
            return (
                f"ended with a lower held-out loss than {self.rival}, {self.loss(best)} against "
                f"{self.loss(reference)}"
            )
        level = is_level(best, reference) and _metric_is_level(best, reference)
        raced = self._race(best, self._sooner_still(best))
        whose = f"{self.rival}'" if self.rival.endswith("s") else f"{self.rival}'s"
        ended = " and ended level with it" if level else ""
        return f"reached {whose} final loss in {raced}{ended}"

    def _closest(self) -> str:
        """How near the others came to a reference that none of them beat."""
        others = [row for row in self.usable if row is not self.reference]
        level = [self.name(row.policy) for row in others if row.policy in self.level]
        sooner = [row for row in others if self.is_sooner(row)]
        if level:
            return f"{joined(level)} ended level with it, no sooner"
        if sooner and self.reference is not None:
            first = min(sooner, key=_arrival)
            return (
                f"{self.name(first.policy)} reached its final loss in {self._race(first)}, but "
                f"ended worse, at a loss of {self.loss(first)} against {self.loss(self.reference)}"
            )
        if not others:
            return "the others diverged"
        return f"the closest was {self.name(others[0].policy)} with {self.score(others[0])}"

    def _race(self, row: SummaryRow, first: str = "") -> str:
        own, rival = row.steps_to_reference or 0.0, self.reference_steps
        return f"{whole(own)} steps instead of {whole(rival)} ({fewer(own, rival)}{first})"

    def _sooner_still(self, best: SummaryRow) -> str:
        """Names the policy that is as good as the best one and was there before it."""
        level = [row for row in self.usable if row.policy in self.level and row.steps_to_reference]
        first = min(level, key=_arrival, default=best)
        if _arrival(best) / _arrival(first) < SOONER:
            return ""
        return f"; {self.name(first.policy)}, level with it, in {whole(_arrival(first))}"

    def _next_best(self) -> str:
        others = [row for row in self.usable if row is not self.best]
        if not others:
            return ""
        how = ", level with" if others[0].policy in self.level else ", before"
        return f"{how} {self.name(others[0].policy)} ({self.score(others[0])})"

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be known to trust the sentence."""
        notes: list[str] = []
        if len(self.comparison.about.seeds) == 1 and len(self.usable) > 1:
            notes.append(
                "One seed only: differences of this size can be chance. "
                "Three or more seeds show the spread."
            )
        if self.best is not None:
            lost = [row for row in self.rows if row.diverged]
            notes += [f"{_capital(self._divergence(row))}." for row in lost]
        return tuple(notes + self._range_test_notes())

    def _range_test_notes(self) -> list[str]:
        result = next(iter(self.comparison.range_tests.values()), None)
        if result is None:
            return []
        if result.max_lr is None:
            return [f"Range test: {result.verdict or 'no clear answer.'}"]
        low, high = result.interval or (1.0, 1.0)
        if low > 0.0 and high / low < VAGUE:
            return []
        where = f"{rate(low)} to {rate(high)}"
        return [f"The range test is vague: max_lr may lie anywhere from {where}."]

    def runs(self, row: SummaryRow) -> int:
        """How many runs a row is made of."""
        return len(self.comparison.runs_of(row.policy)) or len(self.comparison.about.seeds)

    def _divergence(self, row: SummaryRow) -> str:
        name, runs = self.name(row.policy), self.runs(row)
        if row.diverged == 0:
            return f"{name} has no final loss"
        if runs == 1:
            return f"{name} diverged"
        seeds = f"all {runs} seeds" if row.diverged == runs else f"{row.diverged} of {runs} seeds"
        return f"{name} diverged with {seeds}"

    def _metric(self, row: SummaryRow) -> str:
        return f"held-out {self.metric} {self.score(row)}"


def is_level(row: SummaryRow, other: SummaryRow) -> bool:
    """Whether the ranges mean ± spread of two final losses meet, so neither is called better.

    With one seed there is no spread, and only equal losses are level.
    """
    return abs(_loss(row) - _loss(other)) <= (row.loss_std or 0.0) + (other.loss_std or 0.0)


def _metric_is_level(row: SummaryRow, other: SummaryRow) -> bool:
    if row.metric_mean is None or other.metric_mean is None:
        return True
    spread = (row.metric_std or 0.0) + (other.metric_std or 0.0)
    return abs(row.metric_mean - other.metric_mean) <= spread


def _is_equal(row: SummaryRow, lowest: SummaryRow) -> bool:
    spread = min(row.loss_std or 0.0, lowest.loss_std or 0.0)
    return _loss(row) - _loss(lowest) <= spread


def _arrival(row: SummaryRow) -> float:
    return row.steps_to_reference or float("inf")


def _loss(row: SummaryRow) -> float:
    return float("inf") if row.loss_mean is None else row.loss_mean


def _capital(text: str) -> str:
    # A policy's name is code and keeps its case; only our own words take a capital.
    return "The" + text.removeprefix("the") if text.startswith("the ") else text
