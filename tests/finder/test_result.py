from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from cyclerate.finder import RangeTest, RangeTestResult, StopReason, Sweep, combine
from tests.finder.curves import fall_and_blow_up, noise, sweep_over


@pytest.fixture
def result() -> RangeTestResult:
    return sweep_over(fall_and_blow_up() + noise(0, 0.05))


def with_(result: RangeTestResult, **changes: object) -> RangeTestResult:
    return dataclasses.replace(result, **changes)  # pyright: ignore[reportArgumentType]


def test_its_arrays_are_copies_that_cannot_be_written(result: RangeTestResult):
    losses = np.array(result.losses)
    other = with_(result, losses=losses)
    losses[0] = 99.0
    assert other.losses[0] == result.losses[0] != 99.0
    for array in (other.lrs, other.losses, other.smoothed):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_it_is_frozen(result: RangeTestResult):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.max_lr = 1.0  # pyright: ignore[reportAttributeAccessIssue]


def test_it_is_equal_by_value_and_nan_equals_nan():
    curve = [2.0, 1.0, math.nan]
    one, same = sweep_over(curve), sweep_over(curve)
    assert one is not same
    assert one == same
    assert hash(one) == hash(same)
    assert len({one, same}) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"max_lr": 0.0201},
        {"base_lr": 0.0011},
        {"interval": (0.001, 1.0)},
        {"verdict": "?"},
        {"stop_reason": StopReason.CUT_SHORT},
        {"method": "probe"},
        {"steps": 7},
        {"planned_steps": 101},
        {"metric": "error"},
        {"mode": "max"},
        {"spacing": "linear"},
    ],
    ids=str,
)
def test_any_other_field_makes_it_another_one(result: RangeTestResult, changes: dict[str, object]):
    base = with_(result, base_lr=0.001, max_lr=0.02, interval=(0.01, 0.04))
    assert with_(base, **changes) != base


@pytest.mark.parametrize("name", ["lrs", "losses", "smoothed"])
def test_any_other_point_makes_it_another_one(result: RangeTestResult, name: str):
    array = np.array(getattr(result, name))
    array[-1] = array[-1] * 1.0001
    assert with_(result, **{name: array}) != result
    array[-1] = np.nan
    if name != "lrs":
        assert with_(result, **{name: array}) != result


def test_it_equals_nothing_else(result: RangeTestResult):
    assert result != "result"
    assert (result == 3) is False


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"losses": [1.0]}, "losses must be as long as lrs"),
        ({"losses": [["a"]]}, "losses must be a one-dimensional array of numbers"),
        ({"lrs": "abc"}, "lrs"),
        ({"max_lr": None}, "all given or all None"),
        ({"max_lr": 1e-9}, "base_lr"),
        ({"max_lr": -1.0}, "max_lr"),
        ({"max_lr": math.nan}, "max_lr"),
        ({"base_lr": 0.0}, "base_lr"),
        ({"interval": (1e-9, 1e-8)}, r"interval\[1\]"),
        ({"interval": (5.0, 6.0)}, r"interval\[0\]"),
        ({"interval": (1e-9,)}, "interval must be a pair"),
        ({"stop_reason": "DIVERGED"}, "stop_reason"),
        ({"mode": "low"}, "mode"),
        ({"spacing": "log"}, "spacing"),
        ({"method": 1}, "method must be text"),
        ({"steps": -1}, "steps"),
        ({"planned_steps": 3}, "planned_steps"),
        ({"seconds": -1.0}, "seconds"),
        ({"runs": (1,)}, "runs"),
    ],
    ids=str,
)
def test_impossible_fields_are_refused_by_name(
    result: RangeTestResult, changes: dict[str, object], named: str
):
    with pytest.raises(ValueError, match=named):
        with_(result, **changes)


@pytest.mark.parametrize("lrs", [[1.0, 0.5], [1.0, math.nan], [-1.0, 1.0], [1.0, math.inf]])
def test_rates_must_rise(lrs: list[float]):
    two = sweep_over([1.0, 2.0])
    with pytest.raises(ValueError, match="lrs must be rising finite rates"):
        with_(two, lrs=lrs)


def test_infinity_is_kept_as_nan():
    two = with_(sweep_over([1.0, 2.0]), losses=[1.0, math.inf])
    assert two.losses[0] == 1.0
    assert math.isnan(two.losses[1])


def test_the_text_is_a_few_short_lines(result: RangeTestResult):
    short = sweep_over([math.nan], metric="a metric with a name that is rather long, as some are")
    repeated = combine([result, sweep_over(fall_and_blow_up() + noise(1, 0.05))])
    for one in (result, short, repeated, RangeTest().result(), with_(result, seconds=1.25)):
        lines = str(one).splitlines()
        assert 3 <= len(lines) <= 9
        assert max(map(len, lines)) < 80
    text = str(with_(result, seconds=1.25))
    assert f"max_lr {result.max_lr:.2g}" in text
    assert f"base_lr {result.base_lr:.2g}" in text
    assert result.stop_reason.name in text
    assert "in 1.2 s" in text
    assert "no clear answer" in " ".join(str(short).split())
    assert "2 sweeps" in str(repeated)


def test_the_representation_is_one_line(result: RangeTestResult):
    assert repr(result).startswith(f"RangeTestResult(max_lr={result.max_lr:.2g}, base_lr=")
    assert repr(RangeTest(Sweep(steps=50)).result()) == (
        "RangeTestResult(max_lr=None, base_lr=None, CUT_SHORT after 0 of 50 steps)"
    )


def test_the_frame_has_a_row_per_step(result: RangeTestResult):
    frame = result.to_frame()
    assert list(frame.columns) == ["run", "lr", "loss", "smoothed"]
    assert frame["lr"].tolist() == result.lrs.tolist()
    assert frame["loss"].tolist() == result.losses.tolist()
    assert frame["smoothed"].tolist() == result.smoothed.tolist()
    assert set(frame["run"]) == {1}


def test_the_frame_of_repeats_has_their_rows(result: RangeTestResult):
    other = sweep_over(fall_and_blow_up() + noise(1, 0.05))
    frame = combine([result, other]).to_frame()
    assert len(frame) == result.steps + other.steps
    assert frame[frame["run"] == 2]["loss"].tolist() == other.losses.tolist()


def test_races_are_pairs_and_a_score_that_is_not_finite_is_none(result: RangeTestResult):
    raced = with_(result, races=[[0.1, 2], (0.3, math.inf), (1, math.nan), (3.0, None)])
    assert raced.races == ((0.1, 2.0), (0.3, None), (1.0, None), (3.0, None))
    assert raced != result
    assert result.races == ()


@pytest.mark.parametrize("race", [0.1, (0.1,), (0.0, 1.0), (None, 1.0), (0.1, "low")])
def test_races_that_are_no_pairs_of_numbers_are_refused(result: RangeTestResult, race: object):
    with pytest.raises(ValueError, match=r"races\[0\] must be"):
        with_(result, races=[race])


def test_the_text_of_a_probe_counts_its_races(result: RangeTestResult):
    probe = with_(result, method="probe", races=((0.1, 0.5), (0.3, None)), steps=290, seconds=1.5)
    first, last = result.lrs[0], result.lrs[-1]
    told = " ".join(str(probe).split())
    assert f"290 steps: a sweep from {first:.2g} to {last:.2g}, exponential, and 2 races" in told
    assert "races in 1.5 s" in told
    both = " ".join(str(combine([probe, probe])).split())
    assert "2 probes, 580 steps: sweeps from" in both
    assert "and 4 races in 3.0 s" in both
    assert "and no races" in " ".join(str(with_(probe, races=())).split())
