from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from cyclerate.finder import RangeTest, RangeTestResult, Sweep, combine
from cyclerate.finder._prior import RateReading
from tests.finder.curves import fall_and_blow_up, noise, sweep_over


def results() -> list[RangeTestResult]:
    good = [sweep_over(fall_and_blow_up() + noise(seed, 0.05)) for seed in range(3)]
    return [
        good[0],
        combine(good),
        sweep_over([2.0, 1.0, math.inf]),
        sweep_over([0.5] * 20, Sweep(0.0, 1.0, 20, "linear"), metric="accuracy", mode="max"),
        RangeTest().result(seconds=0.5),
        dataclasses.replace(
            good[0],
            method="probe",
            races=[(0.1, 0.5), (0.3, math.inf)],
            readings=[RateReading("prior", 0.02, 0.3, 0.3), RateReading("races", 0.1, 0.2, 0.4)],
        ),
    ]


@pytest.mark.parametrize("result", results(), ids=repr)
def test_what_is_saved_is_loaded_equal(result: RangeTestResult, tmp_path: Path):
    path = result.save(tmp_path / "new" / "result.json")
    loaded = RangeTestResult.load(path)
    assert loaded == result
    assert loaded.runs == result.runs
    assert loaded.suggest("minimum") == result.suggest("minimum")
    assert str(loaded) == str(result)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20))
def test_any_losses_survive_strict_json(losses: list[float]):
    result = sweep_over(losses, stop_early=False)
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert RangeTestResult.from_dict(json.loads(text)) == result


def test_nan_is_null_in_the_file(tmp_path: Path):
    path = sweep_over([2.0, math.nan]).save(tmp_path / "result.json")
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert saved["losses"] == [2.0, None]
    assert saved["stop_reason"] == "NON_FINITE"
    assert saved["schema"] == 1


def test_only_the_file_itself_is_left(tmp_path: Path):
    result = sweep_over([2.0, 1.0])
    result.save(tmp_path / "result.json")
    result.save(tmp_path / "result.json")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def valid() -> dict[str, Any]:
    return sweep_over(fall_and_blow_up() + noise(0, 0.05)).to_dict()


def test_files_from_before_the_races_are_loaded():
    values = valid()
    del values["races"], values["readings"]
    assert RangeTestResult.from_dict(values) == RangeTestResult.from_dict(valid())


@pytest.mark.parametrize(
    "key", sorted(valid().keys() - {"races", "readings", "fallback_lr", "provenance"})
)
def test_every_key_is_needed(key: str, tmp_path: Path):
    values = valid()
    del values[key]
    with pytest.raises(ValueError, match=rf"junk\.json .*{key}"):
        RangeTestResult.load(write(values, tmp_path))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"schema": 2}, "schema must be 1. Received: 2"),
        ({"extra": 1}, r"unknown \['extra'\]"),
        ({"lrs": 3}, "lrs must be a list"),
        ({"lrs": "1e-7"}, "lrs must be a list"),
        ({"losses": ["1.0"]}, r"losses\[0\]"),
        ({"losses": [True]}, r"losses\[0\]"),
        ({"losses": [[1.0]]}, r"losses\[0\]"),
        ({"losses": []}, "losses must be as long as lrs"),
        ({"lrs": [None] * 88}, "lrs"),
        ({"base_lr": "0.1"}, "base_lr"),
        ({"max_lr": {}}, "max_lr"),
        ({"max_lr": None}, "all given or all None"),
        ({"interval": 1.0}, "interval"),
        ({"interval": [1.0]}, "interval"),
        ({"interval": [None, None]}, "interval"),
        ({"stop_reason": "TIRED"}, "stop_reason must be one of 'END_OF_RANGE'"),
        ({"stop_reason": None}, "stop_reason"),
        ({"stop_reason": []}, "stop_reason"),
        ({"mode": []}, "mode"),
        ({"metric": None}, "metric"),
        ({"steps": "many"}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"seconds": "long"}, "seconds"),
        ({"runs": None}, "runs must be a list"),
        ({"runs": [3]}, "a range test result must be"),
        ({"runs": [{}]}, "schema"),
        ({"readings": [{}]}, "readings must be objects with above, below, lr, source"),
        ({"readings": [{"source": "?", "lr": 1, "below": 1, "above": 1}]}, "source must be one of"),
        ({"readings": [{"source": "prior", "lr": 0, "below": 1, "above": 1}]}, "lr must be"),
    ],
    ids=str,
)
def test_junk_values_are_named_with_the_file(changes: dict[str, Any], named: str, tmp_path: Path):
    with pytest.raises(ValueError, match=rf"junk\.json holds no range test result: .*{named}"):
        RangeTestResult.load(write(valid() | changes, tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not JSON",
        b"{",
        b"[]",
        b"null",
        b"3",
        b'{"schema": NaN}',
        b'{"schema": 1}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_junk_files_are_named(content: bytes, tmp_path: Path):
    path = tmp_path / "junk.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"junk\.json holds no range test result"):
        RangeTestResult.load(path)


def test_a_number_too_large_for_a_float_is_refused(tmp_path: Path):
    text = json.dumps(valid())
    first = json.dumps(valid()["losses"][0])
    path = tmp_path / "junk.json"
    path.write_text(text.replace(first, "1e999", 1), encoding="utf-8")
    with pytest.raises(ValueError, match=r"losses\[0\]"):
        RangeTestResult.load(path)


def test_a_missing_file_is_just_that(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        RangeTestResult.load(tmp_path / "nothing.json")


def write(values: dict[str, Any], folder: Path) -> Path:
    path = folder / "junk.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path
