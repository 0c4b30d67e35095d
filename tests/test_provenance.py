"""What a result and a record say about where they come from."""

from __future__ import annotations

import datetime as dt
import platform

import jax
import keras
import numpy as np

import cyclerate as cr
from cyclerate import _plain


def test_versions_are_those_of_the_modules_that_computed():
    made = _plain.provenance()["versions"]
    assert made["backend"] == keras.backend.backend()
    python = {"python": platform.python_version()}
    assert _plain.versions("keras", "jax") == {
        "cyclerate": cr.__version__,
        **python,
        "keras": keras.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
    }
    assert made.keys() == {"cyclerate", "python", "keras", made["backend"], "numpy", "backend"}


def test_the_machine_is_text():
    machine = _plain.machine()
    assert set(machine) == {"processor", "cores", "memory"}
    assert machine["processor"] != ""
    assert int(machine["cores"]) >= 1


def test_the_time_is_in_utc():
    now = dt.datetime.fromisoformat(_plain.now())
    assert now.utcoffset() == dt.timedelta(0)
    assert abs(dt.datetime.now(dt.UTC) - now) < dt.timedelta(seconds=5)
