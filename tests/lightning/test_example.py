"""The example for Lightning runs as it stands, and its model learns."""

from __future__ import annotations

import re
import runpy

from tests.source import ROOT


def test_digits(capsys):
    runpy.run_path(str(ROOT / "examples" / "lightning_digits.py"))
    told = capsys.readouterr().out
    assert "Range test of the loss: max_lr" in told
    rate = re.search(r"the module's rate is (\d\.\d+), its loss (\d\.\d+)", told)
    accuracy = re.search(r"accuracy on the 450 digits held out: (0\.\d+)", told)
    assert rate is not None
    assert accuracy is not None
    assert 0.01 < float(rate[1]) < 2.0
    assert float(rate[2]) < 0.1
    assert float(accuracy[1]) > 0.95
