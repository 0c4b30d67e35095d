"""The example for Transformers runs as it stands, and its model learns."""

from __future__ import annotations

import re
import runpy

from tests.source import ROOT


def test_tiny(capsys):
    runpy.run_path(str(ROOT / "examples" / "transformers_tiny.py"))
    told = capsys.readouterr().out
    assert "Range test of the loss: max_lr" in told
    rate = re.search(r"the cycle's highest rate is (\S+)", told)
    accuracy = re.search(r"accuracy on the 200 sequences held out: (\d\.\d+)", told)
    assert rate is not None
    assert accuracy is not None
    assert 1e-3 < float(rate[1]) < 0.1
    assert float(accuracy[1]) > 0.9
