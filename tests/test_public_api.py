"""The public names are those of docs/reference, and importing them is cheap.

These pages are the list: the reference of the site is made from them and the docstrings.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source import PACKAGE, ROOT, public_names


def reference() -> dict[str, list[str]]:
    """The modules of docs/reference with the names that each page lists."""
    pages = sorted((ROOT / "docs" / "reference").glob("*.md"))
    found = [ENTRY.search(page.read_text(encoding="utf-8")) for page in pages]
    return {entry["module"]: entry["names"].replace("- ", "").split() for entry in found if entry}


ENTRY = re.compile(
    r"^::: (?P<module>[\w.]+)\n    options:\n      members:\n(?P<names>(?:        - \w+\n)+)\Z",
    re.MULTILINE,
)
PUBLIC = reference()

# None of these may load with the package itself.
FRAMEWORKS = {"keras", "tensorflow", "torch", "jax", "optax"}
HEAVY = {"matplotlib", "pandas", "sklearn", "scipy"}

# Processor time of an import beyond NumPy's own, in milliseconds, and what was loaded by it.
MEASURE = """
import sys, time
import numpy
start = time.process_time()
import {module}
print(1000 * (time.process_time() - start))
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def import_in_a_new_process(module: str, bytecode: Path | None = None) -> tuple[float, set[str]]:
    environment = dict(os.environ)
    if bytecode:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    out = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE.format(module=module)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    milliseconds, modules = out.stdout.splitlines()
    return float(milliseconds), set(modules.split())


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_exactly_these(module: str):
    assert public_names(importlib.import_module(module)) == PUBLIC[module]


@pytest.mark.parametrize("module", ["cyclerate", "cyclerate.finder"])
def test_import_loads_no_framework(module: str):
    _, modules = import_in_a_new_process(module)
    assert modules & (FRAMEWORKS | HEAVY) == set()


@pytest.mark.parametrize(
    "module", ["cyclerate.compare", "cyclerate.compare._page", "cyclerate.cli"]
)
def test_the_command_loads_a_framework_only_to_train(module: str):
    _, modules = import_in_a_new_process(module)
    assert modules & FRAMEWORKS == set()


def test_import_takes_under_150_ms_beyond_numpy(tmp_path: Path):
    # As a user has it: compiled by the first import, loaded by the others.
    assert min(import_in_a_new_process("cyclerate", tmp_path)[0] for _ in range(5)) < 150


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    import cyclerate

    assert cyclerate.__version__ == version("cyclerate")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {cyclerate.__version__}\n" in citation


def test_every_part_of_the_package_has_a_page_of_the_reference():
    packages = {f"cyclerate.{path.parent.name}" for path in PACKAGE.glob("[a-z]*/__init__.py")}
    unlisted = {"cyclerate.schedules", "cyclerate.cycles", "cyclerate.cli", "cyclerate.training"}
    assert set(PUBLIC) == {"cyclerate"} | packages - unlisted
    assert len(PUBLIC) == len(list((ROOT / "docs" / "reference").glob("*.md")))


def test_the_older_name_of_compare_goes_on_to_work():
    import cyclerate.compare
    import cyclerate.training

    assert public_names(cyclerate.training) == PUBLIC["cyclerate.compare"]
    assert cyclerate.training.compare is cyclerate.compare.compare
