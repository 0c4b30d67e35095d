"""The examples for JAX run as they stand, and their models learn."""

from __future__ import annotations

import re
import runpy

import pytest

from tests.source import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("optax_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, capsys):
    runpy.run_path(str(path))
    told = capsys.readouterr().out
    assert "Range test of the loss: max_lr" in told
    assert "epoch 10" in told
    accuracy = re.search(r"accuracy on the 450 digits held out: (0\.\d+)", told)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.95


def test_there_is_an_example_for_each_way_to_write_a_model():
    names = [path.stem for path in EXAMPLES]
    assert names == ["optax_digits", "optax_equinox", "optax_flax_nnx"]
