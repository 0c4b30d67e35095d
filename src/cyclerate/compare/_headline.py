"""The answer of a comparison in one sentence, and what must be known to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cyclerate.compare._ranking import Ranking, is_level, is_sooner, rank, reference_steps
from cyclerate.compare._record import Record, SummaryRow
from cyclerate.compare._wording import Numbers, count, fewer, listed, rate

# An interval for max_lr of two decades or more gives no rate to rely on.
VAGUE = 100.0
# Constant rates are things, other policies are ways: "the fixed rate", but "triangular".
RATES = {"fixed": "the fixed rate", "found": "the found rate"}
SHARES = ("accuracy", "balanced_accuracy", "top_5_accuracy")


@dataclass(frozen=True)
class Headline:
    """The answer in one sentence, and the reservations that belong to it."""

    sentence: str
    notes: tuple[str, ...]


def headline(record: Record) -> Headline:
    """Says what a comparison found, in one sentence that claims no more than it measured."""
    ranking = rank(record)
    return Headline(_sentence(record, ranking), tuple(_notes(record, ranking)))


def policy_label(record: Record, policy: str) -> str:
    """Returns what a policy is called in tables and figures."""
    labels = {info.name: info.label for info in record.policies}
    return labels.get(policy) or policy


def policy_name(record: Record, policy: str) -> str:
    """Names a policy inside a sentence."""
    return RATES.get(policy) or policy_label(record, policy)


def loss_numbers(record: Record) -> Numbers:
    """How the held-out losses of a record are written."""
    return Numbers.fitting(row.loss_mean for row in record.summary if not row.diverged)


def metric_numbers(record: Record) -> Numbers:
    """How the held-out metric of a record is written: accuracies in percent."""
    means = [row.metric_mean for row in record.summary]
    spreads = [row.metric_std for row in record.summary]
    return Numbers.fitting(means, share=record.metric.name in SHARES, spreads=spreads)


def _sentence(record: Record, ranking: Ranking) -> str:
    best, reference = ranking.best, ranking.reference
    if not record.summary:
        return "No training was finished, so there is nothing to compare."
    if best is None:
        return (
            "No policy finished with every seed: "
            f"{listed(_divergence(record, row) for row in record.summary)}."
        )
    name = _capital(policy_name(record, best.policy))
    if len(record.summary) == 1:
        return f"Only {policy_name(record, best.policy)} was trained: {_metric(record, best)}."
    if reference is None:
        return f"{name} ended best, with {_metric(record, best)}{_next_best(record, ranking)}."
    if best is reference:
        return _nothing_won(record, ranking, reference)
    return _won(record, ranking, best, reference)


def _won(record: Record, ranking: Ranking, best: SummaryRow, reference: SummaryRow) -> str:
    name, rival = policy_name(record, best.policy), policy_name(record, reference.policy)
    level = is_level(best, reference) and _metric_is_level(best, reference)
    if is_sooner(best, reference) and best.steps_to_reference:
        claim = (
            f"{name} reached {_possessive(rival)} final loss in "
            f"{_race(best, reference, first=_sooner_still(record, ranking, best))}"
            f"{' and ended level with it' if level else ''}"
        )
    else:
        losses = loss_numbers(record)
        claim = (
            f"{name} ended with a lower held-out loss than {rival}, "
            f"{losses.text(best.loss_mean, best.loss_std)} against "
            f"{losses.text(reference.loss_mean, reference.loss_std)}"
        )
    return f"{_capital(claim)}; {_metric_against(record, best, reference)}."


def _nothing_won(record: Record, ranking: Ranking, reference: SummaryRow) -> str:
    rival = policy_name(record, reference.policy)
    others = [row for row in ranking.usable if row is not reference]
    level = [policy_name(record, row.policy) for row in others if row.policy in ranking.level]
    sooner = [row for row in others if is_sooner(row, reference)]
    start = f"No policy beat {rival} ({_metric(record, reference)})"
    if level:
        return f"{start}; {listed(level)} ended level with it, no sooner."
    if sooner:
        first = min(sooner, key=lambda row: row.steps_to_reference or 0.0)
        losses = loss_numbers(record)
        return (
            f"{start}; {policy_name(record, first.policy)} reached its final loss in "
            f"{_race(first, reference)}, but ended worse, at a loss of "
            f"{losses.text(first.loss_mean, first.loss_std)} against "
            f"{losses.text(reference.loss_mean, reference.loss_std)}."
        )
    if not others:
        return f"{start}; the others diverged."
    closest = others[0]
    name = policy_name(record, closest.policy)
    return f"{start}; the closest was {name} with {_value(record, closest)}."


def _notes(record: Record, ranking: Ranking) -> list[str]:
    notes = []
    if len(record.seeds) == 1 and len(ranking.usable) > 1:
        notes.append(
            "One seed only: differences of this size can be chance. "
            "Three or more seeds show the spread."
        )
    if ranking.best is not None:
        notes += [
            f"{_capital(_divergence(record, row))}." for row in record.summary if row.diverged
        ]
    return notes + _range_test_notes(record.range_test or {"max_lr": 0.0})


def _range_test_notes(range_test: Mapping[str, Any]) -> list[str]:
    if range_test.get("max_lr") is None:
        return [f"Range test: {range_test.get('verdict') or 'no clear answer.'}"]
    low, high = range_test.get("interval") or (1.0, 1.0)
    if low > 0.0 and high / low < VAGUE:
        return []
    return [f"The range test is vague: max_lr may lie anywhere from {rate(low)} to {rate(high)}."]


def _divergence(record: Record, row: SummaryRow) -> str:
    runs = len(record.cells_of(row.policy)) or len(record.seeds)
    name = policy_name(record, row.policy)
    if row.diverged == 0:
        return f"{name} has no final loss"
    if runs == 1:
        return f"{name} diverged"
    seeds = f"all {runs} seeds" if row.diverged == runs else f"{row.diverged} of {runs} seeds"
    return f"{name} diverged with {seeds}"


def _race(row: SummaryRow, reference: SummaryRow, first: str = "") -> str:
    own, rival = row.steps_to_reference or 0.0, reference_steps(reference)
    return f"{count(own)} steps instead of {count(rival)} ({fewer(own, rival)}{first})"


def _sooner_still(record: Record, ranking: Ranking, best: SummaryRow) -> str:
    """Names the policy that is as good as the best one and was there before it."""
    level = [row for row in ranking.usable if row.policy in ranking.level]
    sooner = [row for row in level if row.steps_to_reference and is_sooner(row, best)]
    if not sooner:
        return ""
    first = min(sooner, key=lambda row: row.steps_to_reference or 0.0)
    name = policy_name(record, first.policy)
    return f"; {name}, level with it, in {count(first.steps_to_reference or 0.0)}"


def _next_best(record: Record, ranking: Ranking) -> str:
    others = [row for row in ranking.usable if row is not ranking.best]
    if not others:
        return ""
    name = policy_name(record, others[0].policy)
    if others[0].policy in ranking.level:
        return f", level with {name} ({_value(record, others[0])})"
    return f", before {name} ({_value(record, others[0])})"


def _metric(record: Record, row: SummaryRow) -> str:
    return f"held-out {record.metric.name} {_value(record, row)}"


def _metric_against(record: Record, row: SummaryRow, other: SummaryRow) -> str:
    return f"{_metric(record, row)} against {_value(record, other)}"


def _metric_is_level(row: SummaryRow, other: SummaryRow) -> bool:
    if row.metric_mean is None or other.metric_mean is None:
        return True
    spread = (row.metric_std or 0.0) + (other.metric_std or 0.0)
    return abs(row.metric_mean - other.metric_mean) <= spread


def _value(record: Record, row: SummaryRow) -> str:
    return metric_numbers(record).text(row.metric_mean, row.metric_std)


def _possessive(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def _capital(text: str) -> str:
    # A policy's name is code and keeps its case; only our own words take a capital.
    return "The" + text.removeprefix("the") if text.startswith("the ") else text
