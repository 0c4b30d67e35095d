"""How the rate was found, in words."""

from __future__ import annotations

import dataclasses

import pytest

from cyclerate.compare._page import cost, method
from tests.compare.records import range_result

SWEPT = dataclasses.replace(range_result(), seconds=3.21)
PROBED = dataclasses.replace(SWEPT, method="probe", races=((0.1, 0.5), (0.3, None)), steps=1398)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (SWEPT, f"a sweep of {len(SWEPT.lrs)} steps"),
        (
            dataclasses.replace(SWEPT, runs=(SWEPT, SWEPT)),
            f"a sweep of {len(SWEPT.lrs)} steps, 2 times",
        ),
        (PROBED, f"a probe: a sweep of {len(SWEPT.lrs)} steps, then 2 races"),
        (
            dataclasses.replace(PROBED, races=((0.1, 0.5),)),
            f"a probe: a sweep of {len(SWEPT.lrs)} steps, then one race",
        ),
        (
            dataclasses.replace(PROBED, races=()),
            f"a probe: a sweep of {len(SWEPT.lrs)} steps, then no races",
        ),
        (dataclasses.replace(PROBED, runs=(PROBED, PROBED)), "2 probes, with 2 races in all"),
    ],
)
def test_the_method(result, words):
    assert method(result) == words


def test_the_cost_is_set_beside_a_run():
    assert cost(PROBED, 2796) == "1,398 optimizer steps, 50 % of one run, 3.21 s"
