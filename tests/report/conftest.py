"""Coarse figures for tests that only ask what is in them."""

from __future__ import annotations

import pytest

from cyclerate.report import drawing


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drawing, "DPI", 40)
