"""Tiny networks train on one thread; figures are coarse where tests only ask what is in them."""

from __future__ import annotations

import pytest

from cyclerate.compare import _drawing as drawing
from tests.one_thread import one_thread


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drawing, "DPI", 40)
