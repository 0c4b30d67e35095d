"""Files of published data sets: the user's folder first, then the cache, then their public origin.

`CYCLERATE_DATA` names a folder with one folder for each data set. What lies there is taken as it
is: the loaders check its shape. What is downloaded is checked against the origin's SHA-256, also
when it is read from the cache again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cyclerate.tables import DataMistake

FOLDER_VARIABLE = "CYCLERATE_DATA"
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Origin:
    """A file at its public origin."""

    url: str
    sha256: str

    @property
    def file(self) -> str:
        """Its name."""
        return self.url.rpartition("/")[2]


def find_given(folder: str, names: Sequence[str]) -> Path | None:
    """Returns the first of these files that the user's folder has in `folder`."""
    given = os.environ.get(FOLDER_VARIABLE)
    if not given:
        return None
    return next((path for name in names if (path := Path(given) / folder / name).is_file()), None)


def cache_folder() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/cyclerate`, or `~/.cache/cyclerate`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cyclerate"


def fetch(folder: str, origin: Origin) -> Path:
    """Returns a file of a data set, downloaded unless the cache has it.

    Args:
        folder: The data set's folder in the cache.
        origin: The file.

    Raises:
        DataMistake: It cannot be downloaded, or what came is not the file.
        ImportError: pooch is not installed; it comes with the development requirements.
    """
    kept = cache_folder() / folder / origin.file
    if kept.is_file() and _sha256(kept) == origin.sha256:
        return kept
    import pooch

    pooch.get_logger().setLevel("WARNING")
    otherwise = f"download it yourself into the folder {folder} of a folder named {FOLDER_VARIABLE}"
    try:
        # Written under a temporary name, checked, then renamed.
        pooch.retrieve(
            origin.url,
            known_hash=f"sha256:{origin.sha256}",
            fname=origin.file,
            path=kept.parent,
            downloader=pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS),
        )
    except ValueError as error:
        raise DataMistake(
            f"{origin.url} gave a file that is not the known one (its SHA-256 differs). It was not "
            f"kept. Try again later, or {otherwise}."
        ) from error
    except OSError as error:
        raise DataMistake(
            f"{origin.url} cannot be downloaded. Go online and run this again, or {otherwise}."
        ) from error
    return kept


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
