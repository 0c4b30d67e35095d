"""The example for scikit-learn runs as it stands, and its network learns."""

from __future__ import annotations

import re
import runpy

from tests.source import ROOT


def test_a_network_in_a_pipeline(capsys):
    runpy.run_path(str(ROOT / "examples" / "sklearn_pipeline.py"), run_name="__main__")
    told = capsys.readouterr().out
    rate = re.search(r"the peak of the rate, found: (\S+)", told)
    assert rate is not None
    assert 1e-3 < float(rate[1]) < 1.0
    best = re.search(r"epochs': (\d+)\}, accuracy in three folds (0\.\d+)", told)
    assert best is not None
    assert int(best[1]) == 40
    assert float(best[2]) > 0.88
