from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from cyclerate.finder._race import DECADES_PER_TENFOLD, OFFSETS_PER_DECADE, offset_for, valley

VALLEY = {-2: 0.12, 0: 0.1, 2: 0.3}


def chosen(noise: float, tenfolds: float, scores: dict[int, float] = VALLEY) -> float:
    return offset_for(scores, 1.0, noise=noise, tenfolds=tenfolds)


def test_a_clear_gain_is_shifted_by_the_length_alone():
    for noise in (0.0, 1e-3, 0.08):
        shift = (valley(VALLEY, 1.0) - chosen(noise, 1.5)) / OFFSETS_PER_DECADE
        assert shift == pytest.approx(1.5 * DECADES_PER_TENFOLD)


def test_noisy_batches_move_the_answer_down_the_flat_side():
    assert chosen(0.3, 1.0) < chosen(0.15, 1.0) < chosen(0.05, 1.0)
    steep = {-2: 0.9, 0: 0.1, 2: 0.3}
    assert chosen(0.05, 1.0, VALLEY) - chosen(0.3, 1.0, VALLEY) > 4 * (
        chosen(0.05, 1.0, steep) - chosen(0.3, 1.0, steep)
    )


def test_a_gain_below_the_noise_moves_it_up_instead():
    assert chosen(2.0, 1.0) > valley(VALLEY, 1.0)
    assert chosen(2.0, 1.0) < 2


@given(st.floats(0.0, 10.0))
def test_a_training_as_long_as_a_race_gets_the_bottom_of_the_valley(noise: float):
    assert chosen(noise, 0.0) == valley(VALLEY, 1.0)


@given(
    st.dictionaries(st.integers(-8, 8), st.floats(0.0, 0.99) | st.just(math.inf), min_size=1),
    st.floats(0.0, 10.0),
    st.floats(0.0, 3.0),
)
def test_it_never_leads_further_than_a_raced_rate_and_the_shift(
    scores: dict[int, float], noise: float, tenfolds: float
):
    scores[0] = 0.0
    found = chosen(noise, tenfolds, scores)
    bottom = valley(scores, 1.0)
    widest = max((abs(offset) for offset in scores), default=0)
    shift = DECADES_PER_TENFOLD * OFFSETS_PER_DECADE * tenfolds
    assert bottom - widest - shift - 1e-9 <= found <= bottom + widest + 1e-9
