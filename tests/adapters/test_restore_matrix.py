"""A part of `benchmarks/restore_matrix.py`: everything is given back, however a range test ends."""

from __future__ import annotations

import os

import pytest

from benchmarks.restore_matrix import ADAPTERS, cells_of

RACES = ["Ctrl-C", "a second Ctrl-C while restoring"]
SWEEPS = ["end of range", "NaN", "exception in forward", "disk full"]


def runs():
    backend = os.environ.get("KERAS_BACKEND", "jax")
    for adapter, (folder, its_backend) in ADAPTERS.items():
        if folder == "keras" and its_backend != backend:
            continue
        marks = [pytest.mark.keras_backend] if folder == "keras" else []
        for ending, method in [*((e, "range") for e in SWEEPS), *((e, "probe") for e in RACES)]:
            yield pytest.param(
                adapter, ending, method, marks=marks, id=f"{folder} {ending} {method}"
            )


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@pytest.mark.parametrize(("adapter", "ending", "method"), [*runs()])
def test_everything_is_given_back(adapter: str, ending: str, method: str):
    cells = cells_of(adapter, ending, method)
    assert [what for what, cell in cells.items() if cell == "changed"] == []
    assert sum(cell == "=" for cell in cells.values()) >= 6  # the test had changed them
