"""The wheel has the package and nothing else, and NumPy is enough for its core.

`make test-install` does the same with every extra, from the registry.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.source import PACKAGE, ROOT

EXTRAS = {
    *("keras", "tensorflow", "torch", "jax", "lightning", "transformers"),
    *("sklearn", "plot", "cli", "watch", "dask", "ray", "all"),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


def information(wheel: Path, file: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(f".dist-info/{file}")]
        return archive.read(name).decode()


def metadata(wheel: Path) -> Message:
    return Parser().parsestr(information(wheel, "METADATA"))


def test_it_has_every_file_of_the_package_and_no_other(wheel: Path):
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert sorted(names) == sorted(path.relative_to(PACKAGE.parent).as_posix() for path in files)
    assert "cyclerate/py.typed" in names


def test_its_metadata_says_what_it_needs(wheel: Path):
    told = metadata(wheel)
    needed = [line for line in told.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert needed == ["numpy>=1.26"]
    assert set(told.get_all("Provides-Extra", [])) == EXTRAS
    assert told["Requires-Python"] == ">=3.11"
    assert (told["License-Expression"], told["License-File"]) == ("MIT", "LICENSE")
    assert told.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    assert "cyclerate = cyclerate.cli:main" in information(wheel, "entry_points.txt")


def test_the_oldest_releases_that_are_tested_are_the_lower_bounds(wheel: Path):
    lines = (ROOT / "requirements" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    oldest = dict(line.split("==") for line in lines if "==" in line)
    bounds: dict[str, set[Version]] = {}
    for line in metadata(wheel).get_all("Requires-Dist", []):
        needed = Requirement(line)
        if needed.name in oldest:
            (bound,) = needed.specifier
            bounds.setdefault(needed.name, set()).add(Version(bound.version))
    assert set(oldest) - set(bounds) == {"hypothesis", "pooch", "pytest"}
    for name, versions in bounds.items():
        assert {bound.release[:2] for bound in versions} == {Version(oldest[name]).release[:2]}


def test_numpy_is_enough_for_the_core(wheel: Path, tmp_path: Path):
    """The page about a framework of one's own runs where there is NumPy and the wheel alone."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    python = tmp_path / "bin" / "python"
    [packages] = (tmp_path / "lib").glob("python3*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    numpy = Path(np.__file__).parent
    for folder in (numpy, numpy.with_name("numpy.libs")):
        (packages / folder.name).symlink_to(folder)
    page = ROOT / "docs" / "own-framework.md"
    command = [python, "-I", "-c", RUN.format(root=str(ROOT), page=str(page))]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"numpy", "cyclerate"} <= {*done.stdout.split()}
    assert {*done.stdout.split()} & {"keras", "torch", "jax", "matplotlib"} == set()


RUN = """
import sys
sys.path.append({root!r})
from tests.pages import main
try:
    main({page!r}, "")
except SystemExit as end:
    assert not end.code, end.code
print(*(name for name in sys.modules if "." not in name))
"""
