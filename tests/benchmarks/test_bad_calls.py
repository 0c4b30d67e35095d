"""A slice of the wrong calls: each is refused by the name of its argument, or right."""

from __future__ import annotations

import collections

import pytest

pytest.importorskip("lightning")
pytest.importorskip("optax")
pytest.importorskip("sklearn")
pytest.importorskip("torch")
pytest.importorskip("transformers")

from benchmarks.bad_calls import GROUPS, calls, classified


def test_wrong_values_are_refused_by_name_or_right():
    came: collections.Counter[str] = collections.Counter()
    for entry, parameter, kind, value in calls(list(GROUPS), 300, seed=1):
        outcome, words = classified(entry, parameter, value)
        came[outcome] += 1
        told = entry.name, parameter, kind, words
        assert outcome not in {"foreign", "changed", "large"}, told
        assert len(words) < 500 or outcome == "model's own", told
    assert came["wrong name"] <= 6
    assert came["model's own"] <= 6
    assert came["refused"] > 200
