from __future__ import annotations

import itertools

import pytest

from cyclerate.cycles._rules import factor_schedule, layer_factors, thaw_turns


def test_each_layer_has_a_fraction_of_the_rate_of_the_one_above():
    factors = layer_factors(4)
    assert factors[-1] == 1.0
    assert [low / high for low, high in itertools.pairwise(factors)] == pytest.approx([1 / 2.6] * 3)
    assert layer_factors(3, decay=1.0) == (1.0, 1.0, 1.0)


def test_the_top_begins_and_one_more_joins_at_each_turn():
    assert thaw_turns(4) == (3, 2, 1, 0)


def test_a_layer_has_rate_0_until_its_first_step():
    assert factor_schedule(0.3, 5)([0, 4, 5, 1000]).tolist() == [0.0, 0.0, 0.3, 0.3]
    assert factor_schedule(0.3, 0)([0, 1000]).tolist() == [0.3, 0.3]


@pytest.mark.parametrize(
    ("name", "arguments"), [("layers", (0,)), ("decay", (2, 0.0)), ("decay", (2, 1.1))]
)
def test_wrong_arguments_are_named(name: str, arguments: tuple):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        layer_factors(*arguments)
