"""A slice of the wrong calls: each is refused by the name of its argument, or right."""

from __future__ import annotations

import collections

import pytest

pytest.importorskip("torch")

from benchmarks.bad_calls import calls, classified


def test_wrong_values_are_refused_by_name_or_right():
    came: collections.Counter[str] = collections.Counter()
    for entry, parameter, kind, value in calls(["core", "finder"], 300, seed=1):
        outcome, words = classified(entry, parameter, value)
        came[outcome] += 1
        assert outcome not in {"foreign", "large"}, (entry.name, parameter, kind, words)
        assert len(words) < 500, (entry.name, parameter, kind, words)
    assert came["wrong name"] <= 6
    assert came["refused"] > 200
