from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from cyclerate.finder._curve import fall_by_rank
from tests.finder.curves import fall_and_blow_up, noise


@pytest.mark.parametrize("shape", ["normal", "cauchy", "lognormal"])
def test_noise_rarely_exceeds_four_whatever_its_distribution(shape: str):
    rng = np.random.default_rng(0)
    draw = {"normal": rng.normal, "cauchy": rng.standard_cauchy, "lognormal": rng.lognormal}[shape]
    found = [fall_by_rank(draw(size=100), 100) for _ in range(200)]
    assert sum(value > 4.0 for value in found) <= 1
    assert 2.0 < np.median(found) < 2.6


def test_a_fall_next_to_a_wild_edge_is_seen():
    curve = fall_and_blow_up(drop=0.5) + noise(2, 0.2)
    calm = fall_by_rank(curve, 100)
    wild = curve.copy()
    wild[80:] += 1000.0 * np.abs(noise(3, 1.0, 20))
    assert fall_by_rank(wild, 100) > 5.0
    assert calm > 5.0


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-20, 20))
def test_only_the_order_of_the_values_counts(seed: int, a: float, b: float):
    curve = noise(seed, 1.0)
    assert fall_by_rank(np.sinh(a * curve / 10) + b, 100) == pytest.approx(fall_by_rank(curve, 100))


def test_a_rise_is_no_fall_and_nan_takes_no_part():
    assert fall_by_rank(np.linspace(0, 1, 100), 100) == 0.0
    curve = fall_and_blow_up() + noise(0, 0.05)
    gaps = np.insert(curve, [3, 50], np.nan)
    assert fall_by_rank(gaps, 100) == fall_by_rank(curve, 100)


def test_a_long_sweep_is_looked_at_in_strides():
    curve = np.repeat([1.0, 0.0], 5000) + noise(0, 1.0, 10_000)
    assert fall_by_rank(curve, 10_000) > 20
