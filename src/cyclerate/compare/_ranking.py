"""Which policy the numbers speak for, and which differences they do not support."""

from __future__ import annotations

from dataclasses import dataclass

from cyclerate.compare._record import Record, SummaryRow

# Below this a policy is not called sooner: evaluations are some steps apart.
SOONER = 1.1


@dataclass(frozen=True)
class Ranking:
    """What a comparison supports.

    Attributes:
        reference: The reference's row, or None if it has no final loss to race to.
        best: The row to recommend, or None if no policy finished with every seed. It is the one
            with the lowest final loss among those that beat the reference, which is to end lower
            by more than the spread, or level with it and sooner; the reference if none did. Where
            losses are equal within either spread, the policy that was sooner.
        level: The names whose final loss is level with the lowest one, `best` included.
        usable: Rows of the policies that finished with every seed, lowest final loss first.
    """

    reference: SummaryRow | None
    best: SummaryRow | None
    level: frozenset[str]
    usable: tuple[SummaryRow, ...]

    def mark(self, policy: str) -> str:
        """Returns "best", "level" (as good within the spread) or "" for a policy."""
        if len(self.usable) < 2:
            return ""
        if self.best is not None and policy == self.best.policy:
            return "best"
        return "level" if policy in self.level else ""


def rank(record: Record) -> Ranking:
    """Ranks the policies of a record by final held-out loss."""
    usable = tuple(sorted((row for row in record.summary if _finished(row)), key=_loss))
    reference = next((row for row in usable if row.policy == record.reference), None)
    level = tuple(row for row in usable if is_level(row, usable[0]))
    beating = [row for row in level if reference is None or _beats(row, reference)]
    equal = [row for row in beating if _is_equal(row, beating[0])]
    best = min(equal, key=_arrival) if equal else reference
    return Ranking(reference, best, frozenset(row.policy for row in level), usable)


def is_level(row: SummaryRow, other: SummaryRow) -> bool:
    """True if the ranges mean ± spread of two final losses meet, so neither is called better.

    With one seed there is no spread, and only equal losses are level.
    """
    return abs(_loss(row) - _loss(other)) <= (row.loss_std or 0.0) + (other.loss_std or 0.0)


def reference_steps(reference: SummaryRow) -> float:
    """Returns the steps after which the reference itself had its final loss for the first time."""
    return reference.steps_to_reference or float(reference.steps)


def is_sooner(row: SummaryRow, reference: SummaryRow | None) -> bool:
    """True if every run of a policy held and had the reference's final loss clearly sooner."""
    if reference is None or row.policy == reference.policy:
        return False
    if row.diverged or not row.steps_to_reference:
        return False
    return reference_steps(reference) / row.steps_to_reference >= SOONER


def _finished(row: SummaryRow) -> bool:
    return row.loss_mean is not None and row.diverged == 0


def _beats(row: SummaryRow, reference: SummaryRow) -> bool:
    if not is_level(row, reference):
        return _loss(row) < _loss(reference)
    # Runs that end far apart are level with everything; their mean must still hold.
    holds = _loss(row) <= _loss(reference) + (reference.loss_std or 0.0)
    return holds and is_sooner(row, reference)


def _is_equal(row: SummaryRow, lowest: SummaryRow) -> bool:
    spread = min(row.loss_std or 0.0, lowest.loss_std or 0.0)
    return _loss(row) - _loss(lowest) <= spread


def _arrival(row: SummaryRow) -> float:
    return row.steps_to_reference or float("inf")


def _loss(row: SummaryRow) -> float:
    return float("inf") if row.loss_mean is None else row.loss_mean
