"""The page: one HTML file that needs nothing else, with its figures, numbers and script inside.

Of a comparison, of a range test, or of neither: then it is there to choose a schedule on.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cyclerate._errors import count, require
from cyclerate._files import write_text
from cyclerate._theme import CSS, DARK, LIGHT, styles, variables
from cyclerate.compare._answer import Answer, page_legend, rows
from cyclerate.compare._budgets import Budgets, budgets_in
from cyclerate.compare._code import filled, frameworks, own_framework, schedule_code, use
from cyclerate.compare._comparison import Comparison
from cyclerate.compare._figures import Figure, draw_all, how_long, range_test, schedule_figure
from cyclerate.compare._numbers import OFFERED, controls, curve_numbers, sweep_numbers
from cyclerate.compare._wording import rate, seconds, whole
from cyclerate.finder import RangeTestResult
from cyclerate.finder._probe import POLICIES
from cyclerate.schedules import OneCycle, Schedule

FILE_NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
DEFAULT_OPTIMIZER = {"framework": "keras", "class": "SGD", "settings": {"momentum": 0.9}}


def write_report(comparison: Comparison, out_dir: str | os.PathLike[str]) -> Path:
    """Writes the report of a comparison; returns the path of the page.

    Raises:
        MissingExtra: jinja2 or scipy is not installed.
    """
    told = budgets_in(out_dir)
    return write_text(Path(out_dir) / FILE_NAME, render(Answer(comparison), told))


def write_range_test(
    result: RangeTestResult,
    path: str | os.PathLike[str],
    *,
    steps: int,
    optimizer: dict[str, Any] | None = None,
) -> Path:
    """Writes the page of a range test: its curve, and the schedule that its rates make.

    Args:
        result: What was found.
        path: The file to write.
        steps: Optimizer steps of the training to come.
        optimizer: Its framework, class and settings, for the code to copy.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    chosen = choosing(
        _found_cycle(result, steps), steps, [("", result)], optimizer or DEFAULT_OPTIMIZER
    )
    title = f"Range test of the {result.metric}"
    figures = {"range_test": range_test(result)}
    facts = {"range_test": result, "found_by": method(result), "cost": cost(result, steps)}
    facts["ended"] = result.stop_reason.value
    page = _design(title, result.headline(), {**chosen, **facts}, figures)
    return write_text(path, page)


def write_design(schedule: Schedule, steps: int, path: str | os.PathLike[str]) -> Path:
    """Writes the page to choose a schedule on, without a run.

    Args:
        schedule: What it shows first.
        steps: Optimizer steps of the training.
        path: The file to write.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    chosen = choosing(schedule, steps, [], DEFAULT_OPTIMIZER)
    title = "Choose a schedule, and copy its code"
    nothing = {"range_test": None, "found_by": "", "cost": "", "ended": ""}
    return write_text(path, _design("Design", title, {**chosen, **nothing}, {}))


def _design(kicker: str, title: str, chosen: dict[str, Any], figures: dict[str, Figure]) -> str:
    if chosen["schedule"]:
        figures = {**figures, "schedule": schedule_figure(chosen["schedule"], chosen["steps"])}
    return fill("design.html.j2", kicker=kicker, heading=title, figures=figures, **chosen)


def render(answer: Answer, budgets: Budgets | None = None) -> str:
    """Returns the page of a comparison as HTML; whatever the comparison says is escaped."""
    comparison, about = answer.comparison, answer.comparison.about
    tests = [
        (f"seed {seed}, fold {fold}", test) for (seed, fold), test in comparison.range_tests.items()
    ]
    found, best = next((test for _, test in tests), None), use(answer)
    reason, figures = found.stop_reason if found else None, draw_all(answer)
    if budgets is not None:
        figures["how_long"] = how_long(budgets)
    schedule = best.schedule if best else _found_cycle(found, about.total_steps)
    chosen = choosing(schedule, about.total_steps, tests, about.model.optimizer_config)
    if schedule is not None:
        figures["schedule"] = schedule_figure(schedule, about.total_steps)
    chosen["data"]["curves"] = curve_numbers(answer)
    return fill(
        "report.html.j2",
        about=about,
        answer=answer,
        figures=figures,
        rows=list(zip(rows(answer), answer.rows, strict=True)),
        differences=comparison.differences,
        legend=page_legend(answer),
        range_test=found,
        found_by=method(found) if found else "",
        cost=cost(found, about.total_steps) if found else "",
        # What to do about it names options that the command does not take.
        ended=(reason.event if about.command else reason.value) if reason else "",
        codes={name: schedule_code(made) for name, made in comparison.schedules.items()},
        look=styles(comparison.policies, comparison.reference, CSS),
        use=best,
        how_long=budgets.sentence if budgets else "",
        when=when(about.created),
        **chosen,
    )


def _found_cycle(found: RangeTestResult | None, steps: int) -> Schedule | None:
    """The policy that a range test was made for, up to what it found; None if it found nothing."""
    top = (found.max_lr or found.fallback_lr) if found else None
    if found is None or top is None:
        return None
    policy = str((found.provenance or {}).get("policy", "one_cycle"))
    return POLICIES.get(policy, OneCycle)(float(f"{top:.3g}"), steps)


def choosing(
    schedule: Schedule | None,
    steps: int,
    tests: Sequence[tuple[str, RangeTestResult]],
    optimizer: dict[str, Any],
) -> dict[str, Any]:
    """Returns what a page needs to let its reader choose rates, a schedule and its code."""
    offered, own = frameworks(optimizer), own_framework(optimizer)
    swept = [(name, test) for name, test in tests if len(test.lrs) > 1]
    found = swept[0][1] if swept else None
    return {
        "schedule": schedule,
        "steps": steps,
        "frameworks": offered,
        "own": own,
        "first_code": filled(offered[own], schedule) if schedule else "",
        "sweeps": [name for name, _ in swept],
        "raced": any(test.races for _, test in swept),
        "repeated": any(test.runs for _, test in swept),
        "dense": any(test.posterior for _, test in swept),
        "data": {
            "curves": None,
            "tests": [sweep_numbers(test) for _, test in swept] if schedule else [],
            "design": controls(schedule, steps, found) if schedule else None,
            "frameworks": [asdict(one) for one in offered],
            "policies": [
                {"name": name, "label": one.label, **one.begins} for name, one in OFFERED.items()
            ],
        },
    }


def fill(template: str | Path, **values: Any) -> str:
    """Returns a template with values put in, each of them escaped.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    jinja2 = require("jinja2", "cli")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(template).parent, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "base64": lambda data: base64.b64encode(data).decode("ascii"),
        "whole": whole,
        "rate": rate,
        "tied": tied,
        "json": embedded,
        "blank": lambda value: "" if value is None else value,
        "count": count,
    }
    environment.globals |= {
        "light": variables(LIGHT),
        "dark": variables(DARK),
        "script": _script,
    }
    return str(environment.get_template(Path(template).name).render(**values))


def embedded(values: Any) -> str:
    r"""Writes values as JSON that no text in it can end: no tag, no comment, no entity.

    >>> embedded({"name": "</script><!--"})
    '{"name":"\\u003c/script\\u003e\\u003c!--"}'
    """
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@functools.cache
def _script() -> tuple[str, str]:
    """The script of the page, and its hash: a page runs this text and no other."""
    text = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return text, f"sha256-{digest}"


def tied(text: str) -> str:
    """Ties numbers to their units, so that no line begins with a percent sign or a spread.

    >>> tied("73.4 % ± 0.1").count(" ")
    0
    """
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace(
        " ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"
    )


def when(created: str) -> str:
    """Returns a time stamp as a person writes it, or as it is if it is none."""
    try:
        moment = dt.datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{moment.day} {moment:%B %Y, %H:%M} {moment.tzname() or ''}".strip()


def method(result: RangeTestResult) -> str:
    """Says what a range test did: its sweeps and its races."""
    times = len(result.runs)
    swept = f"a sweep of {whole(len(result.lrs))} steps"
    if result.method != "probe":
        return f"{swept}, {times} times" if times else swept
    races = len(result.races)
    if times:
        return f"{times} probes, with {races} races in all"
    raced = "one race" if races == 1 else f"{races or 'no'} races"
    return f"a probe: {swept}, then {raced}"


def cost(result: RangeTestResult, total_steps: int) -> str:
    """Says what a range test took, beside one run."""
    share = result.steps / max(total_steps, 1)
    time = "" if result.seconds is None else f", {seconds(result.seconds)} s"
    return f"{whole(result.steps)} optimizer steps, {100 * share:.0f} % of one run{time}"
