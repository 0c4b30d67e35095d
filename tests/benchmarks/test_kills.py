"""A part of `benchmarks/kills.py`: twenty kills lose no bit, and leave no file behind."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.source import ROOT

pytest.importorskip("torch")
pytest.importorskip("safetensors")

PROGRAM = """
import json, sys
from benchmarks.kills import measure
print(json.dumps([measure(work, kills, seed=5) for work, kills in [("NumPy", 14), ("PyTorch", 6)]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it forks")
def test_what_is_killed_and_begun_again_loses_nothing():
    # In a process of its own: threads of other frameworks do not bear to be forked.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, timeout=500, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert sum(one["kills"] for one in told) >= 20
    assert [one["wrong"] for one in told] == [[], []]
