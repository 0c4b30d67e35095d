"""A slice of the damaged files: every one is refused by name, or read as what it says."""

from __future__ import annotations

import collections

import pytest

pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from benchmarks.bad_files import attempts


def test_damaged_files_are_refused_by_name_or_read():
    came: collections.Counter[str] = collections.Counter()
    for kind, content, outcome, words in attempts(150, seed=1):
        assert outcome in {"named", "right"}, (kind, words, content[:300])
        assert len(words) < 600, (kind, words)
        came[outcome] += 1
    assert came["named"] > came["right"] > 0
