"""The tables of docs/finders.md, from what is stored; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks._page import write_generated
from benchmarks.finders import bases, cache, scoring
from benchmarks.finders.policies import POLICIES
from benchmarks.finders.rate_free import MAKERS
from benchmarks.finders.scoring import RULES, Score
from benchmarks.finders.tasks import EVERY

PAGE = Path(__file__).parents[2] / "docs" / "finders.md"
HALVES = {
    "new fresh": "New fresh tasks",
    "fresh": "Fresh tasks",
    "validation": "Validation half",
    "design": "Design half",
}
HEADINGS = {"one_cycle": "1cycle", "constant": "A constant rate", "triangular": "Triangular"}
SHARES = ("share above 0.1", "no answer")


def write() -> None:
    """Replaces what stands between the two marks of the page."""
    stored = cache.made("bases", "grid_*", "peers", "probes_*", "rate_free_*", "sweeps")
    parts = [*map(_policy, POLICIES), _bases(), _tasks(), stored]
    write_generated(PAGE, "\n\n".join(filter(None, parts)))


def _policy(policy: str) -> str:
    parts = [f"## {HEADINGS[policy]}"]
    for name, heading in HALVES.items():
        scores = _scores(policy, name)
        if scores:
            parts += [f"### {heading}", _table(scores)]
            parts += _interval_line(policy, name)
    return "\n\n".join(parts) if len(parts) > 1 else ""


def _scores(policy: str, half: str) -> list[Score]:
    tasks = scoring.half(half)
    found = [scoring.score(rule, policy, tasks) for rule in RULES]
    if not any(found):
        return []
    if policy == "one_cycle":
        found += [scoring.score_rate_free(name, tasks) for name in MAKERS]
    return sorted(filter(None, found), key=lambda score: float(score.regrets.mean()))


def _table(scores: list[Score]) -> str:
    headings = ["rule", "cases", *scores[0].columns()]
    rows = [[score.rule, str(len(score.regrets)), *_cells(score)] for score in scores]
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(score: Score) -> list[str]:
    return [_cell(name, value) for name, value in score.columns().items()]


def _cell(name: str, value: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN: there is no rate to be off
        return "-"
    if name == "steps":
        return f"{value:.0f}"
    if name in SHARES:
        return f"{value:.0%}"
    return f"{value:.2f}" if name == "decades off" else f"{value:.3f}"


def _interval_line(policy: str, half: str) -> list[str]:
    found = scoring.score_intervals(policy, scoring.half(half))
    if found is None:
        return []
    line = (
        f"The probe's interval is {found.median_decades:.1f} decades wide in the median, and holds "
        f"a rate within {scoring.GOOD_REGRET} regret in {found.share_good:.0%} of its cases."
    )
    apart = scoring.median_spread(policy, scoring.half(half))
    if apart is None:
        return [f"{line} That is the probe before the posterior."]
    seeds = f"Answers of four seeds lie apart by a factor of {apart:.1f} in the median task."
    return [f"{line} {seeds}"]


def _bases() -> str:
    found = bases.regrets()
    if not found:
        return ""
    lines = [
        "## Where a triangular cycle should begin",
        "",
        "| base_lr | tasks | mean | median | worst |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, regrets in sorted(found.items(), key=lambda item: float(item[1].mean())):
        figures = (regrets.mean(), np.median(regrets), regrets.max())
        cells = " | ".join(f"{figure:.3f}" for figure in figures)
        lines.append(f"| {name} | {len(regrets)} | {cells} |")
    return "\n".join(lines)


def _tasks() -> str:
    lines = [
        "## The tasks",
        "",
        "| task | half | optimizer | batch | steps |",
        "| --- | --- | --- | ---: | ---: |",
    ]
    shown = [task for task in EVERY if task.half in HALVES]
    for task in sorted(shown, key=lambda task: (task.half, task.name)):
        options = "".join(f", {name} {value:g}" for name, value in task.options.items())
        lines.append(
            f"| {task.name} | {task.half} | {task.optimizer}{options} | {task.batch_size} "
            f"| {task.steps} |"
        )
    return "\n".join(lines)
