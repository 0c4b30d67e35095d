"""The answer of a comparison: the policy that the numbers speak for, in a sentence and a table."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass

import numpy as np

from cyclerate.compare._comparison import Comparison
from cyclerate.compare._curves import Curve, curves, cycle_starts
from cyclerate.compare._record import SummaryRow
from cyclerate.compare._wording import (
    MISSING,
    Numbers,
    aligned,
    fewer,
    folded,
    joined,
    printable,
    rate,
    seconds,
    signed,
    whole,
    width,
)

# Below this a policy is not called sooner: evaluations are some steps apart.
SOONER = 1.1
# An interval for max_lr of two decades or more gives no rate to rely on.
VAGUE = 100.0
# A loss that rose by more than this share, and than the spread, after so early a part of the run.
_OVERFIT, _EARLY = 0.02, 0.75
# Constant rates are things, other policies are ways: "the fixed rate", but "triangular".
_RATES = {"fixed": "the fixed rate", "found": "the found rate"}
COLUMNS = 79
_MARKS = {"best": "*", "level": "="}
_WORDS = {
    "rmse": "RMSE",
    "mae": "MAE",
    "roc_auc": "ROC AUC",
    "balanced_accuracy": "balanced accuracy",
    "average_precision": "average precision",
}
_SHARES = ("accuracy", "balanced_accuracy", "top_5_accuracy")


class Answer:
    """Reads a comparison, once for the page, the table and the figures."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.rows = comparison, comparison.summary
        finished = (row for row in self.rows if row.loss_mean is not None and not row.diverged)
        self.usable = tuple(sorted(finished, key=_loss))  # those that finished with every seed
        usable = self.usable
        self.reference = next((r for r in usable if r.policy == comparison.reference), None)
        self._searched = {info.name for info in comparison.about.policies if info.searched}
        level = [row for row in usable if is_level(row, usable[0])]
        self.level = frozenset(row.policy for row in level)
        # To recommend: the lowest final loss among those that beat the reference, which is to end
        # lower by more than the spread, or level with it and sooner, with a metric that is not
        # worse by more than the spread; the reference if none did.
        # Where losses are equal within either spread, the policy that was sooner.
        beating = [row for row in level if self._beats_reference(row)]
        equal = [row for row in beating if _is_equal(row, beating[0])]
        self.best = min(equal, key=self._arrival) if equal else self.reference
        self.losses = Numbers.fitting(row.loss_mean for row in self.rows if not row.diverged)
        self.scores = Numbers.fitting(
            (row.metric_mean for row in self.rows),
            share=comparison.metric in _SHARES,
            spreads=[row.metric_std for row in self.rows],
        )
        self._labels = {info.name: info.label for info in comparison.about.policies}
        self._curves: dict[str, tuple[Curve, ...]] = {}

    def curves(self, quantity: str) -> tuple[Curve, ...]:
        """The learning curves of a quantity, read once."""
        made = self.comparison
        if quantity == "heldout_metric" and made.metric is None:
            return ()
        if quantity not in self._curves:
            self._curves[quantity] = curves(made.cells, made.policies, quantity)
        return self._curves[quantity]

    @property
    def shaded(self) -> str | None:
        """The policy whose cycles lie behind the curves: the best, or the first that has some."""
        made = self.comparison
        names = [*([self.best.policy] if self.best else []), *made.policies]
        total = made.about.total_steps
        return next((n for n in names if cycle_starts(made.schedules.get(n), total)), None)

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
        """What is measured beside the held-out loss, in words; the loss itself if nothing is."""
        name = self.comparison.metric or "loss"
        return _WORDS.get(name, name)

    @property
    def heading(self) -> str:
        """What is measured, as the head of a column."""
        return self.metric[:1].upper() + self.metric[1:]

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
        return self.reference_steps / self._arrival(row) >= SOONER

    def search_steps(self, policy: str) -> int:
        """The steps of the range test that a policy has its rate of; 0 if it has it elsewhere."""
        steps = [result.steps for result in self.comparison.range_tests.values()]
        return max(steps, default=0) if policy in self._searched else 0

    def _arrival(self, row: SummaryRow) -> float:
        """The steps to the final loss of the reference, with those of the search."""
        reached = row.steps_to_reference
        return float("inf") if not reached else reached + self.search_steps(row.policy)

    @property
    def reference_steps(self) -> float:
        """The steps after which the reference itself had its final loss for the first time."""
        row = self.reference
        return 0.0 if row is None else row.steps_to_reference or float(row.steps)

    def _beats_reference(self, row: SummaryRow) -> bool:
        if self.reference is None:
            return True
        if self._metric_gain(row) < 0:
            return False
        if not is_level(row, self.reference):
            return _loss(row) < _loss(self.reference)
        # Runs that end far apart are level with everything; their mean must still hold.
        holds = _loss(row) <= _loss(self.reference) + (self.reference.loss_std or 0.0)
        return holds and self.is_sooner(row)

    def _metric_gain(self, row: SummaryRow) -> int:
        """1 if the metric is better than the reference's beyond both spreads, -1 if worse, else 0.

        0, too, where nobody said which way is better.
        """
        mode = self.comparison.about.mode or ("max" if self.comparison.metric in _SHARES else None)
        own, other = row.metric_mean, self.reference and self.reference.metric_mean
        if mode is None or own is None or other is None or self.reference is None:
            return 0
        if _metric_is_level(row, self.reference):
            return 0
        return 1 if (own > other) == (mode == "max") else -1

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
            values = f"{self.loss(best)} against {self.loss(reference)}"
            known = self.comparison.metric is not None and best.metric_mean is not None
            level = known and _metric_is_level(best, reference)
            but = f", but with a level {self.metric}" if level else ""
            lower = f"ended with a lower held-out loss than {self.rival}, {values}"
            return f"{lower}{but}{self._after(best)}"
        level = is_level(best, reference) and _metric_is_level(best, reference)
        raced = self._race(best, self._sooner_still(best))
        whose = f"{self.rival}'" if self.rival.endswith("s") else f"{self.rival}'s"
        ended = " and ended level with it" if level else ""
        return f"reached {whose} final loss in {raced}{ended}"

    def _after(self, row: SummaryRow) -> str:
        """The steps of a policy that ended lower, where the search makes them clearly more."""
        own, rival = row.steps + self.search_steps(row.policy), (self.reference or row).steps
        if own < SOONER * rival:
            return ""
        return f", after {whole(own)} steps with the search, instead of {whole(rival)}"

    def difference(self, value: float | None, of: str) -> str:
        """Writes a difference of the loss or the metric, in the unit that the table has."""
        if value is None:
            return MISSING
        percent = of != "loss" and self.scores.percent
        return signed(100 * value) + " points" if percent else signed(value)

    def _closest(self) -> str:
        """How near the others came to a reference that none of them beat."""
        reference = self.reference
        others = [row for row in self.usable if row is not reference]
        fallen = [row for row in others if self._metric_gain(row) < 0]
        lower = [row for row in fallen if reference and _loss(row) < _loss(reference)]
        level = [
            self.name(row.policy)
            for row in others
            if row.policy in self.level and row not in fallen
        ]
        sooner = [row for row in others if self.is_sooner(row)]
        if reference is not None and lower and not is_level(lower[0], reference):
            first = lower[0]
            return (
                f"{self.name(first.policy)} ended with a lower loss, {self.loss(first)} against "
                f"{self.loss(reference)}, but a worse {self.metric}, {self.score(first)}"
            )
        if level:
            return f"{joined(level)} ended level with it, no sooner"
        if sooner and reference is not None:
            first = min(sooner, key=self._arrival)
            worse = f"at a loss of {self.loss(first)} against {self.loss(reference)}"
            if is_level(first, reference):
                worse = f"at a {self.metric} of {self.score(first)}"
            return (
                f"{self.name(first.policy)} reached its final loss in {self._race(first)}, but "
                f"ended worse, {worse}"
            )
        if not others:
            return "the others diverged"
        return f"the closest was {self.name(others[0].policy)} with {self.score(others[0])}"

    def _race(self, row: SummaryRow, first: str = "") -> str:
        own, rival = self._arrival(row), self.reference_steps
        search = " with the search" if self.search_steps(row.policy) else ""
        steps = f"{whole(own)} steps{search}{',' if search else ''} instead of {whole(rival)}"
        return f"{steps} ({fewer(own, rival)}{first})"

    def _sooner_still(self, best: SummaryRow) -> str:
        """Names the policy that is as good as the best one and was there before it."""
        level = [
            row
            for row in self.usable
            if row.policy in self.level and row.steps_to_reference and self._metric_gain(row) >= 0
        ]
        first = min(level, key=self._arrival, default=best)
        if self._arrival(best) / self._arrival(first) < SOONER:
            return ""
        return f"; {self.name(first.policy)}, level with it, in {whole(self._arrival(first))}"

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
        return tuple(notes + self._overfit_notes() + self._range_test_notes())

    def _overfit_notes(self) -> list[str]:
        """Says where the reference was best long before its end: its runs are too long for it."""
        about, row = self.comparison.about, self.reference
        runs = [run for run in self.comparison.runs_of(self.comparison.reference) if run.steps]
        runs = [run for run in runs if not run.diverged]
        if row is None or not runs or len({run.steps for run in runs}) > 1:
            return []
        mean = next(c.mean for c in self.curves("heldout_loss") if c.policy == row.policy)
        means, at = mean.values.tolist(), int(np.argmin(mean.values))
        clearly = max(row.loss_std or 0.0, _OVERFIT * abs(means[at]))
        epochs = math.ceil(mean.steps[at] / about.steps_per_epoch)
        if means[-1] - means[at] <= clearly or epochs > _EARLY * about.epochs:
            return []
        ask = f"--epochs {epochs}" if about.command else f"epochs={epochs}"
        values = f"{self.losses.text(means[at])}, and {self.losses.text(means[-1])} at the end"
        lowest = f"its held-out loss was lowest after {epochs} of {about.epochs} epochs"
        return [f"{_capital(self.rival)} overfits: {lowest} ({values}). Try {ask}."]

    def _range_test_notes(self) -> list[str]:
        result = next(iter(self.comparison.range_tests.values()), None)
        if result is None:
            return []
        if result.max_lr is None:
            said = f"Range test: {result.verdict or 'no clear answer.'}"
            if result.fallback_lr is not None:
                said += f" Trained up to {rate(result.fallback_lr)}, the rate to expect."
            return [said]
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


def _loss(row: SummaryRow) -> float:
    return float("inf") if row.loss_mean is None else row.loss_mean


def _capital(text: str) -> str:
    # A policy's name is code and keeps its case; only our own words take a capital.
    return "The" + text.removeprefix("the") if text.startswith("the ") else text


@dataclass(frozen=True)
class Row:
    """One policy of the table, every value as it is shown.

    `to_reference` is after how many steps every run had the reference's final loss, `saving` how
    many times fewer these are than the reference needed, or "". `diverged` is as "2 of 3", or "".
    """

    policy: str
    label: str
    mark: str
    loss: str
    metric: str
    to_reference: str
    saving: str
    steps: str
    seconds: str
    diverged: str


def rows(answer: Answer) -> tuple[Row, ...]:
    """Returns the table, one row for each policy in the order of the comparison."""
    return tuple(_row(answer, row) for row in answer.rows)


def _row(answer: Answer, row: SummaryRow) -> Row:
    reached, saving = _race(answer, row)
    return Row(
        policy=row.policy,
        label=answer.label(row.policy),
        mark=answer.mark(row.policy),
        loss=answer.loss(row),
        metric=answer.score(row),
        to_reference=reached,
        saving=saving,
        steps=whole(row.steps),
        seconds=seconds(row.seconds_mean),
        diverged=f"{row.diverged} of {answer.runs(row)}" if row.diverged else "",
    )


def _race(answer: Answer, row: SummaryRow) -> tuple[str, str]:
    if answer.reference is None:
        return MISSING, ""
    if row is answer.reference:
        return whole(answer.reference_steps), ""
    if row.steps_to_reference is None:
        some = not row.reached.startswith("0/") and "/" in row.reached
        return (row.reached.replace("/", " of ") if some else "never"), ""
    if not answer.is_sooner(row):
        return whole(row.steps_to_reference), ""
    own = row.steps_to_reference + answer.search_steps(row.policy)
    saving = fewer(own, answer.reference_steps, short=True)
    return whole(row.steps_to_reference), saving


def text_table(answer: Answer) -> str:
    """Returns the comparison table as plain text of at most 79 columns, ready to print.

    The best policy is marked `*`, those level with it `=`. Nothing is cut: what is too wide for a
    table is printed line by line.
    """
    lines = [("  policy", answer.metric, "to reach", "loss", "steps", "seconds")]
    for row in rows(answer):
        name = f"{_MARKS.get(row.mark, ' ')} {printable(row.label)}"
        lines.append((name, row.metric, row.to_reference, row.loss, row.steps, row.seconds))
    shown = [tuple(map(printable, line[1:])) for line in lines]
    table = [(line[0], *rest) for line, rest in zip(lines, shown, strict=True)]
    if sum(max(map(width, column)) + 2 for column in zip(*table, strict=True)) - 2 > COLUMNS:
        laid = _one_below_another(table)
    else:
        laid = aligned(table)
    return "\n".join([*laid, "", *textwrap.wrap(legend(answer), COLUMNS)])


def _one_below_another(table: list[tuple[str, ...]]) -> list[str]:
    """A table too wide for the terminal: a policy and its values in lines of their own."""
    heads, *rows = table
    lines: list[str] = []
    for name, *values in rows:
        lines += folded(name, COLUMNS)
        for head, value in zip(heads[1:], values, strict=True):
            lines += [f"    {line}" for line in folded(f"{head}: {value}", COLUMNS - 4)]
    return lines


def legend(answer: Answer) -> str:
    """Says what the columns and marks of the text table mean, and which policies diverged."""
    parts = [f"Final held-out values, {_spread(answer)}"]
    table = rows(answer)
    if answer.reference is not None and len(table) > 1:
        parts.append(f"to reach: steps to the final loss of {printable(answer.rival)}")
    marks = {row.mark for row in table}
    if "best" in marks:
        parts.append("* best")
    if "level" in marks:
        parts.append("= level with it (the ranges mean ± spread meet)")
    if diverged := [f"{printable(row.label)} {row.diverged}" for row in table if row.diverged]:
        parts.append(f"diverged: {', '.join(diverged)}")
    if steps := _finding_steps(answer):
        parts.append(f"not counted: {whole(steps)} steps that found the rate, once for all")
    return "; ".join(parts) + "."


def page_legend(answer: Answer) -> str:
    """Says the same as `legend` in whole sentences, as far as a page does not show it."""
    parts = [f"Final held-out values, {_spread(answer)}."]
    if answer.reference is not None and len(answer.rows) > 1:
        parts.append(
            "Steps to reach: optimizer steps until every run had the final held-out loss of "
            f"{printable(answer.rival)}."
        )
    if len(answer.usable) > 1:
        parts.append(_best_means(answer))
    if len(answer.level) > 1:
        parts.append("Level: the ranges mean ± spread meet, so neither is called better.")
    if steps := _finding_steps(answer):
        parts.append(f"Not counted: the {whole(steps)} steps that found the rate, once for all.")
    return " ".join(parts)


def _best_means(answer: Answer) -> str:
    rival = printable(answer.rival)
    if answer.best is answer.usable[0]:
        return "Best: the lowest final loss."
    if answer.best is answer.reference:
        return f"Best: no policy was sooner or clearly lower than {rival}."
    if answer.reference is not None and answer.reference.policy in answer.level:
        return f"Best: sooner than {rival}, which ended level with it."
    return "Best: the first to reach, and equal to the lowest final loss within either spread."


def _spread(answer: Answer) -> str:
    seeds = len(answer.comparison.about.seeds)
    return f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"


def _finding_steps(answer: Answer) -> int:
    return sum(result.steps for result in answer.comparison.range_tests.values())
