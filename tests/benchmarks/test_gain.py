"""What the README says of its first picture is what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

import pytest

from benchmarks import gain
from tests.source import ROOT


def test_the_readme_has_the_numbers_of_the_record():
    errors = json.loads(gain.RECORD.read_text(encoding="utf-8"))["test_error_percent"]
    found = mean(errors.pop("found"))
    best = min(mean(values) for values in errors.values())
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{best:.1f} % of the test images are wrong at the best of {len(errors)} rates" in text
    assert f"as many steps and no rate: {found:.1f} %" in text


def test_the_picture_is_drawn_from_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gain, "PICTURE", tmp_path / "gain.png")
    monkeypatch.setattr(gain, "TEST_PICTURE", tmp_path / "test.png")
    gain.draw()
    for name in ("gain.png", "test.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
