"""What a record says about where it comes from."""

from __future__ import annotations

import datetime as dt
import platform

import jax
import keras
import numpy as np

import cyclerate as cr
from cyclerate.compare import _plain as provenance


def test_versions_are_those_of_the_modules_that_computed():
    assert provenance.versions("jax") == {
        "cyclerate": cr.__version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "backend": "jax",
    }


def test_the_machine_is_text():
    machine = provenance.machine()
    assert set(machine) == {"processor", "cores", "memory"}
    assert machine["processor"] != ""
    assert int(machine["cores"]) >= 1


def test_the_time_is_in_utc():
    now = dt.datetime.fromisoformat(provenance.now())
    assert now.utcoffset() == dt.timedelta(0)
    assert abs(dt.datetime.now(dt.UTC) - now) < dt.timedelta(seconds=5)
