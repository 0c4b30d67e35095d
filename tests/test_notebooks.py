"""The notebooks run, and their pages on the site show what is in them."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest

from scripts import notebooks
from tests.one_thread import one_thread

PATHS = sorted(notebooks.NOTEBOOKS.glob("*.py"))
LARGEST_PICTURE = 60_000


def test_there_are_the_four():
    names = ["fine_tune_peft", "mnist_keras", "snapshots_torch", "table_sklearn"]
    assert [path.stem for path in PATHS] == names


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_runs_and_comes_to_what_it_asserts(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if "peft" in path.stem and importlib.util.find_spec("peft") is None:
        pytest.skip("needs peft, which nothing else here does: pip install peft (0.21 was tried)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CYCLERATE_DATA", raising=False)  # MNIST takes longer than the small digits
    with one_thread():
        runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_its_page_shows_it_with_its_outputs(path: Path):
    page = notebooks.PAGES / f"{path.stem}.md"
    text = page.read_text(encoding="utf-8")
    assert notebooks.without_outputs(text) == notebooks.page(path), "python scripts/notebooks.py"
    assert text.count("```text\n") >= 2
    pictures = notebooks.pictures_in(text)
    assert all((page.parent / name).stat().st_size < LARGEST_PICTURE for name in pictures)
    assert {f.name for f in page.parent.glob(f"{path.stem}-*.png")} == set(pictures)
