"""The example for PyTorch runs as it stands, and its model learns."""

from __future__ import annotations

import re
import runpy

from tests.source import ROOT


def test_two_lines(capsys):
    runpy.run_path(str(ROOT / "examples" / "torch_two_lines.py"))
    told = capsys.readouterr().out
    assert "Range test of the loss: max_lr" in told
    losses = [float(loss) for loss in re.findall(r"epoch \d+: loss (\d\.\d+)", told)]
    assert len(losses) == 10
    assert losses[-1] < 0.1 * losses[0]
    accuracy = re.search(r"accuracy on the 450 digits held out: (0\.\d+)", told)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.95


def test_snapshots_predict_together(capsys):
    runpy.run_path(str(ROOT / "examples" / "torch_snapshots.py"))
    told = capsys.readouterr().out
    assert re.findall(r"cycle (\d), saved after step (\d+)", told) == [
        (str(cycle), str(44 * cycle - 1)) for cycle in range(1, 6)
    ]
    together = re.search(r"5 members together on 450 digits held out: (0\.\d+)", told)
    assert together is not None
    assert float(together[1]) > 0.93


def test_fine_tune(capsys):
    runpy.run_path(str(ROOT / "examples" / "torch_fine_tune.py"))
    told = capsys.readouterr().out
    accuracies = [float(a) for a in re.findall(r"accuracy on the other rows (0\.\d+)", told)]
    assert len(accuracies) == 3
    assert accuracies[-1] > max(accuracies[0], 0.65)
    assert told.endswith("over that of the head: 0.15, 0.38, 1.00\n")
