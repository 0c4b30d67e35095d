"""The adapter on the page is that of the example, which runs as it stands."""

from __future__ import annotations

import inspect
import runpy

from examples import own_framework
from tests.source import ROOT


def test_the_example_learns(capsys):
    runpy.run_path(str(ROOT / "examples" / "own_framework.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert told.startswith("Range test of the loss: max_lr")
    assert "accuracy on the 200 points held out: 0." in told


def test_the_page_shows_what_the_suite_tests():
    page = (ROOT / "docs" / "own-framework.md").read_text(encoding="utf-8")
    for part in (own_framework.Network, own_framework.NetworkTrainee):
        assert inspect.getsource(part) in page


def test_the_adapter_has_fewer_than_60_lines():
    assert len(inspect.getsource(own_framework.NetworkTrainee).splitlines()) < 60
