"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from cyclerate.compare._wording import (
    Numbers,
    aligned,
    fewer,
    joined,
    printable,
    shortened,
    whole,
    width,
)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.548, 0.563], "0.5480 ± 0.0010"),
        ([5.48, 5.63], "0.548 ± 0.001"),
        ([48213.0], "1 ± 0"),
        ([2.4e9, 3.1e9], "1 ± 0"),
        ([0.548, None, math.nan, math.inf], "0.5480 ± 0.0010"),
        ([], "0.548 ± 0.001"),
        ([0.0], "0.548 ± 0.001"),
    ],
)
def test_decimals_follow_the_typical_value(values, text):
    assert Numbers.fitting(values).text(0.548, 0.001) == text


@pytest.mark.parametrize(
    ("mean", "spread", "text"),
    [
        (0.73412, 0.0011, "73.4 % ± 0.1"),
        (0.73412, None, "73.4 %"),
        (1.0, 0.0, "100.0 % ± 0.0"),
        (None, None, "\N{EN DASH}"),
        (math.nan, 0.1, "\N{EN DASH}"),
    ],
)
def test_shares_are_percent(mean, spread, text):
    assert Numbers.fitting([0.7, None], share=True).text(mean, spread) == text


def test_a_small_spread_of_a_share_asks_for_a_second_decimal():
    numbers = Numbers.fitting([0.738], share=True, spreads=[None, 0.0, 0.00033])
    assert numbers.text(0.7386, 0.00033) == "73.86 % ± 0.03"
    assert Numbers.fitting([0.738], share=True, spreads=[0.0006]).text(0.7386) == "73.9 %"


def test_a_share_above_one_is_not_written_in_percent():
    assert Numbers.fitting([70.5, 72.0], share=True).text(72.0) == "72.00"


def test_extreme_values_stay_short():
    numbers = Numbers.fitting([0.5])
    assert numbers.text(1.234e30) == "1.23e+30"
    assert Numbers.fitting([3.2e-9]).text(3.21e-9) == "3.21e-09"


def test_counts_and_factors():
    assert whole(1033.33) == "1,033"
    assert fewer(80, 8000) == "100 times fewer"
    assert fewer(4000, 8000, short=True) == "2\N{MULTIPLICATION SIGN} fewer"
    assert fewer(7200, 8000) == "10 % fewer"


def test_lists_read_as_sentences():
    assert [joined(names) for names in (["a"], ["a", "b"])] == ["a", "a and b"]


def test_control_characters_do_not_reach_a_terminal():
    assert (
        printable("a\x1b[31mb\r\n\u202ec")
        == "a\N{REPLACEMENT CHARACTER}[31mb \N{REPLACEMENT CHARACTER}c"
    )


def test_wide_characters_count_twice():
    assert width("学習e\u0301") == 5
    assert shortened("学習率", 5) == "学習…"


def test_columns_are_aligned_and_the_first_gives_way():
    rows = [["policy", "loss"], ["学習率", "0.5"], ["a long name of a policy", "10.25"]]
    assert aligned(rows, 16) == ["policy      loss", "学習率       0.5", "a long n…  10.25"]
    assert {width(line) for line in aligned(rows)} == {30}
