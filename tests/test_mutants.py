"""The faults of `make mutants` can still be put in; whether tests notice them, it tries itself."""

from __future__ import annotations

import shlex

import pytest

from scripts.mutants import MUTANTS, Mutant, places, sources
from tests.source import ROOT

FILES = sources()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_text_occurs_once_and_its_tests_are_there(mutant: Mutant):
    assert len(places(mutant, FILES)) == 1
    assert mutant.new != mutant.old
    tests = [part for part in shlex.split(mutant.tests) if part.startswith("tests/")]
    assert tests
    assert all((ROOT / file).is_file() for file in tests)


def test_there_are_some_of_every_kind():
    kinds = {mutant.name.partition(":")[0] for mutant in MUTANTS}
    assert kinds == {
        "schedules",
        "smoothing",
        "stopping",
        "suggestion",
        "probe",
        "race choice",
        "restore",
        "momentum cycling",
        "interval",
        "passes",
        "seeds",
        "ranks",
        "records",
        "page",
        "charts",
    }
    assert len(MUTANTS) >= 24
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
