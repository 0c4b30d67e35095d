"""Tiny networks train on one thread."""

from __future__ import annotations

import pytest

from tests.one_thread import one_thread


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    with one_thread():
        yield
