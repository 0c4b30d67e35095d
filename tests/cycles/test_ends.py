from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

import cyclerate as cr
from cyclerate.cycles import cycle_ends
from cyclerate.cycles._ends import CycleEnds


def test_a_triangle_ends_on_the_step_that_it_shares_with_the_next():
    assert cycle_ends(cr.Triangular(0.1, 1.0, 10), 45) == (20, 40)


def test_a_training_that_stops_at_a_whole_cycle_ends_it_with_its_last_step():
    assert cycle_ends(cr.Triangular(0.1, 1.0, 10), 40) == (20, 39)


def test_a_cycle_that_is_cut_on_its_way_up_is_not_over():
    assert cycle_ends(cr.Triangular(0.1, 1.0, 10), 26) == (20,)


def test_warm_restarts_end_before_the_restart_however_long_the_cycles():
    assert cycle_ends(cr.WarmRestarts(1.0, 10, cycle_mult=2), 70) == (9, 29, 69)


def test_a_plateau_ends_with_its_last_step():
    joined = cr.Sequence([cr.Linear(1.0, 0.1, 5), cr.Triangular(0.1, 1.0, 5)], [10])
    assert cycle_ends(joined, 16) == (10,)


@pytest.mark.parametrize("schedule", [cr.Constant(0.1), cr.Linear(0.1, 1.0, 20)])
def test_without_a_fall_there_is_no_end(schedule: cr.Schedule):
    assert cycle_ends(schedule, 20) == ()


@given(st.integers(1, 40), st.integers(1, 5), st.sampled_from(["triangle", "cosine", "welch"]))
def test_cycles_of_any_shape_end_where_the_rate_is_lowest(half: int, cycles: int, shape: str):
    schedule = cr.Cyclic(0.1, 1.0, half, shape=shape)
    ends = cycle_ends(schedule, 2 * half * cycles + 1)
    assert ends == tuple(2 * half * (cycle + 1) for cycle in range(cycles))
    assert np.allclose([schedule(step) for step in ends], 0.1)


@given(data=st.data())
def test_ends_are_the_same_however_few_steps_are_looked_at_at_once(data: st.DataObject):
    rates = st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=40)
    schedule = _Listed(tuple(data.draw(rates)))
    steps = len(schedule.rates)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cyclerate.cycles._ends._BLOCK_STEPS", data.draw(st.integers(1, 7)))
        ends = cycle_ends(schedule, steps)
        found = CycleEnds(schedule, steps)
        order = data.draw(st.permutations(range(steps)))
        numbers = {step: found.cycle_at(step) for step in order}
    assert ends == cycle_ends(schedule, steps)
    assert numbers == dict.fromkeys(range(steps)) | {s: i for i, s in enumerate(ends, start=1)}


def test_a_long_training_is_looked_at_as_far_as_it_has_come():
    seen: list[int] = []

    @dataclasses.dataclass(frozen=True)
    class Watched(cr.Triangular):
        def value_at(self, n: Any, xp: Any) -> Any:
            seen.append(int(np.max(n)))
            return super().value_at(n, xp)

    ends = CycleEnds(Watched(0.1, 1.0, 500), 10**12)
    assert [ends.cycle_at(step) for step in (999, 1000, 2000)] == [None, 1, 2]
    assert max(seen) < 10**6


@dataclasses.dataclass(frozen=True)
class _Listed(cr.Schedule):
    rates: tuple[float, ...]

    @property
    def bounds(self) -> tuple[float, float]:
        return 1.0, 3.0

    def value_at(self, n: Any, xp: Any) -> Any:
        return np.array(self.rates)[n]


@pytest.mark.parametrize(
    ("name", "arguments"), [("schedule", (0.1, 5)), ("total_steps", (cr.Constant(1), 0))]
)
def test_wrong_arguments_are_named(name: str, arguments: tuple):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        cycle_ends(*arguments)
