"""What Keras itself warns about, and the same random numbers for each test."""

from __future__ import annotations

import pytest

from cyclerate.keras._state import seed_all_randomness
from tests.keras.quick import free_graphs

KERAS_OWN_WARNINGS = [
    # Keras variables have an `__array__` from before NumPy 2.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    # h5py as Keras uses it to save.
    "ignore:.*h5py.*:DeprecationWarning",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "keras" in item.path.parent.parts[-1:]:
            for warning in KERAS_OWN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(autouse=True)
def _seeded_and_freed():
    """The same numbers in every order of the tests."""
    seed_all_randomness(0)
    yield
    free_graphs()
