"""What is impossible raises a ValueError that names the argument, what was allowed, what came."""

# Wrong arguments are what is tested here.
# pyright: reportArgumentType=false

from __future__ import annotations

import dataclasses
import functools
import re

import numpy as np
import pytest

import cyclerate as cr
from tests.schedules.policies import halved

NAN, INF = float("nan"), float("inf")
LINEAR = cr.Linear(0.0, 1.0, 10)

REFUSED = [
    (lambda: cr.Constant(NAN), "value", "finite number >= 0", "nan"),
    (lambda: cr.Constant("0.1"), "value", "finite number", "'0.1'"),
    (lambda: cr.Constant(True), "value", "finite number", "True"),
    (lambda: cr.Constant(-0.1), "value", ">= 0", "-0.1"),
    (lambda: cr.Constant(1e39), "value", "at most 3.4e+38, where float32 ends", "1e+39"),
    (lambda: cr.Triangular(0.1, 1e39, 10), "max_lr", "at most 3.4e+38", "1e+39"),
    (lambda: cr.Exponential(1.0, 1e39, 10), "end", "at most 3.4e+38", "1e+39"),
    (lambda: cr.Linear(0.0, INF, 10), "end", "finite", "inf"),
    (lambda: cr.Linear(0.0, 1.0, 0), "steps", "whole number >= 1", "0"),
    (lambda: cr.Linear(0.0, 1.0, 2.5), "steps", "whole number >= 1", "2.5"),
    (lambda: cr.Linear(0.0, 1.0, True), "steps", "whole number >= 1", "True"),
    (lambda: cr.Linear(0.0, 1.0, "10"), "steps", "whole number >= 1", "'10'"),
    (lambda: cr.Exponential(0.0, 1.0, 10), "start", "> 0", "0.0"),
    (lambda: cr.Exponential(1.0, 0.0, 10), "end", "> 0", "0.0"),
    (lambda: cr.Polynomial(1.0, 0.0, 10, power=0), "power", "> 0", "0"),
    (lambda: cr.Triangular(2.0, 1.0, 10), "base_lr", "at most max_lr (1.0)", "2.0"),
    (lambda: cr.Triangular(0.1, 1.0, 0), "step_size", ">= 1", "0"),
    (lambda: cr.Triangular(0.1, 1.0, 5, 0), "step_size_down", ">= 1", "0"),
    (lambda: cr.Triangular(0.1, 1.0, 5, shape="sine"), "shape", "'welch'", "'sine'"),
    (lambda: cr.Triangular(0.1, NAN, 5), "max_lr", "finite", "nan"),
    (lambda: cr.ExpRange(0.1, 1.0, 5, gamma=0.0), "gamma", "> 0 and <= 1", "0.0"),
    (lambda: cr.ExpRange(0.1, 1.0, 5, gamma=1.1), "gamma", "> 0 and <= 1", "1.1"),
    (lambda: cr.Cyclic(0.1, 1.0, 5, scale_mode="epoch"), "scale_mode", "'step'", "'epoch'"),
    (lambda: cr.Cyclic(0.1, 1.0, 5, scale_fn=0.5), "scale_fn", "function", "0.5"),
    (lambda: cr.OneCycle(0.0, 10), "max_lr", "> 0", "0.0"),
    (lambda: cr.OneCycle(1.0, 0), "total_steps", ">= 1", "0"),
    (lambda: cr.OneCycle(1.0, 10, up_frac=1.5), "up_frac", "<= 1", "1.5"),
    (lambda: cr.OneCycle(1.0, 10, up_frac=-0.1), "up_frac", ">= 0", "-0.1"),
    (lambda: cr.OneCycle(1.0, 10, 0.6, three_phase=True), "up_frac", "<= 0.5", "0.6"),
    (lambda: cr.OneCycle(1.0, 10, start_div=0.5), "start_div", ">= 1", "0.5"),
    (lambda: cr.OneCycle(1.0, 10, end_div=NAN), "end_div", "finite", "nan"),
    (lambda: cr.OneCycle(1.0, 10, shape="welch"), "shape", "'linear'", "'welch'"),
    (lambda: cr.CosLog(0.0, 10), "max_lr", "> 0", "0.0"),
    (lambda: cr.CosLog(1.0, 10, cycles=21), "cycles", "at most 20", "21"),
    (lambda: cr.WarmRestarts(1.0, 0), "cycle_steps", ">= 1", "0"),
    (lambda: cr.WarmRestarts(1.0, 10, 0.5), "cycle_mult", ">= 1", "0.5"),
    (lambda: cr.WarmRestarts(1.0, 10, 1.001), "cycle_mult", "1.01 and above", "1.001"),
    (lambda: cr.WarmRestarts(1.0, 10, min_lr=2.0), "min_lr", "at most max_lr (1.0)", "2.0"),
    (lambda: cr.WarmupStableDecay(1.0, 10, 0.7, 0.7), "decay_frac", "at most 1 together", "0.7"),
    (lambda: cr.WarmupStableDecay(1.0, 10, decay="exp"), "decay", "'sqrt'", "'exp'"),
    (lambda: cr.WarmupStableDecay(1.0, 10, min_lr=2.0), "min_lr", "at most max_lr", "2.0"),
    (lambda: cr.Sequence([], []), "schedules", "at least one schedule", "[]"),
    (lambda: cr.Sequence([LINEAR, 0.1], [5]), "schedules", "Triangular(...)", "0.1"),
    (lambda: cr.Sequence([LINEAR, LINEAR], []), "boundaries", "1 steps", "[]"),
    (lambda: cr.Sequence([LINEAR] * 3, [5, 5]), "boundaries", "increasing", "[5, 5]"),
    (lambda: cr.Sequence([LINEAR] * 2, [0]), "boundaries", ">= 1", "0"),
    (lambda: cr.Constant(0.1).mirrored(0.85, 0.95), "schedule", "value changes", "Constant"),
    (lambda: LINEAR.mirrored(0.95, 0.85), "low", "<= 0.85", "0.95"),
    (lambda: LINEAR(-1), "step", "whole number >= 0", "-1"),
    (lambda: LINEAR(0.5), "step", "whole number >= 0", "0.5"),
    (lambda: LINEAR(True), "step", "whole number >= 0", "True"),
    (lambda: LINEAR("1"), "step", "whole number >= 0", "'1'"),
    (lambda: LINEAR(np.array([0, -1])), "step", "whole number >= 0", "-1"),
    (lambda: LINEAR(np.array([0.5])), "step", "whole number >= 0", "0.5"),
    (lambda: LINEAR(np.array([2**63], np.uint64)), "step", "below 2**63", "9223372036854775808"),
    (lambda: LINEAR(np.array([INF])), "step", "below 2**63", "inf"),
    (lambda: LINEAR(np.array([NAN])), "step", "below 2**63", "nan"),
    (lambda: LINEAR(np.array([1e30])), "step", "below 2**63", "1.e+30"),
    (lambda: cr.Linear(0.0, 1.0, 2**62), "steps", "below 2**62", str(2**62)),
    (lambda: cr.Triangular(0.0, 1.0, 1e30), "step_size", "below 2**62", "1e+30"),
    (lambda: LINEAR.plot(0), "steps", ">= 1", "0"),
    (lambda: cr.from_dict({"type": "Step"}), "type", "'Triangular'", "'Step'"),
    (lambda: cr.from_dict({}), "type", "'Triangular'", "None"),
    (lambda: cr.from_dict("Linear"), "values", "mapping", "'Linear'"),
    (lambda: cr.from_dict({"type": "Constant"}), "Constant", "value", "[]"),
    (
        lambda: cr.from_dict({"type": "Constant", "value": 1.0, "unit": "epochs"}),
        "Constant",
        "value",
        "unit",
    ),
]


@pytest.mark.parametrize(("make", "name", "allowed", "received"), REFUSED)
def test_refused(make, name, allowed, received):
    pattern = (
        f"^{re.escape(name)} must be .*{re.escape(allowed)}.*Received: .*{re.escape(received)}"
    )
    with pytest.raises(ValueError, match=pattern):
        make()


def test_whole_floats_and_numpy_numbers_are_counts():
    assert cr.Triangular(0.1, 1.0, 2000.0).step_size == 2000
    assert cr.Linear(np.float32(0.5), 1, np.int64(3)) == cr.Linear(0.5, 1.0, 3)
    assert LINEAR(np.int64(5)) == LINEAR(5.0) == LINEAR(5) == 0.5


def test_a_scale_function_travels_by_name_or_not_at_all():
    schedule = cr.Cyclic(0.1, 1.0, 5, scale_fn=halved)
    assert schedule.to_dict()["scale_fn"] == "tests.schedules.policies:halved"
    for unnamed in (lambda cycle: 1.0 / cycle, functools.partial(halved, 1)):
        with pytest.raises(ValueError, match=r"scale_fn must be a function defined at the top"):
            cr.Cyclic(0.1, 1.0, 5, scale_fn=unnamed).to_dict()


@pytest.mark.parametrize("path", ["os:system", "no_such_module:f", "antigravity:geohash", "halved"])
def test_a_name_from_a_file_runs_and_imports_nothing(path):
    import sys

    values = cr.Cyclic(0.1, 1.0, 5).to_dict() | {"scale_fn": path}
    with pytest.raises(ValueError, match=r"scale_fn must be 'module:function'"):
        cr.from_dict(values)
    assert "antigravity" not in sys.modules


def test_scale_function_gets_ints_counted_from_one_by_cycle_and_zero_by_step():
    seen = []

    def note(n):
        seen.append(n)
        return 1.0

    cr.Cyclic(0.1, 1.0, 2, scale_fn=note)(np.arange(6))
    assert seen == [1, 2]
    seen.clear()
    cr.Cyclic(0.1, 1.0, 2, scale_fn=note, scale_mode="step")(np.arange(3))
    assert seen == [0, 1, 2]
    assert {type(n) for n in seen} == {int}


def test_plot_draws_the_values():
    schedule = cr.Triangular(0.1, 1.0, 3)
    axes = schedule.plot(10, color="black")
    x, y = axes.lines[0].get_data()
    assert np.asarray(x).tolist() == list(range(10))
    assert np.asarray(y).tolist() == [schedule(step) for step in range(10)]
    assert schedule.plot(3, ax=axes) is axes


def test_a_long_plot_is_drawn_by_so_many_steps_as_can_be_seen():
    x, y = cr.Linear(0.0, 1.0, 10**12).plot(10**12 + 1).lines[0].get_data()
    assert len(np.asarray(x)) == 100_000
    assert (np.asarray(x)[[0, -1]].tolist(), np.asarray(y)[[0, -1]].tolist()) == (
        [0, 10**12],
        [0, 1],
    )


def test_other_rates_need_to_know_which_fields_are_rates():
    @dataclasses.dataclass(frozen=True)
    class Mine(cr.Constant):
        rate_fields = ()

    with pytest.raises(ValueError, match=r"^the schedule must be one with rate_fields"):
        Mine(0.1).map_rates(lambda lr: 2 * lr)
