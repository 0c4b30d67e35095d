"""The numbers that a page has inside, for its script: curves, sweeps, and where controls begin.

Of a curve of very many points come the lowest and the highest of each pixel (`_svg.thinned`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyclerate._svg import around, thinned
from cyclerate._theme import CSS, styles
from cyclerate.compare._answer import Answer
from cyclerate.compare._curves import (
    NO_POINTS,
    Curve,
    Line,
    axis_of,
    curves,
    cycle_starts,
    is_wide,
    value_limits,
)
from cyclerate.compare._figures import curve_caption
from cyclerate.compare._record import Run
from cyclerate.compare._wording import shortened
from cyclerate.finder import RangeTestResult
from cyclerate.finder._plot import band, densities, describe, limits
from cyclerate.schedules import (
    Constant,
    CosLog,
    ExpRange,
    OneCycle,
    Schedule,
    Triangular,
    Triangular2,
    WarmRestarts,
    WarmupStableDecay,
)

_DIGITS = 6
_LEAST_LEFT = 1e-6


def digits(values: Any) -> list[float | None]:
    """Returns numbers with six digits: more of them cannot be seen, and make a page heavy.

    >>> digits([1.23456789, 2000.0, math.nan])
    [1.23457, 2000, None]
    """
    return [_short(float(value)) for value in np.asarray(values, dtype=np.float64)]


def _short(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.{_DIGITS}g}")


def _points(x: Any, y: Any) -> dict[str, Any]:
    at, values = thinned(x, y)
    return {"x": digits(at), "y": digits(values)}


def line_numbers(place: int, name: str, line: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a training told of its steps under a name, its `x` and `y`, to be drawn."""
    y = [value for value in line["y"] if value is not None]
    low, high = (min(y), max(y)) if y else (0.0, 1.0)
    log = is_wide(low, high, 20.0) and "loss" in name
    limits = [low / 1.2, high * 1.2] if log else list(around([low, high]))
    return {"figure": f"line-{place}", "title": name, **line, "log": log, "limits": limits}


def curve_numbers(answer: Answer, running: Sequence[Run] = ()) -> dict[str, Any] | None:
    """Returns the learning curves of a comparison, every run of them; None without any.

    With `running` also runs that are not at their end.
    """
    made = answer.comparison
    runs = (*made.cells, *running)
    found = [_quantity(answer, name, runs, len(running)) for name in _QUANTITIES]
    if not any(found):
        return None
    return {
        "stepsPerEpoch": made.about.steps_per_epoch,
        "shaded": None if answer.shaded is None else made.policies.index(answer.shaded),
        "quantities": [one for one in found if one],
    }


_QUANTITIES = ("loss", "metric")


def _quantity(
    answer: Answer, name: str, runs: Sequence[Run], running: int
) -> dict[str, Any] | None:
    made, of = answer.comparison, f"heldout_{name}"
    drawn = curves(runs, made.policies, of) if running else answer.curves(of)
    if not drawn:
        return None
    loss = name == "loss"
    numbers = answer.losses if loss else answer.scores
    title = f"Held-out {'loss' if loss else shortened(answer.metric, 30)}"
    low, high, log = value_limits(drawn, log_values=not numbers.percent)
    goal = answer.reference if loss and len(answer.rows) > 1 else None
    found = {curve.policy: curve for curve in drawn}
    ended = {id(run) for run in made.cells}
    return {
        "figure": f"learning_curves_{name}",
        "title": title,
        "alt": f"Line chart of the {title.lower()}.",
        "caption": curve_caption(answer, name),
        "percent": numbers.percent,
        "goal": goal.loss_mean if goal else None,
        "limits": [low, high],
        "logValues": log,
        "logSteps": axis_of(drawn).log,
        "policies": [
            _policy(answer, found.get(policy, Curve(policy, (), (), NO_POINTS)), runs, ended)
            for policy in made.policies
        ],
    }


def _policy(answer: Answer, curve: Curve, runs: Sequence[Run], ended: set[int]) -> dict[str, Any]:
    made, policy = answer.comparison, curve.policy
    look = styles(made.policies, made.reference, CSS)[policy]
    steps, seconds = searched(answer, policy)
    lines = {True: iter(curve.diverged), False: iter(curve.seeds)}
    own = [run for run in runs if run.policy == policy]
    return {
        "label": answer.label(policy),
        "name": shortened(answer.label(policy), 12),
        "color": look.color,
        "dash": look.dash_array,
        "search": {"steps": steps, "seconds": seconds},
        "cycles": digits(cycle_starts(made.schedules.get(policy), made.about.total_steps)),
        "parts": None if curve.parts is None else digits(curve.parts),
        "runs": [
            _run(run, next(lines[run.diverged], NO_POINTS), id(run) not in ended) for run in own
        ],
    }


def _run(run: Run, line: Line, running: bool) -> dict[str, Any]:
    """A run as the page draws it: of very many points the extremes and the mean of each pixel."""
    return {
        "seed": run.seed,
        "fold": run.fold,
        "diverged": run.diverged,
        "running": running,
        "perStep": _per_step(run),
        "x": digits(line.steps),
        "y": digits(line.values),
        **({} if line.middle is None else {"middle": digits(line.middle)}),
    }


def _per_step(run: Run) -> float:
    return float(f"{run.seconds / max(run.steps[-1], 1):.4g}") if run.steps else 0.0


def searched(answer: Answer, policy: str) -> tuple[int, float]:
    """Returns the steps and seconds of the search for a policy's rate; 0 where it used none.

    A policy used it whose highest rate is the one that a range test found.
    """
    made = answer.comparison
    found = next(iter(made.range_tests.values()), None)
    schedule = made.schedules.get(policy)
    top = (found.max_lr or found.fallback_lr) if found else None
    if found is None or top is None or schedule is None:
        return 0, 0.0
    if not math.isclose(schedule.bounds[1], top, rel_tol=0.006):  # three digits are kept of it
        return 0, 0.0
    return found.steps, found.seconds or 0.0


def sweep_numbers(result: RangeTestResult) -> dict[str, Any]:
    """Returns a range test: its sweeps, raw and smoothed, its races, and the limits to show."""
    low, high = limits(result) or around(result.smoothed)
    repeated = band(result)
    return {
        "metric": result.metric,
        "policy": (result.provenance or {}).get("policy"),
        "mode": result.mode,
        "alt": describe(result),
        "lrs": digits(result.lrs),
        "runs": [_sweep(run) for run in result.runs or (result,)],
        "smoothed": _points(result.lrs, result.smoothed),
        "band": None if repeated is None else [digits(side) for side in repeated],
        "races": [list(race) for race in result.races],
        "density": _density(result),
        "interval": None if result.interval is None else list(result.interval),
        "limits": [low, high],
    }


def _sweep(run: RangeTestResult) -> dict[str, Any]:
    points = _points(run.lrs, run.losses)
    return {"lrs": points["x"], "losses": points["y"], "races": [list(race) for race in run.races]}


def _density(result: RangeTestResult) -> dict[str, Any] | None:
    """How probable the rates of the sweep are, before the test and after it."""
    if (found := densities(result)) is None or not len(result.lrs):
        return None
    rates, before, after = found
    inside = (result.lrs[0] <= rates) & (rates <= result.lrs[-1])
    return {
        "lrs": digits(rates[inside]),
        "before": None if before is None else digits(np.round(before[inside], 4)),
        "after": digits(np.round(after[inside], 4)),
    }


def controls(schedule: Schedule, steps: int, found: RangeTestResult | None) -> dict[str, Any]:
    """Returns where the page's controls begin: at a schedule, or at 1cycle up to its bound.

    What a schedule does not say has the value that the other policies begin with.
    """
    top = schedule.bounds[1] or 1.0
    base = found.base_lr if found and found.base_lr else top / 4
    begin: dict[str, Any] = {
        "policy": "one_cycle",
        "max_lr": top,
        "base_lr": min(float(f"{base:.3g}"), top),
        "min_lr": 0.0,
        "start_div": 25.0,
        "steps": steps,
    }
    return {**begin, **_own(schedule, steps)}


@dataclass(frozen=True)
class Offered:
    """A policy to choose on the page.

    `make` gives its schedule between two rates, over so many steps. `begins` has the controls that
    it has, with the values at which they begin; `low` is what its lower rate is called.
    """

    label: str
    make: Callable[[float, float, int], Schedule]
    begins: dict[str, Any]


_LINES = ("triangle", "cosine", "welch")
_CYCLIC: dict[str, Any] = {
    "low": "base_lr",
    "up": 0.5,
    "cycles": 4,
    "shape": "triangle",
    "shapes": _LINES,
}
OFFERED: dict[str, Offered] = {
    "one_cycle": Offered(
        "1cycle",
        lambda low, high, steps: OneCycle(high, steps),
        {
            "low": "first rate",
            "up": 0.3,
            "end_div": 1e4,
            "three_phase": False,
            "shape": "cosine",
            "shapes": ("cosine", "linear"),
        },
    ),
    "triangular": Offered(
        "triangular",
        lambda low, high, steps: Triangular(low, high, max(1, steps // 8)),
        _CYCLIC,
    ),
    "triangular2": Offered(
        "triangular2",
        lambda low, high, steps: Triangular2(low, high, max(1, steps // 8)),
        _CYCLIC,
    ),
    "exp_range": Offered(
        "exp_range",
        lambda low, high, steps: ExpRange(low, high, max(1, steps // 8), 0.1 ** (1 / steps)),
        {**_CYCLIC, "left": 0.1},
    ),
    "restarts": Offered(
        "warm restarts",
        lambda low, high, steps: WarmRestarts(high, max(1, steps // 4)),
        {"low": "min_lr", "cycles": 4, "mult": 1},
    ),
    "wsd": Offered(
        "warmup, stable, decay",
        lambda low, high, steps: WarmupStableDecay(high, steps),
        {
            "low": "min_lr",
            "up": 0.05,
            "down": 0.2,
            "shape": "sqrt",
            "shapes": ("sqrt", "linear", "cosine"),
        },
    ),
    "coslog": Offered("coslog", lambda low, high, steps: CosLog(high, steps), {"cycles": 4}),
    "constant": Offered("constant", lambda low, high, steps: Constant(high), {}),
}
"""All that the page and `cyclerate design` offer, in this order; report.js has the formulas."""


_CYCLES = {Triangular: "triangular", Triangular2: "triangular2", ExpRange: "exp_range"}


def _own(schedule: Schedule, steps: int) -> dict[str, Any]:
    """What a schedule itself says."""
    match schedule:
        case Constant():
            return {"policy": "constant"}
        case OneCycle():
            shape = "linear" if schedule.shape == "triangle" else schedule.shape
            same = ("start_div", "end_div", "three_phase")
            own = {name: getattr(schedule, name) for name in same}
            return {**own, "shape": shape, "up": schedule.up_frac, "steps": schedule.total_steps}
        case Triangular() | Triangular2() | ExpRange():
            gamma = schedule.gamma if isinstance(schedule, ExpRange) else 1.0
            return {
                "policy": _CYCLES[type(schedule)],
                "base_lr": schedule.base_lr,
                "cycles": _cycles(steps, schedule.cycle_steps),
                "up": schedule.step_size / schedule.cycle_steps,
                "shape": "triangle" if schedule.shape == "linear" else schedule.shape,
                "left": max(float(f"{gamma**steps:.4g}"), _LEAST_LEFT),
            }
        case WarmRestarts():
            shares = 1 if schedule.cycle_mult == 1 else 2
            cycles = _cycles(steps, schedule.cycle_steps * shares)
            own = {"mult": schedule.cycle_mult, "min_lr": schedule.min_lr}
            return {"policy": "restarts", "cycles": cycles, **own}
        case WarmupStableDecay():
            own = {"up": schedule.warmup_frac, "down": schedule.decay_frac}
            low = {"min_lr": schedule.min_lr, "steps": schedule.total_steps}
            return {"policy": "wsd", "shape": schedule.decay, **own, **low}
        case CosLog():
            return {"policy": "coslog", "cycles": schedule.cycles, "steps": schedule.total_steps}
        case _:
            return {}


def _cycles(steps: int, length: int) -> int:
    return min(max(1, round(steps / length)), 20)
