"""The documentation where only the package is installed, as its readers have it.

    python scripts/test_install.py [EXTRAS]...    EXTRAS as in a page: keras, or keras,torch

Builds the sdist and, from that, the wheel. For every set of extras that a page tells its readers
to install, makes a new environment, installs the wheel with them, and runs the blocks below such
lines. The releases are the newest ones. PyTorch is the pinned one: others bring CUDA.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.pages import blocks  # noqa: E402

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What a reader has not set, and what keeps a machine quiet.
UNSET = ("KERAS_BACKEND", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
QUIET = {
    "MPLBACKEND": "Agg",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "JAX_PLATFORMS": "cpu",
    "OMP_NUM_THREADS": "1",  # small networks: threads that wait for each other take minutes
}
CALLS = {"cli": (["--help"], ["plot", "one_cycle", "--max-lr", "0.1", "--total-steps", "1000"])}


def main() -> None:
    wanted = needs()
    chosen = sys.argv[1:] or list(wanted)
    if unknown := sorted(set(chosen) - set(wanted)):
        raise SystemExit(f"no page installs {unknown}; there are {sorted(wanted)}")
    with tempfile.TemporaryDirectory(prefix="cyclerate-install-") as folder:
        wheel = build(Path(folder))
        failed = [extras for extras in chosen if not works(wheel, extras, wanted[extras])]
    if failed:
        raise SystemExit(f"FAILED: {', '.join(extras or 'no extras' for extras in failed)}")
    print(f"{len(chosen)} passed, 0 failed")


def needs() -> dict[str, list[Path]]:
    """For each set of extras the pages whose blocks need it."""
    found: dict[str, list[Path]] = {}
    for page in PAGES:
        for block in blocks(page, "python"):
            if block.extras is not None and page not in found.setdefault(block.extras, []):
                found[block.extras].append(page)
    return found


def build(folder: Path) -> Path:
    """The wheel, from the sources that the sdist has."""
    hatchling = [sys.executable, "-m", "hatchling", "build", "-d", folder]
    call([*hatchling, "-t", "sdist"], ROOT)
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "sources", filter="data")
    [sources] = (folder / "sources").iterdir()
    call([*hatchling, "-t", "wheel"], sources)
    [wheel] = folder.glob("*.whl")
    return wheel


def works(wheel: Path, extras: str, pages: list[Path]) -> bool:
    """Whether the pages run in an environment of their own; says what does not."""
    print("==", f"cyclerate[{extras}]" if extras else "cyclerate", flush=True)
    with tempfile.TemporaryDirectory(prefix="cyclerate-install-") as folder:
        python = install(Path(folder), wheel, extras)
        results = [run([python, "-m", "tests.pages", page, extras], page.name) for page in pages]
        for extra in extras.split(","):
            calls = CALLS.get(extra, ())
            results += [run([python.with_name("cyclerate"), *words], words[0]) for words in calls]
    return all(results)


def install(folder: Path, wheel: Path, extras: str) -> Path:
    """A new environment with the wheel; the path of its Python."""
    pins = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").splitlines()
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(pin for pin in pins if pin.startswith("torch==")))
    call([sys.executable, "-m", "venv", folder / "venv"], folder)
    python = folder / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    what = f"cyclerate[{extras}] @ {wheel.as_uri()}" if extras else wheel
    call([*pip, "install", "-qq", "--no-compile", "--constraint", constraints, what], folder)
    call([*pip, "check"], folder)
    return python


def run(command: list[str | Path], name: str) -> bool:
    """Whether a command ends well; its output is shown where it does not."""
    start = time.monotonic()
    done = call(command, ROOT, check=False, capture_output=True)
    good = done.returncode == 0
    print(
        f"{name}: {'passed' if good else 'FAILED'} ({time.monotonic() - start:.0f} s)", flush=True
    )
    if not good:
        print(done.stdout[-2000:], done.stderr[-4000:], sep="\n", flush=True)
    return good


def call(
    command: Sequence[str | Path], folder: Path, check: bool = True, capture_output: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder, in the environment of a reader."""
    environment = {key: value for key, value in os.environ.items() if key not in UNSET} | QUIET
    return subprocess.run(  # noqa: S603
        command, cwd=folder, env=environment, text=True, check=check, capture_output=capture_output
    )


if __name__ == "__main__":
    main()
