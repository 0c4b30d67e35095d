"""The example of a comparison runs as it stands, and goes on where it was."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from cyclerate.compare import _study
from tests.source import ROOT


def test_compare_own_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    example = str(ROOT / "examples" / "compare_own_model.py")
    runpy.run_path(example)
    told = capsys.readouterr().out
    assert "6 seeds, 96 steps a run" in told
    assert len(list((tmp_path / "runs" / "wine" / "cells").glob("*.json"))) == 18
    monkeypatch.setattr(_study, "train_run", lambda *_a, **_k: pytest.fail("trained again"))
    runpy.run_path(example)
    assert capsys.readouterr().out == told
