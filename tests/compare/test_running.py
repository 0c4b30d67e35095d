"""When a run is judged."""

from __future__ import annotations

import pytest

from cyclerate.compare._learner import evaluation_steps


def test_runs_are_judged_finely_first_and_then_every_epoch():
    steps = evaluation_steps(total_steps=800, steps_per_epoch=100)
    assert steps == [*range(25, 401, 25), 500, 600, 700, 800]
    assert evaluation_steps(total_steps=795, steps_per_epoch=100)[-2:] == [700, 795]


@pytest.mark.parametrize(("total", "per_epoch"), [(6, 1), (7, 3), (1, 5)])
def test_very_short_runs_are_judged_at_their_end(total: int, per_epoch: int):
    steps = evaluation_steps(total, per_epoch)
    assert steps[-1] == total
    assert steps == sorted(set(steps))
    assert steps[0] >= 1
