"""Hundreds of tiny networks of many shapes are trained here: on the backend that compiles nothing.

What is asked of the estimators does not depend on the backend. The example, the page and the
docstrings train some on the usual one.
"""

from __future__ import annotations

import keras
import pytest

from tests.one_thread import one_thread

MANY_FITS = {"test_checks.py", "test_estimators.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    elsewhere = keras.backend.backend() != "torch"
    for item in items:
        if item.path.parent.name == "sklearn" and item.path.name in MANY_FITS:
            item.add_marker(pytest.mark.keras_backend)
            if elsewhere:
                item.add_marker(pytest.mark.skip("on PyTorch: KERAS_BACKEND=torch"))


@pytest.fixture(autouse=True, scope="package")
def _one_thread():
    with one_thread():
        yield
