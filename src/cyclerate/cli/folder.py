"""The folder that a command writes to: found unusable before an hour of work, not after."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cyclerate.cli.mistakes import Mistake


def check_folder(out: Path, option: str = "--out") -> Path:
    """Makes the folder if need be and checks that files can be written there.

    Raises:
        Mistake: It is a file, or cannot be written to.
    """
    if out.exists() and not out.is_dir():
        raise Mistake(f"{option}: {out} is a file: name a folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise Mistake(
            f"{option}: {out} cannot be written to ({error.strerror}): name another folder."
        ) from error
    return out
